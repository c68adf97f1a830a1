import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { rawBatchKey } from '../../../src/core/audit/batch.ts';
import { MAX_BATCH_EVENTS } from '../../../src/core/audit/ship.ts';
import { Spool } from '../../../src/node/sidecar/spool.ts';
import { completion, decision, shippingIdentity } from '../../support/audit.ts';
import { expectAppError } from '../../support/errors.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { loggedCalls, openLedger, openSpool, shipAll } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

const who = shippingIdentity('sidecar-1');

async function openReal(directory: string): Promise<Spool> {
  const spool = await Spool.open({ directory, clock: systemClock, logger: silentLogger });
  onTestFinished(() => spool.close());
  return spool;
}

describe('a spool', () => {
  it('numbers events from 1 in the order of the calls', async () => {
    const spool = await openSpool();
    const seqs = await Promise.all([1, 2, 3].map(() => spool.append(decision())));
    expect(seqs).toEqual([{ seq: 1 }, { seq: 2 }, { seq: 3 }]);
    expect(spool.epoch).toBe(1);
  });

  it('goes on with the next number after a restart, and keeps its key, in files for its owner only', async () => {
    const directory = join(await tempDirectory(), 'spool');
    const before = await openReal(directory);
    await before.append(decision());
    const key = rawBatchKey(before.batchKey);
    await before.close();
    const after = await openReal(directory);
    expect(await after.append(decision())).toEqual({ seq: 2 });
    expect(rawBatchKey(after.batchKey)).toEqual(key);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const name of (await readdir(directory)).filter((n) => !n.startsWith('lock'))) {
      expect((await stat(join(directory, name))).mode & 0o077, name).toBe(0);
    }
  });

  it('belongs to one process', async () => {
    const directory = join(await tempDirectory(), 'spool');
    await openReal(directory);
    await expectAppError(openReal(directory), 'conflict', /^Another process is using/);
  });

  it('is unlocked when it cannot be opened', async () => {
    const directory = join(await tempDirectory(), 'spool');
    await mkdir(directory, { mode: 0o700 });
    await writeFile(join(directory, 'batch-key'), 'readable by everybody', { mode: 0o644 });
    await expectAppError(openReal(directory), 'usage', /can be read by others/);
    await expectAppError(openReal(directory), 'usage', /can be read by others/);
  });

  it('replaces a batch key that is damaged', async () => {
    const directory = join(await tempDirectory(), 'spool');
    await mkdir(directory, { mode: 0o700 });
    await writeFile(join(directory, 'batch-key'), 'no key', { mode: 0o600 });
    const spool = await openReal(directory);
    expect(rawBatchKey(spool.batchKey)).toHaveLength(32);
  });

  it('audit T30: refuses a state file of another version', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    await spool.append(decision());
    await spool.outbox.flush();
    const { StateFile } = await import('../../../src/node/sidecar/spool/state-file.ts');
    const image = files.crash('kill');
    const { file, state } = await StateFile.open(image);
    if (state === undefined) throw new Error('no state');
    await file.writeState({ ...state, version: 2 as never });
    await expectAppError(openSpool(image), 'incompatible-data', /was written by another version of Writ/);
  });

  it('refuses an event that is none, and records nothing of it', async () => {
    const spool = await openSpool();
    await expectAppError(spool.append(completion('c', { status: 0.5 })), 'invalid', /status/);
    expect(await spool.append(decision())).toEqual({ seq: 1 });
  });

  it('refuses records when it is full, and takes them again when the ledger has acknowledged some', async () => {
    const spool = await openSpool(new MemoryFiles(), { maxBytes: 20_000 });
    const calls: string[] = [];
    const refusal = /^The call is refused because it cannot be recorded: the audit spool is full \(20000 bytes\)/;
    for (;;) {
      const event = decision();
      const error = await spool.append(event).then(
        () => undefined,
        (e: unknown) => e,
      );
      if (error !== undefined) {
        await expectAppError(Promise.reject(error), 'audit-unavailable', refusal);
        break;
      }
      calls.push(event.call);
    }
    expect(spool.usage.bytes).toBeLessThanOrEqual(20_000);
    const ledger = await openLedger();
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual(calls);
    await spool.append(decision());
  });

  it('can be emptied when the disk has no room for a single byte more', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    const event = decision();
    await spool.append(event);
    const size = new Map(files.names().map((name) => [name, files.content(name).length]));
    files.hook = (step) => {
      if (step.operation === 'create') return 'fail';
      const grows = step.operation === 'write' && step.name !== 'state' && size.has(step.name);
      return grows ? 'fail' : 'pass';
    };
    await expectAppError(spool.append(decision()), 'audit-unavailable');
    const ledger = await openLedger();
    expect(await shipAll(spool, ledger, who)).toBe('agreed');
    expect(await loggedCalls(ledger)).toEqual([event.call]);
    expect(files.content('state')).toHaveLength(size.get('state') ?? 0);
  });

  it('deletes the segments that the ledger has acknowledged, and no other', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files, { maxBytes: 16_000 });
    for (let i = 0; i < 20; i++) await spool.append(decision());
    const wal = () => files.names().filter((name) => name.endsWith('.wal'));
    expect(wal().length).toBeGreaterThan(3);
    const ledger = await openLedger();
    await shipAll(spool, ledger, who);
    await spool.outbox.flush();
    await expect.poll(() => wal().length).toBe(1);
    expect(await loggedCalls(ledger)).toHaveLength(20);
  });
});

describe('the batches of a spool', () => {
  it('are cut once: after a restart they are the same, byte for byte', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    await before.outbox.bind(who.instanceId);
    await before.append(decision());
    const first = await before.outbox.cut();
    await before.append(decision());
    const second = await before.outbox.cut();
    await before.append(decision());
    const after = await openSpool(files.crash('power'));
    expect(after.outbox.cuts).toEqual([first, second]);
    expect(after.outbox.cuts.map((cut) => cut.bytes)).toEqual([first?.bytes, second?.bytes]);
    expect(after.outbox.nextToShip).toEqual({ epoch: 1, seq: 1, prevHash: Buffer.alloc(0) });
    expect(after.outbox.uncutRecords).toBe(1);
  });

  it('are at most eight at a time, and hold at most as many events as the protocol allows', async () => {
    const spool = await openSpool();
    await spool.outbox.bind(who.instanceId);
    await Promise.all(Array.from({ length: MAX_BATCH_EVENTS + 1 }, () => spool.append({ kind: 'heartbeat', time: 1 })));
    expect((await spool.outbox.cut())?.header).toMatchObject({ firstSeq: 1, count: MAX_BATCH_EVENTS });
    expect((await spool.outbox.cut())?.header).toMatchObject({ firstSeq: MAX_BATCH_EVENTS + 1, count: 1 });
    expect(await spool.outbox.cut()).toBeUndefined();
    for (let i = 3; i <= 8; i++) {
      await spool.append(decision());
      expect(await spool.outbox.cut()).toBeDefined();
    }
    await spool.append(decision());
    expect(await spool.outbox.cut()).toBeUndefined();
  });

  it('are cut by size when events are large', async () => {
    const spool = await openSpool();
    await spool.outbox.bind(who.instanceId);
    const long = '\u0001'.repeat(2000);
    await Promise.all(
      Array.from({ length: 100 }, () =>
        spool.append(decision({ path: long, host: long, method: long, tokenSubject: long })),
      ),
    );
    const first = await spool.outbox.cut();
    expect(first?.header.count).toBeLessThan(50);
    expect(first?.header.bytes).toBeLessThanOrEqual(2 * 1024 * 1024);
    if (first !== undefined) expect(await spool.outbox.load(first)).toHaveLength(first.header.count);
  });

  it('are not acknowledged by what the ledger never got', async () => {
    const spool = await openSpool();
    await spool.outbox.bind(who.instanceId);
    await spool.append(decision());
    const cut = await spool.outbox.cut();
    if (cut === undefined) throw new Error('nothing was cut');
    expect(spool.outbox.acknowledge(1, 1, Buffer.alloc(32))).toBe(false);
    expect(spool.outbox.acknowledge(2, 1, cut.hash)).toBe(false);
    expect(spool.outbox.acknowledge(1, 2, cut.hash)).toBe(false);
    expect(spool.outbox.acknowledge(1, 1, cut.hash)).toBe(true);
    expect(spool.outbox.acknowledge(1, 1, cut.hash)).toBe(true);
    expect(spool.outbox.pendingRecords).toBe(0);
  });

  it('keep their place until the acknowledgement of those before is durable', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    await spool.outbox.bind(who.instanceId);
    const cutAndAcknowledge = async () => {
      await spool.append(decision());
      const cut = await spool.outbox.cut();
      if (cut === undefined) throw new Error('nothing was cut');
      spool.outbox.acknowledge(cut.epoch, cut.seq, cut.hash);
      return cut;
    };
    await cutAndAcknowledge();
    await spool.outbox.flush();
    // The state itself, but not the cut batches, cannot be written.
    files.hook = ({ operation, name, position = 0 }) =>
      operation === 'write' && name === 'state' && position < 64 * 1024 ? 'fail' : 'pass';
    const cuts = [];
    for (let i = 0; i < 15; i++) cuts.push(await cutAndAcknowledge());
    await spool.append(decision());
    await expect(spool.outbox.cut()).rejects.toThrow('EIO');
    const again = await openSpool(files.crash('kill'));
    expect(again.outbox.cuts.map((cut) => cut.bytes)).toEqual(cuts.map((cut) => cut.bytes));
    files.hook = () => 'pass';
    expect(await spool.outbox.cut()).toBeDefined();
  });

  it('are cut anew when the plan changes while they are cut', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    await spool.outbox.bind(who.instanceId);
    await spool.append(decision());
    const first = await spool.outbox.cut();
    await spool.append(decision());
    const cutting = spool.outbox.cut();
    await spool.outbox.startEpochAfter({ epoch: 5, nextSeq: 9 });
    expect((await cutting)?.header).toMatchObject({ epoch: 6, firstSeq: 1, count: 3 });
    expect(spool.outbox.cuts).toHaveLength(1);
    expect(first?.epoch).toBe(1);
    const again = await openSpool(files.crash('kill'));
    expect(again.outbox.cuts).toEqual(spool.outbox.cuts);
  });

  it('are forgotten over a restart when they were given up before', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    await spool.outbox.bind(who.instanceId);
    for (let i = 0; i < 3; i++) {
      await spool.append(decision());
      await spool.outbox.cut();
    }
    await spool.outbox.startEpochAfter({ epoch: 1, nextSeq: 9 });
    expect((await openSpool(files.crash('kill'))).outbox.cuts).toEqual([]);
    const cut = await spool.outbox.cut();
    expect((await openSpool(files.crash('kill'))).outbox.cuts).toEqual([cut]);
  });

  it('are cut for an instance only', async () => {
    const spool = await openSpool();
    await spool.append(decision());
    await expectAppError(spool.outbox.cut(), 'internal', 'The spool is not bound to a sidecar.');
    await expectAppError(spool.outbox.bind('two words'), 'invalid', 'Not an instance id: "two words".');
  });
});
