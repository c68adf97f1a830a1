import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/base/journal/crc32c.ts';

/** RFC 3720 appendix B.4, and the check value of the CRC catalogue. */
const vectors: readonly (readonly [string, Buffer, number])[] = [
  ['32 bytes of zeroes', Buffer.alloc(32), 0x8a9136aa],
  ['32 bytes of ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
  ['32 bytes ascending', Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
  ['32 bytes descending', Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c],
  ['"123456789"', Buffer.from('123456789'), 0xe3069283],
  ['nothing', Buffer.alloc(0), 0],
];

/** Bit by bit, from the definition. */
function slow(data: Uint8Array, seed = 0): number {
  let crc = ~seed;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

describe('CRC-32C', () => {
  it.each(vectors)('of %s is that of the standard', (_, data, expected) => {
    expect(crc32c(data)).toBe(expected);
  });

  it('of any part of any bytes is that of the definition', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(50), fc.nat(0xffffffff), (data, start, seed) => {
        const from = Math.min(start, data.length);
        expect(crc32c(data, from, data.length, seed)).toBe(slow(data.subarray(from), seed));
      }),
    );
  });
});
