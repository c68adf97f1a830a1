import forgeAsn1 from 'node-forge/lib/asn1.js';

/** Every object identifier that Writ reads or writes. */
const dotted = {
  // Public keys (RFC 5480, RFC 8017).
  ecPublicKey: '1.2.840.10045.2.1',
  p256: '1.2.840.10045.3.1.7',
  p384: '1.3.132.0.34',
  rsaEncryption: '1.2.840.113549.1.1.1',
  // Signatures (RFC 5758, RFC 8017).
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  ecdsaWithSha512: '1.2.840.10045.4.3.4',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  sha384WithRsa: '1.2.840.113549.1.1.12',
  sha512WithRsa: '1.2.840.113549.1.1.13',
  // Names (X.520).
  commonName: '2.5.4.3',
  serialNumber: '2.5.4.5',
  organization: '2.5.4.10',
  // Certificate extensions (RFC 5280 §4.2.1).
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  anyExtendedKeyUsage: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

export type OidName = keyof typeof dotted;

/** The DER content of each, as hex: what `DerElement.oid()` returns. */
export const oids: Readonly<Record<OidName, string>> = Object.freeze(
  Object.fromEntries(Object.entries(dotted).map(([name, oid]) => [name, forgeAsn1.oidToDer(oid).toHex()])) as Record<
    OidName,
    string
  >,
);
