import type { SecureContextOptions } from 'node:tls';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { publicJwks } from '../../core/identity/bundle.ts';
import type { PublicDocument, PublicDocuments } from '../federation/public-documents.ts';
import { servePublicDocuments } from '../federation/public-documents.ts';

export interface DiscoveryOptions {
  readonly host: string;
  readonly port: number;
  /** What the `iss` of our JWT-SVIDs says: an https URL without query and fragment. */
  readonly issuer: string;
  readonly bundle: Watch<TrustBundle>;
  /** undefined: plain HTTP on a loopback address, for a proxy in front. */
  readonly tls: Watch<SecureContextOptions> | undefined;
  readonly logger: Logger;
}

/**
 * How long verifiers may keep the keys. A new key is in the bundle for longer than this before anything is signed with it,
 * and a verifier that meets an unknown `kid` asks again anyway.
 */
const KEYS_MAX_AGE_SECONDS = 300;
const CONFIGURATION_MAX_AGE_SECONDS = 3600;

/**
 * OpenID Connect Discovery 1.0, as far as verifiers of tokens need it (§3, §4): so that a cloud's identity service can trust
 * our JWT-SVIDs. We are no OpenID provider: there is nothing to log in to.
 *
 * Where the issuer has a path, the documents are below it, as §4.1 says.
 */
export function startDiscovery(o: DiscoveryOptions): Promise<PublicDocuments> {
  const base = o.issuer.replace(/\/+$/, '');
  const path = new URL(base).pathname.replace(/\/+$/, '');
  const configuration = json(configurationOf(o.issuer, `${base}/keys`), CONFIGURATION_MAX_AGE_SECONDS);
  const documents = new Map<string, () => PublicDocument>([
    [`${path}/.well-known/openid-configuration`, () => configuration],
    [`${path}/keys`, () => json(publicJwks(o.bundle.current), KEYS_MAX_AGE_SECONDS)],
  ]);
  return servePublicDocuments({ host: o.host, port: o.port, tls: o.tls, documents, logger: o.logger });
}

/** §3: what is required, and nothing that would promise more. */
function configurationOf(issuer: string, keys: string) {
  return {
    issuer,
    jwks_uri: keys,
    // Required by §3; there is none, and verifiers of tokens don't ask.
    authorization_endpoint: '',
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
    claims_supported: ['aud', 'exp', 'iat', 'iss', 'jti', 'sub'],
  };
}

function json(value: unknown, maxAgeSeconds: number): PublicDocument {
  return { body: JSON.stringify(value), contentType: 'application/json', maxAgeSeconds };
}
