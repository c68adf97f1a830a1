import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { Authority, type AuthorityOptions } from '../../../src/control/authority/authority.ts';
import { MemoryAuthorities } from '../../../src/control/authority/authority-store.ts';
import { MemoryKeyStore, SealedFileKeyStore } from '../../../src/control/authority/keys/key-store.ts';
import { fingerprint, publicJwks } from '../../../src/core/identity/bundle.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { verifyJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { controlPlaneId, parseSpiffeId, workloadId } from '../../../src/core/identity/spiffe-id.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';

const second = 1000;
const hour = 3600 * second;
const day = 24 * hour;
const id = workloadId('example.org', 'shop', 'web');
const workload = generateKeyPair();
const csr = createCsr(workload.privateKey);

async function open(o: Partial<AuthorityOptions> = {}) {
  const clock = new FakeClock();
  const keyStore = new MemoryKeyStore();
  const store = new MemoryAuthorities();
  const options = { trustDomain: 'example.org', keyStore, store, clock, logger: silentLogger, ...o };
  return { authority: await Authority.open(options), options, clock, keyStore };
}

/** Runs the renewal loop until the test ends. */
function run(authority: Authority): void {
  const stop = new AbortController();
  const running = authority.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
}

/** Every promise of an authority at one moment: what it presents and what it issues verifies with its bundle. */
function checkAuthority(authority: Authority, now: number): void {
  const bundle = authority.bundle.current;
  const server = authority.serverIdentity.current;
  const presented = verifyPeer(server.chain, bundle, { now });
  expect(presented.id.uri).toBe('spiffe://example.org/writ/control-plane');
  expect(presented.notAfter).toBe(server.notAfter);
  expect(new X509Certificate(server.chain[0] ?? '').checkPrivateKey(server.privateKey)).toBe(true);
  const svid = authority.issue({ id, instanceId: 'i-1', csr });
  expect(verifyPeer(svid.chain, bundle, { now })).toMatchObject({ id, instanceId: 'i-1', notAfter: svid.notAfter });
}

const intermediateOf = (authority: Authority) =>
  authority.issue({ id, instanceId: 'i-1', csr }).chain[1]?.toString('hex');

describe('a new authority', () => {
  it('presents and issues what its bundle verifies', async () => {
    const { authority, clock } = await open();
    checkAuthority(authority, clock.now());
  });

  it('has a root of one year, an intermediate of 24 hours and identities of one hour, all P-256', async () => {
    const { authority, clock } = await open();
    const svid = authority.issue({ id, instanceId: 'i-1', csr });
    const [leaf, intermediate] = svid.chain.map((der) => new X509Certificate(der));
    const root = new X509Certificate(authority.bundle.current.roots[0] ?? '');
    const end = (certificate: X509Certificate | undefined) => (certificate?.validToDate.getTime() ?? 0) - clock.now();
    expect([end(root), end(intermediate), end(leaf)]).toEqual([365 * day, day, hour]);
    expect(authority.serverIdentity.current.notAfter - clock.now()).toBe(hour);
    for (const certificate of [root, intermediate]) {
      expect(certificate?.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    }
  });

  it('backdates what it issues by ten seconds', async () => {
    const { authority, clock } = await open();
    expect(authority.issue({ id, instanceId: 'i-1', csr }).notBefore).toBe(clock.now() - 10 * second);
  });

  it('names its root by fingerprint, and presents the DNS name of the control plane', async () => {
    const { authority } = await open();
    expect(authority.rootFingerprint).toBe(fingerprint(authority.bundle.current.roots[0] ?? Buffer.alloc(0)));
    const leaf = new X509Certificate(authority.serverIdentity.current.chain[0] ?? '');
    expect(leaf.subjectAltName).toBe('URI:spiffe://example.org/writ/control-plane, DNS:writ-control-plane');
  });

  it('takes no bad trust domain', async () => {
    for (const trustDomain of ['', 'Example.org', 'a/b']) await expectAppError(open({ trustDomain }), 'invalid');
  });
});

describe('an authority that is opened again', () => {
  it('has the same root and JWT key and the same bundle, and another intermediate', async () => {
    const { authority, options, clock } = await open();
    const again = await Authority.open(options);
    expect(again.rootFingerprint).toBe(authority.rootFingerprint);
    expect(again.bundle.current).toEqual(authority.bundle.current);
    expect(intermediateOf(again)).not.toBe(intermediateOf(authority));
    // What one replica issued, the other's bundle verifies.
    const svid = again.issue({ id, instanceId: 'i-1', csr });
    expect(verifyPeer(svid.chain, authority.bundle.current, { now: clock.now() }).id).toEqual(id);
  });

  it('comes back from sealed files', async () => {
    const directory = join(await tempDirectory(), 'keys');
    const store = new MemoryAuthorities();
    const files = { directory, passphrase: Buffer.from('correct horse battery'), cost: { logN: 14, r: 8, p: 1 } };
    const { authority, clock } = await open({ keyStore: new SealedFileKeyStore(files), store });
    const { authority: again } = await open({ keyStore: new SealedFileKeyStore(files), store });
    expect(again.bundle.current).toEqual(authority.bundle.current);
    checkAuthority(again, clock.now());
    const wrong = new SealedFileKeyStore({ ...files, passphrase: Buffer.from('something else') });
    await expectAppError(open({ keyStore: wrong, store }), 'usage', /passphrase does not open/);
  });

  it('for another trust domain is refused', async () => {
    const { options } = await open();
    await expectAppError(
      Authority.open({ ...options, trustDomain: 'other.org' }),
      'incompatible-data',
      /belongs to the trust domain example.org, not to other.org/,
    );
  });

  it('with the key of another root is refused', async () => {
    const { options, keyStore } = await open();
    const { keyStore: other } = await open();
    const name = async (store: MemoryKeyStore) => (await store.names()).find((each) => each.startsWith('x509')) ?? '';
    await keyStore.save(await name(keyStore), (await other.load(await name(other))) ?? Buffer.alloc(0));
    await expectAppError(Authority.open(options), 'incompatible-data', /is not that of the root sha256/);
  });

  it('whose root has ended, or has not begun, is refused', async () => {
    const { options, clock } = await open();
    await clock.advance(364 * day);
    checkAuthority(await Authority.open(options), clock.now());
    await clock.advance(day);
    await expectAppError(Authority.open(options), 'unavailable', /root certificate ended at 2027-01-01/);
    const early = new FakeClock(Date.UTC(2025, 0, 1));
    await expectAppError(Authority.open({ ...options, clock: early }), 'unavailable', /not valid before .* clock/);
  });
});

describe('renewal', () => {
  it('gives the control plane a new identity at half the life of the old one', async () => {
    const { authority, clock } = await open();
    run(authority);
    const { version } = authority.serverIdentity;
    await clock.advance(30 * 60 * second - 1);
    expect(authority.serverIdentity.version).toBe(version);
    await clock.advance(1);
    expect(authority.serverIdentity.version).toBe(version + 1);
    expect(authority.serverIdentity.current.notAfter).toBe(clock.now() + hour);
    checkAuthority(authority, clock.now());
  });

  it('replaces the intermediate at half its life, and what the old one signed stays valid', async () => {
    const { authority, clock } = await open();
    run(authority);
    const before = intermediateOf(authority);
    await clock.advance(12 * hour - 1);
    const svid = authority.issue({ id, instanceId: 'i-1', csr });
    expect(svid.chain[1]?.toString('hex')).toBe(before);
    await clock.advance(1);
    expect(intermediateOf(authority)).not.toBe(before);
    expect(verifyPeer(svid.chain, authority.bundle.current, { now: clock.now() }).id).toEqual(id);
    expect(authority.bundle.version).toBe(0);
  });

  it('holds for a week, every hour of it', async () => {
    const { authority, clock } = await open();
    run(authority);
    for (let i = 0; i < 7 * 24; i++) {
      await clock.advance(hour);
      checkAuthority(authority, clock.now());
    }
  });

  it('is made up for when the machine slept through it', async () => {
    const { authority, clock } = await open();
    const before = intermediateOf(authority);
    const slept = new FakeClock(clock.now() + 3 * day);
    Object.assign(clock, { now: () => slept.now() });
    run(authority);
    // The one call that finds out is refused, and may be tried again at once.
    await expectAppError(() => authority.issue({ id, instanceId: 'i-1', csr }), 'unavailable', /expired/);
    await clock.advance(0);
    const svid = authority.issue({ id, instanceId: 'i-1', csr });
    expect(svid.chain[1]?.toString('hex')).not.toBe(before);
    expect(verifyPeer(svid.chain, authority.bundle.current, { now: clock.now() }).id).toEqual(id);
  });

  it('that fails is tried again, and the old identity stays', async () => {
    const lifetimes = { rootSeconds: 3600, intermediateSeconds: 3600 };
    const { authority, clock } = await open({ lifetimes });
    run(authority);
    await clock.advance(2 * hour);
    const { current } = authority.serverIdentity;
    await clock.advance(hour);
    expect(authority.serverIdentity.current).toBe(current);
    await expectAppError(() => authority.issue({ id, instanceId: 'i-1', csr }), 'unavailable', /expired/);
  });

  it('ends with its signal, and leaves no timer', async () => {
    const { authority, clock } = await open();
    const stop = new AbortController();
    const running = authority.run(stop.signal);
    await clock.advance(day);
    stop.abort();
    await running;
    expect(clock.pendingTimers).toBe(0);
    await authority.run(stop.signal);
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('an X.509-SVID', () => {
  it('lives as long as was asked for, up to 24 hours', async () => {
    const { authority, clock } = await open();
    expect(authority.issue({ id, instanceId: 'i-1', csr, ttlSeconds: 1 }).notAfter).toBe(clock.now() + second);
    expect(authority.issue({ id, instanceId: 'i-1', csr, ttlSeconds: 86_400 }).notAfter).toBe(clock.now() + day);
    for (const ttlSeconds of [0, -1, 1.5, Number.NaN, 86_401]) {
      await expectAppError(() => authority.issue({ id, instanceId: 'i-1', csr, ttlSeconds }), 'invalid', /1 to 86400/);
    }
  });

  it('never outlives the intermediate', async () => {
    const { authority, clock } = await open();
    await clock.advance(11 * hour);
    const svid = authority.issue({ id, instanceId: 'i-1', csr, ttlSeconds: 86_400 });
    expect(svid.notAfter).toBe(clock.now() + 13 * hour);
  });

  it('has the key of the request and the name that the caller of the authority gave', async () => {
    const { authority } = await open();
    const leaf = new X509Certificate(authority.issue({ id, instanceId: 'i-1', csr }).chain[0] ?? '');
    expect(leaf.publicKey.equals(workload.publicKey)).toBe(true);
    expect(leaf.subjectAltName).toBe('URI:spiffe://example.org/ns/shop/sa/web');
  });

  it('has a serial number of its own', async () => {
    const { authority } = await open();
    const serials = Array.from({ length: 600 }, () => authority.issue({ id, instanceId: 'i-1', csr }).serial);
    expect(new Set(serials).size).toBe(600);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9a-f]{31}$/);
  });

  it('is not issued on a bad request', async () => {
    const { authority } = await open();
    const bad = Buffer.from(csr);
    bad[bad.length - 1] = (bad.at(-1) ?? 0) ^ 1;
    await expectAppError(
      () => authority.issue({ id, instanceId: 'i-1', csr: bad }),
      'csr-refused',
      /not signed by the key/,
    );
    await expectAppError(() => authority.issue({ id, instanceId: 'i-1', csr: Buffer.alloc(0) }), 'csr-refused');
    await expectAppError(() => authority.issue({ id, instanceId: 'a b', csr }), 'invalid', /instance id/);
  });

  it('is not issued for another trust domain, for none of its workloads, or for the control plane', async () => {
    const { authority } = await open();
    const issue = (uri: string) => () => authority.issue({ id: parseSpiffeId(uri), instanceId: 'i-1', csr });
    await expectAppError(issue('spiffe://other.org/a'), 'invalid', /not a workload of the trust domain example.org/);
    await expectAppError(issue('spiffe://example.org'), 'invalid', /not a workload/);
    await expectAppError(issue(controlPlaneId('example.org').uri), 'forbidden', /not given to anybody/);
    expect(issue('spiffe://example.org/writ/agent/join_token/1')().id.path).toBe('/writ/agent/join_token/1');
  });
});

describe('a JWT-SVID', () => {
  const audience = 'https://billing.example';

  it('verifies with the bundle, and with jose against the public keys', async () => {
    const { authority, clock } = await open();
    const { token, issuedAt, expiresAt } = await authority.signJwt({ id, audience: [audience] });
    expect([issuedAt, expiresAt]).toEqual([clock.now(), clock.now() + 300 * second]);
    const bundle = authority.bundle.current;
    expect(await verifyJwtSvid(token, { audiences: [audience], bundle, now: clock.now() })).toMatchObject({ id });
    const { payload } = await jwtVerify(token, createLocalJWKSet(publicJwks(bundle)), {
      audience,
      currentDate: new Date(clock.now()),
    });
    expect(payload.sub).toBe(id.uri);
  });

  it('has an id of its own', async () => {
    const { authority } = await open();
    const ids = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const { token } = await authority.signJwt({ id, audience: [audience] });
        return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).jti;
      }),
    );
    expect(new Set(ids).size).toBe(50);
  });

  it('lives as long as was asked for, up to an hour', async () => {
    const { authority, clock } = await open();
    expect((await authority.signJwt({ id, audience: [audience], ttlSeconds: 3600 })).expiresAt).toBe(
      clock.now() + hour,
    );
    for (const ttlSeconds of [0, 3601, 0.5]) {
      await expectAppError(authority.signJwt({ id, audience: [audience], ttlSeconds }), 'invalid', /1 to 3600/);
    }
  });

  it('S14: never outlives the key', async () => {
    const { authority, clock } = await open({ lifetimes: { tokenKeySeconds: 100 } });
    const end = clock.now() + 100 * second;
    expect((await authority.signJwt({ id, audience: [audience] })).expiresAt).toBe(end);
    expect((await authority.signWit({ id, publicKey: workload.publicKey })).expiresAt).toBe(end);
    await clock.advance(100 * second);
    await expectAppError(authority.signJwt({ id, audience: [audience] }), 'unavailable', /ended/);
  });

  it('has the issuer of the configuration, and claims', async () => {
    const { authority, clock } = await open({ jwtIssuer: 'https://writ.example' });
    const { token, jti } = await authority.signJwt({ id, audience: [audience], claims: { a: 1 } });
    const bundle = authority.bundle.current;
    const { claims } = await verifyJwtSvid(token, { audiences: [audience], bundle, now: clock.now() });
    expect(claims).toMatchObject({ iss: 'https://writ.example', a: 1, jti });
  });

  it('is not signed for another trust domain or the control plane, nor for nobody', async () => {
    const { authority } = await open();
    await expectAppError(
      authority.signJwt({ id: parseSpiffeId('spiffe://other.org/a'), audience: [audience] }),
      'invalid',
    );
    await expectAppError(authority.signJwt({ id: controlPlaneId('example.org'), audience: [audience] }), 'forbidden');
    await expectAppError(authority.signJwt({ id, audience: [''] }), 'invalid', /audience/);
  });
});

describe('what is kept and what is said', () => {
  it('no private key is in the bundle, and none is logged', async () => {
    const { pino } = await import('pino');
    const lines: string[] = [];
    const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
    const { authority } = await open({ logger });
    expect(JSON.stringify(authority.bundle.current)).not.toMatch(/"d":/);
    const said = lines.join('');
    expect(said).toContain(authority.rootFingerprint);
    expect(said).not.toMatch(/privateKey|PRIVATE|pkcs8/);
  });

  it('the sequence of a bundle grows when the keys are made anew', async () => {
    const { authority } = await open();
    const { authority: later } = await open({ clock: new FakeClock(Date.UTC(2026, 0, 2)) });
    expect(later.bundle.current.sequence).toBeGreaterThan(authority.bundle.current.sequence);
  });
});
