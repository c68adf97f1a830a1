import { EventEmitter } from 'node:events';
import type { ServerHttp2Stream } from 'node:http2';
import { connect, constants } from 'node:http2';
import { createConnection } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { RequestBudget } from '../../../../src/node/agent/workload-api/request-budget.ts';
import { testEntry } from '../test-identities.ts';
import { answer, clientOf, secured, startTestAgent } from '../workload-client.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';

function fakeStream() {
  const closed: number[] = [];
  const stream = Object.assign(new EventEmitter(), { close: (code: number) => closed.push(code) });
  return { stream: stream as unknown as ServerHttp2Stream & EventEmitter, closed };
}

/** The beginning of a message of `length` bytes. */
function begun(length: number, bytes: number): Buffer {
  const piece = Buffer.alloc(5 + bytes);
  piece.writeUInt32BE(length, 1);
  return piece;
}

describe('the budget of begun messages', () => {
  it('resets the stream that goes over that of its user, or of all, and counts no more what has ended', () => {
    const budget = new RequestBudget({ maxBytesPerUser: 100, maxBytes: 150 });
    const [first, second, third] = [fakeStream(), fakeStream(), fakeStream()];
    budget.follow(first.stream, 1000);
    budget.follow(second.stream, 1000);
    budget.follow(third.stream, 1001);
    first.stream.emit('data', begun(1000, 90));
    expect(budget.held).toBe(90);
    second.stream.emit('data', begun(1000, 20));
    expect([first.closed, second.closed]).toEqual([[], [constants.NGHTTP2_ENHANCE_YOUR_CALM]]);
    second.stream.emit('close');
    third.stream.emit('data', begun(1000, 70));
    expect(third.closed).toEqual([constants.NGHTTP2_ENHANCE_YOUR_CALM]);
    for (const { stream } of [first, third]) stream.emit('close');
    expect(budget.held).toBe(0);
  });

  it('lets whole messages through while it is used up', () => {
    const budget = new RequestBudget({ maxBytesPerUser: 10, maxBytes: 10 });
    const [halves, whole] = [fakeStream(), fakeStream()];
    budget.follow(halves.stream, 1000);
    budget.follow(whole.stream, 1000);
    halves.stream.emit('data', begun(1000, 100));
    whole.stream.emit('data', begun(500, 500));
    whole.stream.emit('data', Buffer.concat([begun(0, 0), begun(3, 3)]));
    expect(whole.closed).toEqual([]);
  });

  it('holds nothing at the end of any messages, however they are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(300), { maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 200 })),
        (sizes, cuts) => {
          const budget = new RequestBudget();
          const { stream } = fakeStream();
          budget.follow(stream, 1000);
          let rest = Buffer.concat(sizes.map((size) => begun(size, size)));
          for (const cut of [...cuts, rest.length]) {
            stream.emit('data', rest.subarray(0, cut));
            rest = rest.subarray(cut);
            expect(budget.held).toBeLessThanOrEqual(300);
          }
          if (rest.length === 0) expect(budget.held).toBe(0);
        },
      ),
    );
  });

  it('of an agent resets who sends halves of messages, and serves who sends whole ones', async () => {
    const agent = await startTestAgent({ requestBudget: { maxBytesPerUser: 64 * 1024 } });
    agent.identities.set([testEntry({ spiffeId: WEB })]);
    const session = connect('http://localhost', { createConnection: () => createConnection(agent.socketPath) });
    onTestFinished(() => session.destroy());
    const ends = Array.from({ length: 10 }, async () => {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/SpiffeWorkloadAPI/FetchX509SVID',
        'content-type': 'application/grpc',
      });
      stream.on('error', () => undefined);
      stream.write(begun(900_000, 60_000));
      await new Promise((done) => stream.once('close', done));
      return stream.rstCode;
    });
    expect(await Promise.race(ends)).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    const client = clientOf(agent.socketPath);
    const { svids } = await answer<{ svids: object[] }>((done) =>
      client.fetchJwtsvid({ audience: ['a'] }, secured, done),
    );
    expect(svids).toHaveLength(1);
  });
});
