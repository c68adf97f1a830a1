import type { KeyObject } from 'node:crypto';
import { createPublicKey } from 'node:crypto';
import type { JWK } from 'jose';
import { AppError } from '../../base/errors.ts';
import { checkPublicKey } from './keys.ts';

/** A public key that verifies tokens, and what it verifies them by. */
export interface TokenVerifyingKey {
  readonly key: KeyObject;
  /** Names as in the header `alg`. One for a key on a curve or one that names its own; all of RSA for one that does not. */
  readonly algorithms: readonly string[];
}

const rsaAlgorithms: readonly string[] = Object.freeze(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']);

/** RFC 7518 §3.4: each curve goes with one hash. */
const curveAlgorithms: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['P-256', Object.freeze(['ES256'])],
  ['P-384', Object.freeze(['ES384'])],
  ['P-521', Object.freeze(['ES512'])],
]);

/** All that a token may be signed by (JWT-SVID.md §2.1): no HMAC, no `none`, no EdDSA. Which of them counts, its key says. */
export const tokenAlgorithms: ReadonlySet<unknown> = new Set([
  ...rsaAlgorithms,
  ...[...curveAlgorithms.values()].flat(),
]);

/** A memo of a pure function: keys in a bundle are never changed. */
const imported = new WeakMap<JWK, TokenVerifyingKey>();

/**
 * A key out of a bundle: RSA of 2048 to 4096 bits, or on P-256, P-384 or P-521. The key decides what it verifies, never the
 * token: its type, its curve and, where it has one, its own `alg`. So a token cannot have a key used in another way than it
 * was published for; keys of Writ's own trust domain are P-256 and verify ES256 alone.
 *
 * @throws AppError `invalid` for another type, a key that is too weak or damaged, or an `alg` that does not go with the key
 */
export function importTokenKey(jwk: JWK): TokenVerifyingKey {
  let known = imported.get(jwk);
  if (known === undefined) {
    known = Object.freeze({ algorithms: algorithmsOf(jwk), key: importKey(jwk) });
    imported.set(jwk, known);
  }
  return known;
}

function algorithmsOf({ kty, crv, alg }: JWK): readonly string[] {
  const fitting = kty === 'RSA' ? rsaAlgorithms : kty === 'EC' ? curveAlgorithms.get(crv) : undefined;
  if (fitting === undefined) throw unusable('it is neither RSA nor on P-256, P-384 or P-521');
  if (alg === undefined) return fitting;
  if (!fitting.includes(alg)) throw unusable('its "alg" does not go with such a key');
  return Object.freeze([alg]);
}

/** Of the public members alone: a bundle that carries a private key by mistake must not make it usable here. */
function importKey({ kty, crv, x, y, n, e }: JWK): KeyObject {
  let key: KeyObject;
  try {
    // OpenSSL checks that a point is on its curve.
    key = createPublicKey({ format: 'jwk', key: (kty === 'RSA' ? { kty, n, e } : { kty, crv, x, y }) as never });
  } catch (cause) {
    throw new AppError('invalid', 'It is not a public key that Writ can verify with.', { cause });
  }
  // Strength as in certificates, which P-521 does not occur in; it has nothing that could be weak.
  if (crv !== 'P-521') checkPublicKey(key);
  return key;
}

function unusable(why: string): AppError {
  return new AppError('invalid', `It is not a public key that Writ can verify with: ${why}.`);
}
