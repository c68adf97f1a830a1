import type { RandomBytes } from '../../base/random.ts';

const POOL_BYTES = 4096;

/**
 * Draws random bytes in large pieces and hands them out in small ones, each once: a call into OpenSSL costs as much for 16
 * bytes as for thousands, and every call through the sidecar needs some. For call and trace ids, which are public; never
 * for keys.
 */
export function pooledRandom(random: RandomBytes): RandomBytes {
  let pool: Buffer = Buffer.alloc(0);
  let used = 0;
  return (length) => {
    if (length > POOL_BYTES) return random(length);
    if (used + length > pool.length) {
      pool = random(POOL_BYTES);
      used = 0;
    }
    used += length;
    // A view: nobody else gets these bytes, so whoever has them may write to them.
    return pool.subarray(used - length, used);
  };
}
