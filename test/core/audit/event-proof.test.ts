import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { entryOf } from '../../../src/control/ledger/log/entry.ts';
import { encodeEvent } from '../../../src/core/audit/canonical.ts';
import { encodeCheckpoint } from '../../../src/core/audit/checkpoint.ts';
import type { EventEvidence } from '../../../src/core/audit/event-proof.ts';
import { encodeEvidence, parseEvidence, verifyEventProof } from '../../../src/core/audit/event-proof.ts';
import { LogAudit } from '../../../src/core/audit/log-audit.ts';
import type { LogPolicy } from '../../../src/core/audit/log-policy.ts';
import { formatLogPolicy, parseLogPolicy } from '../../../src/core/audit/log-policy.ts';
import type { LogRecord } from '../../../src/core/audit/log-record.ts';
import { encodeLogRecord, isBoundTo, isSignedBySidecar, parseLogRecord } from '../../../src/core/audit/log-record.ts';
import { leafHash } from '../../../src/core/audit/merkle.ts';
import { encodeNote, signNote } from '../../../src/core/audit/note.ts';
import type { TlogProof } from '../../../src/core/audit/tlog-proof.ts';
import { encodeProof, parseProof } from '../../../src/core/audit/tlog-proof.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { logKeys, logWorld, openTestLog, SignedLedger } from '../../support/audit-log.ts';
import { expectAppError } from '../../support/errors.ts';
import { testSidecar } from '../../support/test-sidecar.ts';

let policy: LogPolicy;
let bytes: Buffer;
let proof: TlogProof;
let evidence: EventEvidence;
let other: EventEvidence;
const events = [decision({ path: '/a' }), decision({ path: '/b' }), decision({ path: '/c' })];

beforeAll(async () => {
  const sidecars = [
    testSidecar(shippingIdentity('sidecar-a', 'orders')),
    testSidecar(shippingIdentity('sidecar-b', 'web')),
  ];
  const world = logWorld({ ledger: new SignedLedger(sidecars) });
  const { log, sequencer } = await openTestLog(world);
  world.ledger.addMany(5);
  world.ledger.add(events);
  world.ledger.add([decision()], 1);
  await sequencer.step();
  policy = parseLogPolicy(Buffer.from(formatLogPolicy(log.vkeys)));
  bytes = await log.prove('sidecar-a.1.7');
  proof = parseProof(bytes);
  evidence = parseEvidence(proof.extra ?? Buffer.alloc(0));
  other = parseEvidence(parseProof(await log.prove('sidecar-b.1.1')).extra ?? Buffer.alloc(0));
});

const withEvidence = (change: Partial<EventEvidence>) =>
  encodeProof({ ...proof, extra: encodeEvidence({ ...evidence, ...change }) });
const refused = (run: Buffer, why: RegExp) => expectAppError(() => verifyEventProof(run, policy), 'proof-refused', why);

describe('a .tlog-proof', () => {
  it('audit 22: has the form of the standard', () => {
    const lines = bytes.toString().split('\n');
    expect(lines.slice(0, 3)).toEqual([
      'c2sp.org/tlog-proof@v1',
      expect.stringMatching(/^extra [A-Za-z0-9+/]+=*$/),
      'index 5',
    ]);
    expect(lines.slice(3, 7)).toEqual([...Array(3).fill(expect.stringMatching(/^.{44}$/)), '']);
    expect(bytes.subarray(bytes.indexOf('\n\n') + 2)).toEqual(proof.checkpoint);
    expect(encodeProof(proof)).toEqual(bytes);
  });

  it('audit 22: proves the event, and who recorded it', () => {
    expect(verifyEventProof(bytes, policy)).toMatchObject({
      event: events[1],
      sequence: 7,
      leaf: 5,
      record: { spiffeId: 'spiffe://example.org/ns/shop/sa/orders' },
      checkpoint: { size: 7, witnesses: [] },
    });
  });

  it('audit 3, 22: does not prove another event, another place or another batch', async () => {
    await refused(withEvidence({ event: encodeEvent(decision()) }), /the batch does not hold this event in this place/);
    await refused(withEvidence({ position: 0 }), /the batch does not hold this event in this place/);
    await refused(withEvidence({ position: 4096 }), /the batch does not hold this event in this place/);
    await refused(withEvidence({ path: evidence.path.slice(1) }), /the batch does not hold this event in this place/);
    await refused(withEvidence({ record: other.record }), /does not hold this batch in this place/);
    await refused(encodeProof({ ...proof, index: 4 }), /does not hold this batch in this place/);
    await refused(encodeProof({ ...proof, index: 7 }), /does not hold this batch in this place/);
    await refused(encodeProof({ ...proof, path: proof.path.slice(1) }), /does not hold this batch in this place/);
    await refused(encodeProof({ ...proof, extra: undefined }), /does not say which event it is about/);
  });

  it('does not prove who recorded it by the certificate or signature of another', async () => {
    await refused(withEvidence({ certificate: other.certificate }), /is not that of the sidecar/);
    await refused(withEvidence({ keySignature: other.keySignature }), /is not that of the sidecar/);
    await refused(
      withEvidence({ certificate: other.certificate, keySignature: other.keySignature }),
      /is not that of the sidecar/,
    );
  });

  it('proves nothing by a log that holds what no sidecar has signed, or names another than who has', async () => {
    const record = parseLogRecord(evidence.record);
    const forged = async (change: Partial<LogRecord>, withWhat: Partial<EventEvidence> = {}) => {
      const entry = encodeLogRecord({ ...record, ...change });
      const { signers, origin } = await logKeys();
      const text = encodeCheckpoint({ origin, size: 1, root: leafHash(entry) });
      const extra = encodeEvidence({ ...evidence, record: entry, ...withWhat });
      return encodeProof({ extra, index: 0, path: [], checkpoint: encodeNote(signNote(text, signers)) });
    };
    expect(verifyEventProof(await forged({}), policy).leaf).toBe(0);
    await refused(await forged({ signature: Buffer.alloc(64) }), /is not signed by the key that it names/);
    await refused(await forged({ spiffeId: 'spiffe://example.org/ns/shop/sa/web' }), /is not that of the sidecar/);
    await refused(await forged({ certificate: Buffer.alloc(32) }), /is not that of the sidecar/);
    await refused(
      await forged({ batchKey: parseLogRecord(other.record).batchKey }),
      /is not signed by the key that it names/,
    );
  });

  it('is refused with an AppError, or proves the very same, whatever was changed', () => {
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, xor, isCut) => {
        const changed = Buffer.from(bytes);
        changed.writeUInt8((changed[at] ?? 0) ^ xor, at);
        const run = isCut ? Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]) : changed;
        let proven: unknown;
        try {
          proven = verifyEventProof(run, policy).event;
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
        // A signature line that became one of an unknown key may be left over.
        expect([undefined, events[1]]).toContainEqual(proven);
      }),
      { numRuns: 1500 },
    );
  });

  it.each([
    ['its first line is not c2sp.org/tlog-proof@v1', (text: string) => text.replace('@v1', '@v2')],
    ['it holds no checkpoint', (text: string) => text.replaceAll('\n\n', '\n')],
    ['it does not say at which index the leaf stands', (text: string) => text.replace('index 5', 'index 05')],
    ['it does not say at which index the leaf stands', (text: string) => text.replace('index 5', 'index -5')],
    ['its extra data are malformed', (text: string) => text.replace('extra e', 'extra -')],
    ['its path holds something that is no hash', (text: string) => text.replace(/index 5\n.{4}/, 'index 5\n')],
    [
      'its path has more than 63 hashes',
      (text: string) => text.replace('index 5', `index 5${`\n${'A'.repeat(43)}=`.repeat(64)}`),
    ],
    ['it is longer than', (text: string) => text + 'a'.repeat(2_000_000)],
  ])('audit 22: is refused when %s', async (why, change) => {
    await expectAppError(
      () => parseProof(Buffer.from(change(bytes.toString()))),
      'proof-refused',
      new RegExp(`^The proof is refused: ${why}`),
    );
  });
});

describe('a log entry', () => {
  it('audit 10: is read as it was written, and is signed by the sidecar', () => {
    const record = parseLogRecord(evidence.record);
    expect(encodeLogRecord(record)).toEqual(evidence.record);
    expect(evidence.record.length).toBeLessThan(1024);
    expect(JSON.parse(evidence.record.toString())).toMatchObject({
      v: 1,
      batch: { instance: 'sidecar-a', firstSeq: 6, count: 3 },
    });
    expect(isSignedBySidecar(record)).toBe(true);
    expect(isBoundTo(record, evidence.certificate, evidence.keySignature)).toBe(true);
    expect(isSignedBySidecar({ ...record, header: other.record })).toBe(false);
  });

  it('has one spelling: whatever else is refused with an AppError', () => {
    fc.assert(
      fc.property(fc.nat(evidence.record.length - 1), fc.nat(255), fc.boolean(), (at, byte, isInserted) => {
        const changed = Buffer.concat([
          evidence.record.subarray(0, at),
          Buffer.of(byte),
          evidence.record.subarray(isInserted ? at : at + 1),
        ]);
        try {
          expect(encodeLogRecord(parseLogRecord(changed))).toEqual(changed);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('that builds on another batch than the one before it is found, although its sidecar has signed it', async () => {
    const sidecar = testSidecar(shippingIdentity('sidecar-c'));
    const ledger = new SignedLedger([sidecar]);
    ledger.add();
    const { header } = ledger.batches[0] ?? {};
    // The sidecar goes on as if its first batch had been another one.
    sidecar.sent(Buffer.from('another'), 0);
    ledger.add();
    const entries = await Promise.all(ledger.batches.map(async (batch) => entryOf(batch, await ledger.keyOf(1))));
    const audit = new LogAudit();
    audit.add(entries[0] ?? Buffer.alloc(0));
    expect(header?.count).toBe(1);
    await expectAppError(
      () => audit.add(entries[1] ?? Buffer.alloc(0)),
      'proof-refused',
      /\(epoch 1, event 2\) does not follow what is there of it/,
    );
  });

  it('that does not follow the batch of its sidecar before it is found', async () => {
    const audit = new LogAudit();
    await expectAppError(
      () => audit.add(evidence.record),
      'proof-refused',
      /^Entry 0 .* \(epoch 1, event 6\) does not follow what is there of it, which asks for event 1/,
    );
    await expectAppError(() => audit.add(Buffer.from('{}')), 'proof-refused', /^Entry 0 of the log is refused/);
    audit.add(other.record);
    await expectAppError(() => audit.add(other.record), 'proof-refused', /which asks for epoch 1, event 2/);
    const unsigned = { ...parseLogRecord(other.record), signature: Buffer.alloc(64) };
    await expectAppError(
      () => new LogAudit().add(encodeLogRecord(unsigned)),
      'proof-refused',
      /is not signed by the key that it names/,
    );
    expect(audit.findings()).toMatchObject({ size: 1, events: 1, newEpochs: 0 });
  });
});
