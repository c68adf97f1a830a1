import type { JSONWebKeySet, JWTPayload } from 'jose';
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, errors, jwtVerify } from 'jose';
import { AppError } from '../../../base/errors.ts';
import type { Kept } from './kept.ts';

/** A party whose tokens are believed. */
export interface TokenIssuer {
  /** `iss`, exactly. */
  readonly issuer: string;
  /** `aud` must hold it: whoever else gets such tokens could pass them on to us. */
  readonly audience: string;
  readonly keys: Kept<KeySet>;
}

export type KeySet = ReturnType<typeof createLocalJWKSet>;

/** Attacker-controlled: nothing longer is decoded. */
const MAX_TOKEN_LENGTH = 16 * 1024;
const MAX_JWKS_LENGTH = 256 * 1024;
const MAX_KEYS = 100;
/** Clocks of issuers. */
const TOLERANCE_SECONDS = 10;

/** Only signatures that the verifier cannot make itself: no HMAC, no `none`. */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

/** What the token claims about its issuer, before anything is verified: it chooses whose keys are tried, nothing else. */
export function claimedIssuer(token: string): string {
  checkForm(token);
  try {
    const { iss } = decodeJwt(token);
    if (typeof iss === 'string') return iss;
  } catch {
    // As below: why exactly is nobody's business.
  }
  throw malformed();
}

/**
 * Verifies signature, issuer, audience and time of a JWT; `exp` and `sub` must be there. A key that is not known is looked
 * for once more at its source.
 *
 * @param token attacker-controlled
 * @param now milliseconds since the epoch
 * @throws AppError `invalid` for what is no such JWT, `forbidden` for one that is not valid here, `unavailable` when the keys
 *   cannot be had
 */
export async function verifyToken(token: string, trusted: TokenIssuer, now: number): Promise<JWTPayload> {
  checkForm(token);
  try {
    return await verifyWith(await trusted.keys.get(), token, trusted, now);
  } catch (error) {
    if (!(error instanceof errors.JWKSNoMatchingKey)) throw refusalOf(error, trusted);
  }
  try {
    return await verifyWith(await trusted.keys.newer(), token, trusted, now);
  } catch (error) {
    throw refusalOf(error, trusted);
  }
}

/** Reads a JSON Web Key Set (RFC 7517 §5). Keys that cannot sign for a party, such as symmetric ones, are left out. */
export function parseJwks(json: string): KeySet {
  if (json.length > MAX_JWKS_LENGTH) throw new AppError('invalid', 'The JSON Web Key Set is too large.');
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new AppError('invalid', 'The JSON Web Key Set is not JSON.', { cause });
  }
  const keys = typeof value === 'object' && value !== null && 'keys' in value ? value.keys : undefined;
  if (!Array.isArray(keys) || keys.length > MAX_KEYS) {
    throw new AppError('invalid', `A JSON Web Key Set has keys, at most ${MAX_KEYS}.`);
  }
  const usable = keys.filter(isUsable);
  if (usable.length === 0) throw new AppError('invalid', 'The JSON Web Key Set has no key that verifies signatures.');
  return createLocalJWKSet({ keys: usable } as JSONWebKeySet);
}

function isUsable(key: unknown): boolean {
  if (typeof key !== 'object' || key === null || !('kty' in key)) return false;
  return key.kty === 'RSA' || key.kty === 'EC' || key.kty === 'OKP';
}

async function verifyWith(keys: KeySet, token: string, o: TokenIssuer, now: number): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, keys, {
    algorithms,
    issuer: o.issuer,
    audience: o.audience,
    currentDate: new Date(now),
    clockTolerance: TOLERANCE_SECONDS,
    requiredClaims: ['exp', 'sub'],
  });
  return payload;
}

function checkForm(token: string): void {
  if (token.length > MAX_TOKEN_LENGTH || !/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(token))
    throw malformed();
  try {
    const { typ } = decodeProtectedHeader(token);
    // A token of another kind (an access token: at+jwt) says something else.
    if (typ === undefined || (typeof typ === 'string' && /^(application\/)?jwt$/i.test(typ))) return;
  } catch {
    // As below.
  }
  throw malformed();
}

function malformed(): AppError {
  return new AppError('invalid', 'The payload is not a signed JWT.');
}

/** What an honest caller can mend is said; of the rest, only that it is so. */
function refusalOf(error: unknown, o: TokenIssuer): AppError {
  if (error instanceof AppError) return error.code === 'invalid' ? keysAway(error) : error;
  if (error instanceof errors.JWTExpired) return refuse('The token has expired. Fetch a new one.', error);
  if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'aud') {
    return refuse(`The token is not for the audience ${o.audience}. Ask its issuer for one that is.`, error);
  }
  if (error instanceof errors.JWTClaimValidationFailed && error.reason === 'missing') {
    return refuse(`The token has no ${error.claim}.`, error);
  }
  if (error instanceof errors.JOSEError || error instanceof TypeError)
    return refuse('The token is not valid here.', error);
  return keysAway(error);
}

function keysAway(cause: unknown): AppError {
  return new AppError('unavailable', 'The keys of the issuer of this token cannot be had now. Try again later.', {
    cause,
  });
}

function refuse(message: string, cause: unknown): AppError {
  return new AppError('forbidden', message, { cause });
}
