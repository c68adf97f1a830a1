import type { JSONWebKeySet } from 'jose';
import type { TrustBundle } from '../core/identity/bundle.ts';
import { MAX_CERTIFICATE_BYTES } from '../core/identity/certificate.ts';
import { MAX_CSR_BYTES } from '../core/identity/csr.ts';
import * as field from './fields.ts';
import type {
  Certificate as ProtoCertificate,
  Certificate__Output as ProtoCertificateOutput,
} from './gen/writ/v1/Certificate.ts';
import type { Entry as ProtoEntry, Entry__Output as ProtoEntryOutput } from './gen/writ/v1/Entry.ts';
import type { RenewRequest, RenewRequest__Output } from './gen/writ/v1/RenewRequest.ts';
import type { RenewResponse, RenewResponse__Output } from './gen/writ/v1/RenewResponse.ts';
import type {
  TrustBundle as ProtoTrustBundle,
  TrustBundle__Output as ProtoTrustBundleOutput,
} from './gen/writ/v1/TrustBundle.ts';

/** Certificates in a chain, and roots in a bundle. */
const MAX_CERTIFICATES = 64;
const MAX_TAINTED = 256;
const MAX_JWKS_LENGTH = 256 * 1024;

/** An X.509-SVID as it is handed over. The receiver verifies the chain; here only its form is checked. */
export interface IssuedCertificate {
  /** DER, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  readonly spiffeId: string;
  readonly instanceId: string;
  /** Milliseconds since the epoch, as `notAfter`. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** What an enrolled workload learns of its entry. */
export interface EntryView {
  readonly id: string;
  readonly spiffeId: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** A JWT-SVID or WIT-SVID as it is handed over. */
export interface IssuedToken {
  readonly token: string;
  readonly spiffeId: string;
  /** Milliseconds since the epoch, as `expiresAt`. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export function toCertificate(certificate: IssuedCertificate): ProtoCertificate {
  return {
    chain: [...certificate.chain],
    spiffeId: certificate.spiffeId,
    instanceId: certificate.instanceId,
    notBefore: field.toTime(certificate.notBefore),
    notAfter: field.toTime(certificate.notAfter),
  };
}

export function fromCertificate(message: ProtoCertificateOutput | null | undefined, path: string): IssuedCertificate {
  const certificate = field.required(message, path);
  return Object.freeze({
    chain: field.list(certificate.chain, `${path}.chain`, fromDer, { min: 1, max: MAX_CERTIFICATES }),
    spiffeId: field.spiffeId(certificate.spiffeId, `${path}.spiffe_id`),
    instanceId: field.text(certificate.instanceId, `${path}.instance_id`, 128),
    notBefore: field.time(certificate.notBefore, `${path}.not_before`),
    notAfter: field.time(certificate.notAfter, `${path}.not_after`),
  });
}

export function toTrustBundle(bundle: TrustBundle): ProtoTrustBundle {
  return {
    trustDomain: bundle.trustDomain,
    roots: [...bundle.roots],
    jwks: canonicalJson(bundle.jwks),
    sequence: field.toU64(bundle.sequence),
    tainted: [...(bundle.tainted ?? [])],
  };
}

/** A bundle without roots is refused: it could verify nobody. One without JWT keys is fine. */
export function fromTrustBundle(message: ProtoTrustBundleOutput | null | undefined, path: string): TrustBundle {
  return readTrustBundle(field.required(message, path), path, 1);
}

/** As `fromTrustBundle`, of another trust domain: one without roots is fine, it verifies no certificate. */
export function fromForeignTrustBundle(message: ProtoTrustBundleOutput, path: string): TrustBundle {
  return readTrustBundle(message, path, 0);
}

function readTrustBundle(bundle: ProtoTrustBundleOutput, path: string, minRoots: number): TrustBundle {
  return Object.freeze({
    trustDomain: field.trustDomain(bundle.trustDomain, `${path}.trust_domain`),
    roots: field.list(bundle.roots, `${path}.roots`, fromDer, { min: minRoots, max: MAX_CERTIFICATES }),
    jwks: fromJwks(field.text(bundle.jwks, `${path}.jwks`, MAX_JWKS_LENGTH), `${path}.jwks`),
    sequence: field.u64(bundle.sequence, `${path}.sequence`),
    ...(bundle.tainted.length > 0 && {
      tainted: field.list(bundle.tainted, `${path}.tainted`, (value, at) => field.text(value, at, 128), {
        max: MAX_TAINTED,
      }),
    }),
  });
}

export function toEntry(entry: EntryView): ProtoEntry {
  return { id: entry.id, spiffeId: entry.spiffeId, labels: { ...entry.labels } };
}

export function fromEntry(message: ProtoEntryOutput | null | undefined, path: string): EntryView {
  const entry = field.required(message, path);
  return Object.freeze({
    id: field.text(entry.id, `${path}.id`, 128),
    spiffeId: field.spiffeId(entry.spiffeId, `${path}.spiffe_id`),
    labels: Object.freeze({ ...entry.labels }),
  });
}

export function toRenewRequest(csr: Buffer): RenewRequest {
  return { csr };
}

export function fromRenewRequest(message: RenewRequest__Output): { readonly csr: Buffer } {
  return { csr: field.bytes(message.csr, 'csr', { min: 1, max: MAX_CSR_BYTES }) };
}

export function toRenewResponse(certificate: IssuedCertificate): RenewResponse {
  return { certificate: toCertificate(certificate) };
}

export function fromRenewResponse(message: RenewResponse__Output): IssuedCertificate {
  return fromCertificate(message.certificate, 'certificate');
}

function fromDer(value: Buffer, path: string): Buffer {
  return field.bytes(value, path, { min: 1, max: MAX_CERTIFICATE_BYTES });
}

function fromJwks(json: string, path: string): JSONWebKeySet {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw field.invalid(path, 'is not JSON');
  }
  if (!isJwks(value)) throw field.invalid(path, 'is not a JSON Web Key Set');
  return value;
}

function isJwks(value: unknown): value is JSONWebKeySet {
  return (
    isObject(value) &&
    Array.isArray(value.keys) &&
    value.keys.every((key) => isObject(key) && typeof key.kty === 'string')
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Keys sorted, so that equal bundles are equal bytes: snapshots are told apart by the hash of their content. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    isObject(member) ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1))) : member,
  );
}
