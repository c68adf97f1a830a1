import { randomBytes } from 'node:crypto';
import { AppError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import { WatchSource } from '../../src/base/watch.ts';
import type { LoggedBatch } from '../../src/control/ledger/ledger.ts';
import { AuditLog } from '../../src/control/ledger/log/audit-log.ts';
import type { LogKeys } from '../../src/control/ledger/log/keys.ts';
import { openLogKeys } from '../../src/control/ledger/log/keys.ts';
import type { CheckpointLock } from '../../src/control/ledger/log/lock.ts';
import { MemoryCheckpointLock } from '../../src/control/ledger/log/lock.ts';
import { LogFiles } from '../../src/control/ledger/log/log-files.ts';
import type { SequencerOptions } from '../../src/control/ledger/log/sequencer.ts';
import { Sequencer } from '../../src/control/ledger/log/sequencer.ts';
import type { Witnesses } from '../../src/control/ledger/log/witnesses.ts';
import type { KeyMeta } from '../../src/control/ledger/record.ts';
import { cutBatch } from '../../src/core/audit/batch.ts';
import { encodeEvent } from '../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../src/core/audit/event.ts';
import { decision, shippingIdentity } from './audit.ts';
import { FakeClock } from './clock.ts';
import { MemoryFiles } from './memory-files.ts';
import type { TestSidecar } from './test-sidecar.ts';
import { testSidecar } from './test-sidecar.ts';

export const origin = 'example.org/writ/audit';

let keys: Promise<LogKeys> | undefined;

/** The keys of the test log: the same for all tests of a file. */
export function logKeys(): Promise<LogKeys> {
  keys ??= openLogKeys({
    secrets: { load: async () => undefined, save: async () => undefined },
    origin,
    now: () => Date.UTC(2026, 0, 1),
    random: randomBytes,
    mayCreate: true,
  });
  return keys;
}

/** A ledger of this process whose batches are signed and chained as those of real sidecars. */
export class SignedLedger {
  readonly size = new WatchSource(0);
  readonly batches: LoggedBatch[] = [];
  readonly #sidecars: readonly TestSidecar[];

  constructor(sidecars: readonly TestSidecar[] = [defaultSidecar()]) {
    this.#sidecars = sidecars;
  }

  /** One batch; default: of one decision. */
  add(events: readonly AuditEvent[] = [decision()], sidecar = 0): void {
    const from = this.#sidecars[sidecar];
    if (from === undefined) throw new Error('no such sidecar');
    const { batch, header } = cutBatch({
      ...from.place(events.length),
      events: events.map(encodeEvent),
      privateKey: from.batchKey,
    });
    from.sent(batch.header, events.length);
    const { instanceId, spiffeId } = from.who.caller;
    this.batches.push({
      leaf: this.batches.length,
      instanceId,
      spiffeId,
      receivedAt: Date.UTC(2026, 0, 2) + this.batches.length,
      keyRecord: sidecar + 1,
      header,
      batch,
    });
    this.size.set(this.batches.length);
  }

  addMany(count: number): void {
    for (let i = 0; i < count; i++) this.add();
  }

  /** Batches of another, as they are. */
  take(other: SignedLedger, count: number): void {
    const from = this.batches.length;
    this.batches.push(...other.batches.slice(from, from + count));
    this.size.set(this.batches.length);
  }

  async *read(from: number): AsyncGenerator<LoggedBatch, void, undefined> {
    yield* this.batches.slice(from);
  }

  async keyOf(record: number): Promise<KeyMeta> {
    const sidecar = this.#sidecars[record - 1];
    if (sidecar === undefined) throw new Error('no such key');
    return sidecar.keyMeta;
  }
}

let sidecar: TestSidecar | undefined;

function defaultSidecar(): TestSidecar {
  sidecar ??= testSidecar(shippingIdentity('sidecar-a'));
  return sidecar;
}

export interface LogWorld {
  readonly files: MemoryFiles;
  readonly lock: CheckpointLock;
  readonly ledger: SignedLedger;
  readonly clock: FakeClock;
}

export function logWorld(change: Partial<LogWorld> = {}): LogWorld {
  return {
    files: change.files ?? new MemoryFiles(),
    lock: change.lock ?? new MemoryCheckpointLock(),
    ledger: change.ledger ?? new SignedLedger(),
    clock: change.clock ?? new FakeClock(),
  };
}

/** As it is served, of a ledger whose records are found by their ids. */
export async function openTestLog(
  world: LogWorld = logWorld(),
  askWitnesses?: (sequencer: Sequencer) => Promise<Witnesses>,
): Promise<{ log: AuditLog; sequencer: Sequencer }> {
  const sequencer = await openSequencer(world);
  const log = new AuditLog({
    witnesses: await askWitnesses?.(sequencer),
    ledger: world.ledger,
    files: new LogFiles(world.files),
    keys: await logKeys(),
    published: sequencer.published,
    leafOf: async (id) => {
      const found = world.ledger.batches.find(({ instanceId, header }) => {
        const [, sidecarId, epoch, seq] = /^(.*)\.(\d+)\.(\d+)$/.exec(id) ?? [];
        const position = Number(seq) - header.firstSeq;
        return instanceId === sidecarId && header.epoch === Number(epoch) && position >= 0 && position < header.count;
      });
      if (found === undefined) throw new AppError('not-found', 'No audit event has this id.');
      return found.leaf;
    },
  });
  return { log, sequencer };
}

export async function openSequencer(world: LogWorld, change: Partial<SequencerOptions> = {}): Promise<Sequencer> {
  return Sequencer.open({
    ledger: world.ledger,
    files: new LogFiles(world.files),
    lock: world.lock,
    keys: await logKeys(),
    clock: world.clock,
    logger: silentLogger,
    ...change,
  });
}
