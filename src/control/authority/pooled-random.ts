import type { RandomBytes } from '../../base/random.ts';

/**
 * Draws random bytes in large pieces and hands them out in small ones, each once: a call into OpenSSL costs the same for
 * 16 bytes as for thousands. For serial numbers and token ids, which are public; never for keys.
 */
export function pooledRandom(random: RandomBytes, poolBytes = 4096): RandomBytes {
  let pool: Buffer = Buffer.alloc(0);
  let used = 0;
  return (length) => {
    if (length > poolBytes) return random(length);
    if (used + length > pool.length) {
      pool = random(poolBytes);
      used = 0;
    }
    used += length;
    // A view: nobody else gets these bytes, so whoever has them may write to them.
    return pool.subarray(used - length, used);
  };
}
