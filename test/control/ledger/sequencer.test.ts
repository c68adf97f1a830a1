import { describe, expect, it, vi } from 'vitest';
import type { CheckpointLock } from '../../../src/control/ledger/log/lock.ts';
import { MemoryCheckpointLock, SqlCheckpointLock } from '../../../src/control/ledger/log/lock.ts';
import { LogFiles } from '../../../src/control/ledger/log/log-files.ts';
import type { Sequencer } from '../../../src/control/ledger/log/sequencer.ts';
import { parseCheckpoint } from '../../../src/core/audit/checkpoint.ts';
import { formatLogPolicy, parseLogPolicy, verifyCheckpoint } from '../../../src/core/audit/log-policy.ts';
import { isSignedBySidecar, parseLogRecord } from '../../../src/core/audit/log-record.ts';
import { LogTree } from '../../../src/core/audit/log-tree.ts';
import { leafHash, rootOfHashes, verifyConsistency } from '../../../src/core/audit/merkle.ts';
import { encodeNote, parseNote } from '../../../src/core/audit/note.ts';
import { formatVkey } from '../../../src/core/audit/note-key.ts';
import { splitBundle, splitTile, tilesBetween } from '../../../src/core/audit/tile.ts';
import type { LogWorld } from '../../support/audit-log.ts';
import { logKeys, logWorld, openSequencer, origin, SignedLedger } from '../../support/audit-log.ts';
import { expectAppError } from '../../support/errors.ts';
import { failure, MemoryFiles } from '../../support/memory-files.ts';
import { describeEachStore } from '../../support/stores.ts';

async function policy() {
  const { publicKeys } = await logKeys();
  return parseLogPolicy(Buffer.from(formatLogPolicy(publicKeys.map(formatVkey))));
}

/** Re-derives everything that the log serves from its entries, and those from the ledger. Gives the size. */
async function verifyLog(world: LogWorld, sequencer: Sequencer, o = { signatures: true }): Promise<number> {
  const { checkpoint, note } = sequencer.published.current;
  const files = new LogFiles(world.files);
  expect(verifyCheckpoint(note, await policy())).toMatchObject({ origin, size: checkpoint.size });
  const leaves: Buffer[] = [];
  for (const tile of tilesBetween(0, checkpoint.size)) {
    const bytes = await files.tile(tile);
    if (tile.level === 'entries') {
      for (const entry of splitBundle(bytes, tile.width)) {
        const record = parseLogRecord(entry);
        if (o.signatures) expect(isSignedBySidecar(record)).toBe(true);
        expect(record.header).toEqual(world.ledger.batches[leaves.length]?.batch.header);
        leaves.push(leafHash(entry));
      }
      continue;
    }
    const span = 256 ** tile.level;
    for (const [i, hash] of splitTile(bytes, tile.width).entries()) {
      const start = (tile.index * 256 + i) * span;
      expect(hash).toEqual(rootOfHashes(leaves.slice(start, start + span)));
    }
  }
  expect(leaves).toHaveLength(checkpoint.size);
  expect(checkpoint.root).toEqual(rootOfHashes(leaves));
  return checkpoint.size;
}

/** As far as it goes. */
async function sequenceAll(sequencer: Sequencer): Promise<void> {
  while (await sequencer.step());
}

describe('the sequencer', () => {
  it('audit 7: puts every batch of the ledger into the log, in their order, over several tiles', async () => {
    const world = logWorld();
    const sequencer = await openSequencer(world, { limits: { batches: 100 } });
    expect(sequencer.published.current.checkpoint.size).toBe(0);
    for (const count of [1, 254, 1, 1, 300]) {
      world.ledger.addMany(count);
      await sequenceAll(sequencer);
      expect(await verifyLog(world, sequencer)).toBe(world.ledger.batches.length);
    }
  });

  it('audit 13, 18: signs with both keys, each checkpoint consistent with those before', async () => {
    const world = logWorld();
    const sequencer = await openSequencer(world);
    const seen = [sequencer.published.current.checkpoint];
    for (let i = 0; i < 5; i++) {
      world.ledger.addMany(70);
      await sequencer.step();
      const { checkpoint, note } = sequencer.published.current;
      expect(parseNote(note).signatures.map(({ name }) => name)).toEqual([origin, origin]);
      const files = new LogFiles(world.files);
      const tree = new LogTree(async (id) => splitTile(await files.tile(id), id.width), checkpoint.size);
      for (const before of seen.slice(1)) {
        const proof = await tree.consistency(before.size);
        expect(
          verifyConsistency({
            size1: before.size,
            size2: checkpoint.size,
            root1: before.root,
            root2: checkpoint.root,
            proof,
          }),
        ).toBe(true);
      }
      seen.push(checkpoint);
    }
  });

  it('does nothing where nothing is new', async () => {
    const world = logWorld();
    const sequencer = await openSequencer(world);
    const steps = world.files.steps.length;
    expect(await sequencer.step()).toBe(false);
    expect(world.files.steps).toHaveLength(steps);
  });

  it('goes on after a restart where it was', async () => {
    const world = logWorld();
    const first = await openSequencer(world);
    world.ledger.addMany(300);
    await sequenceAll(first);
    const second = await openSequencer(world);
    expect(second.published.current).toEqual(first.published.current);
    world.ledger.addMany(300);
    await sequenceAll(second);
    expect(await verifyLog(world, second)).toBe(600);
  });

  it('audit 27: publishes within a period of what becomes durable, and says nothing before the checkpoint is published', async () => {
    const world = logWorld();
    const sequencer = await openSequencer(world);
    const stop = new AbortController();
    const running = sequencer.run(stop.signal);
    const { version } = sequencer.published;
    world.files.hook = ({ name }) => {
      // Nobody is told while any step of it is still to be done.
      if (name.startsWith('checkpoint')) expect(sequencer.published.current.checkpoint.size).toBe(0);
      return 'pass';
    };
    world.ledger.addMany(3);
    expect((await sequencer.published.next(version)).value.checkpoint.size).toBe(3);
    world.files.hook = () => 'pass';
    world.ledger.addMany(2);
    const next = sequencer.published.next(sequencer.published.version);
    await vi.waitUntil(() => world.clock.pendingTimers > 0);
    await world.clock.advance(500);
    expect((await next).value.checkpoint.size).toBe(5);
    stop.abort();
    await running;
  });

  it('audit 25, T18: a failing disk delays the log and does not end it', async () => {
    const world = logWorld();
    const sequencer = await openSequencer(world);
    world.ledger.addMany(3);
    world.files.hook = () => 'fail';
    await expect(sequencer.step()).rejects.toThrow('EIO');
    expect(sequencer.problem).toBe('Its files cannot be written.');
    world.files.hook = () => 'pass';
    await sequenceAll(sequencer);
    expect(sequencer.problem).toBeUndefined();
    expect(await verifyLog(world, sequencer)).toBe(3);
  });
});

describe('the sequencer, where every step of it may be the last', () => {
  const ready = new SignedLedger();
  ready.addMany(263);

  /** A log of 255 batches: with five more a tile becomes full, and another begins. */
  async function grown() {
    const world = logWorld();
    const sequencer = await openSequencer(world);
    world.ledger.take(ready, 255);
    await sequencer.step();
    return { world, sequencer };
  }

  it.each([
    ['fail', 'live'],
    ['fail-done', 'live'],
    ['fail-half', 'live'],
    ['fail-done', 'kill'],
    ['fail-half', 'kill'],
    ['fail-done', 'power'],
    ['fail-half', 'power'],
  ] as const)('audit 25, 26, T18: loses and doubles nothing when a step is a %s, and then %s', async (fault, end) => {
    const undisturbed = await grown();
    const first = undisturbed.world.files.steps.length;
    undisturbed.world.ledger.take(ready, 5);
    await undisturbed.sequencer.step();
    const steps = undisturbed.world.files.steps.slice(first);
    expect(steps.length).toBeGreaterThan(15);
    for (const [failing, { operation }] of steps.entries()) {
      if (fault === 'fail-half' && operation !== 'write') continue;
      const { world, sequencer } = await grown();
      const seen = sequencer.published.current.checkpoint;
      world.ledger.take(ready, 5);
      let at = 0;
      world.files.hook = () => (at++ === failing ? fault : 'pass');
      await sequencer.step().catch(() => undefined);
      world.files.hook = () => 'pass';
      const next = end === 'live' ? world : { ...world, files: world.files.crash(end) };
      const again = end === 'live' ? sequencer : await openSequencer(next);
      // More comes before the step is finished: it must not get into it.
      world.ledger.take(ready, 3);
      await sequenceAll(again);
      expect(await verifyLog(next, again, { signatures: false })).toBe(263);
      const files = new LogFiles(next.files);
      const tree = new LogTree(async (id) => splitTile(await files.tile(id), id.width), 263);
      const { root } = again.published.current.checkpoint;
      const proof = await tree.consistency(seen.size);
      expect(verifyConsistency({ size1: seen.size, size2: 263, root1: seen.root, root2: root, proof })).toBe(true);
      expect(next.files.names()).not.toContain('staging');
    }
  });

  it('audit 25, 26: signs nothing else when it dies between the swap and the answer', async () => {
    for (const happened of [true, false]) {
      const lock = new MemoryCheckpointLock();
      const world = logWorld({ lock });
      const sequencer = await openSequencer(world);
      world.ledger.addMany(3);
      const swap = lock.swap.bind(lock);
      lock.swap = async (before, next) => {
        if (happened) await swap(before, next);
        throw failure('ECONNRESET');
      };
      await expect(sequencer.step()).rejects.toThrow('ECONNRESET');
      const decided = lock.current;
      lock.swap = swap;
      world.ledger.addMany(3);
      await sequencer.step();
      // What was decided is published as it was decided, byte for byte, before anything is added.
      if (happened) expect(world.files.steps.length).toBeGreaterThan(0);
      await sequenceAll(sequencer);
      expect(await verifyLog(world, sequencer)).toBe(6);
      if (happened) expect(parseCheckpoint(parseNote(decided ?? Buffer.alloc(0)).text).size).toBe(3);
    }
  });

  it('audit 26: begins a log only once, also when it dies while beginning it', async () => {
    const counting = logWorld();
    await openSequencer(counting);
    for (let failing = 0; failing < counting.files.steps.length; failing++) {
      for (const end of ['kill', 'power'] as const) {
        const world = logWorld();
        let at = 0;
        world.files.hook = () => (at++ === failing ? 'fail-done' : 'pass');
        await openSequencer(world).catch(() => undefined);
        const next = { ...world, files: world.files.crash(end) };
        const sequencer = await openSequencer(next);
        world.ledger.addMany(2);
        await sequenceAll(sequencer);
        expect(await verifyLog(next, sequencer)).toBe(2);
      }
    }
  });
});

describe('a log whose parts contradict each other', () => {
  const halted = (why: string) =>
    [
      'incompatible-data',
      new RegExp(`^The audit log example.org/writ/audit is not opened: ${why}.*Nothing was changed`),
    ] as const;

  async function grown(count = 300): Promise<LogWorld & { readonly lock: MemoryCheckpointLock }> {
    const lock = new MemoryCheckpointLock();
    const world = logWorld({ lock });
    const sequencer = await openSequencer(world);
    for (const part of [count - 3, 3]) {
      world.ledger.addMany(part);
      await sequencer.step();
    }
    return { ...world, lock };
  }

  it('audit 26, T19: is not opened when the database is older than the files; with the word of the operator, it follows the files', async () => {
    const world = logWorld();
    const lock = world.lock as MemoryCheckpointLock;
    const sequencer = await openSequencer(world);
    world.ledger.addMany(10);
    await sequencer.step();
    const backup = lock.current;
    world.ledger.addMany(10);
    await sequencer.step();
    lock.current = backup;
    await expectAppError(
      openSequencer(world),
      ...halted('the database is older than the files: it has 10 batches, and /spool has 20'),
    );
    expect(lock.current).toBe(backup);
    const again = await openSequencer(world, { databaseRestored: true });
    world.ledger.addMany(10);
    await sequenceAll(again);
    expect(await verifyLog(world, again)).toBe(30);
    await openSequencer(world);
  });

  it('audit 26: follows no files of another history, whatever the operator says', async () => {
    const [one, other] = [await grown(10), await grown(20)];
    const mixed = { ...other, lock: one.lock };
    await expectAppError(openSequencer(mixed, { databaseRestored: true }), ...halted('.*they are not of one history'));
  });

  it('audit 26, T19: is not opened when the files are older than the database', async () => {
    const world = logWorld();
    const sequencer = await openSequencer(world);
    world.ledger.addMany(10);
    await sequencer.step();
    const files = world.files.crash('kill');
    world.ledger.addMany(10);
    await sequencer.step();
    await expectAppError(
      openSequencer({ ...world, files }),
      ...halted('the database has signed it with 20 batches, and /spool holds 10'),
    );
  });

  it('audit 26: is not opened when the files are gone, nor begun again', async () => {
    const world = await grown();
    await expectAppError(
      openSequencer({ ...world, files: new MemoryFiles() }),
      ...halted('the database has signed it with 300 batches'),
    );
  });

  it('audit 26: is not opened when the database does not know it', async () => {
    const world = await grown();
    await expectAppError(
      openSequencer({ ...world, lock: new MemoryCheckpointLock() }),
      ...halted('the database knows nothing of it'),
    );
  });

  it('audit 26: is not opened when both hold another checkpoint of the same size', async () => {
    const [one, other] = [await grown(), await grown()];
    await expectAppError(
      openSequencer({ ...one, lock: other.lock }),
      ...halted('.* hold different checkpoints for 300 batches'),
    );
  });

  it('is not opened when the ledger has lost batches that it covers', async () => {
    const world = await grown();
    world.ledger.size.set(299);
    await expectAppError(openSequencer(world), ...halted('it covers 300 batches, and the ledger holds 299'));
  });

  it.each(['hashes-00-00000000', 'hashes-01-00000000'])(
    'is not opened when the last tile in %s was changed',
    async (name) => {
      const world = await grown();
      world.files.tamper(name, (bytes) => {
        bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1);
        return bytes;
      });
      await expectAppError(openSequencer(world), ...halted('the hashes in /spool are not those that were signed'));
    },
  );

  it.each(['hashes-00-00000000', 'ends-00000000'])('is not opened when %s was cut', async (name) => {
    const world = await grown();
    world.files.tamper(name, (bytes) => bytes.subarray(0, -1));
    await expectAppError(
      openSequencer(world),
      'incompatible-data',
      new RegExp(`/spool/${name} is shorter than the audit log`),
    );
  });

  it('audit 18: is not opened when its published checkpoint has lost the signature of one of its keys', async () => {
    const world = await grown();
    const name = world.files.names().find((file) => file.startsWith('checkpoint')) ?? '';
    world.files.tamper(name, (bytes) => {
      const note = parseNote(bytes);
      return encodeNote({ ...note, signatures: note.signatures.slice(0, 1) });
    });
    await expectAppError(
      openSequencer(world),
      ...halted('the database has signed it with 300 batches, and /spool holds 0'),
    );
  });

  it('is not opened when its published checkpoint was changed', async () => {
    const world = await grown();
    const name = world.files.names().find((file) => file.startsWith('checkpoint')) ?? '';
    world.files.tamper(name, (bytes) => Buffer.from(bytes.toString().replace('\n300\n', '\n301\n')));
    await expectAppError(
      openSequencer(world),
      ...halted('the database has signed it with 300 batches, and /spool holds 0'),
    );
  });
});

describeEachStore('the lock of a log', (bench) => {
  it('audit 25: of two sequencers at the same place, one goes on and the other must stop', async () => {
    const store = await bench.open();
    const lock: CheckpointLock = new SqlCheckpointLock(store, origin);
    const world = logWorld({ lock });
    const first = await openSequencer(world);
    // A copy of the directory, as of a machine that was cloned.
    const clone = { ...world, files: world.files.crash('kill') };
    const second = await openSequencer(clone);
    world.ledger.addMany(2);
    await first.step();
    await expectAppError(second.step(), 'conflict', /^Another process writes the audit log example.org\/writ\/audit/);
    await expectAppError(
      second.run(new AbortController().signal),
      'incompatible-data',
      /is not opened: the database has signed it with 2/,
    );
    world.ledger.addMany(2);
    await sequenceAll(first);
    expect(await verifyLog(world, first)).toBe(4);
  });

  it('audit 26: a second replica does not begin a log that is there', async () => {
    const database = await bench.database();
    const lock = new SqlCheckpointLock(await bench.open(database), origin);
    await openSequencer(logWorld({ lock }));
    if (bench.kind === 'sqlite') return;
    const other = new SqlCheckpointLock(await bench.open(database), origin);
    await expectAppError(
      openSequencer(logWorld({ lock: other })),
      'incompatible-data',
      /the database has signed it with 0 batches/,
    );
    await openSequencer(logWorld({ lock: new SqlCheckpointLock(await bench.open(database), `${origin}/2`) }), {
      keys: { ...(await logKeys()), origin: `${origin}/2` },
    }).catch(() => undefined);
  });

  it('swaps only what is there, and survives a restart', async () => {
    const database = await bench.database();
    const store = await bench.open(database);
    const lock = new SqlCheckpointLock(store, origin);
    const [a, b] = [Buffer.from('a — ä\n'), Buffer.from('b\n')];
    expect(await lock.read()).toBeUndefined();
    expect(await lock.swap(a, b)).toBe(false);
    expect(await lock.swap(undefined, a)).toBe(true);
    expect(await lock.swap(undefined, b)).toBe(false);
    expect(await lock.read()).toEqual(a);
    expect(await lock.swap(b, a)).toBe(false);
    expect(await lock.swap(a, b)).toBe(true);
    expect(await new SqlCheckpointLock(store, 'another').read()).toBeUndefined();
    expect(await lock.read()).toEqual(b);
  });
});
