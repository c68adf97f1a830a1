import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeFrames, FRAME_BYTES, findFrame, readFrame } from '../../../src/base/journal/frame.ts';

const payloads = [Buffer.from('one'), Buffer.alloc(0), Buffer.from('three')];
const bytes = encodeFrames(payloads, { first: 2 ** 40, durable: 2 ** 40 - 3, salt: 7 });

function readAll(buffer: Buffer, salt: number): { number: number; durable: number; payload: string }[] {
  const found = [];
  for (let offset = 0; ; ) {
    const frame = readFrame(buffer, offset, salt);
    if (frame === undefined) return found;
    found.push({ number: frame.number, durable: frame.durable, payload: frame.payload.toString() });
    offset = frame.end;
  }
}

describe('a frame', () => {
  it('gives back what was written, with its number and what was durable before it', () => {
    expect(readAll(bytes, 7)).toEqual([
      { number: 2 ** 40, durable: 2 ** 40 - 3, payload: 'one' },
      { number: 2 ** 40 + 1, durable: 2 ** 40 - 3, payload: '' },
      { number: 2 ** 40 + 2, durable: 2 ** 40 - 3, payload: 'three' },
    ]);
  });

  it('is not read with another salt', () => {
    expect(readAll(bytes, 8)).toEqual([]);
  });

  it('is not read after any single bit of it has changed', () => {
    const one = encodeFrames([Buffer.from('payload')], { first: 5, durable: 4, salt: 1 });
    for (let bit = 0; bit < one.length * 8; bit++) {
      const changed = Buffer.from(one);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(readFrame(changed, 0, 1), `bit ${bit}`).toBeUndefined();
    }
  });

  it('is not read when any of its end is missing', () => {
    for (let length = 0; length < FRAME_BYTES + 3; length++) {
      expect(readFrame(bytes.subarray(0, length), 0, 7)).toBeUndefined();
    }
  });

  it('is never found in random bytes, and looking for it never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (random, offset) => {
        expect(readFrame(Buffer.from(random), offset, 3)).toBeUndefined();
        const search = { offset, lowest: 0, highest: Number.MAX_SAFE_INTEGER, salt: 3 };
        expect(findFrame(Buffer.from(random), search)).toBeUndefined();
      }),
    );
  });

  it('is found behind a damaged region, wherever that ends', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (garbage) => {
        const buffer = Buffer.concat([garbage, bytes]);
        const found = findFrame(buffer, { offset: 0, lowest: 2 ** 40, highest: 2 ** 40 + 10, salt: 7 });
        expect(found?.offset).toBe(garbage.length);
      }),
    );
  });

  it('is not found when its number is out of bounds, or when it proves too little', () => {
    const search = { offset: 0, lowest: 2 ** 40, highest: 2 ** 40 + 10, salt: 7 };
    expect(findFrame(bytes, { ...search, lowest: 2 ** 40 + 3 })).toBeUndefined();
    expect(findFrame(bytes, { ...search, durable: 2 ** 40 - 3 })?.offset).toBe(0);
    expect(findFrame(bytes, { ...search, durable: 2 ** 40 - 2 })).toBeUndefined();
  });
});
