import type { KeyObject } from 'node:crypto';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { parseCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { issueX509Svid } from '../../../src/core/identity/x509-svid.ts';
import type { AttestationRequest, IdentitySource } from '../../../src/node/agent/enroll.ts';
import { controlPlaneIdentitySource } from '../../../src/node/agent/enroll.ts';
import { SvidKeeper } from '../../../src/node/agent/svid-keeper.ts';
import type { IssuedCertificate } from '../../../src/wire/identity.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority, randomSerial } from '../../support/pki.ts';
import { tempDirectory } from '../../support/temp.ts';
import { TestControlPlane, WEB } from '../world.ts';

const hour = 3_600_000;

/** Issues at the fake clock's time; each answer can be made to fail. */
class TestSource implements IdentitySource {
  readonly authority = createTestAuthority();
  readonly keys: string[] = [];
  readonly calls: string[] = [];
  failure: AppError | undefined;
  id = WEB;
  instanceId = 'instance-1';
  /** Instead of the one that was asked for. */
  publicKey: KeyObject | undefined;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async attest({ method, proof, csr, agent, current }: AttestationRequest) {
    const what = method === 'join_token' ? '' : `${agent ? 'agent ' : ''}${method} `;
    this.calls.push(`attest ${what}${proof.payload.toString()}${current === undefined ? '' : ' again'}`);
    if (this.failure !== undefined) throw this.failure;
    return {
      certificate: this.#issue(csr),
      bundle: this.authority.bundle,
      entry: { id: 'e', spiffeId: WEB, labels: {} },
    };
  }

  async renew(_current: unknown, _bundle: unknown, csr: Buffer): Promise<IssuedCertificate> {
    this.calls.push('renew');
    if (this.failure !== undefined) throw this.failure;
    return this.#issue(csr);
  }

  #issue(csr: Buffer): IssuedCertificate {
    const publicKey = parseCsr(csr);
    this.keys.push(publicKey.spki.toString('hex'));
    const now = this.#clock.now();
    const svid = issueX509Svid(this.authority.issuer, {
      id: parseSpiffeId(this.id),
      instanceId: this.instanceId,
      notBefore: now - 10_000,
      notAfter: now + hour,
      publicKey: this.publicKey ?? publicKey,
      serial: randomSerial(),
    });
    return { ...svid, spiffeId: svid.id.uri };
  }
}

async function world() {
  const clock = new FakeClock(Date.now());
  const source = new TestSource(clock);
  const stateDirectory = join(await tempDirectory(), 'state');
  const joinTokenFile = join(await tempDirectory(), 'token');
  await writeFile(joinTokenFile, ' secret-token\n', { mode: 0o600 });
  const options = { stateDirectory, source, joinTokenFile, clock, logger: silentLogger };
  return { clock, source, stateDirectory, joinTokenFile, options, open: () => SvidKeeper.open(options) };
}

async function running(keeper: SvidKeeper, body: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const run = keeper.run(stop.signal);
  await body();
  stop.abort();
  await run;
}

test('the first start trades the token for an identity and keeps it where only its owner can read it', async () => {
  const { source, stateDirectory, open } = await world();
  const keeper = await open();
  expect(keeper.current.current).toMatchObject({ id: { uri: WEB }, instanceId: 'instance-1' });
  expect(source.calls).toEqual(['attest secret-token']);
  expect((await stat(join(stateDirectory, 'identity.json'))).mode & 0o777).toBe(0o600);
  expect((await stat(stateDirectory)).mode & 0o777).toBe(0o700);
});

test('a restart needs neither token nor control plane while the certificate is valid', async () => {
  const { source, joinTokenFile, open } = await world();
  const before = (await open()).current.current;
  await writeFile(joinTokenFile, '', { mode: 0o600 });
  source.failure = new AppError('unavailable', 'away');
  const again = await open();
  expect(again.current.current.chain[0]?.equals(before.chain[0] ?? Buffer.alloc(0))).toBe(true);
  expect(again.bundle.current.roots).toHaveLength(1);
  expect(source.calls).toHaveLength(1);
});

test('it is renewed at half of its life, ± 10 %, on a new key, and the new one is kept', async () => {
  const { clock, source, open } = await world();
  const keeper = await open();
  const first = keeper.current.current;
  await running(keeper, async () => {
    await clock.advance(hour * 0.44);
    expect(source.calls).toEqual(['attest secret-token']);
    await clock.advance(hour * 0.12);
    await expect.poll(() => keeper.current.current).not.toBe(first);
    expect(source.calls).toEqual(['attest secret-token', 'renew']);
  });
  expect(new Set(source.keys).size).toBe(2);
  const stored = (await open()).current.current;
  expect(stored.notAfter).toBe(keeper.current.current.notAfter);
});

test('a renewal that fails is tried again and takes nothing away', async () => {
  const { clock, source, open } = await world();
  const keeper = await open();
  const first = keeper.current.current;
  source.failure = new AppError('unavailable', 'away');
  await running(keeper, async () => {
    await clock.advance(hour * 0.6);
    await expect.poll(() => source.calls.length).toBeGreaterThan(2);
    expect(keeper.current.current).toBe(first);
    source.failure = undefined;
    await clock.advance(60_000);
    await expect.poll(() => keeper.current.current).not.toBe(first);
  });
});

test('an expired certificate without a token is an error that says what to make', async () => {
  const { clock, joinTokenFile, open } = await world();
  await open();
  await writeFile(joinTokenFile, '', { mode: 0o600 });
  await clock.advance(2 * hour);
  await expectAppError(open(), 'unauthenticated', /has expired\. Make a new join token/);
});

test('no certificate and no token is an error that says what to make', async () => {
  const { options } = await world();
  const { joinTokenFile: _, ...without } = options;
  await expectAppError(SvidKeeper.open(without), 'unauthenticated', /no join token\. Make a join token/);
});

test('a certificate that expired while the sidecar ran is replaced once a new token lies there', async () => {
  const { clock, source, joinTokenFile, open } = await world();
  const keeper = await open();
  source.failure = new AppError('unavailable', 'away');
  await running(keeper, async () => {
    await clock.advance(2 * hour);
    await writeFile(joinTokenFile, 'second-token', { mode: 0o600 });
    /** Minute after minute: each try reads a file. */
    const eventually = (read: () => unknown) =>
      expect.poll(async () => {
        await clock.advance(60_000);
        return read();
      });
    await eventually(() => source.calls.at(-1)).toBe('attest second-token');
    source.failure = undefined;
    await eventually(() => keeper.current.current.notAfter > clock.now()).toBe(true);
  });
  expect(source.calls.at(-1)).toBe('attest second-token');
});

test('a refused token is final; a control plane that is away is waited for', async () => {
  const { clock, source, options } = await world();
  source.failure = new AppError('join-token-refused', 'The join token is not valid.');
  await expectAppError(SvidKeeper.open(options), 'join-token-refused');
  source.failure = new AppError('unavailable', 'away');
  const opening = SvidKeeper.open(options);
  await expect.poll(() => clock.pendingTimers).toBe(1);
  source.failure = undefined;
  await clock.advance(10_000);
  expect((await opening).current.current.id.uri).toBe(WEB);
});

test('a certificate on another key, of another identity, or of another authority is not taken', async () => {
  const { clock, source, open } = await world();
  const keeper = await open();
  const first = keeper.current.current;
  const stranger = createTestAuthority().issue(WEB);
  const attacks: (() => void)[] = [
    () => {
      source.publicKey = generateKeyPair().publicKey;
    },
    () => {
      source.publicKey = undefined;
      source.id = 'spiffe://example.org/ns/shop/sa/admin';
    },
    () => {
      source.id = WEB;
      source.instanceId = 'instance-2';
    },
    () => {
      source.renew = async () => {
        source.calls.push('renew');
        return { ...stranger, spiffeId: WEB };
      };
    },
  ];
  await running(keeper, async () => {
    await clock.advance(hour * 0.56);
    await expect.poll(() => keeper.current.current).not.toBe(first);
    const good = keeper.current.current;
    for (const attack of attacks) {
      attack();
      const before = source.calls.length;
      await clock.advance(before === 2 ? hour * 0.56 : 60_000);
      await expect.poll(() => source.calls.length).toBeGreaterThan(before);
      expect(keeper.current.current).toBe(good);
    }
  });
});

test('a damaged state file is said to be so, and one that others can read is refused', async () => {
  const { stateDirectory, open } = await world();
  await open();
  const path = join(stateDirectory, 'identity.json');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.slice(0, 100));
  await expectAppError(open(), 'incompatible-data', /Move it away/);
  await writeFile(path, text);
  await chmod(path, 0o644);
  await expectAppError(open(), 'usage', /chmod 600/);
});

test('a bundle that was pushed is kept over restarts', async () => {
  const { open } = await world();
  const keeper = await open();
  const other = createTestAuthority().bundle;
  await keeper.adopt({
    ...keeper.bundle.current,
    roots: [...keeper.bundle.current.roots, ...other.roots],
    sequence: 9,
  });
  const again = await open();
  expect([again.bundle.current.sequence, again.bundle.current.roots.length]).toEqual([9, 2]);
});

test('over gRPC: enrolls with a pinned fingerprint, renews with its own certificate', async () => {
  const plane = await new TestControlPlane().start();
  plane.ttlMs = 2_000;
  const stateDirectory = await tempDirectory();
  const joinTokenFile = join(stateDirectory, 'token');
  await writeFile(joinTokenFile, plane.token(WEB), { mode: 0o600 });
  const clock = systemClock;
  const source = controlPlaneIdentitySource({
    server: plane.address,
    trust: { fingerprint: plane.fingerprint },
    clock,
  });
  const keeper = await SvidKeeper.open({ stateDirectory, source, joinTokenFile, clock, logger: silentLogger });
  const first = keeper.current.current;
  expect(first).toMatchObject({ id: { uri: WEB }, instanceId: 'instance-of-web' });
  expect(keeper.bundle.current.jwks.keys).toHaveLength(1);
  await running(keeper, async () => {
    await expect.poll(() => keeper.current.current, { timeout: 5_000 }).not.toBe(first);
  });
  expect(plane.renewals[0]).toBe(WEB);
  const again = {
    method: 'join_token',
    proof: { payload: Buffer.from('token-1') },
    csr: Buffer.from('x'),
    agent: false,
  };
  await expectAppError(source.attest(again), 'join-token-refused');
});

test('what can prove itself again attests again instead of renewing, with what proves it now, as the same identity', async () => {
  const { clock, source, options, joinTokenFile } = await world();
  const { joinTokenFile: _, ...without } = options;
  const proof = { method: 'k8s_psat', tokenFile: joinTokenFile } as const;
  const keeper = await SvidKeeper.open({ ...without, proof, agent: true });
  const first = keeper.current.current;
  await writeFile(joinTokenFile, 'fresh-token');
  await running(keeper, async () => {
    await clock.advance(hour * 0.56);
    await expect.poll(() => keeper.current.current).not.toBe(first);
    expect(source.calls).toEqual(['attest agent k8s_psat secret-token', 'attest agent k8s_psat fresh-token again']);
    const good = keeper.current.current;
    source.id = 'spiffe://example.org/ns/shop/sa/admin';
    await clock.advance(hour * 0.56);
    await expect.poll(() => source.calls.length).toBe(3);
    expect(keeper.current.current).toBe(good);
  });
});

test('a certificate that the control plane refuses is replaced by who can prove itself again, at most every 30 s', async () => {
  const { clock, source, options, joinTokenFile } = await world();
  const { joinTokenFile: _, ...without } = options;
  const keeper = await SvidKeeper.open({ ...without, proof: { method: 'oidc', tokenFile: joinTokenFile } });
  await running(keeper, async () => {
    for (let i = 0; i < 5; i++) keeper.refused();
    await expect.poll(() => source.calls.length).toBe(2);
    await clock.advance(29_000);
    keeper.refused();
    await clock.advance(1_000);
    expect(source.calls).toHaveLength(2);
    keeper.refused();
    await expect.poll(() => source.calls.length).toBe(3);
  });
  const token = await SvidKeeper.open({ ...options, stateDirectory: `${options.stateDirectory}-2` });
  await running(token, async () => {
    token.refused();
    await clock.advance(60_000);
    expect(source.calls.filter((call) => call === 'renew')).toEqual([]);
  });
});

test('an enrollment that is told to come back later does', async () => {
  const { clock, source, options } = await world();
  source.failure = new AppError('exhausted', 'Too many attempts from this address.');
  const opening = SvidKeeper.open(options);
  await expect.poll(() => clock.pendingTimers).toBe(1);
  source.failure = undefined;
  await clock.advance(10_000);
  expect((await opening).current.current.id.uri).toBe(WEB);
});
