import type { KeyObject } from 'node:crypto';
import type { JSONWebKeySet, JWK } from 'jose';
import { AppError } from '../base/errors.ts';
import type { TrustBundle } from '../core/identity/bundle.ts';
import { jwtKeys, witKeys } from '../core/identity/bundle.ts';
import { MAX_AUDIENCE_BYTES, MAX_AUDIENCES, MAX_TOKEN_BYTES } from '../core/identity/jwt-svid.ts';
import { parseSpiffeId, trustDomainId } from '../core/identity/spiffe-id.ts';
import * as field from './fields.ts';
import type { Struct } from './gen/google/protobuf/Struct.ts';
import type { Value } from './gen/google/protobuf/Value.ts';
import type { JWTBundlesResponse } from './gen/JWTBundlesResponse.ts';
import type { JWTSVIDRequest__Output } from './gen/JWTSVIDRequest.ts';
import type { JWTSVIDResponse } from './gen/JWTSVIDResponse.ts';
import type { SpiffeWorkloadAPIClient, SpiffeWorkloadAPIDefinition } from './gen/SpiffeWorkloadAPI.ts';
import type { ValidateJWTSVIDRequest__Output } from './gen/ValidateJWTSVIDRequest.ts';
import type { ValidateJWTSVIDResponse } from './gen/ValidateJWTSVIDResponse.ts';
import type { WITBundlesResponse } from './gen/WITBundlesResponse.ts';
import type { WITSVIDRequest__Output } from './gen/WITSVIDRequest.ts';
import type { WITSVIDResponse } from './gen/WITSVIDResponse.ts';
import type { X509BundlesResponse } from './gen/X509BundlesResponse.ts';
import type { X509SVIDResponse } from './gen/X509SVIDResponse.ts';
import { workloadApiFiles } from './proto-files.ts';
import { Protocol } from './protocol.ts';

/** The SPIFFE Workload API: its service, and its messages as bytes, since a message goes to many and is compared with the last. */

const protocol = new Protocol(workloadApiFiles);

export const workloadApiService = protocol.service<SpiffeWorkloadAPIDefinition>('SpiffeWorkloadAPI');
export const WorkloadApiClient = protocol.client<SpiffeWorkloadAPIClient>('SpiffeWorkloadAPI', workloadApiService);

/** Every call carries it, with the value `true` (SPIFFE_Workload_Endpoint.md §3). */
export const SECURITY_HEADER = 'workload.spiffe.io';

/** Hints that are longer help nobody (SPIFFE_Workload_API.md §8). */
const MAX_HINT_BYTES = 1024;
/** What else a token may hold is nested no deeper than this. */
const MAX_CLAIM_DEPTH = 32;

const x509Svids = protocol.codec<X509SVIDResponse, object>('X509SVIDResponse');
const x509Bundles = protocol.codec<X509BundlesResponse, object>('X509BundlesResponse');
const jwtSvids = protocol.codec<JWTSVIDResponse, object>('JWTSVIDResponse');
const jwtBundles = protocol.codec<JWTBundlesResponse, object>('JWTBundlesResponse');
const validated = protocol.codec<ValidateJWTSVIDResponse, object>('ValidateJWTSVIDResponse');
const witSvids = protocol.codec<WITSVIDResponse, object>('WITSVIDResponse');
const witBundles = protocol.codec<WITBundlesResponse, object>('WITBundlesResponse');

/** An identity with its X.509-SVID, as the caller gets it. */
export interface X509Identity {
  readonly spiffeId: string;
  /** '' for none. */
  readonly hint: string;
  /** DER, leaf first. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
}

/** An identity with a token. */
export interface TokenIdentity {
  readonly spiffeId: string;
  readonly hint: string;
  readonly token: string;
}

export interface WitIdentity extends TokenIdentity {
  readonly privateKey: KeyObject;
}

/** Foreign bundles by trust domain: each stays apart (§4.6). */
export type Bundles = Iterable<TrustBundle>;

/** @param identities the default one first (§8) */
export function encodeX509Svids(o: {
  readonly identities: readonly X509Identity[];
  readonly bundle: TrustBundle;
  readonly federated: Bundles;
}): Buffer {
  const bundle = Buffer.concat(o.bundle.roots);
  return x509Svids.encode({
    svids: o.identities.map(({ spiffeId, hint, chain, privateKey }) => ({
      spiffeId,
      x509Svid: Buffer.concat(chain),
      x509SvidKey: pkcs8(privateKey),
      bundle,
      hint: shortHint(hint),
    })),
    federatedBundles: byTrustDomain(withRoots(o.federated), (each) => Buffer.concat(each.roots)),
  });
}

export function encodeX509Bundles(bundles: Bundles): Buffer {
  return x509Bundles.encode({ bundles: byTrustDomain(withRoots(bundles), (each) => Buffer.concat(each.roots)) });
}

export function encodeJwtSvids(identities: readonly TokenIdentity[]): Buffer {
  return jwtSvids.encode({
    svids: identities.map(({ spiffeId, hint, token }) => ({ spiffeId, svid: token, hint: shortHint(hint) })),
  });
}

/** Keys for JWT-SVIDs and no others (§6.2.2). */
export function encodeJwtBundles(bundles: Bundles): Buffer {
  return jwtBundles.encode({ bundles: byTrustDomain(bundles, (each) => Buffer.from(jwks(jwtKeys(each)))) });
}

export function encodeValidated(spiffeId: string, claims: Readonly<Record<string, unknown>>): Buffer {
  return validated.encode({ spiffeId, claims: struct(claims, 0) });
}

export function encodeWitSvids(identities: readonly WitIdentity[]): Buffer {
  return witSvids.encode({
    svids: identities.map(({ spiffeId, hint, token, privateKey }) => ({
      spiffeId,
      witSvid: token,
      witSvidKey: JSON.stringify({ ...privateKey.export({ format: 'jwk' }), alg: 'ES256' }),
      hint: shortHint(hint),
    })),
  });
}

export function encodeWitBundles(bundles: Bundles): Buffer {
  return witBundles.encode({ bundles: byTrustDomain(bundles, (each) => jwks(witKeys(each))) });
}

/** @throws AppError `invalid`: for a missing audience (§4.5), or a name that is no SPIFFE ID */
export function fromJwtSvidRequest(message: JWTSVIDRequest__Output): {
  readonly audience: readonly string[];
  /** undefined for every identity of the caller. */
  readonly spiffeId: string | undefined;
} {
  const audience = field.list(
    message.audience,
    'audience',
    (value, path) => {
      if (Buffer.byteLength(value) > MAX_AUDIENCE_BYTES) {
        throw field.invalid(path, `is longer than ${MAX_AUDIENCE_BYTES} bytes`);
      }
      return field.text(value, path);
    },
    { min: 1, max: MAX_AUDIENCES },
  );
  return { audience, spiffeId: optionalId(message.spiffeId) };
}

/** @throws AppError `invalid` */
export function fromValidateRequest(message: ValidateJWTSVIDRequest__Output): {
  readonly audience: string;
  readonly token: string;
} {
  return {
    audience: field.text(message.audience, 'audience', MAX_AUDIENCE_BYTES),
    token: field.text(message.svid, 'svid', MAX_TOKEN_BYTES),
  };
}

/** @throws AppError `invalid` */
export function fromWitSvidRequest(message: WITSVIDRequest__Output): { readonly spiffeId: string | undefined } {
  return { spiffeId: optionalId(message.spiffeId) };
}

function optionalId(value: string): string | undefined {
  if (value === '') return undefined;
  try {
    return parseSpiffeId(value).uri;
  } catch (cause) {
    throw new AppError('invalid', 'spiffe_id is not a SPIFFE ID.', { cause });
  }
}

/** Exporting a key costs more than sending it, and a message is made whenever something changes. */
const exported = new WeakMap<KeyObject, Buffer>();

function pkcs8(key: KeyObject): Buffer {
  let der = exported.get(key);
  if (der === undefined) {
    der = key.export({ type: 'pkcs8', format: 'der' });
    exported.set(key, der);
  }
  return der;
}

/** By SPIFFE ID of the trust domain, sorted: equal bundles are equal bytes. */
/** Clients refuse a whole message for an empty bundle in it; one that is absent verifies nobody just as well. */
function withRoots(bundles: Bundles): readonly TrustBundle[] {
  return [...bundles].filter(({ roots }) => roots.length > 0);
}

function byTrustDomain<T>(bundles: Bundles, convert: (bundle: TrustBundle) => T): Record<string, T> {
  const entries = [...bundles].map((bundle) => [trustDomainId(bundle.trustDomain).uri, convert(bundle)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function jwks(keys: readonly JWK[]): string {
  return JSON.stringify({ keys: [...keys] } satisfies JSONWebKeySet);
}

/** Cut where a character ends. */
function shortHint(hint: string): string {
  let short = hint;
  while (Buffer.byteLength(short) > MAX_HINT_BYTES)
    short = short.slice(0, Math.floor(short.length * 0.9)).toWellFormed();
  return short;
}

function struct(value: object, depth: number): Struct {
  if (depth > MAX_CLAIM_DEPTH) throw new AppError('invalid', 'The claims of the token are nested too deeply.');
  return { fields: Object.fromEntries(Object.entries(value).map(([key, each]) => [key, toValue(each, depth + 1)])) };
}

function toValue(value: unknown, depth: number): Value {
  switch (typeof value) {
    case 'string':
      return { stringValue: value };
    case 'number':
      return { numberValue: value };
    case 'boolean':
      return { boolValue: value };
    default:
      if (value === null || typeof value !== 'object') return { nullValue: 'NULL_VALUE' };
      if (!Array.isArray(value)) return { structValue: struct(value, depth) };
      if (depth > MAX_CLAIM_DEPTH) throw new AppError('invalid', 'The claims of the token are nested too deeply.');
      return { listValue: { values: value.map((each) => toValue(each, depth + 1)) } };
  }
}
