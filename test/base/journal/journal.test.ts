import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import type { JournalOptions } from '../../../src/base/journal/journal.ts';
import { Journal } from '../../../src/base/journal/journal.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import type { Fault, Step } from '../../support/memory-files.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const clock = new FakeClock();

function open(files: MemoryFiles, options: Partial<JournalOptions> = {}): Promise<Journal> {
  return Journal.open({ files, clock, logger: silentLogger, kind: 'test', segmentBytes: 400, ...options });
}

const text = (value: string) => Buffer.from(value, 'utf8');

/** What can be read, from the first record to the last; a hole is the error's message. */
async function contents(journal: Journal, from = journal.runs[0]?.first ?? 1): Promise<string[]> {
  const reader = journal.reader(from);
  const found: string[] = [];
  try {
    for (;;) {
      const frame = await reader.read();
      if (frame === undefined) return found;
      found.push(`${frame.number} ${frame.payload}`);
    }
  } finally {
    await reader.close();
  }
}

async function append(journal: Journal, ...values: string[]): Promise<number[]> {
  return Promise.all(values.map((value) => journal.append(text(value))));
}

function failing(match: (step: Step) => boolean, fault: Fault) {
  return (step: Step) => (match(step) ? fault : 'pass');
}

describe('a journal', () => {
  it('numbers records from 1 in the order of the calls and gives them back', async () => {
    const journal = await open(new MemoryFiles());
    expect(await append(journal, 'a', 'b', 'c')).toEqual([1, 2, 3]);
    expect(await contents(journal)).toEqual(['1 a', '2 b', '3 c']);
    expect(journal.durable.current).toBe(3);
    await journal.close();
  });

  it('shares one write and one fdatasync among appends of the same turn', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    await append(journal, 'first');
    files.steps.length = 0;
    await append(journal, 'a', 'b', 'c', 'd');
    expect(files.steps.map((step) => step.operation)).toEqual(['write', 'sync']);
    await journal.close();
  });

  it('holds back a record that can wait, and writes it with the next one, in order', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    await append(journal, 'first');
    files.steps.length = 0;
    const later = journal.append(text('later'), { withinMs: 5 });
    expect(files.steps).toEqual([]);
    expect(await append(journal, 'now')).toEqual([3]);
    expect(await later).toBe(2);
    expect(files.steps.map((step) => step.operation)).toEqual(['write', 'sync']);
    expect(await contents(journal)).toEqual(['1 first', '2 later', '3 now']);
    await journal.close();
  });

  it('writes a record that can wait when its time is over, and when it is closed', async () => {
    const ownClock = new FakeClock();
    const files = new MemoryFiles();
    const journal = await open(files, { clock: ownClock });
    const first = journal.append(text('a'), { withinMs: 5 });
    await ownClock.advance(4);
    expect(journal.durable.current).toBe(0);
    await ownClock.advance(1);
    expect(await first).toBe(1);
    const last = journal.append(text('b'), { withinMs: 5 });
    await journal.close();
    expect(await last).toBe(2);
  });

  it('goes on after a restart, in a new segment', async () => {
    const files = new MemoryFiles();
    const before = await open(files);
    await append(before, 'a', 'b');
    await before.close();
    const after = await open(files);
    expect(await append(after, 'c')).toEqual([3]);
    expect(await contents(after)).toEqual(['1 a', '2 b', '3 c']);
    expect(files.names()).toEqual(['0000000001.wal', '0000000002.wal']);
    await after.close();
  });

  it('begins a new segment when one is full, and reads across them from any record', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    const values = Array.from({ length: 40 }, (_, i) => `record ${i}`);
    for (const value of values) await append(journal, value);
    expect(files.names().length).toBeGreaterThan(3);
    for (const from of [1, 7, 20, 40]) {
      expect(await contents(journal, from)).toEqual(values.map((v, i) => `${i + 1} ${v}`).slice(from - 1));
    }
    await journal.close();
    const again = await open(files);
    expect(await contents(again)).toHaveLength(40);
    await again.close();
  });

  it('rejects an append after it was closed, and makes what came before durable', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    const pending = append(journal, 'a');
    await journal.close();
    expect(await pending).toEqual([1]);
    await expectAppError(journal.append(text('b')), 'unavailable', '/spool is closed.');
  });

  it('refuses files of another kind', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    await append(journal, 'a');
    await journal.close();
    await expectAppError(open(files, { kind: 'other' }), 'incompatible-data', /is not a other segment/);
  });

  it('deletes only whole segments before a number, and never the newest', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    for (let i = 0; i < 40; i++) await append(journal, `record ${i}`);
    const before = files.names().length;
    await journal.dropBefore(20);
    expect(files.names().length).toBeLessThan(before);
    expect((await contents(journal, 20))[0]).toBe('20 record 19');
    await journal.dropBefore(1000);
    expect(files.names()).toHaveLength(1);
    await journal.close();
    const again = await open(files);
    expect(await append(again, 'next')).toEqual([41]);
    await again.close();
  });

  it('keeps a segment that cannot be deleted, and deletes it later', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    for (let i = 0; i < 40; i++) await append(journal, `record ${i}`);
    files.hook = failing((step) => step.operation === 'remove' && step.name === '0000000002.wal', 'fail');
    await journal.dropBefore(1000);
    expect(files.names()).toContain('0000000002.wal');
    files.hook = () => 'pass';
    await journal.dropBefore(1000);
    expect(files.names()).toHaveLength(1);
    await journal.close();
  });
});

describe('recovery of a journal', () => {
  it('audit T4: cuts off a torn record at the end, wherever it is torn', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    await append(journal, 'a', 'b');
    const whole = files.content('0000000001.wal').length;
    await append(journal, 'torn');
    const end = files.content('0000000001.wal').length;
    for (let length = whole; length < end; length++) {
      const torn = files.crash('kill');
      torn.tamper('0000000001.wal', (content) => content.subarray(0, length));
      const again = await open(torn);
      expect(again.damage).toEqual([]);
      expect(await contents(again)).toEqual(['1 a', '2 b']);
      expect(torn.content('0000000001.wal')).toHaveLength(whole);
      expect(await append(again, 'c')).toEqual([3]);
      expect(await contents(again)).toEqual(['1 a', '2 b', '3 c']);
      await again.close();
    }
    await journal.close();
  });

  it('tells a decayed record that was durable from one that was torn by a power cut', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    await append(journal, 'a');
    const second = files.content('0000000001.wal').length;
    await append(journal, 'b', 'c');
    const durableTorn = files.crash('kill');
    await append(journal, 'd');
    const flip = (content: Buffer) => {
      content[second + 25] = 0;
      content[second + 20] = 0;
      return content;
    };
    // Nothing proves that b was durable: c was written in the same turn.
    durableTorn.tamper('0000000001.wal', flip);
    const torn = await open(durableTorn);
    expect(torn.damage).toEqual([]);
    expect(await contents(torn)).toEqual(['1 a']);
    // d was written when b was durable.
    const decayed = files.crash('kill');
    decayed.tamper('0000000001.wal', flip);
    const damaged = await open(decayed);
    expect(damaged.damage).toEqual([
      { path: '/spool/0000000001.wal', offset: second, reason: 'the record 2 is destroyed' },
    ]);
    expect(damaged.runs.map((run) => [run.first, run.last])).toEqual([
      [1, 1],
      [3, 4],
    ]);
    expect(await contents(damaged, 3)).toEqual(['3 c', '4 d']);
    await expectAppError(contents(damaged, 2), 'incompatible-data', '/spool: the record 2 is missing.');
    for (const each of [torn, damaged, journal]) await each.close();
  });

  it('reports a segment that is missing between others', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    for (let i = 0; i < 40; i++) await append(journal, `record ${i}`);
    await journal.close();
    const middle = files.names()[1] ?? '';
    files.unlink(middle);
    const again = await open(files);
    expect(again.damage).toHaveLength(1);
    expect(again.damage[0]?.reason).toMatch(/^the records \d+ to \d+ before it are missing$/);
    expect(again.openEnded).toBe(false);
    await again.close();
  });

  it('survives the loss of one of the two heads of a segment, and reports the loss of both', async () => {
    const files = new MemoryFiles();
    const journal = await open(files, { segmentBytes: 10_000 });
    for (let i = 0; i < 20; i++) await append(journal, `record number ${i}`);
    await journal.close();
    const one = files.crash('kill');
    one.tamper('0000000001.wal', (content) => content.fill(0, 0, 40));
    const survived = await open(one);
    expect(survived.damage).toEqual([]);
    expect(await contents(survived)).toHaveLength(20);
    const both = files.crash('kill');
    both.tamper('0000000001.wal', (content) => content.fill(0, 0, 180));
    const lost = await open(both);
    expect(lost.damage).toEqual([{ path: '/spool/0000000001.wal', offset: 0, reason: 'its head is destroyed' }]);
    expect(lost.openEnded).toBe(true);
    await survived.close();
    await lost.close();
  });

  it('audit T6: passes over a segment that was just being created', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    await append(journal, 'a');
    await journal.close();
    const unborn = await files.create('0000000002.wal');
    await unborn.write(Buffer.alloc(30), 0);
    const again = await open(files);
    expect(again.damage).toEqual([]);
    expect(await append(again, 'b')).toEqual([2]);
    expect(await contents(again)).toEqual(['1 a', '2 b']);
    await again.close();
  });

  it('does not read old segments when told from where, and still finds their damage when they are read', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    for (let i = 0; i < 40; i++) await append(journal, `record ${i}`);
    await journal.close();
    files.tamper('0000000001.wal', (content) => content.fill(0xff, 250, 260));
    expect((await open(files)).damage).not.toEqual([]);
    const lazy = await open(files, { scanFrom: 41 });
    expect(lazy.damage).toEqual([]);
    expect(await contents(lazy, 20)).toHaveLength(21);
    await expectAppError(contents(lazy, 1), 'incompatible-data', /0000000001\.wal is damaged at offset \d+\.$/);
  });
});

/** What was promised: an append that resolved. Every one of them must be found, in order, and each once. */
async function runUntilDead(files: MemoryFiles, journal: Journal): Promise<string[]> {
  const promised: string[] = [];
  for (let i = 0; i < 12; i++) {
    const values = [`${i}-a`, `${i}-b`];
    const results = await Promise.allSettled(values.map((value) => journal.append(text(value))));
    for (const [k, result] of results.entries()) {
      if (result.status === 'fulfilled') promised.push(values[k] ?? '');
    }
    await clock.advance(200);
    if (files.steps.length > 200) break;
  }
  return promised;
}

describe('a journal whose disk fails', () => {
  it.each(['fail', 'fail-done', 'fail-half'] as const)(
    'loses nothing that it promised when any one step is made to %s',
    async (fault) => {
      for (const durability of ['fsync', 'write'] as const) {
        const dry = new MemoryFiles();
        const rehearsal = await open(dry, { durability });
        const start = dry.steps.length;
        await runUntilDead(dry, rehearsal);
        await rehearsal.close();
        const end = dry.steps.length;
        expect(end - start).toBeGreaterThan(20);
        for (let at = start; at < end; at++) {
          const files = new MemoryFiles();
          const journal = await open(files, { durability });
          let seen = start;
          files.hook = () => (seen++ === at ? fault : 'pass');
          const promised = await runUntilDead(files, journal);
          files.hook = () => 'pass';
          const own = (await contents(journal)).map((line) => line.split(' ')[1]);
          expect(own, `step ${at}`).toEqual(promised);
          await journal.close();
          const again = await open(files.crash('power'));
          const found = (await contents(again)).map((line) => line.split(' ')[1]);
          expect(again.damage, `step ${at}`).toEqual([]);
          expect(found.slice(0, promised.length), `step ${at}`).toEqual(promised);
          // What failed last may still have reached the disk; nothing has superseded it.
          expect(found.length - promised.length, `step ${at}`).toBeLessThanOrEqual(2);
          await again.close();
        }
      }
    },
  );

  it('holds every promised record after a kill at any step, and in fsync mode after a power cut too', async () => {
    for (const durability of ['fsync', 'write'] as const) {
      const files = new MemoryFiles();
      const images: { kind: 'kill' | 'power'; image: MemoryFiles; promised: readonly string[] }[] = [];
      const promised: string[] = [];
      const journal = await open(files, { durability });
      files.hook = () => {
        images.push({ kind: 'kill', image: files.crash('kill'), promised: [...promised] });
        if (durability === 'fsync')
          images.push({ kind: 'power', image: files.crash('power'), promised: [...promised] });
        return 'pass';
      };
      for (let i = 0; i < 12; i++) {
        const values = [`${i}-a`, `${i}-b`];
        await append(journal, ...values);
        promised.push(...values);
      }
      files.hook = () => 'pass';
      await journal.close();
      for (const { kind, image, promised: owed } of images) {
        const again = await open(image);
        const found = (await contents(again)).map((line) => line.split(' ')[1]);
        expect(again.damage, kind).toEqual([]);
        expect(found.slice(0, owed.length), kind).toEqual(owed);
        expect(found.length - owed.length, 'at most what was under way').toBeLessThanOrEqual(2);
        await again.close();
      }
    }
  });

  it('makes what it promised durable within 5 ms in write mode, or as soon as the disk is back', async () => {
    const files = new MemoryFiles();
    const journal = await open(files, { durability: 'write' });
    await append(journal, 'a');
    expect(await promisedAfterPowerCut(files)).toEqual([]);
    await clock.advance(5);
    expect(await promisedAfterPowerCut(files)).toEqual(['1 a']);
    files.hook = failing((step) => step.operation === 'sync', 'fail');
    await append(journal, 'b');
    await clock.advance(5);
    expect(await promisedAfterPowerCut(files)).toEqual(['1 a']);
    files.hook = () => 'pass';
    await clock.advance(100);
    expect(await promisedAfterPowerCut(files)).toEqual(['1 a', '2 b']);
    await journal.close();
  });

  it('fails at once between two tries of a broken disk', async () => {
    const files = new MemoryFiles();
    const journal = await open(files);
    await append(journal, 'a');
    files.hook = failing((step) => step.operation === 'write', 'fail');
    await expectAppError(append(journal, 'b'), 'unavailable', 'Cannot write to /spool: EIO.');
    files.steps.length = 0;
    await expectAppError(append(journal, 'c'), 'unavailable');
    expect(files.steps).toEqual([]);
    files.hook = () => 'pass';
    await clock.advance(100);
    expect(await append(journal, 'd')).toEqual([2]);
    expect(await contents(journal)).toEqual(['1 a', '2 d']);
    await journal.close();
  });

  it('audit T24: tries a broken disk again although the clock was set back', async () => {
    let now = 1_000_000;
    const setBack: Clock = { now: () => now, after: () => () => undefined };
    const files = new MemoryFiles();
    const journal = await open(files, { clock: setBack });
    files.hook = failing((step) => step.operation === 'create', 'fail');
    await expectAppError(append(journal, 'a'), 'unavailable');
    files.hook = () => 'pass';
    now = 0;
    expect(await append(journal, 'b')).toEqual([1]);
    await journal.close();
  });

  it('calls onFailure before anybody hears of it, with the numbers taken back', async () => {
    const files = new MemoryFiles();
    const heard: string[] = [];
    const journal = await open(files, { onFailure: () => heard.push(`next ${journal.next}`) });
    await append(journal, 'a');
    files.hook = failing((step) => step.operation === 'sync', 'fail-done');
    await Promise.all([
      journal.append(text('b')).catch(() => heard.push('b rejected')),
      journal.append(text('c')).catch(() => heard.push('c rejected')),
    ]);
    expect(heard).toEqual(['next 2', 'b rejected', 'c rejected']);
    files.hook = () => 'pass';
    await journal.close();
  });
});

async function promisedAfterPowerCut(files: MemoryFiles): Promise<string[]> {
  const again = await open(files.crash('power'));
  const found = await contents(again);
  await again.close();
  return found;
}

describe('a journal whose file is removed while it is written', () => {
  it('refuses the append that notices, and then has every record again under a new name', async () => {
    const files = new MemoryFiles();
    const removed: number[] = [];
    const journal = await open(files, { onRemoved: (next) => removed.push(next), segmentBytes: 10_000 });
    await append(journal, 'a', 'b');
    files.unlink('0000000001.wal');
    await clock.advance(1000);
    await expectAppError(
      append(journal, 'c'),
      'unavailable',
      'Cannot write to /spool: somebody has removed or replaced /spool/0000000001.wal.',
    );
    await clock.advance(100);
    expect(await append(journal, 'd')).toEqual([3]);
    expect(removed).toEqual([3]);
    expect(await contents(journal)).toEqual(['1 a', '2 b', '3 d']);
    await journal.close();
    const again = await open(files.crash('power'));
    expect(await contents(again)).toEqual(['1 a', '2 b', '3 d']);
    await again.close();
  });

  it('has a hole when the records cannot be rescued', async () => {
    const files = new MemoryFiles();
    const removed: number[] = [];
    const journal = await open(files, { onRemoved: (next) => removed.push(next), segmentBytes: 10_000 });
    await append(journal, 'a', 'b');
    files.unlink('0000000001.wal');
    await clock.advance(1000);
    await expectAppError(append(journal, 'c'), 'unavailable');
    await clock.advance(100);
    files.hook = failing((step) => step.operation === 'read', 'fail');
    expect(await append(journal, 'd')).toEqual([3]);
    files.hook = () => 'pass';
    expect(removed).toEqual([3]);
    expect(journal.runs.map((run) => [run.first, run.last])).toEqual([[3, 3]]);
    await journal.close();
  });
});
