import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync } from 'node:crypto';

/**
 * What the rows of `idempotency.ts` are protected with. An answer may hold a secret that is stored nowhere else, such as a
 * join token, so it is sealed with a key that the database does not hold: HKDF-SHA-256 (RFC 5869) of the token that the caller
 * presents and of the Idempotency-Key, salted per row. A copy of the database alone gives neither the answer nor the request;
 * whoever has the copy, and the admin token, and the key, gets what the caller got.
 *
 * Not solved: a token that can be guessed lets the holder of a copy try guesses offline. The tokens that Writ draws have 256 bits.
 */
export interface RowKeys {
  readonly mac: Buffer;
  readonly seal: Buffer;
}

export interface Presented {
  /** The bearer token, as it came. Never stored, never logged. */
  readonly credential: string;
  readonly caller: string;
  /** The Idempotency-Key. */
  readonly key: string;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export function deriveRowKeys({ credential, caller, key }: Presented, salt: Buffer): RowKeys {
  const info = join(['writ idempotency 1', caller, key]);
  const bytes = Buffer.from(hkdfSync('sha256', credential, salt, info, 64));
  return { mac: bytes.subarray(0, 32), seal: bytes.subarray(32) };
}

/** Finds the row of a key without storing the key. */
export function hashKey(key: string): string {
  return createHash('sha256').update(key, 'utf8').digest('hex');
}

/** Authenticates the parts of a request; no two lists of parts give the same input. */
export function macRequest(keys: RowKeys, parts: readonly string[]): Buffer {
  return createHmac('sha256', keys.mac).update(join(parts)).digest();
}

/** AES-256-GCM; the request that it answers is authenticated with it. */
export function sealAnswer(keys: RowKeys, nonce: Buffer, answer: string, request: Buffer): string {
  const cipher = createCipheriv('aes-256-gcm', keys.seal, nonce);
  cipher.setAAD(request);
  const sealed = Buffer.concat([cipher.update(answer, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64');
}

/** `undefined` when it was changed, or was sealed with other keys or for another request. */
export function openAnswer(keys: RowKeys, sealed: string, request: Buffer): string | undefined {
  const bytes = Buffer.from(sealed, 'base64');
  if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', keys.seal, bytes.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(request);
  decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
  } catch {
    return undefined;
  }
}

function join(parts: readonly string[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part, 'utf8');
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}
