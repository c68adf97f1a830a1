import 'reflect-metadata';
import { X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
} from '@peculiar/x509';
import { describe, expect, it } from 'vitest';
import { certificatePem } from '../../../src/core/identity/bundle.ts';
import { createIntermediate, createRoot, type Issuer } from '../../../src/core/identity/ca.ts';
import { parseCertificate } from '../../../src/core/identity/certificate.ts';
import { createCsr, parseCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { controlPlaneId, parseSpiffeId, workloadId } from '../../../src/core/identity/spiffe-id.ts';
import { issueX509Svid, type X509SvidRequest } from '../../../src/core/identity/x509-svid.ts';
import { expectAppError } from '../../support/errors.ts';
import { hasOpenssl, openssl, opensslNote } from '../../support/openssl.ts';
import { createTestAuthority, randomSerial } from '../../support/pki.ts';
import { tempDirectory } from '../../support/temp.ts';

const now = Date.UTC(2026, 5, 1, 12, 0, 0);
const hour = 3_600_000;
const authority = createTestAuthority({ now });
const id = workloadId('example.org', 'shop', 'web');
const key = generateKeyPair();

const request = (changes: Partial<X509SvidRequest> = {}): X509SvidRequest => ({
  id,
  instanceId: '0199f3a1-7c1e-7d7e-8a51-0242ac120002',
  publicKey: key.publicKey,
  notBefore: now - 10_000,
  notAfter: now + hour,
  serial: Buffer.from('00c0ffee', 'hex'),
  ...changes,
});
const issue = (changes: Partial<X509SvidRequest> = {}) => issueX509Svid(authority.issuer, request(changes));
const leafOf = (changes: Partial<X509SvidRequest> = {}) => issue(changes).chain[0] ?? Buffer.alloc(0);

/** The same certificate through the eyes of another library. */
const seen = (der: Buffer) => {
  const certificate = new X509Certificate(der);
  return {
    certificate,
    names: certificate.getExtension(SubjectAlternativeNameExtension)?.names.toJSON() ?? [],
    ca: certificate.getExtension(BasicConstraintsExtension)?.ca,
    pathLength: certificate.getExtension(BasicConstraintsExtension)?.pathLength,
    keyUsage: certificate.getExtension(KeyUsagesExtension),
    extendedKeyUsage: certificate.getExtension(ExtendedKeyUsageExtension)?.usages.map(String),
  };
};

describe('an X.509-SVID, read by another library', () => {
  it('spiffe 9, 10: has the SPIFFE ID as its only URI name, inside the signed part', async () => {
    const { names, certificate } = seen(leafOf());
    expect(names).toEqual([{ type: 'url', value: 'spiffe://example.org/ns/shop/sa/web' }]);
    const issuer = new X509Certificate(authority.issuer.certificate);
    expect(await certificate.verify({ publicKey: issuer.publicKey, signatureOnly: true }, webcrypto as never)).toBe(
      true,
    );
  });

  it('spiffe 10: may have DNS names beside it', () => {
    expect(seen(leafOf({ dnsNames: ['writ-control-plane', 'a.example.org'] })).names).toEqual([
      { type: 'url', value: 'spiffe://example.org/ns/shop/sa/web' },
      { type: 'dns', value: 'writ-control-plane' },
      { type: 'dns', value: 'a.example.org' },
    ]);
  });

  it('spiffe 13: is no authority', () => {
    expect(seen(leafOf()).ca).toBe(false);
  });

  it('spiffe 14: has digitalSignature as its only key usage, critical', () => {
    expect(seen(leafOf()).keyUsage).toMatchObject({ usages: KeyUsageFlags.digitalSignature, critical: true });
  });

  it('spiffe 15: has both serverAuth and clientAuth', () => {
    expect(seen(leafOf()).extendedKeyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  });

  it('has the times, serial, instance and key that were asked for, and no common name', () => {
    const { certificate } = seen(leafOf());
    expect(certificate.notBefore.getTime()).toBe(now - 10_000);
    expect(certificate.notAfter.getTime()).toBe(now + hour);
    expect(certificate.serialNumber).toBe('c0ffee');
    expect(certificate.subject).toBe('O=Writ, 2.5.4.5=0199f3a1-7c1e-7d7e-8a51-0242ac120002');
    expect(Buffer.from(certificate.publicKey.rawData)).toEqual(key.publicKey.export({ format: 'der', type: 'spki' }));
  });

  it('S11: is found by the key identifiers that OpenSSL matches', () => {
    const leaf = new NodeCertificate(leafOf());
    const issuer = new NodeCertificate(authority.issuer.certificate);
    expect(leaf.checkIssued(issuer)).toBe(true);
    expect(leaf.verify(issuer.publicKey)).toBe(true);
  });
});

describe('authorities, read by another library', () => {
  const rootDer = authority.bundle.roots[0] ?? Buffer.alloc(0);

  it('spiffe 8, 12: root and intermediate carry the path-less ID of the trust domain', () => {
    for (const der of [rootDer, authority.issuer.certificate]) {
      expect(seen(der).names).toEqual([{ type: 'url', value: 'spiffe://example.org' }]);
    }
  });

  it('spiffe 13: root and intermediate are authorities with a path length', () => {
    expect(seen(rootDer)).toMatchObject({ ca: true, pathLength: 1 });
    expect(seen(authority.issuer.certificate)).toMatchObject({ ca: true, pathLength: 0 });
  });

  it('spiffe 14: root and intermediate have keyCertSign and cRLSign, critical, and nothing else', () => {
    for (const der of [rootDer, authority.issuer.certificate]) {
      expect(seen(der).keyUsage).toMatchObject({
        usages: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign,
        critical: true,
      });
    }
  });

  it('the root is signed by itself, the intermediate by the root', () => {
    const root = new NodeCertificate(rootDer);
    expect(root.verify(root.publicKey)).toBe(true);
    expect(new NodeCertificate(authority.issuer.certificate).checkIssued(root)).toBe(true);
  });

  it('two authorities of one trust domain have different names', () => {
    const again = createTestAuthority({ now });
    expect(parseCertificate(again.bundle.roots[0] ?? rootDer).subject).not.toEqual(parseCertificate(rootDer).subject);
  });

  it('an intermediate ends with its root at the latest', () => {
    const der = createIntermediate({
      trustDomain: 'example.org',
      root: authority.root,
      publicKey: key.publicKey,
      serial: randomSerial(),
      notBefore: now,
      notAfter: now + 10 * 365 * 24 * hour,
    });
    expect(parseCertificate(der).notAfter).toBe(parseCertificate(rootDer).notAfter);
  });

  it('after 2049 times are GeneralizedTime', () => {
    const notAfter = Date.UTC(2051, 0, 1);
    const der = createRoot({ trustDomain: 'a', key, serial: randomSerial(), notBefore: now, notAfter });
    expect(new NodeCertificate(der).validToDate.getTime()).toBe(notAfter);
  });
});

describe.skipIf(!hasOpenssl)(`openssl ${opensslNote}`, () => {
  const real = createTestAuthority();
  const svid = real.issue('spiffe://example.org/ns/shop/sa/web', { dnsNames: ['localhost'] });

  const files = async () => {
    const directory = await tempDirectory();
    const path = (name: string) => join(directory, name);
    await writeFile(path('ca.pem'), svid.pem.ca);
    await writeFile(path('chain.pem'), svid.pem.cert);
    await writeFile(path('other.pem'), createTestAuthority().issue('spiffe://example.org/a').pem.ca);
    return path;
  };

  it('spiffe 17: verifies the chain for servers and for clients, in strict mode', async () => {
    const path = await files();
    for (const purpose of ['sslserver', 'sslclient']) {
      const args = [
        'verify',
        '-x509_strict',
        '-purpose',
        purpose,
        '-CAfile',
        path('ca.pem'),
        '-untrusted',
        path('chain.pem'),
      ];
      expect(openssl([...args, path('chain.pem')])).toEqual({ status: 0, output: `${path('chain.pem')}: OK\n` });
    }
  });

  it('spiffe 17: does not verify it with another root', async () => {
    const path = await files();
    const { status } = openssl([
      'verify',
      '-CAfile',
      path('other.pem'),
      '-untrusted',
      path('chain.pem'),
      path('chain.pem'),
    ]);
    expect(status).not.toBe(0);
  });

  it('prints the extensions as we mean them', () => {
    const { output } = openssl(['x509', '-noout', '-text'], svid.pem.cert);
    expect(output).toContain('X509v3 Key Usage: critical\n                Digital Signature\n');
    expect(output).toContain('TLS Web Server Authentication, TLS Web Client Authentication');
    expect(output).toContain('URI:spiffe://example.org/ns/shop/sa/web, DNS:localhost');
    expect(output).toContain('X509v3 Basic Constraints: critical\n                CA:FALSE');
  });
});

describe('what is asked for', () => {
  it('S11: an end after that of the issuer is capped to it', () => {
    expect(issue({ notAfter: now + 1000 * hour }).notAfter).toBe(now + 24 * hour);
    expect(parseCertificate(leafOf({ notAfter: now + 1000 * hour })).notAfter).toBe(now + 24 * hour);
  });

  it('an issuer that has ended signs nothing', () =>
    expectAppError(() => issue({ notBefore: now + 25 * hour, notAfter: now + 26 * hour }), 'unavailable', /expired/));

  it('times are rounded down to seconds', () => {
    const svid = issue({ notBefore: now - 9_001, notAfter: now + 1_999 });
    expect([svid.notBefore, svid.notAfter]).toEqual([now - 10_000, now + 1_000]);
  });

  it('an end that is not after the beginning is refused', async () => {
    await expectAppError(() => issue({ notAfter: now - 10_000 }), 'invalid', /end after it begins/);
    await expectAppError(() => issue({ notAfter: Number.NaN }), 'invalid', /end after it begins/);
  });

  it('S11: an ID of another trust domain is refused', () =>
    expectAppError(() => issue({ id: parseSpiffeId('spiffe://evil.org/a') }), 'invalid', /signs for example.org/));

  it('an ID without a path is refused', () =>
    expectAppError(() => issue({ id: parseSpiffeId('spiffe://example.org') }), 'internal', /not an X509-SVID/));

  it('the reserved ID of the control plane can be signed: who gets it is decided above', () => {
    expect(issue({ id: controlPlaneId('example.org') }).id.path).toBe('/writ/control-plane');
  });

  it.each(['', 'a b', 'a"b', 'ü', 'x'.repeat(65), 'a\n', 'a*'])('%j is no instance id', (instanceId) =>
    expectAppError(() => issue({ instanceId }), 'invalid', /instance id/).then(() => undefined),
  );

  it.each(['', '*', '*.org', 'A.example.org', 'a..b', '-a', 'a-', 'a b', 'x'.repeat(64), `${'a.'.repeat(127)}`])(
    'S13: %j is no DNS name',
    (name) => expectAppError(() => issue({ dnsNames: [name] }), 'invalid', /^A DNS name must/).then(() => undefined),
  );

  it('S13: a wildcard is signed, one that covers another name is not, and no more than 16 names', async () => {
    const names = ['*.example.org', 'other.example'];
    expect(seen(leafOf({ dnsNames: names })).names).toEqual(
      expect.arrayContaining(names.map((value) => ({ type: 'dns', value }))),
    );
    await expectAppError(() => issue({ dnsNames: ['*.example.org', 'a.example.org'] }), 'invalid', /must not cover/);
    const many = Array.from({ length: 17 }, (_, i) => `h${i}.example.org`);
    await expectAppError(() => issue({ dnsNames: many }), 'invalid', 'At most 16 DNS names.');
  });

  it.each(['', '00', '0000', 'ff'.repeat(20), '01'.repeat(21)])('%j is no serial number', (serial) =>
    expectAppError(() => issue({ serial: Buffer.from(serial, 'hex') }), 'invalid', /serial number/).then(
      () => undefined,
    ),
  );

  it('S11: a serial number with the highest bit set stays positive', () => {
    const svid = issue({ serial: Buffer.from(`ff${'00'.repeat(18)}`, 'hex') });
    expect(svid.serial).toBe(`ff${'00'.repeat(18)}`);
    expect(new NodeCertificate(svid.chain[0] ?? '').serialNumber).toBe(`FF${'00'.repeat(18)}`);
  });

  it('a key as a signing request proved it gives the same certificate as the key itself', () => {
    const publicKey = parseCsr(createCsr(key.privateKey));
    expect(parseCertificate(leafOf({ publicKey })).tbs).toEqual(parseCertificate(leafOf()).tbs);
  });

  it('the chain ends below the root', () => {
    expect(issue().chain.slice(1)).toEqual([authority.issuer.certificate]);
    expect(issueX509Svid(authority.root, request()).chain).toHaveLength(1);
  });

  it('what is returned cannot be changed', () => {
    expect(Object.isFrozen(issue())).toBe(true);
    expect(Object.isFrozen(issue().chain)).toBe(true);
  });
});

it('an issuer whose key is not that of its certificate signs nothing', () => {
  const issuer: Issuer = { ...authority.issuer, privateKey: generateKeyPair().privateKey };
  return expectAppError(() => issueX509Svid(issuer, request()), 'internal', /does not belong/);
});

it('a workload cannot be an issuer', () => {
  const svid = authority.issue('spiffe://example.org/ns/shop/sa/web');
  const issuer: Issuer = {
    certificate: svid.chain[0] ?? Buffer.alloc(0),
    chain: svid.chain,
    privateKey: svid.privateKey,
  };
  return expectAppError(() => issueX509Svid(issuer, request()), 'invalid', /not an authority/);
});

it('PEM of a certificate is what OpenSSL reads', () => {
  const leaf = leafOf();
  expect(new NodeCertificate(certificatePem(leaf)).raw.equals(leaf)).toBe(true);
});
