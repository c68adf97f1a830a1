import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { Authority } from '../../../src/control/authority/authority.ts';
import type { AuthorityStore } from '../../../src/control/authority/authority-store.ts';
import { MemoryAuthorities, SqlAuthorities } from '../../../src/control/authority/authority-store.ts';
import { MemoryKeyStore } from '../../../src/control/authority/keys/key-store.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { fingerprint, thumbprint } from '../../../src/core/identity/bundle.ts';
import { createRoot } from '../../../src/core/identity/ca.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { verifyJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { randomSerial } from '../../support/pki.ts';
import { describeEachStore } from '../../support/stores.ts';
import { authorityWorld, csr, day, run, web } from './authorities-world.ts';

const clock = new FakeClock();
const createdAt = clock.now() - 30 * day;

/** A key store as versions before authorities had states left it. */
function earlier(o: { readonly trustDomain?: string } = {}) {
  const trustDomain = o.trustDomain ?? 'example.org';
  const [root, jwt] = [generateKeyPair(), generateKeyPair()];
  const validity = { notBefore: createdAt, notAfter: createdAt + 365 * day };
  const certificate = createRoot({ trustDomain, key: root, serial: randomSerial(), ...validity });
  const fields = (key: typeof root) => ({
    version: 1,
    trustDomain,
    createdAt,
    privateKey: key.privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
  });
  const saved = { root: { ...fields(root), certificate: certificate.toString('base64') }, jwt: fields(jwt) };
  return { certificate, kid: thumbprint(jwt.publicKey), saved };
}

async function keyStoreOf(saved: Readonly<Record<string, unknown>>): Promise<MemoryKeyStore> {
  const keyStore = new MemoryKeyStore();
  for (const [name, value] of Object.entries(saved)) {
    if (value !== undefined)
      await keyStore.save(name, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
  }
  return keyStore;
}

const open = (keyStore: MemoryKeyStore, store: AuthorityStore = new MemoryAuthorities()) =>
  Authority.open({ trustDomain: 'example.org', keyStore, store, clock, logger: silentLogger });

describeEachStore('what an earlier version left', (bench) => {
  const bind = (store: Store, value: string) =>
    store.transaction((trx) => trx.insertInto('meta').values({ key: 'root-fingerprint', value }).execute());

  it('is taken over: the same root and JWT key sign, a WIT key comes with it, and the bundle goes on counting', async () => {
    const { certificate, kid, saved } = earlier();
    const keyStore = await keyStoreOf(saved);
    const store = await bench.open();
    await bind(store, fingerprint(certificate));
    const authority = await open(keyStore, new SqlAuthorities(store));
    const bundle = authority.bundle.current;
    expect(bundle.roots).toEqual([certificate]);
    expect(bundle.jwks.keys.map((key) => key.use).sort()).toEqual(['jwt-svid', 'wit-svid']);
    expect(bundle.sequence).toBeGreaterThan(createdAt / 1000);
    expect(authority.rootFingerprint).toBe(fingerprint(certificate));
    const before = {
      ...bundle,
      roots: [certificate],
      jwks: { keys: bundle.jwks.keys.filter((key) => key.kid === kid) },
    };
    verifyPeer(authority.issue({ id: web, instanceId: 'i', csr }).chain, before, { now: clock.now() });
    const { token } = await authority.signJwt({ id: web, audience: ['a'] });
    await verifyJwtSvid(token, { audiences: ['a'], bundle: before, now: clock.now() });
    expect((await keyStore.names()).map((name) => name.replace(/-.*/, '')).sort()).toEqual(['jwt', 'root', 'wit']);

    // And from then on it is as if it had always been so.
    const again = await open(keyStore, new SqlAuthorities(store));
    expect(again.bundle.current).toEqual(bundle);
  });

  it('is the root that the store is tied to, or nothing starts', async () => {
    const { certificate, saved } = earlier();
    const store = await bench.open();
    await bind(store, fingerprint(certificate));
    const authorities = new SqlAuthorities(store);
    await expectAppError(
      open(await keyStoreOf(earlier().saved), authorities),
      'incompatible-data',
      /belongs to the root sha256:[0-9a-f]{64}, and the keys of this control plane are of sha256:.*Put back the keys/s,
    );
    await expectAppError(open(new MemoryKeyStore(), authorities), 'incompatible-data', /have no root\. Put back/);
    expect((await authorities.read()).records).toEqual([]);
    await open(await keyStoreOf(saved), authorities);
  });

  it('is one root, when two replicas take it over at once', async () => {
    const { saved, certificate } = earlier();
    const keyStore = await keyStoreOf(saved);
    const database = await bench.database();
    const stores = [await bench.open(database), await bench.open(database)].map((store) => new SqlAuthorities(store));
    const [a, b] = await Promise.all(stores.map((store) => open(keyStore, store)));
    expect(a?.bundle.current.roots).toEqual([certificate]);
    await Promise.all([a?.refresh(), b?.refresh()]);
    expect(a?.bundle.current).toEqual(b?.bundle.current);
    expect((await stores[0]?.read())?.records.map(({ state }) => state)).toEqual(['active', 'active', 'active']);
    expect(await keyStore.names()).toHaveLength(3);
  });

  it('are no keys: then two replicas that start at once make one root', async () => {
    const keyStore = new MemoryKeyStore();
    const database = await bench.database();
    const stores = [await bench.open(database), await bench.open(database)].map((store) => new SqlAuthorities(store));
    const [a, b] = await Promise.all(stores.map((store) => open(keyStore, store)));
    await Promise.all([a?.refresh(), b?.refresh()]);
    expect(a?.bundle.current).toEqual(b?.bundle.current);
    expect(a?.bundle.current.roots).toHaveLength(1);
    expect(await keyStore.names()).toHaveLength(3);
  });
});

describe('keys of an earlier version', () => {
  it('without the root are refused rather than given a new root', async () => {
    const { saved } = earlier();
    const keyStore = await keyStoreOf({ jwt: saved.jwt });
    await expectAppError(open(keyStore), 'incompatible-data', /JWT key but no root/);
    expect(await keyStore.names()).toEqual(['jwt']);
  });

  it('without the JWT key get one', async () => {
    const { saved, certificate } = earlier();
    const authority = await open(await keyStoreOf({ root: saved.root }));
    expect(authority.bundle.current.roots).toEqual([certificate]);
    expect(authority.bundle.current.jwks.keys).toHaveLength(2);
  });

  it('that are rotated leave the key store when they are retired', async () => {
    const { saved } = earlier();
    const world = authorityWorld();
    for (const [name, value] of Object.entries(saved))
      await world.keyStore.save(name, Buffer.from(JSON.stringify(value)));
    const replica = await world.replica();
    run(replica);
    for (const kind of ['x509', 'jwt'] as const) {
      await replica.rotation.activate((await replica.rotation.prepare(kind, { name: 'a', source: '' })).id, {
        name: 'a',
        source: '',
      });
    }
    await world.clock.advance(3 * day);
    expect(await world.keyStore.names()).toHaveLength(3);
    expect(await world.keyStore.names()).not.toContain('root');
    expect(await world.keyStore.names()).not.toContain('jwt');
  });

  it('that are damaged or mixed up are refused', async () => {
    const good = earlier().saved;
    const tryWith = async (name: 'root' | 'jwt', value: unknown) => open(await keyStoreOf({ ...good, [name]: value }));
    const damaged = /The (root|jwt) key in the key store is damaged/;
    const refused = (name: 'root' | 'jwt', change: unknown, message: RegExp) =>
      expectAppError(tryWith(name, change), 'incompatible-data', message);
    await tryWith('root', good.root);
    for (const bad of ['', 'x', 'null', '[]', '7']) await expectAppError(tryWith('root', bad), 'incompatible-data');
    await refused('root', { ...good.root, certificate: undefined }, damaged);
    await refused('root', { ...good.root, certificate: 'AAAA' }, damaged);
    await refused('root', { ...good.root, certificate: 7 }, damaged);
    await refused('root', { ...good.root, privateKey: 'AAAA' }, damaged);
    await refused('root', { ...good.root, createdAt: 'x' }, damaged);
    await refused('root', { ...good.root, certificate: earlier().saved.root.certificate }, damaged);
    await refused('root', { ...good.root, version: 2 }, /version of Writ/);
    await refused('root', earlier({ trustDomain: 'other.org' }).saved.root, /belongs to the trust domain other.org/);
    await refused('jwt', { ...good.jwt, trustDomain: 'other.org' }, /trust domain other.org/);
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ format: 'der', type: 'pkcs8' });
    await refused('jwt', { ...good.jwt, privateKey: p384.toString('base64') }, damaged);
  });
});
