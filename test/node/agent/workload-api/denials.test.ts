import { Writable } from 'node:stream';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { Denials } from '../../../../src/node/agent/workload-api/denials.ts';
import { FakeClock } from '../../../support/clock.ts';
import { TestIdentities, testEntry } from '../test-identities.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const caller = (...selectors: string[]) => ({ pid: 7, uid: 1000, gid: 1000, selectors, checkAlive: () => undefined });

function logged() {
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(chunk, _, done) {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  const clock = new FakeClock();
  const identities = new TestIdentities();
  return { lines, clock, identities, denials: new Denials({ identities, clock, logger: pino(stream) }) };
}

describe('the log of who has no identity', () => {
  it('says what was found and what is missing; the caller is told neither', () => {
    const { lines, identities, denials } = logged();
    const entry = testEntry({ spiffeId: WEB, selectors: ['unix:uid:0'] });
    identities.set([entry]);
    const error = denials.denied(caller('unix:uid:1000'));
    expect([error.code, error.message]).toEqual([
      'forbidden',
      'There is no identity for this process. On its machine, `writ identity why --pid 7` says what is missing.',
    ]);
    expect(lines).toMatchObject([
      {
        pid: 7,
        uid: 1000,
        selectors: ['unix:uid:1000'],
        nearest: [`${WEB} (entry ${entry.id}): no unix:uid:0, but unix:uid:1000`],
        msg: 'no identity for this process: no entry of this agent matches it',
      },
    ]);
  });

  it('says so when nobody asks for anything that the process has', () => {
    const { lines, identities, denials } = logged();
    identities.set([testEntry({ spiffeId: WEB, selectors: ['docker:label:a:b', 'docker:label:c:d'] })]);
    denials.denied(caller('unix:uid:1000'));
    expect(lines).toMatchObject([
      { nearest: [], msg: expect.stringMatching(/no entry of this agent asks for any of its selectors/) },
    ]);
  });

  it('says it once a minute for the same selectors: clients come back every few seconds', async () => {
    const { lines, clock, denials } = logged();
    for (let i = 0; i < 5; i++) denials.denied(caller('unix:uid:1000'));
    denials.denied(caller('unix:uid:1001'));
    expect(lines).toHaveLength(2);
    await clock.advance(60_000);
    denials.denied(caller('unix:uid:1000'));
    expect(lines).toHaveLength(3);
  });
});
