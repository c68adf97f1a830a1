import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { Ledger } from '../../../src/control/ledger/ledger.ts';
import type { ProducerOptions } from '../../../src/control/ledger/producer.ts';
import { EventProducer } from '../../../src/control/ledger/producer.ts';
import { LedgerRecorder } from '../../../src/control/ledger/recorder.ts';
import { lastSeqOf } from '../../../src/core/audit/batch-header.ts';
import type { AuditEvent } from '../../../src/core/audit/event.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import type { Fault, Operation } from '../../support/memory-files.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { identityFacts } from '../../support/recorder.ts';
import { ledgerEvents, openLedger } from '../../support/shipping.ts';

const authority = createTestAuthority();
const controlPlane = 'spiffe://example.org/writ/control-plane';
const refused = 'The audit ledger cannot be written now, and nothing is done that is not on the record.';

function identityOf(instanceId: string) {
  return authority.issue(controlPlane, { instanceId });
}

async function setUp(o: { files?: MemoryFiles; options?: Partial<ProducerOptions> } = {}) {
  const files = o.files ?? new MemoryFiles();
  const clock = new FakeClock();
  const ledger = await openLedger(files, { clock });
  const identity = new WatchSource(identityOf('control-1'));
  const producer = new EventProducer({
    ledger,
    identity: () => identity.current,
    clock,
    logger: silentLogger,
    ...o.options,
  });
  onTestFinished(async () => {
    files.hook = () => 'pass';
    await producer.close();
  });
  const recorder = new LedgerRecorder({ producer, clock });
  const record = (entry: string) => recorder.record(identityFacts({ entry }));
  return { files, clock, ledger, identity, producer, recorder, record };
}

/** The entries of everything in the ledger, after verifying all of it. */
async function entries(ledger: Ledger): Promise<string[]> {
  return (await ledgerEvents(ledger)).map(({ event }) => entryOf(event));
}

function entryOf(event: AuditEvent): string {
  return event.kind === 'identity' ? event.entry : event.kind;
}

function failOn(operation: Operation, fault: Fault) {
  return (step: { readonly operation: Operation }): Fault => (step.operation === operation ? fault : 'pass');
}

describe('what the control plane records', () => {
  it('is in the ledger with the time of the call when `record` resolves, signed and chained as of any sidecar', async () => {
    const { clock, ledger, files, recorder, record } = await setUp();
    const first = clock.now();
    await recorder.record(identityFacts({ entry: 'a', serial: '0a1b', selectors: ['unix:uid:1000'], expiresAt: 9 }));
    await clock.advance(1000);
    await record('b');
    await record('c');
    const events = await ledgerEvents(ledger);
    expect(events).toEqual([
      {
        instanceId: 'control-1',
        epoch: 1,
        seq: 1,
        event: {
          kind: 'identity',
          time: first,
          ...identityFacts({ entry: 'a', serial: '0a1b', selectors: ['unix:uid:1000'], expiresAt: 9 }),
        },
      },
      expect.objectContaining({ seq: 2, event: expect.objectContaining({ time: first + 1000, entry: 'b' }) }),
      expect.objectContaining({ seq: 3 }),
    ]);
    expect(await entries(await openLedger(files.crash('power')))).toEqual(['a', 'b', 'c']);
    for await (const { spiffeId } of ledger.read(0)) expect(spiffeId).toBe(controlPlane);
  });

  it('shares one batch and one fdatasync with what comes at the same time, in the order of the calls', async () => {
    const { files, ledger, record } = await setUp();
    await record('first');
    const before = files.steps.filter((step) => step.operation === 'sync').length;
    const names = Array.from({ length: 500 }, (_, n) => `e${n}`);
    await Promise.all(names.map(record));
    expect(files.steps.filter((step) => step.operation === 'sync').length - before).toBe(1);
    expect(ledger.size.current).toBe(2);
    expect(await entries(ledger)).toEqual(['first', ...names]);
  });

  it('waits for the disk, and what comes meanwhile goes into the next batch together', async () => {
    const { files, ledger, record } = await setUp();
    await record('first');
    const held = Promise.withResolvers<Fault>();
    let syncs = 0;
    files.hook = (step) => {
      if (step.operation !== 'sync') return 'pass';
      syncs += 1;
      return syncs === 1 ? held.promise : 'pass';
    };
    const settled: string[] = [];
    const recording = ['a', 'b'].map((name) => record(name).then(() => settled.push(name)));
    await expect.poll(() => syncs).toBe(1);
    recording.push(...['c', 'd', 'e'].map((name) => record(name).then(() => settled.push(name))));
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toEqual([]);
    held.resolve('pass');
    await Promise.all(recording);
    expect(settled).toEqual(['a', 'b', 'c', 'd', 'e']);
    const counts: number[] = [];
    for await (const { header } of ledger.read(1)) counts.push(header.count);
    expect(counts).toEqual([2, 3]);
    expect(syncs).toBe(2);
  });

  it('is cut into batches that keep nobody waiting for long, by number, and that the ledger takes, by size', async () => {
    const { ledger, producer, record } = await setUp();
    await Promise.all(Array.from({ length: 1100 }, (_, n) => record(`e${n}`)));
    const reason = 'x'.repeat(1024);
    const large = { ...identityFacts({ reason, subject: '\u0001'.repeat(2048) }), kind: 'identity', time: 1 } as const;
    await Promise.all(Array.from({ length: 200 }, () => producer.append(large)));
    const lasts: number[] = [];
    for await (const { header } of ledger.read(0)) lasts.push(lastSeqOf(header));
    expect(lasts.slice(0, 3)).toEqual([512, 1024, 1100]);
    expect(lasts.length).toBeGreaterThan(4);
    expect(lasts.at(-1)).toBe(1300);
    expect(await ledgerEvents(ledger)).toHaveLength(1300);
  });

  it('begins at epoch 1 with event 1 in every start, since the instance is a new one', async () => {
    const { files, ledger, clock, producer, record } = await setUp();
    await record('before');
    await producer.close();
    await ledger.close();
    const again = await openLedger(files.crash('power'), { clock });
    const identity = identityOf('control-2');
    const next = new EventProducer({ ledger: again, identity: () => identity, clock, logger: silentLogger });
    await new LedgerRecorder({ producer: next, clock }).record(identityFacts({ entry: 'after' }));
    expect(
      (await ledgerEvents(again)).map(({ instanceId, epoch, seq, event }) => [instanceId, epoch, seq, entryOf(event)]),
    ).toEqual([
      ['control-1', 1, 1, 'before'],
      ['control-2', 1, 1, 'after'],
    ]);
  });

  it('goes on in the same chain when the identity was renewed, and after a failure with the new certificate', async () => {
    const { files, clock, ledger, identity, record } = await setUp();
    await record('a');
    identity.set(identityOf('control-1'));
    await record('b');
    files.hook = failOn('sync', 'fail');
    await expectAppError(() => record('lost'), 'unavailable', refused);
    files.hook = () => 'pass';
    await clock.advance(200);
    await record('c');
    expect((await ledgerEvents(ledger)).map(({ epoch, seq, event }) => [epoch, seq, entryOf(event)])).toEqual([
      [1, 1, 'a'],
      [1, 2, 'b'],
      [1, 3, 'c'],
    ]);
  });

  it('is refused when the batch key is not bound to the certificate of the control plane', async () => {
    const { ledger, identity, record } = await setUp();
    identity.set({ ...identityOf('control-1'), privateKey: identityOf('control-1').privateKey });
    await expectAppError(() => record('forged'), 'unavailable', refused);
    expect(ledger.size.current).toBe(0);
    identity.set(identityOf('control-1'));
    await record('own');
    expect(await entries(ledger)).toEqual(['own']);
  });

  it('fails alone when it is no event, and holds nothing but the fields of one', async () => {
    const { ledger, recorder, record } = await setUp();
    const impossible = identityFacts({ action: 'coup' as never });
    const secret = { ...identityFacts({ entry: 'b' }), token: 'hunter2', time: 5, kind: 'heartbeat' };
    const all = [record('a'), recorder.record(impossible), recorder.record(secret)];
    await expectAppError(() => all[1] as Promise<void>, 'internal', 'The event cannot be recorded as it is.');
    await Promise.all([all[0], all[2]]);
    const events = await ledgerEvents(ledger);
    expect(events.map(({ event }) => entryOf(event))).toEqual(['a', 'b']);
    expect(JSON.stringify(events)).not.toContain('hunter2');
    expect(events[1]?.event.time).not.toBe(5);
  });
});

describe('a control plane that cannot record', () => {
  it.each([
    ['write', 'fail'],
    ['write', 'fail-half'],
    ['write', 'fail-done'],
    ['sync', 'fail'],
    ['sync', 'fail-done'],
  ] as const)(
    'is told so when a %s ends with %s; no reader sees the event, and the next one takes its place',
    async (operation, fault) => {
      const { files, clock, ledger, record } = await setUp();
      await record('a');
      files.hook = failOn(operation, fault);
      const outcomes = await Promise.allSettled([record('x'), record('y'), record('z')]);
      expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
      await expectAppError(() => record('too soon'), 'unavailable', refused);
      expect(await entries(ledger)).toEqual(['a']);
      files.hook = () => 'pass';
      await clock.advance(200);
      await record('b');
      expect(await entries(ledger)).toEqual(['a', 'b']);
      expect(await entries(await openLedger(files.crash('power')))).toEqual(['a', 'b']);
    },
  );

  it('whichever step fails, in whichever way: every event that was confirmed is there once, and no batch in part', async () => {
    const groups = [['a'], ['b1', 'b2', 'b3'], ['c'], ['d1', 'd2']];
    const inOneBatch = new Map(groups.flatMap((group) => group.map((name) => [name, group] as const)));
    let failures = 0;
    for (const fault of ['fail', 'fail-half', 'fail-done'] as const) {
      for (let step = 0; step < 14; step++) {
        const { files, clock, ledger, producer, record } = await setUp();
        let count = 0;
        files.hook = ({ operation }) =>
          ['write', 'sync', 'create', 'syncDirectory'].includes(operation) && count++ === step ? fault : 'pass';
        const confirmed: string[] = [];
        for (const group of groups) {
          const outcomes = await Promise.allSettled(group.map(record));
          const good = outcomes.filter(({ status }) => status === 'fulfilled').length;
          expect([0, group.length]).toContain(good);
          if (good > 0) confirmed.push(...group);
          else failures += 1;
          await clock.advance(200);
        }
        expect(await entries(ledger)).toEqual(confirmed);
        for (const kind of ['kill', 'power'] as const) {
          const found = await entries(await openLedger(files.crash(kind)));
          expect(found.filter((name) => confirmed.includes(name))).toEqual(confirmed);
          expect(new Set(found).size).toBe(found.length);
          for (const name of found) expect(found).toEqual(expect.arrayContaining(inOneBatch.get(name) ?? []));
        }
        await producer.close();
      }
    }
    expect(failures).toBeGreaterThan(10);
  });

  it('says in its log once that nothing can be recorded, and once that it can again', async () => {
    const lines: string[] = [];
    const logger = { error: (_: unknown, text: string) => lines.push(text), info: (text: string) => lines.push(text) };
    const { files, clock, record } = await setUp({ options: { logger: logger as never } });
    files.hook = failOn('write', 'fail');
    for (let i = 0; i < 3; i++) await expectAppError(() => record('x'), 'unavailable', refused);
    files.hook = () => 'pass';
    await clock.advance(200);
    await record('a');
    await record('b');
    expect(lines).toEqual([
      'nothing can be recorded: what must be on the record is refused',
      'the control plane records again',
    ]);
  });

  it('takes no more than may wait, and again when there is room', async () => {
    const { files, ledger, record } = await setUp({ options: { limits: { waitingEvents: 3 } } });
    const held = Promise.withResolvers<Fault>();
    files.hook = (step) => (step.operation === 'write' ? held.promise : 'pass');
    const taken = [record('a'), record('b'), record('c')];
    await expectAppError(() => record('d'), 'unavailable', 'Too much is waiting to be recorded. Try again later.');
    held.resolve('pass');
    await Promise.all(taken);
    await record('e');
    expect(await entries(ledger)).toEqual(['a', 'b', 'c', 'e']);
  });

  it('takes no more bytes than may wait', async () => {
    const { producer } = await setUp({ options: { limits: { waitingBytes: 2000 } } });
    const event = { ...identityFacts({ reason: 'x'.repeat(900) }), kind: 'identity', time: 1 } as const;
    const [first, second] = [producer.append(event), producer.append(event)];
    await expectAppError(() => second, 'unavailable', 'Too much is waiting to be recorded. Try again later.');
    await first;
    await producer.append(event);
  });

  it('has recorded everything it took when it is closed, and takes nothing more', async () => {
    const { ledger, producer, record } = await setUp();
    const taken = Promise.all([record('a'), record('b')]);
    await producer.close();
    expect(await entries(ledger)).toEqual(['a', 'b']);
    await taken;
    await expectAppError(() => record('late'), 'unavailable', 'The control plane is stopping.');
    await producer.close();
  });

  it('refuses when the ledger was closed before it', async () => {
    const { ledger, record } = await setUp();
    await record('a');
    await ledger.close();
    await expectAppError(() => record('b'), 'unavailable', refused);
  });
});
