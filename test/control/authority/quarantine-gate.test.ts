import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { JoinTokens } from '../../../src/control/authority/attest/join-token.ts';
import { JoinTokenAttestor } from '../../../src/control/authority/attest/join-token-attestor.ts';
import { Enrollment } from '../../../src/control/authority/nodes/enrollment.ts';
import type { PeerIdentity } from '../../../src/core/identity/chain.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import type { Svid } from '../../../src/node/agent/svid.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { openIdentityState } from '../../support/identity-world.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const why = { reason: 'INC-7', actor: 'alice' };
const newCsr = () => createCsr(generateKeyPair().privateKey);
const refusal = (id: string) =>
  `${id} is in quarantine: it gets no certificate and no token until an operator releases it.`;

async function start() {
  const clock = new FakeClock();
  const state = await openIdentityState({ clock });
  const callerOf = (svid: Svid): PeerIdentity =>
    verifyPeer(svid.chain, state.authority.bundle.current, { now: clock.now() });
  const put = async (id: string) => {
    const { quarantine } = await state.quarantines.put(id, why);
    await state.quarantine.settled();
    return async () => {
      await state.quarantines.release(quarantine.id, why);
      await state.quarantine.settled();
    };
  };
  return { ...state, clock, callerOf, put };
}

describe('an identity in quarantine', () => {
  it('does not renew, and does after its release', async () => {
    const { identities, entries, entrySet, admitAs, callerOf, put, recorder } = await start();
    const entry = await entries.create({ spiffeId: WEB });
    await entrySet.settled();
    const caller = callerOf(await admitAs('workload', WEB, [], { entryId: entry.id }));
    expect((await identities.renew(caller, newCsr())).id.uri).toBe(WEB);
    const release = await put(WEB);
    await expectAppError(identities.renew(caller, newCsr()), 'forbidden', refusal(WEB));
    expect(recorder.events.at(-1)).toMatchObject({
      action: 'renewal',
      outcome: 'refused',
      subject: WEB,
      reason: `forbidden: ${refusal(WEB)}`,
    });
    await release();
    expect((await identities.renew(caller, newCsr())).id.uri).toBe(WEB);
  });

  it('gets no certificate and no token through its agent, and its neighbours do', async () => {
    const { identities, entries, entrySet, admit, callerOf, put, recorder } = await start();
    const agent = callerOf(await admit('a'));
    const web = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    const other = await entries.create({ spiffeId: `${WEB}-2`, parentId: agent.id.uri, selectors: ['unix:uid:2'] });
    await entrySet.settled();
    const release = await put(WEB);
    const orders = [web, other].map(({ id }) => ({ entryId: id, csr: newCsr(), variables: {} }));
    for (const sign of ['signX509', 'signWit'] as const) {
      const [first, second] = await identities[sign](agent, orders);
      expect(first).toMatchObject({ error: { code: 'forbidden', message: refusal(WEB) } });
      expect(second).toHaveProperty('value');
    }
    const token = () => identities.signJwt(agent, { audience: ['x'], entryId: web.id, variables: {} });
    await expectAppError(token(), 'forbidden', refusal(WEB));
    const refused = recorder.events.filter((event) => event.outcome === 'refused');
    expect(refused.map(({ action, subject }) => [action, subject])).toEqual([
      ['x509-svid', WEB],
      ['wit-svid', WEB],
      ['jwt-svid', WEB],
    ]);
    await release();
    expect((await token()).spiffeId).toBe(WEB);
  });

  it('gets no token for itself', async () => {
    const { identities, entries, entrySet, admitAs, callerOf, put } = await start();
    const entry = await entries.create({ spiffeId: WEB });
    await entrySet.settled();
    const caller = callerOf(await admitAs('workload', WEB, [], { entryId: entry.id }));
    await put(WEB);
    const asked = identities.signJwt(caller, { audience: ['x'], entryId: undefined, variables: {} });
    await expectAppError(asked, 'forbidden', refusal(WEB));
  });

  it('that is an agent gets nothing for the workloads beside it either', async () => {
    const { identities, entries, entrySet, admit, callerOf, put } = await start();
    const agent = callerOf(await admit('a'));
    const web = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    await entrySet.settled();
    await put(agent.id.uri);
    const [outcome] = await identities.signX509(agent, [{ entryId: web.id, csr: newCsr(), variables: {} }]);
    expect(outcome).toMatchObject({ error: { code: 'forbidden', message: refusal(agent.id.uri) } });
    await expectAppError(identities.renew(agent, newCsr()), 'forbidden', refusal(agent.id.uri));
  });

  it('does not enroll, and its join token is not used up', async () => {
    const { store, clock, authority, entries, nodes, quarantine, recorder, put } = await start();
    const joinTokens = new JoinTokens({ store, clock });
    const enrollment = new Enrollment({
      authority,
      attestors: [new JoinTokenAttestor(joinTokens)],
      nodes,
      grantsFor: () => [],
      quarantine,
      recorder,
      clock,
      logger: silentLogger,
    });
    const entry = await entries.create({ spiffeId: WEB });
    const { token } = await joinTokens.create({ entryId: entry.id });
    const attest = () => enrollment.attest({ method: 'join_token', payload: Buffer.from(token), csr: newCsr() });
    const release = await put(WEB);
    await expectAppError(attest(), 'forbidden', refusal(WEB));
    expect(recorder.events.at(-1)).toMatchObject({ action: 'attestation', outcome: 'refused', subject: WEB });
    await release();
    expect((await attest()).svid.id.uri).toBe(WEB);
  });
});
