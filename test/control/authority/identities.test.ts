import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { instanceOf } from '../../../src/control/authority/identities.ts';
import type { PeerIdentity } from '../../../src/core/identity/chain.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { verifyJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import type { Svid } from '../../../src/node/agent/svid.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { openIdentityState } from '../../support/identity-world.ts';
import { hasOpenssl, openssl, opensslNote } from '../../support/openssl.ts';
import { tempDirectory } from '../../support/temp.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const CONTROL_PLANE = 'spiffe://example.org/writ/control-plane';

async function start() {
  const clock = new FakeClock();
  const state = await openIdentityState({ clock });
  const callerOf = (svid: Svid): PeerIdentity =>
    verifyPeer(svid.chain, state.authority.bundle.current, { now: clock.now() });
  const agent = callerOf(await state.admit('a', ['k8s:cluster:eu', 'k8s:node:n1']));
  return { ...state, clock, agent, callerOf };
}

const newCsr = () => createCsr(generateKeyPair().privateKey);
const order = (entryId: string, csr = newCsr(), variables: Record<string, string> = {}) => ({
  entryId,
  csr,
  variables,
});

const claimsOf = (token: string): unknown =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));

/** The only outcome, as what it stands for. */
async function only<T>(outcomes: Promise<readonly ({ readonly value: T } | { readonly error: Error })[]>): Promise<T> {
  const [outcome] = await outcomes;
  if (outcome === undefined) throw new Error('no outcome');
  if ('error' in outcome) throw outcome.error;
  return outcome.value;
}

describe('what an agent may have signed', () => {
  it('S8: what is below its own ID, below its aliases, and below those, and nothing else', async () => {
    const { identities, entries, entrySet, agent } = await start();
    const below = (parentId: string, name: string, ...selectors: string[]) =>
      entries.create({ spiffeId: `spiffe://example.org/${name}`, parentId, selectors });
    const own = await below(agent.id.uri, 'own', 'unix:uid:1');
    await below(CONTROL_PLANE, 'alias', 'k8s:cluster:eu');
    const byAlias = await below('spiffe://example.org/alias', 'by-alias', 'unix:uid:2');
    const deeper = await below('spiffe://example.org/by-alias', 'deeper', 'unix:uid:3');
    const foreignAlias = await below(CONTROL_PLANE, 'foreign', 'k8s:cluster:eu', 'k8s:node:n2');
    const foreign = await below('spiffe://example.org/foreign', 'not-ours', 'unix:uid:4');
    const otherAgent = await below('spiffe://example.org/writ/agent/test/b', 'other', 'unix:uid:5');
    const nobody = await entries.create({ spiffeId: 'spiffe://example.org/nobody' });
    await entrySet.settled();

    for (const entry of [own, byAlias, deeper]) {
      expect((await only(identities.signX509(agent, [order(entry.id)]))).id.uri).toBe(entry.spiffeId);
    }
    const unknown = '0199aaaa-0000-7000-8000-000000000000';
    for (const id of [foreignAlias.id, foreign.id, otherAgent.id, nobody.id, unknown]) {
      const refusals = [
        only(identities.signX509(agent, [order(id)])),
        only(identities.signWit(agent, [order(id)])),
        identities.signJwt(agent, { audience: ['x'], entryId: id, variables: {} }),
      ];
      // The same words for what is not there and what is not for this agent: no oracle.
      for (const refused of refusals) {
        await expectAppError(refused, 'not-found', 'There is no such entry, or it is not for this agent.');
      }
    }
  });

  it('S8: entries that lead back to where they began end the search', async () => {
    const { identities, entries, entrySet, agent } = await start();
    const [x, y] = ['spiffe://example.org/x', 'spiffe://example.org/y'];
    const first = await entries.create({ spiffeId: x, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    await entries.create({ spiffeId: y, parentId: x, selectors: ['unix:uid:1'] });
    const back = await entries.create({ spiffeId: x, parentId: y, selectors: ['unix:uid:2'] });
    await entrySet.settled();
    for (const { id } of [first, back]) {
      expect((await only(identities.signX509(agent, [order(id)]))).id.uri).toBe(x);
    }
  });

  it('an entry that was made a moment ago is found, though nobody told this replica yet', async () => {
    const { identities, entries, agent } = await start();
    const entry = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    expect((await only(identities.signX509(agent, [order(entry.id)]))).id.uri).toBe(WEB);
  });

  it('the variables of a template are held against its bounds again', async () => {
    const { identities, entries, agent } = await start();
    const { id } = await entries.create({
      spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
      parentId: agent.id.uri,
      selectors: ['k8s:node:n1'],
      namespaces: ['shop'],
    });
    const sign = (variables: Record<string, string>) =>
      only(identities.signX509(agent, [order(id, newCsr(), variables)]));
    expect((await sign({ 'k8s.ns': 'shop', 'k8s.sa': 'web' })).id.uri).toBe(WEB);
    for (const variables of [
      { 'k8s.ns': 'bank', 'k8s.sa': 'web' },
      { 'k8s.ns': 'shop', 'k8s.sa': '../../bank' },
      { 'k8s.ns': 'shop', 'k8s.sa': 'web/x' },
      { 'k8s.ns': 'shop' },
      { 'k8s.ns': 'shop', 'k8s.sa': 'web', 'k8s.pod': 'p' },
      {},
    ]) {
      await expectAppError(sign(variables), 'forbidden', /does not allow this identity/);
    }
  });

  it('S3: nothing more, once it is banned: not even in a call that was let in before', async () => {
    const { identities, entries, entrySet, nodes, agent } = await start();
    const entry = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    await entrySet.settled();
    await nodes.check(agent);
    await nodes.ban(agent.instanceId, { actor: 'ops' });
    const refusals = [
      only(identities.signX509(agent, [order(entry.id)])),
      only(identities.signWit(agent, [order(entry.id)])),
      identities.signJwt(agent, { audience: ['x'], entryId: entry.id, variables: {} }),
    ];
    for (const refused of refusals) await expectAppError(refused, 'forbidden', /is banned/);
  });

  it('nobody but an agent has anything signed for others', async () => {
    const { identities, entries, agent, admitAs, callerOf } = await start();
    const entry = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    const workload = callerOf(await admitAs('workload', WEB, [], { entryId: entry.id }));
    await expectAppError(only(identities.signX509(workload, [order(entry.id)])), 'forbidden', /is no agent/);
    await expectAppError(only(identities.signWit(workload, [order(entry.id)])), 'forbidden', /is no agent/);
    const jwt = identities.signJwt(workload, { audience: ['x'], entryId: entry.id, variables: {} });
    await expectAppError(jwt, 'forbidden', /is no agent/);
  });
});

describe('a signing request', () => {
  async function withEntry() {
    const state = await start();
    const entry = await state.entries.create({
      spiffeId: WEB,
      parentId: state.agent.id.uri,
      selectors: ['unix:uid:1'],
      dnsNames: ['web.example'],
      x509TtlSeconds: 600,
    });
    await state.entrySet.settled();
    const sign = (csr: Buffer) => only(state.identities.signX509(state.agent, [order(entry.id, csr)]));
    return { ...state, entry, sign };
  }

  it.skipIf(!hasOpenssl)(
    'S10: names in it are ignored; SPIFFE ID, DNS names and lifetime are those of the entry',
    async () => {
      const { sign, clock } = await withEntry();
      const directory = await tempDirectory();
      const key = generateKeyPair();
      await writeFile(`${directory}/key.pem`, key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
      openssl([
        'req',
        '-new',
        '-key',
        `${directory}/key.pem`,
        '-outform',
        'DER',
        '-out',
        `${directory}/csr.der`,
        '-subj',
        '/CN=admin/O=root',
        '-addext',
        'subjectAltName=URI:spiffe://example.org/writ/control-plane,DNS:evil.example',
        '-addext',
        'basicConstraints=critical,CA:TRUE',
      ]);
      const svid = await sign(await readFile(`${directory}/csr.der`));
      const leaf = new X509Certificate(svid.chain[0] ?? '');
      expect(leaf.subjectAltName).toBe(`URI:${WEB}, DNS:web.example`);
      expect(leaf.subject).not.toMatch(/admin|root/);
      expect(leaf.ca).toBe(false);
      expect(leaf.publicKey.equals(key.publicKey)).toBe(true);
      expect(svid.notAfter - clock.now()).toBe(600_000);
    },
  );

  it('S10: one that is not signed by its own key is refused', async () => {
    const { sign } = await withEntry();
    const [mine, theirs] = [newCsr(), newCsr()];
    const forged = Buffer.from(mine);
    // Somebody else's signature, of the same length or not: either way it is not ours.
    theirs.subarray(-20).copy(forged, forged.length - 20);
    await expectAppError(sign(forged), 'csr-refused');
    const flipped = Buffer.from(mine);
    flipped[60] = (flipped[60] ?? 0) ^ 1;
    await expectAppError(sign(flipped), 'csr-refused');
    await expectAppError(sign(Buffer.from('no DER')), 'csr-refused');
  });

  it.skipIf(!hasOpenssl)(`S10: a key that is weak or of an unknown kind is refused ${opensslNote}`, async () => {
    const { sign } = await withEntry();
    const directory = await tempDirectory();
    const keys = {
      'rsa-1024': generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey,
      secp256k1: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey,
      ed25519: generateKeyPairSync('ed25519').privateKey,
    };
    for (const [name, key] of Object.entries(keys)) {
      const pem = `${directory}/${name}.pem`;
      await writeFile(pem, key.export({ type: 'pkcs8', format: 'pem' }));
      openssl(['req', '-new', '-key', pem, '-outform', 'DER', '-out', `${pem}.csr`, '-subj', '/CN=x']);
      await expectAppError(sign(await readFile(`${pem}.csr`)), 'csr-refused');
    }
  });

  it('S10: the proof that comes with a WIT-SVID is checked as well', async () => {
    const { identities, agent, entry } = await withEntry();
    await expectAppError(only(identities.signWit(agent, [order(entry.id, Buffer.from('no DER'))])), 'csr-refused');
  });

  it('S11: no certificate outlives its issuer, and each serial number is another', async () => {
    const { entries, entrySet, agent, identities, authority } = await start();
    const day = 24 * 3600;
    const entry = await entries.create({
      spiffeId: WEB,
      parentId: agent.id.uri,
      selectors: ['unix:uid:1'],
      x509TtlSeconds: day,
    });
    await entrySet.settled();
    const orders = Array.from({ length: 20 }, () => order(entry.id));
    const outcomes = await identities.signX509(agent, orders);
    const svids = outcomes.flatMap((outcome) => ('value' in outcome ? [outcome.value] : []));
    expect(new Set(svids.map((svid) => svid.serial)).size).toBe(20);
    const issuer = new X509Certificate(authority.serverIdentity.current.chain[1] ?? '');
    for (const svid of svids) expect(svid.notAfter).toBeLessThanOrEqual(issuer.validToDate.getTime());
  });

  it('what an entry gives ends when it expires', async () => {
    const { entries, agent, identities, clock, callerOf, admitAs } = await start();
    const expiresAt = clock.now() + 90_000;
    const parentId = agent.id.uri;
    const entry = await entries.create({ spiffeId: WEB, parentId, selectors: ['unix:uid:1'], expiresAt });
    const svid = await only(identities.signX509(agent, [order(entry.id)]));
    const wit = await only(identities.signWit(agent, [order(entry.id)]));
    const jwt = await identities.signJwt(agent, { audience: ['x'], entryId: entry.id, variables: {} });
    const workload = callerOf(await admitAs('workload', WEB, [], { entryId: entry.id }));
    const renewed = await identities.renew(workload, newCsr());
    expect([svid.notAfter, wit.expiresAt, jwt.expiresAt, renewed.notAfter]).toEqual(Array(4).fill(expiresAt));
  });

  it('spiffe 9: SPIFFE ID and public key are inside the signed part', async () => {
    const { sign, authority, clock } = await withEntry();
    const svid = await sign(newCsr());
    const [leaf = Buffer.alloc(0), ...above] = svid.chain;
    const verify = (der: Buffer) => verifyPeer([der, ...above], authority.bundle.current, { now: clock.now() });
    expect(verify(leaf).id.uri).toBe(WEB);
    const spki = new X509Certificate(leaf).publicKey.export({ type: 'spki', format: 'der' });
    for (const inside of [Buffer.from('/sa/web'), spki.subarray(-16)]) {
      const at = leaf.indexOf(inside);
      expect(at).toBeGreaterThan(0);
      const changed = Buffer.from(leaf);
      changed[at + inside.length - 1] = (changed[at + inside.length - 1] ?? 0) ^ 1;
      await expectAppError(() => verify(changed), 'peer-refused');
    }
  });
});

describe('one request for many', () => {
  it('answers in the order of the items, and one that is refused does not fail its neighbours', async () => {
    const { identities, entries, entrySet, agent, recorder } = await start();
    const made = await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        entries.create({
          spiffeId: `spiffe://example.org/w/${i}`,
          parentId: agent.id.uri,
          selectors: [`unix:uid:${i}`],
        }),
      ),
    );
    await entrySet.settled();
    const orders = made.map((entry, i) => (i % 10 === 3 ? order(entry.id, Buffer.from('bad')) : order(entry.id)));
    const outcomes = await identities.signX509(agent, orders, '10.0.0.1');
    expect(outcomes.map((outcome) => ('value' in outcome ? outcome.value.id.uri : outcome.error.code))).toEqual(
      made.map((entry, i) => (i % 10 === 3 ? 'csr-refused' : entry.spiffeId)),
    );
    const mine = recorder.events.filter((event) => event.action === 'x509-svid');
    expect(mine).toHaveLength(30);
    expect(mine.filter((event) => event.outcome === 'refused')).toHaveLength(3);
    expect(mine.every((event) => event.actor === agent.id.uri && event.source === '10.0.0.1')).toBe(true);
  });

  it('the same workload of the same agent is the same instance, over all renewals', async () => {
    const { identities, entries, agent, callerOf, admit } = await start();
    await entries.create({
      spiffeId: 'spiffe://example.org/all',
      parentId: CONTROL_PLANE,
      selectors: ['k8s:cluster:eu'],
    });
    const entry = await entries.create({
      spiffeId: WEB,
      parentId: 'spiffe://example.org/all',
      selectors: ['unix:uid:1'],
    });
    const other = callerOf(await admit('b', ['k8s:cluster:eu']));
    const [first, again, elsewhere] = [
      await only(identities.signX509(agent, [order(entry.id)])),
      await only(identities.signX509(agent, [order(entry.id)])),
      await only(identities.signX509(other, [order(entry.id)])),
    ];
    expect(first.instanceId).toMatch(/^[0-9a-f]{32}$/);
    expect(again.instanceId).toBe(first.instanceId);
    expect(elsewhere.instanceId).not.toBe(first.instanceId);
    const variables = { 'k8s.ns': 'a', 'k8s.sa': 'b' };
    expect(instanceOf('x', { entryId: 'e', variables })).toBe(
      instanceOf('x', { entryId: 'e', variables: { 'k8s.sa': 'b', 'k8s.ns': 'a' } }),
    );
  });
});

describe('the record', () => {
  it('nothing is handed out that could not be recorded', async () => {
    const { identities, entries, agent, recorder, admitAs, callerOf } = await start();
    const entry = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    const workload = callerOf(await admitAs('workload', WEB, [], { entryId: entry.id }));
    recorder.fail();
    const away = [
      only(identities.signX509(agent, [order(entry.id)])),
      only(identities.signWit(agent, [order(entry.id)])),
      identities.signJwt(agent, { audience: ['x'], entryId: entry.id, variables: {} }),
      identities.signJwt(workload, { audience: ['x'], entryId: undefined, variables: {} }),
      identities.renew(workload, newCsr()),
    ];
    for (const each of away) await expectAppError(each, 'unavailable');
    // And what is refused stays refused.
    await expectAppError(only(identities.signX509(agent, [order('no-entry')])), 'not-found');
    recorder.fail(false);
    await only(identities.signX509(agent, [order(entry.id)]));
  });

  it('says who got what by which entry, and why somebody was refused; never a token or a key', async () => {
    const { identities, entries, agent, recorder } = await start();
    const entry = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    const { token, expiresAt } = await identities.signJwt(agent, { audience: ['x'], entryId: entry.id, variables: {} });
    await expectAppError(only(identities.signX509(agent, [order('nope')])), 'not-found');
    const { jti } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { jti: string };
    expect(recorder.events).toMatchObject(
      [
        {
          action: 'jwt-svid',
          outcome: 'granted',
          subject: WEB,
          actor: agent.id.uri,
          entry: entry.id,
          serial: jti,
          expiresAt,
        },
        {
          action: 'x509-svid',
          outcome: 'refused',
          subject: '',
          entry: 'nope',
          reason: /^not-found: There is no such/,
          expiresAt: 0,
        },
      ].map((event) => ({ ...event, ...('reason' in event && { reason: expect.stringMatching(event.reason) }) })),
    );
    expect(JSON.stringify(recorder.events)).not.toContain(token.split('.')[2]);
  });
});

describe('one’s own identity', () => {
  async function enrolled(node: { readonly canReattest?: boolean } = {}) {
    const state = await start();
    const entry = await state.entries.create({ spiffeId: WEB, jwtTtlSeconds: 60 });
    const svid = await state.admitAs('workload', WEB, [], { ...node, entryId: entry.id });
    return { ...state, entry, workload: state.callerOf(svid) };
  }

  it('is renewed for the same instance on another key, for a full life', async () => {
    const { identities, workload, authority, clock, nodes, callerOf } = await enrolled();
    await clock.advance(1800_000);
    const key = generateKeyPair();
    const renewed = await identities.renew(workload, createCsr(key.privateKey));
    const peer = callerOf({ ...renewed, privateKey: key.privateKey });
    expect(peer).toMatchObject({ id: workload.id, instanceId: workload.instanceId });
    expect(peer.serial).not.toBe(workload.serial);
    expect(renewed.notAfter - clock.now()).toBe(3600_000);
    expect(new X509Certificate(renewed.chain[0] ?? '').publicKey.equals(createPublicKey(key.privateKey))).toBe(true);
    expect(authority.bundle.current.roots).toHaveLength(1);

    // Once the new one is shown, the old one is refused: a copied key does not work on silently.
    await nodes.check(workload);
    await nodes.check(peer);
    await expectAppError(nodes.check(workload), 'forbidden', /replaced by a newer one/);
    await expectAppError(identities.renew(workload, newCsr()), 'forbidden');
  });

  it('an agent renews its own as well, without an entry', async () => {
    const { identities, agent } = await start();
    expect((await identities.renew(agent, newCsr())).id.uri).toBe(agent.id.uri);
  });

  it('is not renewed by who got it through an agent, nor by who can prove itself again', async () => {
    const { identities, workload } = await enrolled({ canReattest: true });
    await expectAppError(identities.renew(workload, newCsr()), 'forbidden', /attest again instead/);
    const { identities: others, agent, entries, callerOf } = await start();
    const entry = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    const key = generateKeyPair();
    const svid = await only(others.signX509(agent, [order(entry.id, createCsr(key.privateKey))]));
    const served = callerOf({ ...svid, privateKey: key.privateKey });
    await expectAppError(others.renew(served, newCsr()), 'forbidden', /the agent renews it/);
    // A token for itself it may have.
    expect((await others.signJwt(served, { audience: ['x'], entryId: undefined, variables: {} })).spiffeId).toBe(WEB);
  });

  it('a bad CSR is refused', async () => {
    const { identities, workload } = await enrolled();
    await expectAppError(identities.renew(workload, Buffer.from('no DER')), 'csr-refused');
  });

  it('a JWT-SVID names the caller, is for one audience and lives as long as the entry says', async () => {
    const { identities, workload, authority, clock } = await enrolled();
    const order = { audience: ['payments'], entryId: undefined, variables: {} };
    const { token, spiffeId, issuedAt, expiresAt } = await identities.signJwt(workload, order);
    const bundle = authority.bundle.current;
    const verified = await verifyJwtSvid(token, { audiences: ['payments'], bundle, now: clock.now() });
    expect(verified).toMatchObject({ id: { uri: WEB }, audience: ['payments'], expiresAt });
    expect({ spiffeId, life: expiresAt - issuedAt }).toEqual({ spiffeId: WEB, life: 60_000 });
    await expectAppError(identities.signJwt(workload, { ...order, audience: [''] }), 'invalid');
  });

  it('an agent has no token of its own', async () => {
    const { identities, agent } = await start();
    const order = { audience: ['x'], entryId: undefined, variables: {} };
    await expectAppError(identities.signJwt(agent, order), 'forbidden', /Name the entry/);
  });

  it('is what its own entry says, whatever others have the same SPIFFE ID by', async () => {
    const { identities, entries, entrySet, nodes, admitAs, callerOf, agent } = await start();
    const others = 'spiffe://example.org/writ/agent/test/other';
    const claims = { role: 'admin' };
    const first = { spiffeId: WEB, parentId: others, selectors: ['unix:uid:0'], dnsNames: ['bank.example'] };
    await entries.create({ ...first, jwtClaims: claims });
    const own = await entries.create({ spiffeId: WEB });
    const workload = callerOf(await admitAs('workload', WEB, ['join_token:id:1'], { entryId: own.id }));
    await entrySet.settled();
    const order = { audience: ['x'], entryId: undefined, variables: {} };
    expect(claimsOf((await identities.signJwt(workload, order)).token)).not.toHaveProperty('role');

    // Its entry is gone: that others have the same SPIFFE ID gives it nothing.
    await entries.delete(own.id, '*');
    await entrySet.settled();
    await expectAppError(identities.renew(workload, newCsr()), 'forbidden', /not registered any more/);
    await expectAppError(identities.signJwt(workload, order), 'forbidden', /not registered any more/);
    // One that was made anew for the same kind of node does.
    const anew = await entries.create({ spiffeId: WEB, hint: 'anew' });
    expect(anew.id).not.toBe(own.id);
    expect((await identities.renew(workload, newCsr())).id.uri).toBe(WEB);

    // Who proves itself each time has another entry only where its selectors give it that.
    const direct = await entries.create({ spiffeId: WEB, parentId: CONTROL_PLANE, selectors: ['oidc:ci:ref:main'] });
    const job = (selectors: string[]) =>
      admitAs('workload', WEB, selectors, { entryId: own.id, canReattest: true }).then(callerOf);
    expect((await identities.signJwt(await job(['oidc:ci:ref:main']), order)).spiffeId).toBe(WEB);
    await expectAppError(identities.signJwt(await job(['oidc:ci:ref:dev']), order), 'forbidden', /not registered/);

    // Through an agent: its certificate does not say by which entry.
    for (const { id } of [anew, direct]) await entries.delete(id, '*');
    const served = await entries.create({ spiffeId: WEB, parentId: agent.id.uri, selectors: ['unix:uid:1'] });
    const key = generateKeyPair();
    const svid = await only(
      identities.signX509(agent, [{ entryId: served.id, csr: createCsr(key.privateKey), variables: {} }]),
    );
    const behind = callerOf({ ...svid, privateKey: key.privateKey });
    await expectAppError(identities.signJwt(behind, order), 'forbidden', /Ask the agent for the token/);
    const { spiffeId, parentId, selectors } = served;
    await entries.update(served.id, { spiffeId, parentId, selectors, jwtClaims: claims }, '*');
    await entrySet.settled();
    expect(claimsOf((await identities.signJwt(behind, order)).token)).toMatchObject(claims);

    // Sent away since the call was let in.
    const late = await job(['oidc:ci:ref:main']);
    await nodes.ban(late.instanceId, { actor: 'ops' });
    await expectAppError(identities.signJwt(late, order), 'forbidden', /is banned/);
  });

  it('ends with its entry', async () => {
    const { identities, entries, entrySet, entry, workload } = await enrolled();
    await entries.delete(entry.id, entry.revision);
    await entrySet.settled();
    const order = { audience: ['payments'], entryId: undefined, variables: {} };
    await expectAppError(identities.renew(workload, newCsr()), 'forbidden', /not registered any more/);
    await expectAppError(identities.signJwt(workload, order), 'forbidden', /not registered any more/);
  });
});
