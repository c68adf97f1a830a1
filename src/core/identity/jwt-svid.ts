import type { KeyObject } from 'node:crypto';
import { decodeJwt, jwtVerify } from 'jose';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from './bundle.ts';
import { jwtKeys } from './bundle.ts';
import type { TokenHeader, TokenKey } from './jws.ts';
import {
  algorithm,
  checkCompact,
  keyFor,
  MAX_TOKEN_BYTES,
  ownClaims,
  readHeader,
  readWorkload,
  refuse,
  signCompact,
} from './jws.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { importTokenKey } from './token-key.ts';

export { MAX_TOKEN_BYTES } from './jws.ts';

export const MAX_AUDIENCE_BYTES = 1024;
/** Most audiences of one token. One is what the standard recommends (JWT-SVID.md §3.2). */
export const MAX_AUDIENCES = 16;
/** Longest custom claims, as JSON. They must fit into headers, together with everything else. */
export const MAX_CLAIMS_BYTES = 4096;

/** What no entry may set: these say who the token is of, for whom, and until when. */
export const reservedClaims: readonly string[] = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'cnf'];

/** A token that was signed. */
export interface SignedToken {
  readonly token: string;
  /** Milliseconds since the epoch, whole seconds. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/**
 * Signs a JWT-SVID (JWT-SVID.md). Whoever receives it can pass it on, so it is short-lived, and best meant for one audience.
 * What was signed is looked at once more, as a verifier would.
 *
 * @throws AppError `invalid` for no, too many or overlong audiences, an identity without a path, a lifetime below one second,
 *   or claims that are reserved or too long
 */
export async function signJwtSvid(o: {
  readonly id: SpiffeId;
  /** Who it is for: 1 to 16 names of 1 to 1024 bytes; empty names and repeated ones are left out. */
  readonly audience: readonly string[];
  readonly kid: string;
  readonly privateKey: TokenKey;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly ttlSeconds: number;
  /** Milliseconds since the epoch: an end that this token must not have passed, like that of the key. Default none. */
  readonly notAfter?: number;
  /** Names this token in logs. Default none. */
  readonly jti?: string;
  /** Where the keys are found, for validators that know OpenID Connect. Default none. */
  readonly issuer?: string;
  /** More claims, JSON. */
  readonly claims?: Readonly<Record<string, unknown>>;
}): Promise<SignedToken> {
  const audience = checkAudiences(o.audience);
  checkClaims(o.claims ?? {});
  if (o.id.path === '') throw new AppError('invalid', 'A trust domain has no JWT-SVID; only its workloads do.');
  const { iat, exp } = tokenValidity(o);
  const claims = {
    ...o.claims,
    sub: o.id.uri,
    aud: audience,
    iat,
    exp,
    ...(o.issuer === undefined ? {} : { iss: o.issuer }),
    ...(o.jti === undefined ? {} : { jti: o.jti }),
  };
  const token = await signCompact({ alg: algorithm, kid: o.kid, typ: 'JWT' }, claims, o.privateKey);
  checkOwnToken(token, o.id, audience, exp);
  return { token, issuedAt: iat * 1000, expiresAt: exp * 1000 };
}

/**
 * Whole seconds since the epoch from which and until when a token holds.
 *
 * @throws AppError `invalid` for a lifetime that is no whole number of seconds; `unavailable` when `notAfter` has passed
 */
export function tokenValidity(o: { readonly now: number; readonly ttlSeconds: number; readonly notAfter?: number }): {
  readonly iat: number;
  readonly exp: number;
} {
  if (!Number.isSafeInteger(o.ttlSeconds) || o.ttlSeconds < 1) {
    throw new AppError('invalid', 'The lifetime of a token must be a whole number of seconds, at least one.');
  }
  const iat = Math.floor(o.now / 1000);
  const exp = Math.min(iat + o.ttlSeconds, Math.floor((o.notAfter ?? Number.POSITIVE_INFINITY) / 1000));
  if (exp <= iat) throw new AppError('unavailable', 'The key that signs tokens has ended.');
  return { iat, exp };
}

/**
 * Verifies a JWT-SVID with the keys of its subject's trust domain: by ECDSA or RSA, as the key says (JWT-SVID.md §2.1). No
 * leeway for expiry.
 *
 * @throws AppError `token-refused`, with one text for every reason: a caller who guesses learns nothing. The reason is the `cause`.
 */
export async function verifyJwtSvid(
  token: string,
  o: {
    /** Names of the verifier: the token must be for one of them. */
    readonly audiences: readonly string[];
    readonly bundle: TrustBundle;
    /** Milliseconds since the epoch. */
    readonly now: number;
  },
): Promise<{
  readonly id: SpiffeId;
  readonly audience: readonly string[];
  readonly expiresAt: number;
  /** All claims, as they stand in the token. */
  readonly claims: Readonly<Record<string, unknown>>;
}> {
  try {
    const header = readHeader(token, ['JWT', 'JOSE', undefined]);
    const key = findKey(header, readSubject(token), o.bundle);
    const { payload } = await jwtVerify(token, key, {
      algorithms: [header.alg],
      audience: [...o.audiences],
      currentDate: new Date(o.now),
      clockTolerance: 0,
      requiredClaims: ['sub', 'aud', 'exp'],
    });
    return Object.freeze({
      id: readWorkload(payload.sub),
      audience: readAudience(payload.aud),
      expiresAt: (payload.exp ?? 0) * 1000,
      claims: Object.freeze(payload),
    });
  } catch (cause) {
    throw new AppError('token-refused', 'The JWT-SVID is not valid here.', { cause });
  }
}

/**
 * Whether a bearer token claims to be a JWT-SVID of this trust domain: tells tokens that are Writ's business from those that
 * belong to the application. Only the claim counts, not the form, and nothing is verified: a token that names a subject of
 * ours and has another algorithm, or no signature, is ours to refuse.
 */
export function claimsJwtSvid(token: string, trustDomain: string): boolean {
  const payload = token.split('.', 3)[1];
  if (payload === undefined) return false;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    if (typeof claims !== 'object' || claims === null || !('sub' in claims) || typeof claims.sub !== 'string')
      return false;
    return claims.sub.toLowerCase().startsWith(`spiffe://${trustDomain}/`);
  } catch {
    return false;
  }
}

/** @throws AppError `invalid` */
export function checkAudience(audience: string): void {
  if (audience === '' || Buffer.byteLength(audience) > MAX_AUDIENCE_BYTES) {
    throw new AppError('invalid', `An audience has 1 to ${MAX_AUDIENCE_BYTES} bytes.`);
  }
}

/**
 * Without empty names and repetitions.
 *
 * @throws AppError `invalid` when none is left, or too many, or one is too long
 */
export function checkAudiences(audience: readonly string[]): readonly string[] {
  const names = [...new Set(audience)].filter((name) => name !== '');
  if (names.length === 0) throw new AppError('invalid', 'A token is for somebody: give at least one audience.');
  if (names.length > MAX_AUDIENCES) {
    throw new AppError('invalid', `A token has at most ${MAX_AUDIENCES} audiences.`);
  }
  for (const name of names) checkAudience(name);
  return names;
}

/** @throws AppError `invalid` for claims that are reserved or too long */
export function checkClaims(claims: Readonly<Record<string, unknown>>): void {
  const reserved = Object.keys(claims).find((name) => reservedClaims.includes(name));
  if (reserved !== undefined) {
    throw new AppError('invalid', `The claim ${reserved} is set by Writ. Give the custom claim another name.`);
  }
  if (Buffer.byteLength(JSON.stringify(claims)) > MAX_CLAIMS_BYTES) {
    throw new AppError('invalid', `Custom claims have at most ${MAX_CLAIMS_BYTES} bytes as JSON.`);
  }
}

/** What is wrong here is a defect in Writ; the token must not leave the house. */
function checkOwnToken(token: string, id: SpiffeId, audience: readonly string[], exp: number): void {
  const claims = ownClaims(token);
  const aud: unknown = claims.aud;
  const asOrdered =
    claims.sub === id.uri && claims.exp === exp && Array.isArray(aud) && aud.join('\0') === audience.join('\0');
  if (!asOrdered) throw new AppError('internal', 'A JWT-SVID was signed that is not what was asked for.');
  // Whoever verifies refuses longer ones, and so would Writ.
  if (token.length > MAX_TOKEN_BYTES) {
    throw new AppError('invalid', `The token would be longer than ${MAX_TOKEN_BYTES} bytes. Ask for fewer audiences.`);
  }
}

/** The identity that the token claims, before anything is verified: it chooses the bundle, nothing else. */
function readSubject(token: string): SpiffeId {
  checkCompact(token);
  return readWorkload(decodeJwt(token).sub);
}

function readAudience(aud: unknown): readonly string[] {
  const values: unknown[] = Array.isArray(aud) ? aud : [aud];
  return Object.freeze(
    values.map((value) => {
      if (typeof value !== 'string' || value === '') throw refuse('aud');
      return value;
    }),
  );
}

function findKey(header: TokenHeader, subject: SpiffeId, bundle: TrustBundle): KeyObject {
  if (subject.trustDomain !== bundle.trustDomain) throw refuse('trust domain');
  const jwk = jwtKeys(bundle).find((key) => key.kid === header.kid);
  if (jwk === undefined) throw refuse('unknown kid');
  return keyFor(header, importTokenKey(jwk));
}
