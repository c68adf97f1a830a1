import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import {
  encodeAddCheckpoint,
  MAX_ADD_CHECKPOINT_BYTES,
  parseAddCheckpoint,
} from '../../../src/core/audit/add-checkpoint.ts';
import { expectAppError } from '../../support/errors.ts';

const hash = (fill: number) => Buffer.alloc(32, fill);
const note = Buffer.from('example.com/log\n3\nAAAA\n\n— a b\n');

describe('a request to cosign', () => {
  it('audit 21: is written as c2sp.org/tlog-witness has it', () => {
    // The beginning of the example there.
    const proof = ['PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=', 'jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk='];
    const request = encodeAddCheckpoint({
      oldSize: 20852014,
      proof: proof.map((line) => Buffer.from(line, 'base64')),
      checkpoint: note,
    });
    expect(request.toString()).toBe(`old 20852014\n${proof.join('\n')}\n\n${note}`);
    expect(parseAddCheckpoint(request)).toEqual({
      oldSize: 20852014,
      proof: proof.map((line) => Buffer.from(line, 'base64')),
      checkpoint: note,
    });
  });

  it('is read as it was written, whatever it holds', () => {
    fc.assert(
      fc.property(
        fc.maxSafeNat(),
        fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { maxLength: 63 }),
        fc.string({ unit: 'grapheme' }),
        (oldSize, hashes, text) => {
          const request = { oldSize, proof: hashes.map((bytes) => Buffer.from(bytes)), checkpoint: Buffer.from(text) };
          expect(parseAddCheckpoint(encodeAddCheckpoint(request))).toEqual(request);
        },
      ),
      { seed: 21, numRuns: 300 },
    );
  });

  it.each([
    ['nothing', '', /no empty line/],
    ['no empty line', 'old 0\nabc', /no empty line/],
    ['another first line', `size 0\n\n${note}`, /"old <size>"/],
    ['a size with a zero before it', `old 01\n\n${note}`, /"old <size>"/],
    ['a size with a sign', `old -1\n\n${note}`, /"old <size>"/],
    ['a size that no number holds', `old 9007199254740993\n\n${note}`, /"old <size>"/],
    ['a space behind the size', `old 1 \n\n${note}`, /"old <size>"/],
    ['a carriage return', `old 1\r\n\r\n\n${note}`, /"old <size>"/],
    ['a short hash', `old 1\n${hash(1).subarray(1).toString('base64')}\n\n${note}`, /not a hash/],
    ['a hash in another alphabet', `old 1\n${Buffer.alloc(32, 255).toString('base64url')}\n\n${note}`, /not a hash/],
  ])('is refused with %s', async (_, body, message) => {
    await expectAppError(() => parseAddCheckpoint(Buffer.from(body)), 'invalid', message);
  });

  it('has at most 63 hashes, UTF-8, and a size that is read', async () => {
    const full = { oldSize: 1, proof: Array.from({ length: 63 }, () => hash(1)), checkpoint: note };
    expect(parseAddCheckpoint(encodeAddCheckpoint(full)).proof).toHaveLength(63);
    const tooMany = encodeAddCheckpoint({ ...full, proof: [...full.proof, hash(2)] });
    await expectAppError(() => parseAddCheckpoint(tooMany), 'invalid', /63|no empty line/);
    await expectAppError(() => parseAddCheckpoint(Buffer.from('old 0\n\n\xff', 'latin1')), 'invalid', /UTF-8/);
    const long = Buffer.alloc(MAX_ADD_CHECKPOINT_BYTES + 1, 'a');
    await expectAppError(() => parseAddCheckpoint(long), 'invalid', /longer than/);
  });

  it('is read or refused, whatever comes: nothing else ever happens', () => {
    const good = encodeAddCheckpoint({ oldSize: 7, proof: [hash(1), hash(2)], checkpoint: note });
    const mutated = fc
      .array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 6 })
      .map((changes) => {
        const bytes = Buffer.from(good);
        for (const [at, value] of changes) bytes.writeUInt8(value, at);
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        try {
          const request = parseAddCheckpoint(bytes);
          // What is read can be written again: there is one way to say it.
          expect(encodeAddCheckpoint(request)).toEqual(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          expect((error as AppError).code).toBe('invalid');
        }
      }),
      { seed: 21, numRuns: 3000 },
    );
  });
});
