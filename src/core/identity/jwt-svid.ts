import type { KeyObject } from 'node:crypto';
import { createPublicKey, sign } from 'node:crypto';
import type { JWK } from 'jose';
import { base64url, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from './bundle.ts';
import { jwtKeys } from './bundle.ts';
import { openDer, Tag } from './der-read.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { parseSpiffeId } from './spiffe-id.ts';

/** Longest token that is looked at. Ours have 400 bytes. */
export const MAX_TOKEN_BYTES = 8 * 1024;
export const MAX_AUDIENCE_BYTES = 1024;

/** The one algorithm that Writ signs with and takes: an attacker has nothing to choose (JWT-SVID.md §2.1). */
const algorithm = 'ES256';
const headerNames: readonly string[] = ['alg', 'kid', 'typ'];

/**
 * Signs a JWT-SVID (JWT-SVID.md) for one audience. Whoever receives it can pass it on, so it is short-lived and meant for one.
 *
 * @throws AppError `invalid` for an empty or overlong audience, an identity without a path, or a lifetime below one second
 */
export async function signJwtSvid(o: {
  readonly id: SpiffeId;
  /** Who it is for: 1 to 1024 bytes. */
  readonly audience: string;
  readonly kid: string;
  /** P-256. */
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly ttlSeconds: number;
  /** Names this token in logs. Default none. */
  readonly jti?: string;
}): Promise<{
  readonly token: string;
  /** Milliseconds since the epoch, whole seconds. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}> {
  checkAudience(o.audience);
  if (o.id.path === '') throw new AppError('invalid', 'A trust domain has no JWT-SVID; only its workloads do.');
  if (!Number.isSafeInteger(o.ttlSeconds) || o.ttlSeconds < 1) {
    throw new AppError('invalid', 'The lifetime of a token must be a whole number of seconds, at least one.');
  }
  const iat = Math.floor(o.now / 1000);
  const exp = iat + o.ttlSeconds;
  const claims = { sub: o.id.uri, aud: [o.audience], iat, exp, ...(o.jti === undefined ? {} : { jti: o.jti }) };
  const token = signCompact({ alg: algorithm, kid: o.kid, typ: 'JWT' }, claims, o.privateKey);
  return { token, issuedAt: iat * 1000, expiresAt: exp * 1000 };
}

/**
 * Verifies a JWT-SVID with the keys of its subject's trust domain. No leeway for expiry.
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
): Promise<{ readonly id: SpiffeId; readonly audience: readonly string[]; readonly expiresAt: number }> {
  try {
    const key = findKey(readHeader(token), readSubject(token), o.bundle);
    const { payload } = await jwtVerify(token, key, {
      algorithms: [algorithm],
      audience: [...o.audiences],
      currentDate: new Date(o.now),
      clockTolerance: 0,
      requiredClaims: ['sub', 'aud', 'exp'],
    });
    return Object.freeze({
      id: readWorkload(payload.sub),
      audience: readAudience(payload.aud),
      expiresAt: (payload.exp ?? 0) * 1000,
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

/**
 * JWS compact serialization (RFC 7515 §3.1) with ES256. Not by jose, which verifies below: it signs through WebCrypto, at three
 * times the cost of the signature itself. Signing has nothing to parse and nothing to choose, so there is little to get wrong.
 */
function signCompact(header: object, claims: object, privateKey: KeyObject): string {
  const input = `${base64urlJson(header)}.${base64urlJson(claims)}`;
  const signature = sign('sha256', Buffer.from(input, 'latin1'), privateKey);
  return `${input}.${joseSignature(signature).toString('base64url')}`;
}

function base64urlJson(value: object): string {
  return Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');
}

/** From X.509's form of an ECDSA signature to that of RFC 7518 §3.4: r and s, 32 bytes each. */
function joseSignature(signature: Buffer): Buffer {
  const out = Buffer.alloc(64);
  const pair = openDer(signature, { maxBytes: 72 }).next(Tag.sequence).children();
  const r = pair.next(Tag.integer).unsigned();
  const s = pair.next(Tag.integer).unsigned();
  if (r.length > 32 || s.length > 32) throw new AppError('internal', 'The key that signs JWT-SVIDs is not P-256.');
  r.copy(out, 32 - r.length);
  s.copy(out, 64 - s.length);
  return out;
}

/** @throws AppError `invalid` */
export function checkAudience(audience: string): void {
  if (audience === '' || Buffer.byteLength(audience) > MAX_AUDIENCE_BYTES) {
    throw new AppError('invalid', `An audience has 1 to ${MAX_AUDIENCE_BYTES} bytes.`);
  }
}

/** Rules of JWT-SVID.md §2 that a JOSE library does not have: no header but three, and a key id. */
function readHeader(token: string): { readonly kid: string } {
  checkCompact(token);
  const header = decodeProtectedHeader(token);
  for (const name of Object.keys(header)) if (!headerNames.includes(name)) throw refuse(`header ${name}`);
  if (header.alg !== algorithm) throw refuse('alg');
  if (header.typ !== undefined && header.typ !== 'JWT' && header.typ !== 'JOSE') throw refuse('typ');
  if (typeof header.kid !== 'string' || header.kid === '') throw refuse('kid');
  return { kid: header.kid };
}

/** The identity that the token claims, before anything is verified: it chooses the bundle, nothing else. */
function readSubject(token: string): SpiffeId {
  checkCompact(token);
  return readWorkload(decodeJwt(token).sub);
}

function readWorkload(sub: unknown): SpiffeId {
  if (typeof sub !== 'string') throw refuse('sub');
  const id = parseSpiffeId(sub);
  if (id.path === '') throw refuse('sub without a path');
  return id;
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

/** JWS compact serialization (JWT-SVID.md §1), each part in the one spelling that base64url has for it. */
function checkCompact(token: string): void {
  if (token.length > MAX_TOKEN_BYTES) throw refuse('length');
  const parts = token.split('.');
  if (parts.length !== 3) throw refuse('not compact');
  for (const part of parts) {
    // A decoder that ignores stray bits gives one signature several spellings.
    if (!/^[A-Za-z0-9_-]+$/.test(part) || base64url.encode(base64url.decode(part)) !== part) throw refuse('base64url');
  }
}

function findKey(header: { readonly kid: string }, subject: SpiffeId, bundle: TrustBundle): KeyObject {
  if (subject.trustDomain !== bundle.trustDomain) throw refuse('trust domain');
  const jwk = jwtKeys(bundle).find((key) => key.kid === header.kid);
  if (jwk === undefined) throw refuse('unknown kid');
  return importKey(jwk);
}

/** A memo of a pure function: keys in a bundle are never changed. */
const importedKeys = new WeakMap<JWK, KeyObject>();

function importKey(jwk: JWK): KeyObject {
  let key = importedKeys.get(jwk);
  if (key === undefined) {
    if (jwk.kty !== 'EC' || jwk.crv !== 'P-256' || (jwk.alg !== undefined && jwk.alg !== algorithm))
      throw refuse('key type');
    // Only the public members: a bundle that carries a private key by mistake must not make it usable here.
    const { kty, crv, x, y } = jwk;
    key = createPublicKey({ key: { kty, crv, x, y } as JWK & Record<string, unknown>, format: 'jwk' });
    importedKeys.set(jwk, key);
  }
  return key;
}

function refuse(why: string): AppError {
  return new AppError('invalid', `JWT-SVID: ${why}`);
}
