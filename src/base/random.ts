import { randomBytes } from 'node:crypto';
import type { Clock } from './clock.ts';

/** Cryptographically secure bytes. Comes in as an argument wherever a test wants to know them. */
export type RandomBytes = (length: number) => Buffer;

export const secureRandom: RandomBytes = (length) => randomBytes(length);

/** UUID version 7 (RFC 9562 §5.7): 48 bits of milliseconds, then random bits; sorts by creation time. */
export function uuidv7(clock: Clock, random: RandomBytes = secureRandom): string {
  const bytes = random(16);
  bytes.writeUIntBE(clock.now(), 0, 6);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Uniform in [0, 1). For jitter, not for secrets. */
export function uniform(random: RandomBytes = secureRandom): number {
  return random(4).readUInt32BE(0) / 2 ** 32;
}

const POOL_BYTES = 4096;

/**
 * Draws random bytes in large pieces and hands them out in small ones, each once: a call into OpenSSL costs as much for 16
 * bytes as for thousands. For what is public (serial numbers, ids of calls, traces and tokens), never for keys.
 */
export function pooledRandom(random: RandomBytes): RandomBytes {
  let pool: Buffer = Buffer.alloc(0);
  let offset = 0;
  return (length) => {
    if (length > POOL_BYTES) return random(length);
    if (offset + length > pool.length) {
      pool = random(POOL_BYTES);
      offset = 0;
    }
    offset += length;
    // A view: nobody else gets these bytes, so whoever has them may write to them.
    return pool.subarray(offset - length, offset);
  };
}
