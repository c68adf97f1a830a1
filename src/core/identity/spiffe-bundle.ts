import type { JWK } from 'jose';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from './bundle.ts';
import { MAX_CERTIFICATE_BYTES, parseCertificate } from './certificate.ts';
import { checkAuthority } from './profile.ts';
import { parseTrustDomain } from './spiffe-id.ts';
import type { StrictJson, StrictJsonObject } from './strict-json.ts';
import { isJsonObject, parseStrictJson } from './strict-json.ts';
import { importTokenKey } from './token-key.ts';

/** Longest bundle document that is read: 64 roots and 64 RSA keys need 200 KiB. */
export const MAX_SPIFFE_BUNDLE_BYTES = 512 * 1024;
/** Keys in one document, whatever their use. */
const MAX_KEYS = 256;
/** Of each kind that are kept: as many as a bundle may carry to sidecars and agents. */
const MAX_ROOTS = 64;
const MAX_JWT_KEYS = 64;
const MAX_KID_CHARACTERS = 256;
const MAX_SEQUENCE = 2n ** 64n - 1n;
const MAX_HINT_SECONDS = 2 ** 31 - 1;

/** What a document in SPIFFE bundle format says. Untrusted until the connection that it came over was. */
export interface SpiffeBundleDocument {
  /** What verifies identities of the trust domain; may be empty: then all its keys are revoked. */
  readonly roots: readonly Buffer[];
  readonly jwks: TrustBundle['jwks'];
  /** Grows when the content changes, in the counting of its issuer; undefined when it does not count. Up to 2^64 - 1. */
  readonly sequence: bigint | undefined;
  /** How often to ask again; undefined when the issuer does not say. */
  readonly refreshHintSeconds: number | undefined;
  /** Why keys were left out, one text each: of another use, or none that Writ can verify with. */
  readonly ignored: readonly string[];
}

/**
 * Reads the bundle of one trust domain (SPIFFE_Trust_Domain_and_Bundle.md §4): a JWK Set. Which trust domain that is comes
 * from the configuration, never from the document (SPIFFE_Federation.md §7.2).
 *
 * A document that is not whole is refused whole: JSON that means two things (a key that comes twice, §5.1.1), no `keys`, a
 * sequence that is no integer. A key that cannot be used is left out (§4.1.3), and said: it takes trust away and never
 * adds any, and refusing the rest for it would keep keys in force that its issuer has revoked.
 *
 * @throws AppError `invalid`
 */
export function parseSpiffeBundle(document: Uint8Array | string, trustDomain: string): SpiffeBundleDocument {
  parseTrustDomain(trustDomain);
  const top = parseStrictJson(textOf(document));
  if (!isJsonObject(top)) throw refuse('it is not a JSON object');
  const keys = top.get('keys');
  if (!Array.isArray(keys)) throw refuse('it has no array "keys"');
  if (keys.length > MAX_KEYS) throw refuse(`it has more than ${MAX_KEYS} keys`);
  const found = new Found(trustDomain);
  for (const [index, key] of (keys as readonly StrictJson[]).entries()) found.take(key, index);
  return Object.freeze({
    roots: Object.freeze(found.roots),
    jwks: Object.freeze({ keys: found.keys }),
    sequence: readSequence(top.get('spiffe_sequence')),
    refreshHintSeconds: readHint(top.get('spiffe_refresh_hint')),
    ignored: Object.freeze(found.ignored),
  });
}

function textOf(document: Uint8Array | string): string {
  const size = typeof document === 'string' ? Buffer.byteLength(document) : document.length;
  if (size > MAX_SPIFFE_BUNDLE_BYTES) throw refuse(`it is longer than ${MAX_SPIFFE_BUNDLE_BYTES} bytes`);
  if (typeof document === 'string') return document;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(document);
  } catch (cause) {
    throw new AppError('invalid', 'This is not a SPIFFE bundle: it is not UTF-8.', { cause });
  }
}

function readSequence(value: StrictJson | undefined): bigint | undefined {
  if (value === undefined) return undefined;
  const sequence = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof sequence !== 'bigint' || sequence < 0n || sequence > MAX_SEQUENCE) {
    throw refuse('its spiffe_sequence is not an integer from 0 to 2^64 - 1');
  }
  return sequence;
}

/** A hint that makes no sense is none; the floor and the cap are the poller's. */
function readHint(value: StrictJson | undefined): number | undefined {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value <= 0) return undefined;
  return Math.min(value, MAX_HINT_SECONDS);
}

/** The keys that can be used, as they are found. */
class Found {
  readonly roots: Buffer[] = [];
  readonly keys: JWK[] = [];
  readonly ignored: string[] = [];
  readonly #trustDomain: string;
  readonly #kids = new Set<string>();

  constructor(trustDomain: string) {
    this.#trustDomain = trustDomain;
  }

  take(key: StrictJson, index: number): void {
    try {
      if (!isJsonObject(key)) throw unusable('it is not an object');
      if (typeof key.get('kty') !== 'string') throw unusable('it has no "kty"');
      const use = key.get('use');
      if (use === 'x509-svid') this.#takeRoot(key);
      else if (use === 'jwt-svid' || use === 'wit-svid') this.#takeKey(key, use);
      else throw unusable(use === undefined ? 'it has no "use"' : 'its "use" is not known here');
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
      this.ignored.push(`keys[${index}]: ${error.message}`);
    }
  }

  /** X509-SVID.md §6.2: without x5c it is ignored, and so is all but the first value. */
  #takeRoot(key: StrictJsonObject): void {
    const x5c = key.get('x5c');
    const [first] = Array.isArray(x5c) ? (x5c as readonly StrictJson[]) : [];
    if (typeof first !== 'string') throw unusable('it has no certificate in "x5c"');
    const der = base64(first);
    const certificate = parseCertificate(der);
    checkAuthority(certificate, this.#trustDomain);
    if (this.roots.some((root) => root.equals(certificate.der))) return;
    if (this.roots.length === MAX_ROOTS) throw unusable(`there are ${MAX_ROOTS} roots before it`);
    this.roots.push(certificate.der);
  }

  /** Only what is public and known is kept: whoever publishes a private key does not have it spread by us. */
  #takeKey(key: StrictJsonObject, use: 'jwt-svid' | 'wit-svid'): void {
    const kid = key.get('kid');
    if (typeof kid !== 'string' || kid === '' || kid.length > MAX_KID_CHARACTERS) throw unusable('it has no "kid"');
    // WIT-SVID.md: unique in the whole bundle. The second would make the first ambiguous; which was there first decides.
    if (this.#kids.has(kid)) throw unusable('its "kid" is that of a key before it');
    const alg = key.get('alg');
    if (alg !== undefined && typeof alg !== 'string') throw unusable('its "alg" is not a text');
    const jwk: JWK = Object.freeze({ ...publicPart(key), kid, use, ...(alg !== undefined && { alg }) });
    importTokenKey(jwk);
    if (this.keys.length === MAX_JWT_KEYS) throw unusable(`there are ${MAX_JWT_KEYS} JWT keys before it`);
    this.#kids.add(kid);
    this.keys.push(jwk);
  }
}

/** RFC 7518 §6.2.1 and §6.3.1. */
function publicPart(key: StrictJsonObject): JWK {
  const members = key.get('kty') === 'EC' ? ['kty', 'crv', 'x', 'y'] : ['kty', 'n', 'e'];
  if (key.get('kty') !== 'EC' && key.get('kty') !== 'RSA') throw unusable('its "kty" is neither EC nor RSA');
  const jwk: Record<string, string> = {};
  for (const name of members) {
    const value = key.get(name);
    if (typeof value !== 'string') throw unusable(`it has no "${name}"`);
    jwk[name] = value;
  }
  return jwk as JWK;
}

/** RFC 7517 §4.7: base64, not base64url. */
function base64(text: string): Buffer {
  if (text.length > 2 * MAX_CERTIFICATE_BYTES || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    throw unusable('its certificate is not base64');
  }
  return Buffer.from(text, 'base64');
}

function unusable(why: string): AppError {
  return new AppError('invalid', `The key is left out: ${why}.`);
}

function refuse(why: string): AppError {
  // Nothing of the document is repeated: it is attacker-controlled and can be long.
  return new AppError('invalid', `This is not a SPIFFE bundle: ${why}.`);
}
