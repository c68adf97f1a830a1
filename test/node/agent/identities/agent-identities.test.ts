import { createPublicKey, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { verifyPeer } from '../../../../src/core/identity/chain.ts';
import { verifyJwtSvid } from '../../../../src/core/identity/jwt-svid.ts';
import { verifyWitSvid } from '../../../../src/core/identity/wit-svid.ts';
import type { RunningAgentIdentities } from '../../../../src/node/agent/identities/agent-identities.ts';
import { expectAppError } from '../../../support/errors.ts';
import { isThere, startIdentityWorld, until } from '../../../support/identity-world.ts';
import { tempDirectory } from '../../../support/temp.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

async function world() {
  const state = await startIdentityWorld();
  const svid = await state.admit('a');
  const register = (spiffeId: string, ...selectors: string[]) =>
    state.entries.create({ spiffeId, parentId: svid.id.uri, selectors });
  return { ...state, svid, register };
}

/** The only grant of a workload, as soon as there is one. */
async function grantOf(agent: RunningAgentIdentities, ...selectors: string[]) {
  await until(agent.state, () => agent.grantsFor(selectors).length > 0);
  const [grant] = agent.grantsFor(selectors);
  if (grant === undefined) throw new Error('no grant');
  return grant;
}

describe('the identities of an agent', () => {
  it('a workload with the selectors of an entry gets its X.509-SVID, on a key made here', async () => {
    const { runAgent, svid, register, authority, recorder } = await world();
    const entry = await register(WEB, 'unix:uid:1000');
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1000', 'unix:gid:7');
    expect(grant).toMatchObject({ spiffeId: WEB, entry: { id: entry.id } });
    expect(agent.grantsFor(['unix:uid:1001'])).toEqual([]);

    const held = await until(agent.x509(grant).svid, isThere);
    const peer = verifyPeer(held.chain, authority.bundle.current, { now: Date.now() });
    expect(peer.id.uri).toBe(WEB);
    expect(held.notAfter).toBe(peer.notAfter);
    const leaf = new X509Certificate(held.chain[0] ?? '');
    expect(leaf.publicKey.equals(createPublicKey(held.privateKey))).toBe(true);
    expect(recorder.events).toMatchObject([
      {
        action: 'x509-svid',
        outcome: 'granted',
        subject: WEB,
        actor: svid.id.uri,
        entry: entry.id,
        serial: peer.serial,
      },
    ]);
  });

  it('hears of a new entry, of a changed one and of one that is gone without asking', async () => {
    const { runAgent, svid, register, entries } = await world();
    const agent = await runAgent(svid);
    await until(agent.state, (state) => state?.connected === true);
    expect(agent.grantsFor(['unix:uid:1'])).toEqual([]);

    const entry = await register(WEB, 'unix:uid:1');
    const lease = agent.x509(await grantOf(agent, 'unix:uid:1'));
    const first = await until(lease.svid, isThere);

    await entries.update(entry.id, { ...entry, dnsNames: ['web.shop.example'] }, '*');
    const second = await until(lease.svid, (held) => held !== undefined && held !== first);
    expect(new X509Certificate(second?.chain[0] ?? '').subjectAltName).toContain('DNS:web.shop.example');

    await entries.delete(entry.id, '*');
    await until(lease.svid, (held) => held === undefined);
    expect(lease.failure()).toMatchObject({ code: 'not-found' });
    expect(agent.grantsFor(['unix:uid:1'])).toEqual([]);
    await expectAppError(agent.jwt({ entry, spiffeId: WEB, variables: {} }, ['a']), 'not-found', /not registered/);
  });

  it('one entry with variables serves many workloads, each within its bounds', async () => {
    const { runAgent, svid, entries, recorder } = await world();
    const spiffeId = 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}';
    await entries.create({ spiffeId, parentId: svid.id.uri, selectors: ['k8s:node:n1'], namespaces: ['shop'] });
    const agent = await runAgent(svid);
    const web = await grantOf(agent, 'k8s:node:n1', 'k8s:ns:shop', 'k8s:sa:web');
    const orders = await grantOf(agent, 'k8s:node:n1', 'k8s:ns:shop', 'k8s:sa:orders');
    expect(agent.grantsFor(['k8s:node:n1', 'k8s:ns:bank', 'k8s:sa:web'])).toEqual([]);
    const held = await Promise.all([web, orders].map((grant) => until(agent.x509(grant).svid, isThere)));
    expect(held.map((each) => each.spiffeId)).toEqual([WEB, ORDERS]);
    expect(new Set(recorder.events.map((event) => event.instance)).size).toBe(2);

    const outside = agent.x509({
      ...web,
      spiffeId: 'spiffe://example.org/ns/bank/sa/web',
      variables: { 'k8s.ns': 'bank', 'k8s.sa': 'web' },
    });
    await until(outside.svid, () => outside.failure() !== undefined);
    expect(outside.failure()).toMatchObject({ code: 'forbidden' });
  });

  it('leases of one grant share one SVID', async () => {
    const { runAgent, svid, register, recorder } = await world();
    await register(WEB, 'unix:uid:1');
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1');
    const leases = Array.from({ length: 20 }, () => agent.x509(grant));
    const held = await Promise.all(leases.map((lease) => until(lease.svid, isThere)));
    expect(new Set(held).size).toBe(1);
    for (const lease of leases) lease.release();
    // Kept warm: whoever comes back has it in the same breath.
    expect(agent.x509(await grantOf(agent, 'unix:uid:1')).svid.current).toBe(held[0]);
    expect(recorder.events).toHaveLength(1);
  });

  it('a JWT-SVID is for the audiences that were asked for, and is not fetched twice', async () => {
    const { runAgent, svid, entries, authority, recorder } = await world();
    const jwtClaims = { team: 'shop', path: '{{unix.path}}' };
    const spiffeId = 'spiffe://example.org/job/{{unix.path}}';
    await entries.create({ spiffeId, parentId: svid.id.uri, selectors: ['unix:uid:1'], jwtClaims, jwtTtlSeconds: 60 });
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1', 'unix:path:nightly');
    const [one, same] = await Promise.all([agent.jwt(grant, ['x', 'y']), agent.jwt(grant, ['y', 'x'])]);
    expect(same).toBe(one);
    expect(await agent.jwt(grant, ['x', 'y'])).toBe(one);
    const bundle = authority.bundle.current;
    const verified = await verifyJwtSvid(one.token, { audiences: ['y'], bundle, now: Date.now() });
    expect(verified).toMatchObject({ id: { uri: 'spiffe://example.org/job/nightly' }, audience: ['x', 'y'] });
    expect(JSON.parse(Buffer.from(one.token.split('.')[1] ?? '', 'base64url').toString())).toMatchObject({
      team: 'shop',
      path: 'nightly',
    });
    expect(one.expiresAt - Date.now()).toBeLessThanOrEqual(60_000);
    expect(recorder.events).toMatchObject([{ action: 'jwt-svid', outcome: 'granted', audience: ['x', 'y'] }]);
    await expectAppError(agent.jwt(grant, []), 'invalid');
    await expectAppError(agent.jwt(grant, ['']), 'invalid');
  });

  it('a WIT-SVID names the key that comes with it', async () => {
    const { runAgent, svid, register, authority, recorder } = await world();
    await register(WEB, 'unix:uid:1');
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1');
    const [wit, same] = await Promise.all([agent.wit(grant), agent.wit(grant)]);
    expect(same).toBe(wit);
    const verified = await verifyWitSvid(wit.token, { bundle: authority.bundle.current, now: Date.now() });
    expect(verified.id.uri).toBe(WEB);
    expect(verified.key.equals(createPublicKey(wit.privateKey))).toBe(true);
    expect(recorder.events).toMatchObject([{ action: 'wit-svid', outcome: 'granted', subject: WEB }]);
  });

  it('tokens of a tainted key are not handed out again', async () => {
    const { runAgent, svid, register, bundle, recorder } = await world();
    await register(WEB, 'unix:uid:1');
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1');
    const jwt = await agent.jwt(grant, ['a']);
    await agent.wit(grant);
    const { kid } = JSON.parse(Buffer.from(jwt.token.split('.')[0] ?? '', 'base64url').toString()) as { kid: string };
    const tainted = [kid, ...bundle.current.jwks.keys.map((key) => String(key.kid))];
    bundle.set({ ...bundle.current, sequence: bundle.current.sequence + 1, tainted });
    await until(agent.state, (state) => state?.bundle.tainted !== undefined);
    await agent.jwt(grant, ['a']);
    await agent.wit(grant);
    expect(recorder.events.map((event) => event.action).sort()).toEqual([
      'jwt-svid',
      'jwt-svid',
      'wit-svid',
      'wit-svid',
    ]);
  });

  it('tokens of a key that was revoked while the agent was away are not handed out again', async () => {
    const { runAgent, svid, register, bundle, recorder } = await world();
    await register(WEB, 'unix:uid:1');
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1');
    await agent.jwt(grant, ['a']);
    await agent.wit(grant);
    await agent.jwt(grant, ['a']);
    expect(recorder.events).toHaveLength(2);
    const sequence = bundle.current.sequence + 1;
    bundle.set({ ...bundle.current, sequence, jwks: { keys: [] } });
    await until(agent.state, (state) => state?.bundle.sequence === sequence);
    await agent.jwt(grant, ['a']);
    await agent.wit(grant);
    expect(recorder.events).toHaveLength(4);
  });

  it('one that makes up audiences uses up nothing of what the others need', async () => {
    const { runAgent, svid, register, recorder } = await world();
    await register(WEB, 'unix:uid:1');
    await register(ORDERS, 'unix:uid:2');
    const agent = await runAgent(svid, { tokenRate: { perSecond: 0.001, burst: 3 } });
    const [greedy, other] = [await grantOf(agent, 'unix:uid:1'), await grantOf(agent, 'unix:uid:2')];
    for (const audience of ['a', 'b', 'c']) await agent.jwt(greedy, [audience]);
    await expectAppError(agent.jwt(greedy, ['d']), 'exhausted');
    expect(recorder.events).toHaveLength(3);
    // What is kept costs nothing.
    await agent.jwt(greedy, ['a']);
    await agent.jwt(other, ['d']);
  });

  it('what came for somebody else is not handed out', async () => {
    const { runAgent, svid, register } = await world();
    const entry = await register(WEB, 'unix:uid:1');
    const agent = await runAgent(svid);
    await grantOf(agent, 'unix:uid:1');
    const wrong = { entry, spiffeId: ORDERS, variables: {} };
    await expectAppError(agent.jwt(wrong, ['a']), 'peer-refused', /came instead of/);
    await expectAppError(agent.wit(wrong), 'peer-refused', /came instead of/);
  });

  it('a state that comes in several parts is taken over when the last is there', async () => {
    const { runAgent, svid, entries } = await world();
    const count = 4_000;
    const inputs = Array.from({ length: count }, (_, i) => ({
      pointer: `/${i}`,
      input: {
        spiffeId: `spiffe://example.org/w/${i}`,
        parentId: svid.id.uri,
        selectors: [`unix:uid:${i}`],
        hint: 'x'.repeat(500),
      },
    }));
    await entries.createAll({ items: inputs });
    const agent = await runAgent(svid);
    const sizes = new Set<number>();
    agent.state.subscribe((state) => sizes.add(state?.entries.size ?? -1));
    await until(agent.state, (state) => state?.entries.size === count);
    expect([...sizes]).toEqual([count]);
  });

  it('federated bundles come with the entries that ask for them', async () => {
    const { runAgent, svid, entries, federated, bundle } = await world();
    const partner = { ...bundle.current, trustDomain: 'partner.example' };
    federated.set(
      new Map([
        ['partner.example', partner],
        ['other.example', { ...partner, trustDomain: 'other.example' }],
      ]),
    );
    const agent = await runAgent(svid);
    await until(agent.state, isThere);
    expect([...(agent.state.current?.federated.keys() ?? [])]).toEqual([]);
    const entry = await entries.create({
      spiffeId: WEB,
      parentId: svid.id.uri,
      selectors: ['unix:uid:1'],
      federatesWith: ['partner.example'],
    });
    await until(agent.state, (state) => state?.federated.has('partner.example') === true);
    expect([...(agent.state.current?.federated.keys() ?? [])]).toEqual(['partner.example']);
    await entries.delete(entry.id, '*');
    await until(agent.state, (state) => state?.federated.size === 0);
  });
});

describe('without the control plane', () => {
  it('an agent goes on with what it holds, and is told what changed when it is back', async () => {
    const { runAgent, svid, register, stop, start } = await world();
    await register(WEB, 'unix:uid:1');
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1');
    const held = await until(agent.x509(grant).svid, isThere);
    const jwt = await agent.jwt(grant, ['a']);

    await stop();
    await until(agent.state, (state) => state?.connected === false);
    expect(agent.grantsFor(['unix:uid:1'])).toEqual([grant]);
    expect(agent.x509(grant).svid.current).toBe(held);
    expect(await agent.jwt(grant, ['a'])).toBe(jwt);
    await expectAppError(agent.jwt(grant, ['another']), 'unavailable');

    await register(ORDERS, 'unix:uid:2');
    await start();
    await grantOf(agent, 'unix:uid:2');
    expect(agent.state.current?.connected).toBe(true);
  });

  it('an agent that starts has the entries and bundles of before, and no keys', async () => {
    const { runAgent, svid, register, stop, authority } = await world();
    await register(WEB, 'unix:uid:1');
    const stateDirectory = await tempDirectory();
    const first = await runAgent(svid, { stateDirectory });
    const lease = first.x509(await grantOf(first, 'unix:uid:1'));
    await until(lease.svid, isThere);
    await first.stop();
    await stop();

    const second = await runAgent(svid, { stateDirectory });
    expect(second.state.current).toMatchObject({ connected: false });
    expect(second.state.current?.bundle).toMatchObject({ roots: authority.bundle.current.roots });
    const [grant] = second.grantsFor(['unix:uid:1']);
    expect(grant?.spiffeId).toBe(WEB);
    const file = join(stateDirectory, 'identities.state');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await readFile(file, 'latin1')).includes('PRIVATE')).toBe(false);
  });

  it('another agent’s state is not taken for its own, nor a damaged one', async () => {
    const { runAgent, svid, register, admit, stop } = await world();
    await register(WEB, 'unix:uid:1');
    const stateDirectory = await tempDirectory();
    const first = await runAgent(svid, { stateDirectory });
    await grantOf(first, 'unix:uid:1');
    await first.stop();
    await stop();
    const other = await runAgent(await admit('b'), { stateDirectory });
    expect(other.state.current).toBeUndefined();
  });
});

describe('an agent that is sent away', () => {
  it('loses its stream at once, and gets nothing more', async () => {
    const { runAgent, svid, register, nodes } = await world();
    await register(WEB, 'unix:uid:1');
    const agent = await runAgent(svid);
    const grant = await grantOf(agent, 'unix:uid:1');
    await nodes.ban(svid.instanceId, { actor: 'admin' });
    await until(agent.state, (state) => state?.connected === false);
    await expectAppError(agent.jwt(grant, ['a']), 'forbidden', /banned/);
    const lease = agent.x509(grant);
    await until(lease.svid, () => lease.failure() !== undefined);
    expect(lease.failure()).toMatchObject({ code: 'forbidden' });

    await nodes.unban(svid.instanceId, { actor: 'admin' });
    await until(agent.state, (state) => state?.connected === true);
    await until(lease.svid, isThere);
  });
});
