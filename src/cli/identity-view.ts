import type { ListValue__Output } from '../wire/gen/google/protobuf/ListValue.ts';
import type { Struct__Output } from '../wire/gen/google/protobuf/Struct.ts';
import type { Value__Output } from '../wire/gen/google/protobuf/Value.ts';
import type { JWTBundlesResponse__Output } from '../wire/gen/JWTBundlesResponse.ts';
import type { X509BundlesResponse__Output } from '../wire/gen/X509BundlesResponse.ts';
import type { X509SVIDResponse__Output } from '../wire/gen/X509SVIDResponse.ts';
import type { Column } from './table.ts';
import { relative } from './table.ts';
import { certificatesOf, pemOf } from './workload-api.ts';

/** What the Workload API answers, as people and scripts read it. No private keys. */

export interface X509IdentityView {
  readonly spiffeId: string;
  readonly hint: string;
  readonly serialNumber: string;
  readonly notAfter: string;
  /** PEM, leaf first. */
  readonly chain: string;
}

export function x509Identities(message: X509SVIDResponse__Output): readonly X509IdentityView[] {
  return message.svids.map(({ spiffeId, hint, x509Svid }) => {
    const certificates = certificatesOf(x509Svid);
    const [leaf] = certificates;
    return {
      spiffeId,
      hint,
      serialNumber: leaf?.serialNumber.toLowerCase() ?? '',
      notAfter: leaf === undefined ? '' : new Date(leaf.validTo).toISOString(),
      chain: pemOf(certificates),
    };
  });
}

export const identityColumns: readonly Column<X509IdentityView>[] = [
  { head: 'SPIFFE ID', cell: ({ spiffeId }) => spiffeId },
  { head: 'HINT', cell: ({ hint }) => hint },
  { head: 'SERIAL', cell: ({ serialNumber }) => serialNumber.slice(0, 16) },
  { head: 'EXPIRES', cell: ({ notAfter }, now) => relative(notAfter, now) },
];

export interface TokenView {
  readonly spiffeId: string;
  readonly hint: string;
  readonly token: string;
  readonly expiresAt: string | null;
}

export const tokenColumns: readonly Column<TokenView>[] = [
  { head: 'SPIFFE ID', cell: ({ spiffeId }) => spiffeId },
  { head: 'HINT', cell: ({ hint }) => hint },
  { head: 'EXPIRES', cell: ({ expiresAt }, now) => relative(expiresAt, now) },
];

export interface BundleView {
  readonly trustDomain: string;
  /** PEM. */
  readonly roots: string;
  readonly rootCount: number;
  readonly jwks: { readonly keys: readonly object[] };
}

export function bundles(x509: X509BundlesResponse__Output, jwt: JWTBundlesResponse__Output): readonly BundleView[] {
  const names = new Set([...Object.keys(x509.bundles), ...Object.keys(jwt.bundles)]);
  return [...names].map((trustDomain) => {
    const roots = certificatesOf(x509.bundles[trustDomain] ?? Buffer.alloc(0));
    return { trustDomain, roots: pemOf(roots), rootCount: roots.length, jwks: keySet(jwt.bundles[trustDomain]) };
  });
}

export const bundleColumns: readonly Column<BundleView>[] = [
  { head: 'TRUST DOMAIN', cell: ({ trustDomain }) => trustDomain },
  { head: 'ROOTS', cell: ({ rootCount }) => String(rootCount) },
  { head: 'JWT KEYS', cell: ({ jwks }) => String(jwks.keys.length) },
];

/** The claims as JSON again. */
export function plainClaims(claims: Struct__Output | null): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(claims?.fields ?? {}).map(([key, value]) => [key, plain(value)]));
}

function plain(value: Value__Output): unknown {
  switch (value.kind) {
    case 'structValue':
      return plainClaims(value.structValue ?? null);
    case 'listValue':
      return (value.listValue as ListValue__Output | null | undefined)?.values.map(plain) ?? [];
    case 'stringValue':
      return value.stringValue;
    case 'numberValue':
      return value.numberValue;
    case 'boolValue':
      return value.boolValue;
    default:
      return null;
  }
}

function keySet(json: Buffer | undefined): BundleView['jwks'] {
  try {
    const value: unknown = JSON.parse(json?.toString('utf8') ?? '');
    if (typeof value === 'object' && value !== null && 'keys' in value && Array.isArray(value.keys)) {
      return { keys: value.keys };
    }
  } catch {
    // Shown as none.
  }
  return { keys: [] };
}
