import { describe, expect, it } from 'vitest';
import type { Spool } from '../../../src/node/sidecar/spool.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { loggedCalls, loggedGaps, openLedger, openSpool, shipAll } from '../../support/shipping.ts';

const who = shippingIdentity('sidecar-1');
const now = Date.UTC(2026, 0, 1);

/** Records calls one after the other, each in a commit of its own; gives their ids. */
async function record(spool: Spool, count: number): Promise<string[]> {
  const calls: string[] = [];
  for (let i = 0; i < count; i++) {
    const event = decision();
    await spool.append(event);
    calls.push(event.call);
  }
  return calls;
}

function segments(files: MemoryFiles): string[] {
  return files.names().filter((name) => name.endsWith('.wal'));
}

/** Destroys the payload of the record with this call, wherever it is. */
function destroy(files: MemoryFiles, call: string): void {
  for (const name of segments(files)) {
    files.tamper(name, (content) => {
      const at = content.indexOf(call);
      return at === -1 ? content : content.fill(0, at, at + call.length);
    });
  }
}

describe('a spool that was damaged while the sidecar was down', () => {
  it('audit T5: ships what is left, before and behind a decayed record, and admits the loss in between', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    const calls = await record(before, 9);
    await before.close();
    destroy(files, calls[4] ?? '');
    const spool = await openSpool(files);
    const ledger = await openLedger();
    const later = await record(spool, 2);
    expect(await shipAll(spool, ledger, who)).toBe('agreed');
    expect(await loggedCalls(ledger)).toEqual([...calls.slice(0, 4), ...calls.slice(5), ...later]);
    expect(await loggedGaps(ledger)).toEqual([
      { kind: 'gap', time: now, reason: 'spool-corrupt', epoch: 1, fromSeq: 5 },
    ]);
    expect(spool.epoch).toBe(2);
  });

  it('admits every one of several losses, and the same losses only once however often it starts', async () => {
    const files = new MemoryFiles();
    const first = await openSpool(files);
    const calls = await record(first, 12);
    await first.close();
    for (const i of [2, 3, 8]) destroy(files, calls[i] ?? '');
    const second = await openSpool(files);
    await second.close();
    const third = await openSpool(files);
    const ledger = await openLedger();
    await shipAll(third, ledger, who);
    expect(await loggedCalls(ledger)).toEqual(calls.filter((_, i) => ![2, 3, 8].includes(i)));
    expect(await loggedGaps(ledger)).toMatchObject([
      { epoch: 1, fromSeq: 3 },
      // The fifth record is the second event of epoch 2, behind its gap.
      { epoch: 2, fromSeq: 6 },
    ]);
  });

  it('admits the loss of a segment in the middle, and ships the others', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files, { maxBytes: 16_000 });
    const calls = await record(before, 20);
    await before.close();
    const [, second] = segments(files);
    const lost = calls.filter((call) => files.content(second ?? '').includes(call));
    expect(lost.length).toBeGreaterThan(1);
    files.unlink(second ?? '');
    const spool = await openSpool(files);
    const ledger = await openLedger();
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual(calls.filter((call) => !lost.includes(call)));
    expect(await loggedGaps(ledger)).toHaveLength(1);
  });

  it('admits the loss of its newest segment, although nobody knows how much was in it', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files, { maxBytes: 16_000 });
    const calls = await record(before, 20);
    const image = files.crash('kill');
    const newest = segments(image).at(-1) ?? '';
    const lost = calls.filter((call) => image.content(newest).includes(call));
    image.unlink(newest);
    const spool = await openSpool(image);
    const ledger = await openLedger();
    const later = await record(spool, 1);
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual([...calls.filter((call) => !lost.includes(call)), ...later]);
    expect(await loggedGaps(ledger)).toMatchObject([{ epoch: 1, fromSeq: calls.length - lost.length + 1 }]);
  });

  it('admits the loss of the last records when it knows that there were more', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    const calls = await record(before, 5);
    await before.close();
    files.tamper(segments(files)[0] ?? '', (content) => content.subarray(0, content.length - 3));
    const spool = await openSpool(files);
    const ledger = await openLedger();
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual(calls.slice(0, 4));
    expect(await loggedGaps(ledger)).toMatchObject([{ epoch: 1, fromSeq: 5 }]);
  });

  it('gives up a cut batch that contains a lost record, and ships the rest of it in a new epoch', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    const ledger = await openLedger();
    await before.outbox.bind(who.instanceId);
    const first = await record(before, 3);
    await before.outbox.cut();
    const second = await record(before, 3);
    await before.outbox.cut();
    await before.close();
    destroy(files, second[1] ?? '');
    const spool = await openSpool(files);
    expect(spool.outbox.cuts).toHaveLength(1);
    await shipAll(spool, ledger, who);
    expect(await loggedCalls(ledger)).toEqual([...first, second[0], second[2]]);
    expect(await loggedGaps(ledger)).toMatchObject([
      { epoch: 1, fromSeq: 4 },
      { epoch: 2, fromSeq: 3 },
    ]);
  });

  it('shows a call once, with its loss admitted, when the ledger already has the batch that was given up', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    const ledger = await openLedger();
    const calls = await record(before, 3);
    await before.outbox.bind(who.instanceId);
    await before.outbox.cut();
    const image = files.crash('kill');
    await shipAll(before, ledger, who);
    destroy(image, calls[1] ?? '');
    const spool = await openSpool(image);
    const later = await record(spool, 1);
    await shipAll(spool, ledger, who, 'boot-2');
    const logged = await loggedCalls(ledger);
    // Recorded again, under the same call id: the index leaves the second one out.
    expect(logged).toEqual([...calls, calls[0], calls[2], ...later]);
    expect((await loggedGaps(ledger)).length).toBeGreaterThan(0);
  });

  it('audit T9: ships everything that is left when only the records remain, and says that it does not know since when', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    const ledger = await openLedger();
    const shipped = await record(before, 2);
    await shipAll(before, ledger, who);
    const pending = await record(before, 2);
    const image = files.crash('kill');
    image.unlink('state');
    const spool = await openSpool(image);
    const later = await record(spool, 1);
    expect(await shipAll(spool, ledger, who, 'boot-2')).toBe('new-epoch');
    expect(await loggedCalls(ledger)).toEqual([...shipped, ...shipped, ...pending, ...later]);
    expect(await loggedGaps(ledger)).toMatchObject([{ reason: 'spool-lost', epoch: 1, fromSeq: 3 }]);
  });

  it('survives a torn write of its state: the state before is still there', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    const calls = await record(before, 2);
    await before.outbox.bind(who.instanceId);
    const written = files.content('state');
    await record(before, 1);
    await before.outbox.segmentStarted(1);
    await before.outbox.flush();
    const changed = [...files.content('state').entries()].filter(([i, byte]) => byte !== written[i]).map(([i]) => i);
    const image = files.crash('kill');
    image.tamper('state', (content) => content.fill(0, changed[0], (changed[0] ?? 0) + 10));
    const spool = await openSpool(image);
    expect(spool.outbox.instanceId).toBe(who.instanceId);
    const ledger = await openLedger();
    expect(await shipAll(spool, ledger, who)).toBe('agreed');
    expect((await loggedCalls(ledger)).slice(0, 2)).toEqual(calls);
    expect(await loggedGaps(ledger)).toEqual([]);
  });
});

describe('a spool that was lost, restored or copied', () => {
  it('audit T10: begins a new epoch behind what the ledger has when the whole directory is gone', async () => {
    const ledger = await openLedger();
    const before = await openSpool();
    const old = await record(before, 5);
    await shipAll(before, ledger, who);
    const spool = await openSpool(new MemoryFiles());
    const calls = await record(spool, 2);
    expect(await shipAll(spool, ledger, who, 'boot-2')).toBe('new-epoch');
    expect(await loggedCalls(ledger)).toEqual([...old, ...calls]);
    expect(await loggedGaps(ledger)).toEqual([{ kind: 'gap', time: now, reason: 'spool-lost', epoch: 1, fromSeq: 6 }]);
    expect(spool.epoch).toBe(2);
  });

  it('audit T11: loses no new call when it was restored from an old copy', async () => {
    const ledger = await openLedger();
    const files = new MemoryFiles();
    const original = await openSpool(files);
    await record(original, 3);
    await shipAll(original, ledger, who);
    const pending = await record(original, 2);
    const copy = files.crash('kill');
    const more = await record(original, 3);
    await shipAll(original, ledger, who);
    const restored = await openSpool(copy);
    const calls = await record(restored, 2);
    expect(await shipAll(restored, ledger, who, 'boot-2')).toBe('new-epoch');
    const logged = await loggedCalls(ledger);
    for (const call of [...pending, ...more, ...calls]) expect(logged).toContain(call);
    expect(await loggedGaps(ledger)).toMatchObject([{ reason: 'spool-lost', epoch: 1, fromSeq: 9 }]);
  });

  it('audit T19, T20: reports a ledger that went back in time, sends nothing and deletes nothing', async () => {
    const ledgerFiles = new MemoryFiles();
    const ledger = await openLedger(ledgerFiles);
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    await record(spool, 2);
    await shipAll(spool, ledger, who);
    const backup = ledgerFiles.crash('kill');
    await record(spool, 2);
    await shipAll(spool, ledger, who);
    const pending = await record(spool, 2);
    const rolledBack = await openLedger(backup);
    expect(await shipAll(spool, rolledBack, who, 'boot-2')).toBe(
      'server rollback: the ledger acknowledged epoch 1 up to 4 and now expects epoch 1 from 3. Everything that is not ' +
        'acknowledged is kept and nothing is sent until the ledger is restored, or somebody says that this sidecar is to go on: ' +
        'writ accept-rollback --state-dir DIR.',
    );
    expect(await loggedCalls(rolledBack)).toHaveLength(2);
    expect(await shipAll(spool, await openLedger(), who, 'boot-2')).toMatch(/^server rollback/);
    expect(spool.outbox.pendingRecords).toBe(2);
    // The right ledger comes back.
    expect(await shipAll(spool, ledger, who, 'boot-3')).toBe('agreed');
    expect((await loggedCalls(ledger)).slice(4)).toEqual(pending);
  });

  it('records what is pending under the new identity when the sidecar was enrolled anew', async () => {
    const ledger = await openLedger();
    const spool = await openSpool();
    await record(spool, 2);
    await shipAll(spool, ledger, who);
    const pending = await record(spool, 2);
    await spool.outbox.cut();
    const anew = shippingIdentity('sidecar-2');
    expect(await shipAll(spool, ledger, anew)).toBe('agreed');
    expect((await loggedCalls(ledger)).slice(2)).toEqual(pending);
    expect(await loggedGaps(ledger)).toMatchObject([{ reason: 'spool-lost', epoch: 1, fromSeq: 3 }]);
  });
});

describe('a spool that is meddled with while it works', () => {
  it('audit T13: refuses the call that notices a removed file, loses nothing, and leaves a signed note of it', async () => {
    const clock = new FakeClock();
    const files = new MemoryFiles();
    const spool = await openSpool(files, { clock });
    const ledger = await openLedger();
    const before = await record(spool, 3);
    files.unlink(segments(files)[0] ?? '');
    await clock.advance(1000);
    await expectAppError(
      spool.append(decision()),
      'audit-unavailable',
      'The call is refused because it cannot be recorded: the audit spool cannot be written. The sidecar log says why.',
    );
    await clock.advance(100);
    const after = await record(spool, 2);
    expect(spool.epoch).toBe(2);
    expect(await shipAll(spool, ledger, who)).toBe('agreed');
    expect(await loggedCalls(ledger)).toEqual([...before, ...after]);
    expect(await loggedGaps(ledger)).toMatchObject([{ reason: 'spool-lost', epoch: 1, fromSeq: 4 }]);
    const restarted = await openSpool(files.crash('power'), { clock });
    expect(restarted.epoch).toBe(2);
  });

  it('goes on behind a record that decays before it is shipped, and behind a segment that disappears', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files, { maxBytes: 16_000 });
    const ledger = await openLedger();
    const calls = await record(spool, 20);
    destroy(files, calls[1] ?? '');
    const [, , third] = segments(files);
    const lost = [calls[1], ...calls.filter((call) => files.content(third ?? '').includes(call))];
    files.unlink(third ?? '');
    expect(await shipAll(spool, ledger, who)).toBe('agreed');
    expect(await loggedCalls(ledger)).toEqual(calls.filter((call) => !lost.includes(call)));
    expect(await loggedGaps(ledger)).toHaveLength(2);
  });

  it('goes on when the records of a cut batch decay before it is sent', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    const ledger = await openLedger();
    await spool.outbox.bind(who.instanceId);
    const calls = await record(spool, 4);
    await spool.outbox.cut();
    destroy(files, calls[2] ?? '');
    const later = await record(spool, 1);
    expect(await shipAll(spool, ledger, who)).toBe('agreed');
    expect(await loggedCalls(ledger)).toEqual([calls[0], calls[1], calls[3], ...later]);
    expect((await loggedGaps(ledger)).length).toBeGreaterThan(0);
  });
});
