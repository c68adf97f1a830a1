import { generateKeyPairSync } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import {
  batchKeyObject,
  batchKeyStatement,
  cutBatch,
  openBatch,
  rawBatchKey,
  verifyBatchSignature,
} from '../../../src/core/audit/batch.ts';
import type { BatchHeader } from '../../../src/core/audit/batch-header.ts';
import {
  batchHash,
  encodeBatchHeader,
  MAX_HEADER_BYTES,
  parseBatchHeader,
} from '../../../src/core/audit/batch-header.ts';
import { encodeEvent, MAX_EVENT_BYTES } from '../../../src/core/audit/canonical.ts';
import { merkleRoot } from '../../../src/core/audit/merkle.ts';
import { MAX_BATCH_BYTES, MAX_BATCH_EVENTS } from '../../../src/core/audit/ship.ts';
import { decision } from '../../support/audit.ts';
import { expectAppError } from '../../support/errors.ts';

const { privateKey } = generateKeyPairSync('ed25519');
const batchKey = rawBatchKey(privateKey);
const events = [encodeEvent(decision()), encodeEvent(decision()), encodeEvent({ kind: 'heartbeat', time: 1 })];
const options = { instanceId: 'sidecar-1', epoch: 2, firstSeq: 7, prevHash: Buffer.alloc(32, 5), events, privateKey };

/** A batch whose header says what it is told to, signed or not. */
function withHeader(change: Partial<BatchHeader>) {
  const { batch, header } = cutBatch(options);
  return { ...batch, header: encodeBatchHeader({ ...header, ...change }) };
}

describe('a batch', () => {
  it('has a header whose bytes were fixed once and for ever', () => {
    const header: BatchHeader = {
      version: 1,
      instanceId: 'sidecar-1',
      epoch: 2,
      firstSeq: 7,
      count: 3,
      prevHash: Buffer.alloc(32, 5),
      root: Buffer.alloc(32, 0xab),
      bytes: 900,
    };
    expect(encodeBatchHeader(header).toString('utf8')).toBe(
      `{"v":1,"instance":"sidecar-1","epoch":2,"firstSeq":7,"count":3,"prevHash":"${'05'.repeat(32)}","root":"${'ab'.repeat(32)}","bytes":900}`,
    );
    expect(parseBatchHeader(encodeBatchHeader(header))).toEqual(header);
  });

  it.each(['zstd', 'identity'] as const)('gives back its events when it travelled as %s', (encoding) => {
    const { batch, header, hash } = cutBatch({ ...options, encoding });
    expect(batch.encoding).toBe(encoding);
    expect(openBatch(batch)).toEqual(events);
    expect(header.root).toEqual(merkleRoot(events));
    expect(hash).toEqual(batchHash(batch.header));
    expect(verifyBatchSignature(batch, batchKey)).toBe(true);
  });

  it('travels uncompressed when compressing does not help', () => {
    const noise = [Buffer.from([1, 2, 3])];
    expect(cutBatch({ ...options, events: noise }).batch.encoding).toBe('identity');
  });

  it('is the same, byte for byte, however often it is cut from the same events', () => {
    expect(cutBatch(options).batch).toEqual(cutBatch(options).batch);
  });

  it('is not signed by another key, nor with another header or a signature of another length', () => {
    const { batch } = cutBatch(options);
    const other = generateKeyPairSync('ed25519').privateKey;
    expect(verifyBatchSignature(batch, rawBatchKey(other))).toBe(false);
    expect(verifyBatchSignature(withHeader({ epoch: 3 }), batchKey)).toBe(false);
    expect(verifyBatchSignature({ ...batch, signature: batch.signature.subarray(1) }, batchKey)).toBe(false);
    expect(verifyBatchSignature({ ...batch, signature: Buffer.alloc(0) }, batchKey)).toBe(false);
  });

  it.each([
    ['no events', []],
    ['too many events', Array.from({ length: MAX_BATCH_EVENTS + 1 }, () => Buffer.from('x'))],
    ['too many bytes', Array.from({ length: 30 }, () => Buffer.alloc(MAX_BATCH_BYTES / 30))],
  ])('is not cut from %s', async (_, some) => {
    await expectAppError(() => cutBatch({ ...options, events: some }), 'invalid', /^A batch holds 1 to 4096 events/);
  });

  it('audit T27: holds as many events and bytes as the limits say', () => {
    const many = Array.from({ length: MAX_BATCH_EVENTS }, () =>
      Buffer.alloc(MAX_BATCH_BYTES / MAX_BATCH_EVENTS - 4, 120),
    );
    expect(openBatch(cutBatch({ ...options, events: many }).batch)).toEqual(many);
  });
});

describe('opening a batch', () => {
  const joined = (...parts: Buffer[]) =>
    Buffer.concat(parts.flatMap((part) => [Buffer.from([0, 0, part.length >> 8, part.length & 255]), part]));
  const plain = (bytes: Buffer, count: number, size = bytes.length) => ({
    ...withHeader({ count, bytes: size }),
    events: bytes,
    encoding: 'identity' as const,
  });

  it.each([
    ['another root', withHeader({ root: Buffer.alloc(32) }), 'its Merkle root is not that of its events'],
    ['another count', withHeader({ count: 4 }), 'it holds another number of events than its header says'],
    ['fewer events than it holds', withHeader({ count: 2 }), 'it holds another number of events than its header says'],
    ['more bytes than it holds', withHeader({ bytes: 5000 }), 'its events have another size than its header says'],
    [
      'events that are not compressed',
      { ...withHeader({}), events: Buffer.from('junk') },
      'its events do not decompress',
    ],
    ['a cut-off event', plain(joined(Buffer.from('abc')).subarray(0, 6), 1), 'its last event is cut off'],
    ['a cut-off length', plain(Buffer.from([0, 0]), 1), 'its last event is cut off'],
    [
      'an event that is too long',
      plain(Buffer.from([0xff, 0, 0, 0]), 1),
      `an event is longer than ${MAX_EVENT_BYTES} bytes`,
    ],
  ])('refuses a header that claims %s', async (_, batch, why) => {
    await expectAppError(() => openBatch(batch), 'audit-refused', `The batch is refused: ${why}.`);
  });

  it('stops a decompression bomb at the size that was signed', async () => {
    const bomb = zstdCompressSync(Buffer.alloc(200 * 1024 * 1024));
    const before = process.memoryUsage().arrayBuffers;
    await expectAppError(
      () => openBatch({ ...withHeader({}), events: bomb, encoding: 'zstd' }),
      'too-large',
      'The batch is refused: its events are larger than its header says.',
    );
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * 1024 * 1024);
  });

  it('throws nothing but AppErrors, whatever was sent', () => {
    const { batch } = cutBatch(options);
    const mutate = (source: Buffer) =>
      fc.tuple(fc.nat(source.length - 1), fc.nat(255)).map(([at, byte]) => Buffer.from(source).fill(byte, at, at + 1));
    const bytes = fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b));
    const sent = fc.record({
      header: fc.oneof(
        mutate(batch.header),
        bytes,
        fc.json().map((text) => Buffer.from(text)),
        fc.constant(batch.header),
      ),
      signature: fc.oneof(bytes, fc.constant(batch.signature)),
      events: fc.oneof(mutate(batch.events), bytes),
      encoding: fc.constantFrom('zstd' as const, 'identity' as const),
    });
    fc.assert(
      fc.property(sent, (any) => {
        verifyBatchSignature(any, batchKey);
        try {
          openBatch(any);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('parsing a batch header', () => {
  const good = cutBatch(options).batch.header.toString('utf8');
  it.each([
    ['a space', good.replace(',', ', '), 'it is not in canonical form'],
    ['an unknown key', good.replace('}', ',"x":1}'), 'it is not in canonical form'],
    ['another version', good.replace('"v":1', '"v":2'), 'its version is unknown'],
    ['no instance id', good.replace('sidecar-1', ''), 'its instance id is malformed'],
    ['an instance id with a line break', good.replace('sidecar-1', 'a\\nb'), 'its instance id is malformed'],
    [
      'epoch 0',
      good.replace('"epoch":2', '"epoch":0'),
      `epoch is not a whole number from 1 to ${Number.MAX_SAFE_INTEGER}`,
    ],
    [
      'a sequence of 2^63',
      good.replace('"firstSeq":7', '"firstSeq":9223372036854775808'),
      /^Not a batch header: firstSeq is not/,
    ],
    ['a sequence that would pass 2^53', good.replace('"firstSeq":7', `"firstSeq":${2 ** 53 - 2}`), /firstSeq is not/],
    ['no events', good.replace('"count":3', '"count":0'), 'count is not a whole number from 1 to 4096'],
    ['a short hash', good.replace('0505', '05'), 'prevHash is not a hash of 32 bytes'],
    [
      'a hash in capitals',
      good.replace('"root":"', '"root":"AB').replace(/"root":"AB(..)/, '"root":"AB'),
      'root is not a hash of 32 bytes',
    ],
    ['no root', good.replace(/"root":"[0-9a-f]+"/, '"root":""'), 'root is not a hash of 32 bytes'],
    ['too much', `${good}${' '.repeat(MAX_HEADER_BYTES)}`, `it is longer than ${MAX_HEADER_BYTES} bytes`],
    ['no JSON', 'header', 'it is not JSON'],
    ['null', 'null', 'it is not an object'],
  ])('refuses %s', async (_, text, why) => {
    const message = typeof why === 'string' ? `Not a batch header: ${why}.` : why;
    await expectAppError(() => parseBatchHeader(Buffer.from(text)), 'invalid', message);
  });
});

describe('a batch key', () => {
  it('is bound by a statement that names the instance', () => {
    expect(batchKeyStatement('a', Buffer.from('key')).toString()).toBe('writ batch key v1\na\nkey');
  });

  it('has 32 bytes', async () => {
    expect(batchKeyObject(batchKey).asymmetricKeyType).toBe('ed25519');
    await expectAppError(
      () => batchKeyObject(Buffer.alloc(31)),
      'invalid',
      'A batch key is an Ed25519 key of 32 bytes.',
    );
  });
});
