import { afterEach, expect, it, vi } from 'vitest';
import type { CertificateParts } from '../../../src/core/identity/certificate-write.ts';
import * as der from '../../../src/core/identity/der-write.ts';
import * as extension from '../../../src/core/identity/extensions.ts';
import { checkPublicKey, generateKeyPair } from '../../../src/core/identity/keys.ts';
import { authorityName, instanceName } from '../../../src/core/identity/name.ts';
import { workloadId } from '../../../src/core/identity/spiffe-id.ts';
import { issueX509Svid } from '../../../src/core/identity/x509-svid.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority, randomSerial } from '../../support/pki.ts';

/** What a defect between the order and the signature would do. */
let defect: (parts: CertificateParts) => CertificateParts = (parts) => parts;

vi.mock('../../../src/core/identity/certificate-write.ts', async (load) => {
  const real = await load<typeof import('../../../src/core/identity/certificate-write.ts')>();
  const signCertificate: typeof real.signCertificate = (parts, algorithm, key) =>
    real.signCertificate(defect(parts), algorithm, key);
  return { ...real, signCertificate };
});

afterEach(() => {
  defect = (parts) => parts;
});

const now = Date.UTC(2026, 5, 1);
const authority = createTestAuthority({ now });
const order = {
  id: workloadId('example.org', 'shop', 'web'),
  instanceId: 'i-1',
  publicKey: generateKeyPair().publicKey,
  notBefore: now,
  notAfter: now + 3_600_000,
  serial: randomSerial(),
  dnsNames: ['a.example.org'],
};
const issue = () => issueX509Svid(authority.issuer, order);

it('without a defect a certificate is issued', () => {
  expect(issue().chain).toHaveLength(2);
});

/** Replaces one extension, found by its identifier. */
function swap(parts: CertificateParts, oid: Buffer, by: readonly Buffer[]): CertificateParts {
  return { ...parts, extensions: [...parts.extensions.filter((e) => !e.includes(oid)), ...by] };
}

const otherKey = checkPublicKey(generateKeyPair().publicKey);
const { KeyUsage } = extension;

const defects: Record<string, (parts: CertificateParts) => CertificateParts> = {
  'another SPIFFE ID': (p) =>
    swap(p, der.oid('subjectAltName'), [
      extension.subjectAltName('spiffe://example.org/ns/shop/sa/admin', order.dnsNames),
    ]),
  'another DNS name': (p) =>
    swap(p, der.oid('subjectAltName'), [extension.subjectAltName(order.id.uri, ['b.example.org'])]),
  'a DNS name too few': (p) => swap(p, der.oid('subjectAltName'), [extension.subjectAltName(order.id.uri)]),
  'no name': (p) => swap(p, der.oid('subjectAltName'), []),
  'authority over others': (p) => swap(p, der.oid('basicConstraints'), [extension.basicConstraints({ ca: true })]),
  'more key usage': (p) =>
    swap(p, der.oid('keyUsage'), [extension.keyUsage(KeyUsage.digitalSignature, KeyUsage.keyEncipherment)]),
  'key usage to sign certificates': (p) =>
    swap(p, der.oid('keyUsage'), [extension.keyUsage(KeyUsage.digitalSignature, KeyUsage.keyCertSign)]),
  'no extended key usage': (p) => swap(p, der.oid('extendedKeyUsage'), []),
  'more extended key usage': (p) =>
    swap(p, der.oid('extendedKeyUsage'), [
      extension.extendedKeyUsage('serverAuth', 'clientAuth', 'anyExtendedKeyUsage'),
    ]),
  'another key identifier': (p) =>
    swap(p, der.oid('subjectKeyIdentifier'), [extension.subjectKeyIdentifier(Buffer.alloc(20))]),
  'another authority key identifier': (p) =>
    swap(p, der.oid('authorityKeyIdentifier'), [extension.authorityKeyIdentifier(Buffer.alloc(20))]),
  'another key': (p) => ({ ...p, spki: otherKey.spki }),
  'another instance': (p) => ({ ...p, subject: instanceName('i-2') }),
  'another issuer': (p) => ({ ...p, issuer: authorityName('x', '01') }),
  'another serial number': (p) => ({ ...p, serial: Buffer.of(1) }),
  'an earlier beginning': (p) => ({ ...p, notBefore: p.notBefore - 1000 }),
  'a later end': (p) => ({ ...p, notAfter: p.notAfter + 1000 }),
};

it.each(Object.entries(defects))(
  'S12: a certificate that differs from its order by %s does not leave the house',
  async (_name, change) => {
    defect = change;
    await expectAppError(issue, 'internal', /^The authority signed a certificate that is not/);
  },
);
