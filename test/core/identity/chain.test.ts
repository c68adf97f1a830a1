import { type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { createRoot, type Issuer, keyIdOf } from '../../../src/core/identity/ca.ts';
import { parseCertificate } from '../../../src/core/identity/certificate.ts';
import { type CertificateParts, signCertificate } from '../../../src/core/identity/certificate-write.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import * as der from '../../../src/core/identity/der-write.ts';
import * as extension from '../../../src/core/identity/extensions.ts';
import { checkPublicKey, generateKeyPair, keyIdentifier } from '../../../src/core/identity/keys.ts';
import { authorityName, instanceName } from '../../../src/core/identity/name.ts';
import type { OidName } from '../../../src/core/identity/oids.ts';
import { signatureAlgorithmFor } from '../../../src/core/identity/signature.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority, randomSerial } from '../../support/pki.ts';
import { accepts, mutationsOf } from './mutate.ts';

const now = Date.UTC(2026, 5, 1, 12, 0, 0);
const hour = 3_600_000;
const authority = createTestAuthority({ now });
const { bundle, issuer, root } = authority;
const svid = authority.issue('spiffe://example.org/ns/shop/sa/web', { instanceId: 'i-1' });
const [leaf = Buffer.alloc(0), intermediate = Buffer.alloc(0)] = svid.chain;
const rootDer = root.certificate;

const verify = (chain: readonly Buffer[], o: { bundle?: TrustBundle; now?: number } = {}) =>
  verifyPeer(chain, o.bundle ?? bundle, { now: o.now ?? now });
const refused = (chain: readonly Buffer[], why: RegExp, o: { bundle?: TrustBundle; now?: number } = {}) =>
  expectAppError(() => verify(chain, o), 'peer-refused', why);

// --- certificates whose every part can be made wrong

const key = generateKeyPair();
const spki = checkPublicKey(key.publicKey);
const ecdsa = signatureAlgorithmFor('p256');

interface Bad extends Partial<Omit<CertificateParts, 'extensions'>> {
  readonly uri?: string | null;
  readonly san?: Buffer | null;
  readonly keyUsage?: Buffer | null;
  readonly extendedKeyUsage?: Buffer | null;
  readonly basicConstraints?: Buffer | null;
  readonly ski?: Buffer | null;
  readonly aki?: Buffer | null;
  readonly more?: readonly Buffer[];
  readonly signer?: KeyObject;
}

const present = (values: readonly (Buffer | null)[]): Buffer[] => values.filter((value) => value !== null);
const or = (value: Buffer | null | undefined, usual: Buffer): Buffer | null => (value === undefined ? usual : value);

/** A certificate below `above`: a leaf that is right in everything but what `bad` says. */
function certify(above: Issuer, bad: Bad = {}): Buffer {
  const parent = parseCertificate(above.certificate);
  const parts: CertificateParts = {
    serial: randomSerial(),
    issuer: parent.subject,
    notBefore: now - hour,
    notAfter: now + hour,
    subject: instanceName('i-2'),
    spki: spki.spki,
    ...bad,
    extensions: [
      ...present([
        or(bad.keyUsage, extension.keyUsage(extension.KeyUsage.digitalSignature)),
        or(bad.extendedKeyUsage, extension.extendedKeyUsage('serverAuth', 'clientAuth')),
        or(bad.basicConstraints, extension.basicConstraints({ ca: false })),
        or(bad.ski, extension.subjectKeyIdentifier(keyIdentifier(spki))),
        bad.aki === undefined ? extension.authorityKeyIdentifier(keyIdOf(parent)) : bad.aki,
        bad.uri === null
          ? null
          : or(bad.san, extension.subjectAltName(bad.uri ?? 'spiffe://example.org/ns/shop/sa/web')),
      ]),
      ...(bad.more ?? []),
    ],
  };
  return signCertificate(parts, ecdsa, bad.signer ?? above.privateKey);
}

/** An authority below `above`, right in everything but what `bad` says. */
function certifyAuthority(above: Issuer, bad: Bad = {}): Issuer {
  const certificate = certify(above, {
    subject: authorityName('test', randomSerial().toString('hex')),
    keyUsage: extension.keyUsage(extension.KeyUsage.keyCertSign),
    extendedKeyUsage: null,
    basicConstraints: extension.basicConstraints({ ca: true }),
    san: extension.subjectAltName('spiffe://example.org'),
    ...bad,
  });
  return { certificate, chain: [certificate, ...above.chain], privateKey: key.privateKey };
}

function custom(oid: Buffer, critical: boolean, value: Buffer): Buffer {
  return der.sequence(oid, ...(critical ? [der.boolean(true)] : []), der.octetString(value));
}
const withOid = (name: OidName, critical: boolean, value: Buffer) => custom(der.oid(name), critical, value);
const unknownOid = Buffer.from('06032a0304', 'hex');

/** A chain to a leaf below an authority that is off. */
const below = (above: Issuer, bad: Bad = {}) => [certify(above, bad), ...above.chain];

describe('a chain that is right', () => {
  it('gives the identity, the instance and the end', () => {
    expect(verify(svid.chain)).toEqual({
      id: svid.id,
      instanceId: 'i-1',
      serial: svid.serial,
      notBefore: svid.notBefore,
      notAfter: svid.notAfter,
      certificate: leaf,
    });
  });

  it('may come with its root, as TLS servers and node:tls send it', () => {
    expect(verify([leaf, intermediate, rootDer]).id).toEqual(svid.id);
  });

  it('may be signed by the root itself', () => {
    expect(verify([certify(root)]).id.uri).toBe('spiffe://example.org/ns/shop/sa/web');
  });

  it('of the forgery helper is accepted, so that the refusals below are for their own reasons', () => {
    expect(verify(below(certifyAuthority(root))).instanceId).toBe('i-2');
    expect(verify(below(issuer)).instanceId).toBe('i-2');
  });

  it('ends when the first of its certificates ends', () => {
    const short = certifyAuthority(root, { notAfter: now + 1000, notBefore: now - 1000 });
    expect(verify(below(short))).toMatchObject({ notBefore: now - 1000, notAfter: now + 1000 });
  });

  it('names no instance when its subject has no serial number', () => {
    const subject = authorityName('x', '1');
    expect(verify(below(issuer, { subject })).instanceId).toBe('1');
    const bare = der.sequence(der.setOf(der.sequence(der.oid('commonName'), der.utf8String('x'))));
    expect(verify(below(issuer, { subject: bare })).instanceId).toBe('');
    const odd = der.sequence(der.setOf(der.sequence(der.oid('serialNumber'), der.utf8String('a b\u0000'))));
    expect(verify(below(issuer, { subject: odd })).instanceId).toBe('');
  });

  it('may have unknown extensions that are not critical', () => {
    expect(verify(below(issuer, { more: [custom(unknownOid, false, der.nullValue())] })).instanceId).toBe('i-2');
  });
});

describe('the identity', () => {
  it('spiffe 10: two URI names are refused', () => {
    const two = ['spiffe://example.org/a', 'spiffe://example.org/b'].map((uri) =>
      der.contextPrimitive(6, Buffer.from(uri)),
    );
    return refused(below(issuer, { san: withOid('subjectAltName', false, der.sequence(...two)) }), /more than one URI/);
  });

  it('spiffe 10: no URI name is refused, whatever DNS names there are', async () => {
    const dns = der.contextPrimitive(2, Buffer.from('example.org'));
    await refused(below(issuer, { uri: null }), /no URI name/);
    await refused(below(issuer, { san: withOid('subjectAltName', false, der.sequence(dns)) }), /no URI name/);
  });

  it('spiffe 11, 17: an ID without a path is refused on a leaf', () =>
    refused(below(issuer, { uri: 'spiffe://example.org' }), /no path/));

  it('spiffe 11: an empty subject needs a critical alternative name', async () => {
    const uri = der.sequence(der.contextPrimitive(6, Buffer.from('spiffe://example.org/a')));
    const empty = der.sequence();
    await refused(below(issuer, { subject: empty }), /subject is empty/);
    expect(verify(below(issuer, { subject: empty, san: withOid('subjectAltName', true, uri) })).id.path).toBe('/a');
  });

  it.each([
    'https://example.org/a',
    'spiffe://example.org/a/',
    'spiffe://EXAMPLE.org/a',
    'spiffe://example.org/%61',
    'x',
  ])('spiffe 17: %j is refused as an identity', (uri) =>
    refused(below(issuer, { uri }), /not a SPIFFE ID/).then(() => undefined),
  );

  it('a name with a NUL or beyond ASCII is refused', async () => {
    await refused(below(issuer, { uri: 'spiffe://example.org/a\u0000.evil' }), /not ASCII/);
    await refused(below(issuer, { uri: 'spiffe://example.org/\u00e4' }), /not ASCII/);
  });
});

describe('the trust domain', () => {
  it('spiffe 17: a leaf is verified with the bundle of its own trust domain only', async () => {
    const other = createTestAuthority({ trustDomain: 'other.org', now });
    await refused(other.issue('spiffe://other.org/a').chain, /belongs to the trust domain other.org, and example.org/);
  });

  it('an authority of one trust domain cannot name a workload of another', async () => {
    const other = createTestAuthority({ trustDomain: 'other.org', now });
    const chain = [certify(other.issuer), ...other.issuer.chain];
    await refused(chain, /does not lead to a root of example.org/);
    await refused([...chain, other.root.certificate], /does not lead to a root of example.org/);
  });

  it('spiffe 12: an authority whose SPIFFE ID is of another trust domain, or has a path, is refused', async () => {
    const why = /not that of the leaf's trust domain/;
    await refused(below(certifyAuthority(root, { san: extension.subjectAltName('spiffe://other.org') })), why);
    await refused(below(certifyAuthority(root, { san: extension.subjectAltName('spiffe://example.org/a') })), why);
  });

  it('an authority without a SPIFFE ID is above SPIFFE and accepted', () => {
    expect(verify(below(certifyAuthority(root, { san: null }))).instanceId).toBe('i-2');
  });

  it('a root of the same name with another key is refused', async () => {
    const impostor = generateKeyPair();
    const { serial } = parseCertificate(rootDer);
    const fake = createRoot({
      trustDomain: 'example.org',
      key: impostor,
      serial: Buffer.from(serial, 'hex'),
      notBefore: now - hour,
      notAfter: now + hour,
    });
    const fakeRoot: Issuer = { certificate: fake, chain: [], privateKey: impostor.privateKey };
    expect(parseCertificate(fake).subject).toEqual(parseCertificate(rootDer).subject);
    await refused([certify(fakeRoot)], /does not lead to a root/);
    await refused([certify(fakeRoot), fake], /does not lead to a root/);
    // Even when it claims the right key identifier, the signature gives it away.
    const aki = extension.authorityKeyIdentifier(keyIdOf(parseCertificate(rootDer)));
    await refused([certify(fakeRoot, { aki })], /signature in its chain is wrong/);
  });

  it('a bundle without roots trusts nobody', () =>
    refused(svid.chain, /does not lead/, { bundle: { ...bundle, roots: [] } }));

  it('a workload certificate that got among the roots is not trusted by that', () => {
    const name = instanceName('i-3');
    const aki = extension.authorityKeyIdentifier(keyIdentifier(spki));
    const selfSigned = certify(root, { issuer: name, subject: name, aki, signer: key.privateKey });
    const own: TrustBundle = { ...bundle, roots: [selfSigned] };
    return refused([selfSigned], /issuer is not an authority/, { bundle: own });
  });

  it('a bundle may have several roots', () => {
    const second = createTestAuthority({ now });
    const both: TrustBundle = { ...bundle, roots: [...second.bundle.roots, ...bundle.roots] };
    expect(verify(svid.chain, { bundle: both }).id).toEqual(svid.id);
    expect(verify(second.issue('spiffe://example.org/a').chain, { bundle: both }).id.path).toBe('/a');
  });
});

describe('authorities and leaves', () => {
  it('spiffe 12, 13: an authority does not authenticate', async () => {
    await refused([intermediate], /it is an authority/);
    await refused([rootDer], /it is an authority/);
    await refused(below(issuer, { basicConstraints: extension.basicConstraints({ ca: true }) }), /it is an authority/);
  });

  it('spiffe 13: a leaf cannot issue', async () => {
    const rogue: Issuer = { certificate: leaf, chain: svid.chain, privateKey: svid.privateKey };
    await refused(below(rogue), /issuer is not an authority/);
  });

  it('spiffe 13: basic constraints may be missing on a leaf and may not on an authority', async () => {
    expect(verify(below(issuer, { basicConstraints: null })).instanceId).toBe('i-2');
    await refused(below(certifyAuthority(root, { basicConstraints: null })), /issuer is not an authority/);
  });

  it('spiffe 13: a path length is kept', async () => {
    const limited = certifyAuthority(root, {
      basicConstraints: extension.basicConstraints({ ca: true, pathLength: 0 }),
    });
    expect(verify(below(limited)).instanceId).toBe('i-2');
    await refused(below(certifyAuthority(limited)), /more authorities below it/);
    // The root allows one.
    const free = certifyAuthority(root);
    await refused(below(certifyAuthority(free)), /more authorities below it/);
  });

  it('spiffe 13: a path length without being an authority is malformed', () => {
    const value = der.sequence(der.small(1));
    return refused(
      below(issuer, { basicConstraints: withOid('basicConstraints', true, value) }),
      /without being an authority/,
    );
  });

  it('spiffe 14: the key usage must be there and critical', async () => {
    const notCritical = withOid('keyUsage', false, der.namedBits([0]));
    await refused(below(issuer, { keyUsage: null }), /missing or not critical/);
    await refused(below(issuer, { keyUsage: notCritical }), /missing or not critical/);
    const authorityUsage = withOid('keyUsage', false, der.namedBits([5]));
    await refused(below(certifyAuthority(root, { keyUsage: null })), /missing or not critical/);
    await refused(below(certifyAuthority(root, { keyUsage: authorityUsage })), /missing or not critical/);
  });

  it('spiffe 14: a leaf has digitalSignature and cannot sign certificates or revocation lists', async () => {
    const { KeyUsage, keyUsage } = extension;
    await refused(below(issuer, { keyUsage: keyUsage(KeyUsage.keyEncipherment) }), /lacks digitalSignature/);
    await refused(
      below(issuer, { keyUsage: keyUsage(KeyUsage.digitalSignature, KeyUsage.keyCertSign) }),
      /allows signing/,
    );
    await refused(below(issuer, { keyUsage: keyUsage(KeyUsage.digitalSignature, KeyUsage.cRLSign) }), /allows signing/);
    const more = keyUsage(KeyUsage.digitalSignature, KeyUsage.keyEncipherment, KeyUsage.keyAgreement);
    expect(verify(below(issuer, { keyUsage: more })).instanceId).toBe('i-2');
  });

  it('spiffe 14: an authority without keyCertSign cannot issue', () =>
    refused(
      below(certifyAuthority(root, { keyUsage: extension.keyUsage(extension.KeyUsage.cRLSign) })),
      /lacks keyCertSign/,
    ));

  it('spiffe 15: extended key usage may be missing, and otherwise has both (CVE-2022-21657)', async () => {
    expect(verify(below(issuer, { extendedKeyUsage: null })).instanceId).toBe('i-2');
    await refused(below(issuer, { extendedKeyUsage: extension.extendedKeyUsage('serverAuth') }), /both serverAuth/);
    await refused(below(issuer, { extendedKeyUsage: extension.extendedKeyUsage('clientAuth') }), /both serverAuth/);
    const narrow = certifyAuthority(root, { extendedKeyUsage: extension.extendedKeyUsage('serverAuth') });
    await refused(below(narrow), /both serverAuth/);
    const any = certifyAuthority(root, { extendedKeyUsage: extension.extendedKeyUsage('anyExtendedKeyUsage') });
    expect(verify(below(any)).instanceId).toBe('i-2');
  });

  it('spiffe 16: name constraints are refused, critical or not, since they are not evaluated', async () => {
    for (const critical of [true, false]) {
      const constraints = withOid('nameConstraints', critical, der.sequence());
      await refused(below(certifyAuthority(root, { more: [constraints] })), /critical extension/);
    }
  });

  it('spiffe 17: an unknown critical extension is refused, on a leaf and on an authority', async () => {
    const more = [custom(unknownOid, true, der.nullValue())];
    await refused(below(issuer, { more }), /critical extension/);
    await refused(below(certifyAuthority(root, { more })), /critical extension/);
  });

  it('an extension that stands twice is refused', () =>
    refused(below(issuer, { more: [extension.subjectAltName('spiffe://example.org/b')] }), /repeats an extension/));
});

describe('the path', () => {
  it('spiffe 17: a wrong signature is refused, at each step', async () => {
    const stranger = generateKeyPair().privateKey;
    await refused(below(issuer, { signer: stranger }), /signature in its chain is wrong/);
    await refused(below(certifyAuthority(root, { signer: stranger })), /signature in its chain is wrong/);
  });

  it('spiffe 17: names and key identifiers must match, at each step', async () => {
    const why = /name the next one|does not lead/;
    await refused(below(issuer, { issuer: authorityName('x', '01') }), why);
    await refused(below(issuer, { aki: null }), why);
    await refused(below(issuer, { aki: extension.authorityKeyIdentifier(Buffer.alloc(20)) }), why);
    await refused(below(certifyAuthority(root, { aki: null })), why);
    await refused(below(certifyAuthority(root, { ski: null }), { aki: null }), /no key identifier|name the next one/);
  });

  it('spiffe 17: a certificate that is not yet valid, or no longer, is refused; its last second belongs to it', async () => {
    const { notBefore, notAfter } = svid;
    expect(verify(svid.chain, { now: notBefore }).id).toEqual(svid.id);
    expect(verify(svid.chain, { now: notAfter + 999 }).id).toEqual(svid.id);
    await refused(svid.chain, /not valid before/, { now: notBefore - 1 });
    await refused(svid.chain, /expired at 2026-06-01T13:00:00.000Z/, { now: notAfter + 1000 });
  });

  it('spiffe 17: an authority that has ended, or a root that has, ends the chain', async () => {
    await refused(below(certifyAuthority(root, { notAfter: now - 2000 })), /expired/);
    await refused(below(certifyAuthority(root, { notBefore: now + 2000 })), /not valid before/);
    const late = now + 366 * 24 * hour;
    await refused([certify(root, { notAfter: late + hour })], /expired/, { now: late });
  });

  it('five certificates with the root are the most', async () => {
    const deep = createTestAuthority({ now });
    const freeRoot = freeRootOf();
    const own: TrustBundle = { ...deep.bundle, roots: [freeRoot.certificate] };
    const three = certifyAuthority(certifyAuthority(certifyAuthority(freeRoot)));
    expect(below(three)).toHaveLength(4);
    expect(verify(below(three), { bundle: own }).instanceId).toBe('i-2');
    expect(verify([...below(three), freeRoot.certificate], { bundle: own }).instanceId).toBe('i-2');
    const four = certifyAuthority(three);
    await refused(below(four), /more than 5/, { bundle: own });
    await refused([...below(four), freeRoot.certificate], /more than 5/, { bundle: own });
  });

  it('an empty, shuffled, incomplete or padded chain is refused', async () => {
    await refused([], /There is none/);
    await refused([leaf], /does not lead/);
    await refused([leaf, rootDer], /does not name the next one/);
    await refused([intermediate, leaf], /it is an authority/);
    await refused([leaf, rootDer, intermediate], /below it|does not name the next one/);
    await refused([leaf, intermediate, rootDer, intermediate], /below it|does not name the next one/);
    await refused([leaf, leaf, intermediate], /not an authority|does not name/);
  });

  it('a chain that goes round in circles is refused', () =>
    refused([leaf, intermediate, intermediate, intermediate, rootDer], /below it|does not name/));
});

/** A root without a path length. */
function freeRootOf(): Issuer {
  const name = authorityName('free', '01');
  const certificate = signCertificate(
    {
      serial: randomSerial(),
      issuer: name,
      subject: name,
      notBefore: now - hour,
      notAfter: now + hour,
      spki: spki.spki,
      extensions: [
        extension.basicConstraints({ ca: true }),
        extension.keyUsage(extension.KeyUsage.keyCertSign),
        extension.subjectKeyIdentifier(keyIdentifier(spki)),
        extension.authorityKeyIdentifier(keyIdentifier(spki)),
        extension.subjectAltName('spiffe://example.org'),
      ],
    },
    ecdsa,
    key.privateKey,
  );
  return { certificate, chain: [], privateKey: key.privateKey };
}

describe('the encoding', () => {
  const tbsOf = (certificate: Buffer) => parseCertificate(certificate).tbs;
  const seal = (tbs: Buffer, algorithm = ecdsa.encoded) =>
    der.sequence(tbs, algorithm, der.bitString(sign('sha256', tbs, issuer.privateKey)));

  it('an outer signature algorithm that differs from the inner one is refused', () => {
    const tbs = tbsOf(below(issuer)[0] ?? leaf);
    return refused([seal(tbs, der.sequence(der.oid('ecdsaWithSha384'))), intermediate], /two signature algorithms/);
  });

  it('version 1 is refused', () => {
    const tbs = Buffer.from(tbsOf(leaf));
    tbs[tbs.indexOf(Buffer.from('a003020102', 'hex')) + 4] = 0;
    return refused([seal(tbs), intermediate], /version 3/);
  });

  it('trailing bytes and oversized certificates are refused', async () => {
    await refused([Buffer.concat([leaf, Buffer.of(0)]), intermediate], /Malformed/);
    const large = certify(issuer, { more: [custom(unknownOid, false, der.octetString(Buffer.alloc(17_000)))] });
    await refused([large, intermediate], /longer than 16384/);
  });

  it('a critical flag that is encoded as false is refused', () => {
    const san = der.sequence(der.contextPrimitive(6, Buffer.from('spiffe://example.org/a')));
    const explicit = der.sequence(der.oid('subjectAltName'), der.boolean(false), der.octetString(san));
    return refused(below(issuer, { san: explicit }), /default value/);
  });

  it('any bytes are refused with peer-refused and nothing else', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }), (chain) => {
        expect(accepts(() => verify(chain.map((bytes) => Buffer.from(bytes))), 'peer-refused')).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('a leaf that was changed anywhere is refused', () => {
    fc.assert(
      fc.property(mutationsOf(leaf), (bytes) => {
        expect(accepts(() => verify([bytes, intermediate]), 'peer-refused')).toBe(bytes.equals(leaf));
      }),
      { numRuns: 1500 },
    );
  });

  it('an intermediate that was changed anywhere is refused', () => {
    fc.assert(
      fc.property(mutationsOf(intermediate), (bytes) => {
        expect(accepts(() => verify([leaf, bytes]), 'peer-refused')).toBe(bytes.equals(intermediate));
      }),
      { numRuns: 1000 },
    );
  });
});
