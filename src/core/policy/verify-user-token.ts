import { decodeProtectedHeader, jwtVerify } from 'jose';
import { AppError } from '../../base/errors.ts';
import { checkCompact, refuse } from '../identity/jws.ts';
import { isJsonObject, parseStrictJson } from '../identity/strict-json.ts';
import { tokenAlgorithms } from '../identity/token-key.ts';
import type { IssuerKey } from './jwks.ts';
import type { UserTokenRule } from './user-token-rules.ts';

/** Longest token of an end user that is looked at. Those that list groups have 4 KiB; a head has 32. */
export const MAX_USER_TOKEN_BYTES = 16 * 1024;
/** By which the issuer's clock may be wrong, in seconds; Envoy's default. */
export const CLOCK_LEEWAY_SECONDS = 60;
/** Keys that a token without a key id is tried with: each is a verification, and anybody can send such a token. */
const MAX_TRIES = 8;

export interface UserToken {
  readonly issuer: string;
  readonly subject: string;
  /** Until when it holds, leeway included; milliseconds since the epoch. */
  readonly expiresAt: number;
  /** As they stand in the token. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** In base64url. */
  readonly payload: string;
}

/** The issuer that a token names, before anything is verified: it chooses the rule, nothing else. Undefined for none. */
export function claimedIssuer(token: string): string | undefined {
  try {
    checkCompact(token, MAX_USER_TOKEN_BYTES);
    const payload = parseStrictJson(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    const issuer = isJsonObject(payload) ? payload.get('iss') : undefined;
    return typeof issuer === 'string' ? issuer : undefined;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

/**
 * Verifies a token of an end user (RFC 7519 §7.2, RFC 8725): signed by a key of the issuer in the way that the key is for,
 * by the issuer, for one of the audiences where there are any, and in force. One without an end is refused.
 *
 * The header says which key; nothing else that is in it is believed. A key or a URL that it brings along (`jwk`, `x5c`, `jku`,
 * `x5u`) is never looked at, and one that asks for more than a signature (`crit`, `b64`, `enc`) is refused.
 *
 * @param now milliseconds since the epoch
 * @throws AppError `token-refused`, with one text for every reason: a caller who guesses learns nothing. The reason is the `cause`.
 */
export async function verifyUserToken(token: string, by: UserTokenRule, now: number): Promise<UserToken> {
  try {
    return await verify(token, by, now);
  } catch (cause) {
    throw new AppError('token-refused', 'The token is not valid here.', { cause });
  }
}

async function verify(token: string, { rule, keys }: UserTokenRule, now: number): Promise<UserToken> {
  const { alg, kid } = readHeader(token);
  const [, body = ''] = token.split('.');
  // A member that stands twice has two values for two readers.
  if (!isJsonObject(parseStrictJson(utf8(body)))) throw refuse('payload');
  const fitting = keysFor(keys, alg, kid);
  if (fitting.length === 0) throw refuse('no key of the issuer fits');
  const claims = await firstGood(fitting, async ({ verifying }) => {
    const { payload } = await jwtVerify(token, verifying.key, {
      algorithms: [alg],
      issuer: rule.issuer,
      ...(rule.audiences.length > 0 && { audience: [...rule.audiences] }),
      currentDate: new Date(now),
      clockTolerance: CLOCK_LEEWAY_SECONDS,
      requiredClaims: ['exp'],
    });
    return payload;
  });
  const { sub, exp = 0 } = claims;
  if (sub !== undefined && typeof sub !== 'string') throw refuse('sub');
  return Object.freeze({
    issuer: rule.issuer,
    subject: sub ?? '',
    expiresAt: (exp + CLOCK_LEEWAY_SECONDS) * 1000,
    claims: Object.freeze(claims),
    payload: body,
  });
}

function readHeader(token: string): { readonly alg: string; readonly kid: string | undefined } {
  checkCompact(token, MAX_USER_TOKEN_BYTES);
  if (!isJsonObject(parseStrictJson(utf8(token.split('.')[0] ?? '')))) throw refuse('header');
  const header = decodeProtectedHeader(token);
  for (const name of ['crit', 'b64', 'enc', 'zip']) if (name in header) throw refuse(`header ${name}`);
  if (header.alg === undefined || !tokenAlgorithms.has(header.alg)) throw refuse('alg');
  const kid: unknown = header.kid;
  if (kid !== undefined && typeof kid !== 'string') throw refuse('kid');
  return { alg: header.alg, kid };
}

/** A key without a name may be the one; a token without one is tried with a few. */
function keysFor(keys: readonly IssuerKey[], alg: string, kid: string | undefined): readonly IssuerKey[] {
  return keys
    .filter((key) => key.verifying.algorithms.includes(alg))
    .filter((key) => kid === undefined || key.kid === undefined || key.kid === kid)
    .slice(0, MAX_TRIES);
}

/** Rejects with what the last one said. */
async function firstGood<T, U>(values: readonly T[], attempt: (value: T) => Promise<U>): Promise<U> {
  let failure: unknown = refuse('nothing to try');
  for (const value of values) {
    try {
      return await attempt(value);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

function utf8(part: string): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(part, 'base64url'));
}
