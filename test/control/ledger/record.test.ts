import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { LedgerRecord } from '../../../src/control/ledger/record.ts';
import { decodeRecord, encodeRecord } from '../../../src/control/ledger/record.ts';

const meta = { leaf: 3, instanceId: 'a', spiffeId: 'b', key: 1, bootId: 'c', streamId: 2, receivedAt: 9 };
const batch = {
  header: Buffer.from('header'),
  signature: Buffer.alloc(64, 1),
  events: Buffer.from('events'),
  encoding: 'zstd' as const,
};
const records: LedgerRecord[] = [
  { kind: 'batch', meta, batch },
  { kind: 'evidence', meta, batch: { ...batch, encoding: 'identity' } },
  {
    kind: 'key',
    meta: { instanceId: 'a', spiffeId: 'b', batchKey: 'ff', signature: 'AA==', certificate: 'AA==', receivedAt: 1 },
  },
];

describe('a record of the ledger', () => {
  it.each(records.map((record) => [record.kind, record] as const))('gives back a %s', (_, record) => {
    expect(decodeRecord(encodeRecord(record))).toEqual(record);
  });

  it('is refused as incompatible data, never otherwise, whatever its bytes', () => {
    const mutated = fc
      .tuple(fc.constantFrom(...records), fc.nat(500), fc.nat(255), fc.nat(200))
      .map(([record, position, byte, cut]) => {
        const bytes = encodeRecord(record);
        bytes[position % bytes.length] = byte;
        return bytes.subarray(0, Math.max(0, bytes.length - (cut % 20)));
      });
    fc.assert(
      fc.property(
        fc.oneof(
          mutated,
          fc.uint8Array({ maxLength: 60 }).map((b) => Buffer.from(b)),
        ),
        (bytes) => {
          try {
            decodeRecord(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(AppError);
            expect((error as AppError).code).toBe('incompatible-data');
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
