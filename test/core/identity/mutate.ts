import fc from 'fast-check';
import { expect } from 'vitest';
import type { ErrorCode } from '../../../src/base/errors.ts';
import { AppError } from '../../../src/base/errors.ts';

/** A valid sample with up to four bytes changed, removed, inserted or cut off, or up to 40 bits flipped. */
export function mutationsOf(sample: Uint8Array): fc.Arbitrary<Buffer> {
  const at = fc.nat({ max: sample.length - 1 });
  const byte = fc.integer({ min: 0, max: 255 });
  const edit = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), at, byte }),
    fc.record({ kind: fc.constant('flip' as const), at, byte: fc.integer({ min: 0, max: 7 }).map((bit) => 1 << bit) }),
    fc.record({ kind: fc.constant('insert' as const), at, byte }),
    fc.record({ kind: fc.constant('remove' as const), at, byte }),
    fc.record({ kind: fc.constant('cut' as const), at, byte }),
  );
  return fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) => {
    const bytes = [...sample];
    for (const { kind, at: index, byte: value } of edits) {
      if (kind === 'set') bytes[index] = value;
      else if (kind === 'flip') bytes[index] = (bytes[index] ?? 0) ^ value;
      else if (kind === 'insert') bytes.splice(index, 0, value);
      else if (kind === 'remove') bytes.splice(index, 1);
      else bytes.length = Math.min(bytes.length, index);
    }
    return Buffer.from(bytes.map((b) => b ?? 0));
  });
}

/** Runs `parse` and asserts that whatever it throws is an AppError of this code. Returns whether it was accepted. */
export function accepts(parse: () => unknown, code: ErrorCode): boolean {
  try {
    parse();
    return true;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    expect(error.code).toBe(code);
    return false;
  }
}
