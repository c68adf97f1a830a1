import type { KeyObject } from 'node:crypto';
import { randomBytes } from 'node:crypto';
import type { TrustBundle } from '../../src/core/identity/bundle.ts';
import { bundlePem, certificatePem, jwtKey } from '../../src/core/identity/bundle.ts';
import type { Issuer } from '../../src/core/identity/ca.ts';
import { createIntermediate, createRoot } from '../../src/core/identity/ca.ts';
import { generateKeyPair } from '../../src/core/identity/keys.ts';
import { parseSpiffeId } from '../../src/core/identity/spiffe-id.ts';
import type { X509Svid } from '../../src/core/identity/x509-svid.ts';
import { issueX509Svid } from '../../src/core/identity/x509-svid.ts';

const minute = 60_000;
const hour = 60 * minute;

export interface IssueOptions {
  /** Default: a random one. */
  readonly instanceId?: string;
  /** Milliseconds since the epoch. Default: one minute before the authority's now. */
  readonly notBefore?: number;
  /** Default: one hour after the authority's now. */
  readonly notAfter?: number;
  readonly dnsNames?: readonly string[];
  /** Default: a new P-256 key. */
  readonly key?: { readonly privateKey: KeyObject; readonly publicKey: KeyObject };
}

export interface IssuedSvid extends X509Svid {
  readonly privateKey: KeyObject;
  /** What node:tls takes: leaf and intermediate, key, root. */
  readonly pem: { readonly cert: string; readonly key: string; readonly ca: string };
}

export interface TestAuthority {
  readonly trustDomain: string;
  readonly bundle: TrustBundle;
  /** The root, for tests that need an authority of their own below it. */
  readonly root: Issuer;
  /** An intermediate below the root. */
  readonly issuer: Issuer;
  /** Signs the JWTs that `bundle.jwks` verifies. */
  readonly jwt: { readonly kid: string; readonly privateKey: KeyObject };
  issue(spiffeUri: string, options?: IssueOptions): IssuedSvid;
}

/** A certificate authority in the process: real keys, real chains, no files. `now` defaults to the real time, since TLS uses it. */
export function createTestAuthority(o: { readonly trustDomain?: string; readonly now?: number } = {}): TestAuthority {
  const trustDomain = o.trustDomain ?? 'example.org';
  const now = o.now ?? Date.now();
  const rootKey = generateKeyPair();
  const validity = { notBefore: now - hour, notAfter: now + 365 * 24 * hour };
  const rootCertificate = createRoot({ trustDomain, key: rootKey, serial: randomSerial(), ...validity });
  const root: Issuer = { certificate: rootCertificate, chain: [], privateKey: rootKey.privateKey };

  const intermediateKey = generateKeyPair();
  const intermediate = createIntermediate({
    trustDomain,
    root,
    publicKey: intermediateKey.publicKey,
    serial: randomSerial(),
    notBefore: now - hour,
    notAfter: now + 24 * hour,
  });
  const issuer: Issuer = { certificate: intermediate, chain: [intermediate], privateKey: intermediateKey.privateKey };

  const jwtKeyPair = generateKeyPair();
  const kid = randomBytes(8).toString('hex');
  const bundle: TrustBundle = Object.freeze({
    trustDomain,
    roots: [rootCertificate],
    jwks: { keys: [jwtKey(jwtKeyPair.publicKey, kid)] },
    sequence: 1,
  });

  return {
    trustDomain,
    bundle,
    root,
    issuer,
    jwt: { kid, privateKey: jwtKeyPair.privateKey },
    issue(spiffeUri, options = {}) {
      const key = options.key ?? generateKeyPair();
      const svid = issueX509Svid(issuer, {
        id: parseSpiffeId(spiffeUri),
        instanceId: options.instanceId ?? randomBytes(8).toString('hex'),
        publicKey: key.publicKey,
        notBefore: options.notBefore ?? now - minute,
        notAfter: options.notAfter ?? now + hour,
        serial: randomSerial(),
        ...(options.dnsNames === undefined ? {} : { dnsNames: options.dnsNames }),
      });
      return {
        ...svid,
        privateKey: key.privateKey,
        pem: {
          cert: svid.chain.map(certificatePem).join(''),
          key: key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
          ca: bundlePem(bundle),
        },
      };
    },
  };
}

/** Random, positive, 16 octets. */
export function randomSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}
