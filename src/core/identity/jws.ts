import type { KeyObject } from 'node:crypto';
import { sign } from 'node:crypto';
import { base64url, decodeProtectedHeader } from 'jose';
import { AppError } from '../../base/errors.ts';
import { openDer, Tag } from './der-read.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { parseSpiffeId } from './spiffe-id.ts';
import type { TokenVerifyingKey } from './token-key.ts';
import { tokenAlgorithms } from './token-key.ts';

/** Longest token that is looked at. Ours have 400 bytes. */
export const MAX_TOKEN_BYTES = 8 * 1024;

/** The one algorithm that Writ signs with. What it takes depends on the key that verifies: see `importTokenKey`. */
export const algorithm = 'ES256';

/** A key that signs somewhere else: in an HSM, in a key service. */
export interface RemoteKey {
  /** ECDSA on P-256 with SHA-256 over `data`, as X.509 writes signatures (RFC 3279 §2.2.3). */
  sign(data: Buffer): Promise<Buffer>;
}

/** What tokens are signed with: a P-256 key in this process, or one elsewhere. */
export type TokenKey = KeyObject | RemoteKey;

const headerNames: readonly string[] = ['alg', 'kid', 'typ'];

/**
 * JWS compact serialization (RFC 7515 §3.1) with ES256. Not by jose, which verifies: it signs through WebCrypto, at three
 * times the cost of the signature itself. Signing has nothing to parse and nothing to choose, so there is little to get wrong.
 */
export async function signCompact(header: object, claims: object, key: TokenKey): Promise<string> {
  const input = `${base64urlJson(header)}.${base64urlJson(claims)}`;
  const data = Buffer.from(input, 'latin1');
  const signature = isRemote(key) ? await key.sign(data) : sign('sha256', data, key);
  return `${input}.${encodeSignature(signature)}`;
}

/** The claims of a token that was just signed, as whoever receives it will read them. */
export function ownClaims(token: string): Readonly<Record<string, unknown>> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
}

/** JWS compact serialization (JWT-SVID.md §1), each part in the one spelling that base64url has for it. */
export function checkCompact(token: string, maxBytes = MAX_TOKEN_BYTES): void {
  if (token.length > maxBytes) throw refuse('length');
  const parts = token.split('.');
  if (parts.length !== 3) throw refuse('not compact');
  for (const part of parts) {
    // A decoder that ignores stray bits gives one signature several spellings.
    // One that leaves a single character over decodes to nothing at all.
    if (!/^[A-Za-z0-9_-]+$/.test(part) || part.length % 4 === 1) throw refuse('base64url');
    if (base64url.encode(base64url.decode(part)) !== part) throw refuse('base64url');
  }
}

/** What a token says of how to verify it. Attacker-controlled: it finds the key, and then must be as the key wants it. */
export interface TokenHeader {
  readonly alg: string;
  readonly kid: string;
}

/** Rules that a JOSE library does not have: no header but three, no algorithm but nine, one of these types, and a key id. */
export function readHeader(token: string, types: readonly (string | undefined)[]): TokenHeader {
  checkCompact(token);
  const header = decodeProtectedHeader(token);
  for (const name of Object.keys(header)) if (!headerNames.includes(name)) throw refuse(`header ${name}`);
  if (header.alg === undefined || !tokenAlgorithms.has(header.alg)) throw refuse('alg');
  if (!types.includes(header.typ)) throw refuse('typ');
  if (typeof header.kid !== 'string' || header.kid === '') throw refuse('kid');
  return { alg: header.alg, kid: header.kid };
}

/** The subject as a workload's SPIFFE ID. */
export function readWorkload(sub: unknown): SpiffeId {
  if (typeof sub !== 'string') throw refuse('sub');
  const id = parseSpiffeId(sub);
  if (id.path === '') throw refuse('sub without a path');
  return id;
}

/**
 * The key, when the token was signed in the way that the key is for.
 *
 * @throws AppError `invalid`
 */
export function keyFor(header: TokenHeader, { key, algorithms }: TokenVerifyingKey): KeyObject {
  if (!algorithms.includes(header.alg)) throw refuse('alg does not go with the key');
  return key;
}

/** Why a token is not good: for logs, as the cause of what its bearer is told. */
export function refuse(why: string): AppError {
  return new AppError('invalid', `Token: ${why}`);
}

function isRemote(key: TokenKey): key is RemoteKey {
  return 'sign' in key;
}

function base64urlJson(value: object): string {
  return Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');
}

/** What a key service answers is not believed. */
function encodeSignature(signature: Buffer): string {
  try {
    return joseSignature(signature).toString('base64url');
  } catch (cause) {
    throw new AppError('internal', 'The key that signs tokens gave something that is no signature by a P-256 key.', {
      cause,
    });
  }
}

/** From X.509's form of an ECDSA signature to that of RFC 7518 §3.4: r and s, 32 bytes each. */
function joseSignature(signature: Buffer): Buffer {
  const out = Buffer.alloc(64);
  const pair = openDer(signature, { maxBytes: 72 }).next(Tag.sequence).children();
  const r = pair.next(Tag.integer).unsigned();
  const s = pair.next(Tag.integer).unsigned();
  if (r.length > 32 || s.length > 32) throw new AppError('internal', 'The key that signs tokens is not P-256.');
  r.copy(out, 32 - r.length);
  s.copy(out, 64 - s.length);
  return out;
}
