import type { JwtRule } from '../../../core/policy/request-authentication.ts';

/** Where the keys of an issuer are. */
export type KeySource =
  /** A JSON Web Key Set at this URL. */
  | { readonly kind: 'jwks'; readonly url: string }
  /** Where the discovery document below this issuer says (OpenID Connect Discovery §4). */
  | { readonly kind: 'discovery'; readonly url: string };

/** Undefined for a rule that has its keys with it. */
export function sourceOf({ issuer, jwks, jwksUri }: JwtRule): KeySource | undefined {
  if (jwks !== undefined) return undefined;
  return jwksUri === undefined ? { kind: 'discovery', url: issuer } : { kind: 'jwks', url: jwksUri };
}

export function sourceKey({ kind, url }: KeySource): string {
  return `${kind} ${url}`;
}

/**
 * Fetches a JSON Web Key Set as it stands there; it neither reads nor stores it. Rejects with `unavailable`, `forbidden` (an
 * address that may not be asked) or `invalid`, with a message that repeats nothing of an answer.
 */
export type FetchKeys = (
  source: KeySource,
  o: { readonly timeoutMs: number; readonly signal: AbortSignal },
) => Promise<string>;

/** What is known of the keys at one place. Times in milliseconds since the epoch. */
export interface KeysState {
  readonly source: KeySource;
  /** In their canonical form; undefined before the first good answer. */
  readonly jwks: string | undefined;
  /** When these keys were last confirmed. */
  readonly fetchedAt: number | undefined;
  readonly checkedAt: number | undefined;
  /** Why the last attempt failed: then the keys are stale. Undefined after a good one. */
  readonly lastError: string | undefined;
  readonly nextAt: number | undefined;
}
