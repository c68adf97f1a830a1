import { createPrivateKey, hash, randomBytes, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { parseDeviceChain, verifyDeviceChain } from '../../../../src/control/authority/attest/device-chain.ts';
import { Kept } from '../../../../src/control/authority/attest/kept.ts';
import type { Attestation } from '../../../../src/control/authority/attest/method.ts';
import { parseDeviceRoots, X509PopAttestor } from '../../../../src/control/authority/attest/x509pop.ts';
import { createCsr } from '../../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../../src/core/identity/keys.ts';
import { answerChallenge, createChallenge, verifyAnswer } from '../../../../src/core/identity/possession.ts';
import { mutationsOf } from '../../../core/identity/mutate.ts';
import { FakeClock } from '../../../support/clock.ts';
import type { Device, DeviceOptions } from '../../../support/devices.ts';
import { DeviceAuthority } from '../../../support/devices.ts';
import { expectAppError } from '../../../support/errors.ts';
import { hasOpenssl, opensslNote } from '../../../support/openssl.ts';

const trustDomain = 'example.org';
const ca = (pathLength = '') => [`basicConstraints=critical,CA:TRUE${pathLength}`, 'keyUsage=critical,keyCertSign'];
const machine = ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature'];

describe.skipIf(!hasOpenssl)(`A certificate of a machine ${opensslNote}`, () => {
  let directory = '';
  let authority: DeviceAuthority;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'writ-devices-'));
    authority = new DeviceAuthority(directory);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const keyOf = (device: Device) => createPrivateKey(readFileSync(device.keyFile));
  const csr = createCsr(generateKeyPair().privateKey);
  // OpenSSL knows only the real time.
  const clock = new FakeClock(Date.now() + 60_000);

  function attestor(roots: readonly Device[] = [authority.root], now = clock.now()) {
    const pem = roots.map((root) => root.pem).join('');
    const kept = new Kept({ read: async () => parseDeviceRoots(pem), what: 'roots', clock, logger: silentLogger });
    return new X509PopAttestor({ trustDomain, roots: kept, clock: { now: () => now } });
  }

  /** Answers as the machine does, unless told otherwise. */
  function attestation(chain: readonly Device[], answer?: (challenge: Buffer) => Buffer): Attestation {
    const [leaf] = chain;
    if (leaf === undefined) throw new Error('no leaf');
    const honest = (challenge: Buffer) =>
      answerChallenge(challenge, {
        trustDomain,
        certificate: leaf.der,
        csr,
        privateKey: keyOf(leaf),
        nonce: randomBytes(32),
      });
    return {
      payload: Buffer.concat(chain.map((device) => device.der)),
      agent: true,
      csr,
      challenge: async (challenge) => (answer ?? honest)(challenge),
      source: '10.0.0.1',
    };
  }

  it('names the agent by its fingerprint, and gives what stands in it as selectors', async () => {
    const between = authority.intermediate();
    const leaf = authority.issue(
      { extensions: [...machine, 'subjectAltName=DNS:m1.example,URI:urn:machine:1'] },
      between,
    );
    const [parsed, above] = parseDeviceChain(Buffer.concat([leaf.der, between.der]));
    const root = parseDeviceRoots(authority.root.pem)[0];
    expect(await attestor().attest(attestation([leaf, between]))).toEqual({
      subject: `x509pop:${parsed?.fingerprint}`,
      agentPath: [parsed?.fingerprint],
      selectors: [
        'x509pop:subject:cn:machine-1',
        `x509pop:serialnumber:${parsed?.serial}`,
        `x509pop:ca:fingerprint:${above?.fingerprint}`,
        `x509pop:ca:fingerprint:${root?.fingerprint}`,
        'x509pop:san:dns:m1.example',
        'x509pop:san:uri:urn:machine:1',
      ],
      canReattest: true,
    });
    expect(parsed?.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it.each([
    ['RSA', ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048']],
    ['P-384', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384']],
    ['P-521', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521']],
    ['Ed25519', ['-algorithm', 'ED25519']],
  ] as const)('on a key of %s proves itself, with the root presented or not', async (_name, key) => {
    const leaf = authority.issue({ key });
    await attestor().attest(attestation([leaf]));
    await attestor().attest(attestation([leaf, authority.root]));
  });

  it.each([
    ['P-224', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-224']],
    ['RSA of 1024 bits', ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024']],
    ['Ed448', ['-algorithm', 'ED448']],
  ] as const)('on a key of %s is refused', async (_name, key) => {
    await expectAppError(
      attestor().attest(attestation([authority.issue({ key })], () => Buffer.alloc(0))),
      'invalid',
      /A key in the chain is not RSA/,
    );
  });

  const refusals: readonly [string, DeviceOptions, RegExp][] = [
    ['that is an authority', { extensions: ca() }, /is an authority, not a machine/],
    ['whose key may not sign', { extensions: ['keyUsage=critical,keyAgreement'] }, /its key may not sign/],
    ['with something critical that is unknown', { extensions: [...machine, '1.2.3.4=critical,ASN1:NULL'] }, /critical/],
  ];
  it.each(refusals)('%s is refused', async (_what, options, message) => {
    await expectAppError(attestor().attest(attestation([authority.issue(options)])), 'forbidden', message);
  });

  it('below an authority that is not one, may not certify, is not trusted, or has too many below it, is refused', async () => {
    const notOne = authority.issue();
    const mayNot = authority.intermediate({
      extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,digitalSignature'],
    });
    const bounded = authority.intermediate({ extensions: [...ca(',pathlen:0')] });
    const tooDeep = authority.intermediate({}, bounded);
    const limited = authority.intermediate({ extensions: [...ca(), 'nameConstraints=permitted;DNS:example.org'] });
    const cases: readonly [readonly Device[], RegExp][] = [
      [[authority.issue({}, notOne), notOne], /an issuer in its chain is not an authority/],
      [[authority.issue({}, mayNot), mayNot], /may not sign certificates/],
      [[authority.issue({}, tooDeep), tooDeep, bounded], /has too many below it/],
      [[authority.issue({}, limited), limited], /critical extension/],
    ];
    for (const [chain, message] of cases) {
      await expectAppError(attestor().attest(attestation(chain)), 'forbidden', message);
    }
    const stranger = new DeviceAuthority(mkdtempSync(join(directory, 'x-')));
    for (const chain of [[stranger.issue()], [stranger.issue(), stranger.root]]) {
      await expectAppError(
        attestor().attest(attestation(chain)),
        'forbidden',
        /does not lead to an authority that is trusted/,
      );
    }
    // Trusted names are worth nothing without the key: the stranger's root is called as ours is.
    await attestor([authority.root, stranger.root]).attest(attestation([stranger.issue()]));
  });

  it('that is not valid yet or has expired, or stands below what is so, is refused', async () => {
    const day = 24 * 3_600_000;
    const short = authority.intermediate({ days: 2 });
    const chain = [authority.issue({ days: 30 }, short), short];
    const at = (now: number) => attestor([authority.root], now).attest(attestation(chain));
    await at(clock.now() + day);
    await expectAppError(at(clock.now() + 3 * day), 'forbidden', /has expired/);
    await expectAppError(at(clock.now() - day), 'forbidden', /not valid yet/);
    const leaf = authority.issue({ days: 1 });
    const late = attestor([authority.root], clock.now() + 2 * day);
    await expectAppError(late.attest(attestation([leaf])), 'forbidden', /has expired/);
  });

  it('in a chain that is not in order, or of which a part is missing, is refused', async () => {
    const upper = authority.intermediate();
    const lower = authority.intermediate({ subject: '/CN=lower' }, upper);
    const leaf = authority.issue({}, lower);
    await attestor().attest(attestation([leaf, lower, upper]));
    await expectAppError(attestor().attest(attestation([leaf, upper, lower])), 'forbidden');
    await expectAppError(
      attestor().attest(attestation([leaf, upper])),
      'forbidden',
      /a signature in its chain is wrong/,
    );
    await expectAppError(attestor().attest(attestation([leaf, lower])), 'forbidden', /does not lead to/);
  });

  it('whose challenge is answered with another key, for another request, domain or challenge, or not at all, proves nothing', async () => {
    const leaf = authority.issue();
    const other = authority.issue();
    const nonce = randomBytes(32);
    const honest = { trustDomain, certificate: leaf.der, csr, privateKey: keyOf(leaf), nonce };
    const answers: readonly ((challenge: Buffer) => Buffer)[] = [
      (challenge) => answerChallenge(challenge, { ...honest, privateKey: keyOf(other) }),
      (challenge) => answerChallenge(challenge, { ...honest, csr: createCsr(generateKeyPair().privateKey) }),
      (challenge) => answerChallenge(challenge, { ...honest, trustDomain: 'example.com' }),
      (challenge) => answerChallenge(challenge, { ...honest, certificate: other.der }),
      () => answerChallenge(createChallenge(randomBytes(32)), honest),
      // The bare nonces, as a protocol without a domain of its own would sign them.
      (challenge) =>
        Buffer.concat([
          Buffer.of(1),
          nonce,
          sign('sha256', Buffer.concat([challenge.subarray(1), nonce]), honest.privateKey),
        ]),
    ];
    for (const answer of answers) {
      await expectAppError(
        attestor().attest(attestation([leaf], answer)),
        'forbidden',
        'The challenge was not answered with the key of the certificate.',
      );
    }
    for (const answer of [Buffer.alloc(0), Buffer.alloc(33, 1), Buffer.alloc(2_000, 1), Buffer.of(2, ...nonce, 1)]) {
      await expectAppError(
        attestor().attest(attestation([leaf], () => answer)),
        'invalid',
        /does not have the expected form/,
      );
    }
  });

  it('signs a message of this very form: label, hashes of domain, certificate and request, both nonces', () => {
    const leaf = authority.issue();
    const [parsed] = parseDeviceChain(leaf.der);
    const challenge = createChallenge(randomBytes(32));
    const nonce = randomBytes(32);
    const sha256 = (data: string | Buffer) => hash('sha256', data, 'buffer');
    const message = [
      Buffer.from('writ.x509pop.v1\0'),
      sha256(trustDomain),
      sha256(leaf.der),
      sha256(csr),
      challenge.subarray(1),
      nonce,
    ];
    const answer = Buffer.concat([Buffer.of(1), nonce, sign('sha256', Buffer.concat(message), keyOf(leaf))]);
    if (parsed === undefined) throw new Error('no certificate');
    const context = { trustDomain, certificate: leaf.der, csr, publicKey: parsed.publicKey };
    expect(verifyAnswer(challenge, answer, context)).toBe(true);
  });

  it('is asked something new each time', async () => {
    const leaf = authority.issue();
    const seen = new Set<string>();
    for (let i = 0; i < 3; i++) {
      await attestor()
        .attest(
          attestation([leaf], (challenge) => {
            seen.add(challenge.toString('hex'));
            return Buffer.alloc(0);
          }),
        )
        .catch(() => undefined);
    }
    expect(seen.size).toBe(3);
  });

  it('is refused with a typed error whatever its bytes are', async () => {
    const between = authority.intermediate();
    const leaf = authority.issue({}, between);
    const good = Buffer.concat([leaf.der, between.der]);
    const roots = parseDeviceRoots(authority.root.pem);
    const inputs = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      mutationsOf(good),
    );
    fc.assert(
      fc.property(inputs, (bytes) => {
        try {
          verifyDeviceChain(parseDeviceChain(bytes), roots, clock.now());
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          expect(['invalid', 'forbidden']).toContain(error.code);
          return;
        }
        // Only what is not covered by a signature may have changed: there is nothing of that kind.
        expect(bytes.equals(good)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
    expect(() => parseDeviceChain(Buffer.concat(Array.from({ length: 7 }, () => leaf.der)))).toThrow(/more than 6/);
  });

  it('answers of any bytes are refused with a typed error', () => {
    const leaf = authority.issue();
    const challenge = createChallenge(randomBytes(32));
    const context = { trustDomain, certificate: leaf.der, csr };
    const privateKey = keyOf(leaf);
    const good = answerChallenge(challenge, { ...context, privateKey, nonce: randomBytes(32) });
    const [parsed] = parseDeviceChain(leaf.der);
    if (parsed === undefined) throw new Error('no certificate');
    expect(verifyAnswer(challenge, good, { ...context, publicKey: parsed.publicKey })).toBe(true);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array().map((bytes) => Buffer.from(bytes)),
          mutationsOf(good),
        ),
        (answer) => {
          try {
            const isGood = verifyAnswer(challenge, answer, { ...context, publicKey: parsed.publicKey });
            if (isGood) expect(answer.equals(good)).toBe(true);
          } catch (error) {
            expect((error as AppError).code).toBe('invalid');
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('roots are authorities in PEM, and nothing else', async () => {
    const leaf = authority.issue();
    await expectAppError(() => parseDeviceRoots(leaf.pem), 'invalid', /is not an authority/);
    await expectAppError(() => parseDeviceRoots(''), 'invalid', /must have 1 to 100/);
    const key = readFileSync(leaf.keyFile, 'utf8');
    await expectAppError(() => parseDeviceRoots(authority.root.pem + key), 'invalid', /a block that is no certificate/);
  });
});
