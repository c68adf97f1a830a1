import type { JWK } from 'jose';
import { AppError } from '../../base/errors.ts';
import { parseStrictJson } from '../identity/strict-json.ts';
import type { TokenVerifyingKey } from '../identity/token-key.ts';
import { importTokenKey } from '../identity/token-key.ts';

/** Longest set that is read, in bytes. A dozen keys with certificates have 40 KiB. */
export const MAX_JWKS_BYTES = 256 * 1024;
/** Keys in one set; those of an issuer that rotates are two or three. */
export const MAX_JWKS_KEYS = 100;

/** A key of an issuer, ready to verify. */
export interface IssuerKey {
  /** Undefined for one without a name: it is tried with every token. */
  readonly kid: string | undefined;
  readonly verifying: TokenVerifyingKey;
}

/** What of a key travels on: whatever else a set says (certificates, private members) is of no use to a verifier. */
const publicMembers = ['kty', 'kid', 'use', 'alg', 'crv', 'x', 'y', 'n', 'e'] as const;

/**
 * The public keys of a JSON Web Key Set (RFC 7517 §5) that tokens can be verified with; others in it (for encryption, of
 * types that are not known) are left out, as RFC 7517 §5 says.
 *
 * @throws AppError `invalid` for what is no set, is too large, holds no key that can be used, or a secret: who publishes
 *   those has lost them, and with a symmetric key whoever verifies could sign
 */
export function parseJwks(text: string): readonly IssuerKey[] {
  return Object.freeze(usableKeys(text).map((jwk) => Object.freeze({ kid: jwk.kid, verifying: importTokenKey(jwk) })));
}

/** The same set with nothing in it but what a verifier needs: the form in which it is stored and sent. */
export function canonicalJwks(text: string): string {
  const keys = usableKeys(text).map((jwk) =>
    Object.fromEntries(publicMembers.flatMap((name) => (jwk[name] === undefined ? [] : [[name, jwk[name]]]))),
  );
  // In one order: whoever publishes the same keys in another has changed nothing.
  return `{"keys":[${keys
    .map((key) => JSON.stringify(key))
    .sort()
    .join(',')}]}`;
}

/** Reads on after a colon; undefined for a set that `parseJwks` accepts. */
export function whyNoJwks(text: string): string | undefined {
  try {
    parseJwks(text);
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error.message.replace(/\.$/, '');
    throw error;
  }
}

function usableKeys(text: string): readonly JWK[] {
  if (Buffer.byteLength(text) > MAX_JWKS_BYTES) throw bad(`It has more than ${MAX_JWKS_BYTES} bytes`);
  const found = keysOf(text);
  if (found.length > MAX_JWKS_KEYS) throw bad(`It has more than ${MAX_JWKS_KEYS} keys`);
  for (const jwk of found) refuseSecrets(jwk);
  const usable = found.filter(isForSignatures).filter(canBeImported);
  if (usable.length === 0) {
    throw bad('It holds no key that signs tokens: RSA of 2048 bits or more, P-256, P-384 or P-521');
  }
  return usable;
}

function keysOf(text: string): readonly JWK[] {
  let parsed: unknown;
  try {
    // Two readers of a set in which a member comes twice would have two keys.
    parseStrictJson(text);
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new AppError('invalid', 'It is not JSON, or a member stands twice in it.', { cause });
  }
  const keys = typeof parsed === 'object' && parsed !== null && 'keys' in parsed ? parsed.keys : undefined;
  if (!Array.isArray(keys)) throw bad('It has no list "keys"');
  const isKey = (key: unknown): key is JWK => typeof key === 'object' && key !== null && !Array.isArray(key);
  if (!keys.every(isKey)) throw bad('One of "keys" is not an object');
  return keys;
}

function refuseSecrets(jwk: JWK): void {
  if (jwk.kty === 'oct' || jwk.k !== undefined) throw bad('It holds a symmetric key: whoever verifies could sign too');
  if (jwk.d !== undefined || jwk.p !== undefined || jwk.q !== undefined) {
    throw bad('It holds a private key. Publish the public one, and replace it: this one is no longer a secret');
  }
}

function isForSignatures({ use, key_ops: operations, kid }: JWK): boolean {
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > 1024)) return false;
  if (use !== undefined && use !== 'sig') return false;
  return operations === undefined || (Array.isArray(operations) && operations.includes('verify'));
}

function canBeImported(jwk: JWK): boolean {
  try {
    importTokenKey(jwk);
    return true;
  } catch (error) {
    if (error instanceof AppError) return false;
    throw error;
  }
}

function bad(why: string): AppError {
  return new AppError('invalid', `${why}.`);
}
