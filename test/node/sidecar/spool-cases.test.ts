import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { StateFile } from '../../../src/node/sidecar/spool/state-file.ts';
import { Spool } from '../../../src/node/sidecar/spool.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { failure, MemoryFiles } from '../../support/memory-files.ts';
import { loggedCalls, loggedGaps, openLedger, openSpool, shipAll } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

const who = shippingIdentity('sidecar-1');

async function record(spool: Spool, count: number, durability?: 'fsync' | 'write'): Promise<string[]> {
  const calls = Array.from({ length: count }, () => decision());
  for (const call of calls) await spool.append(call, durability === undefined ? {} : { durability });
  return calls.map(({ call }) => call);
}

describe('a power cut while calls do not wait for the disk', () => {
  const at = { clock: new FakeClock(), machineStart: 'first' };

  it('audit T3: costs what was written in the last 5 ms, and a signed gap admits it', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files, at);
    const ledger = await openLedger();
    const kept = await record(spool, 3);
    const lost = await record(spool, 2, 'write');
    const after = await openSpool(files.crash('power'), { ...at, machineStart: 'second' });
    const later = await record(after, 1);
    expect(await shipAll(after, ledger, who)).toBe('agreed');
    expect(await loggedCalls(ledger)).toEqual([...kept, ...later]);
    expect(lost).toHaveLength(2);
    expect(await loggedGaps(ledger)).toMatchObject([{ reason: 'power-lost', epoch: 1, fromSeq: 4 }]);
    expect(after.epoch).toBe(2);
  });

  it('audit T3: is admitted once, whatever else is missing, and where nobody knows whether it was one', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files, at);
    await record(spool, 1, 'write');
    for (const machineStart of ['second', undefined]) {
      const ledger = await openLedger();
      const image = files.crash('power');
      const first = await Spool.open({ ...(await options()), files: image, machineStart });
      await first.close();
      const second = await openSpool(image, { ...at, machineStart: 'third' });
      await shipAll(second, ledger, who);
      expect(await loggedGaps(ledger)).toHaveLength(1);
    }
  });

  it('audit T2: is none when only the process was killed, or has ended well, or never promised anything', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files, at);
    const strict = await record(spool, 1);
    const never = await openSpool(files.crash('kill'), { ...at, machineStart: 'second' });
    expect(never.epoch).toBe(1);
    const calls = [...strict, ...(await record(spool, 2, 'write'))];
    const killed = await openSpool(files.crash('kill'), at);
    const ledger = await openLedger();
    await shipAll(killed, ledger, who);
    expect(await loggedCalls(ledger)).toEqual(calls);
    await spool.close();
    const ended = await openSpool(files.crash('power'), { ...at, machineStart: 'second' });
    expect(ended.epoch).toBe(1);
  });

  it('is known to be possible before the first such call is forwarded', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files, at);
    await record(spool, 1);
    files.hook = (step) => (step.name === 'state' ? 'fail' : 'pass');
    await expectAppError(spool.append(decision(), { durability: 'write' }), 'audit-unavailable');
    await spool.append(decision());
  });

  it('keeps what was promised, and not what was refused with it, when an fsync fails for both', async () => {
    const files = new MemoryFiles();
    const clock = new FakeClock();
    const spool = await openSpool(files, { ...at, clock });
    const promised = await record(spool, 2, 'write');
    files.hook = ({ operation }) => (operation === 'sync' ? 'fail' : 'pass');
    await expectAppError(spool.append(decision()), 'audit-unavailable');
    files.hook = () => 'pass';
    await clock.advance(200);
    const later = await record(spool, 1);
    const after = await openSpool(files.crash('power'), at);
    const ledger = await openLedger();
    await shipAll(after, ledger, who);
    expect(await loggedCalls(ledger)).toEqual([...promised, ...later]);
    expect(await loggedGaps(ledger)).toEqual([]);
  });
});

describe('a call that waits for the disk', () => {
  it('waits also where it is written together with one that does not', async () => {
    const files = new MemoryFiles();
    const spool = await openSpool(files);
    await record(spool, 1, 'write');
    files.hook = ({ operation }) => (operation === 'sync' ? 'fail' : 'pass');
    const [loose, strict] = [decision(), decision()];
    const results = await Promise.allSettled([spool.append(loose, { durability: 'write' }), spool.append(strict)]);
    expect(results[1]?.status).toBe('rejected');
  });
});

describe('a disk that has become read-only', () => {
  it('audit T14: refuses every call, ships what it has, and goes on when it can be written again', async () => {
    const files = new MemoryFiles();
    const clock = new FakeClock();
    const spool = await openSpool(files, { clock });
    const ledger = await openLedger();
    const calls = await record(spool, 3);
    await spool.outbox.bind(who.instanceId);
    await spool.outbox.cut();
    files.hook = ({ operation }) => {
      if (['write', 'create', 'remove', 'truncate'].includes(operation)) throw failure('EROFS');
      return 'pass';
    };
    for (let i = 0; i < 3; i++) {
      await expectAppError(spool.append(decision()), 'audit-unavailable');
      await clock.advance(200);
    }
    await shipAll(spool, ledger, who).catch(() => undefined);
    expect(await loggedCalls(ledger)).toEqual(calls);
    files.hook = () => 'pass';
    await clock.advance(200);
    calls.push(...(await record(spool, 2)));
    expect(await shipAll(spool, ledger, who)).toBe('agreed');
    expect(await loggedCalls(ledger)).toEqual(calls);
    expect(await loggedGaps(ledger)).toEqual([]);
  });
});

describe('a clock that jumps', () => {
  it('audit T24: by an hour, back and forth, costs no call and no place', async () => {
    for (const jump of [3_600_000, -3_600_000]) {
      const files = new MemoryFiles();
      const clock = new FakeClock();
      const spool = await openSpool(files, { clock });
      const ledger = await openLedger();
      const calls = await record(spool, 2);
      clock.jump(jump);
      calls.push(...(await record(spool, 2)));
      await shipAll(spool, ledger, who);
      clock.jump(-jump);
      calls.push(...(await record(spool, 2)));
      files.unlink(files.names().findLast((name) => name.endsWith('.wal')) ?? '');
      clock.jump(jump);
      // A removed file is noticed although the clock was set back.
      await expectAppError(spool.append(decision()), 'audit-unavailable');
      clock.jump(-jump);
      calls.push(...(await record(spool, 1)));
      await shipAll(spool, ledger, who);
      expect(await loggedCalls(ledger)).toEqual(calls);
      expect(await loggedGaps(ledger)).toHaveLength(1);
    }
  });
});

describe('a spool of the version before', () => {
  it('audit T30: is gone on with, record by record', async () => {
    const files = new MemoryFiles();
    const before = await openSpool(files);
    const calls = await record(before, 3);
    await before.outbox.bind(who.instanceId);
    await before.outbox.cut();
    calls.push(...(await record(before, 1)));
    const image = files.crash('kill');
    const { file, state } = await StateFile.open(image);
    // It knew of nothing else.
    const known = ['version', 'instanceId', 'starts', 'acked', 'segment', 'written'];
    expect(Object.keys(state ?? {}).sort()).toEqual(known.toSorted());
    await file.close();
    const after = await openSpool(image);
    calls.push(...(await record(after, 1, 'write')));
    await after.outbox.flush();
    const ledger = await openLedger();
    expect(await shipAll(after, ledger, who)).toBe('agreed');
    await after.append(decision());
    await shipAll(after, ledger, who);
    expect((await loggedCalls(ledger)).slice(0, 5)).toEqual(calls);
    expect(await loggedGaps(ledger)).toEqual([]);
  });
});

async function options() {
  return { directory: await tempDirectory(), clock: new FakeClock(), logger: silentLogger };
}
