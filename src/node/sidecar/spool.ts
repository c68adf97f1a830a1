import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { makePrivateDirectory } from '../../base/durable.ts';
import { AppError, toAppError } from '../../base/errors.ts';
import type { Files } from '../../base/journal/files.ts';
import { localFiles } from '../../base/journal/files.ts';
import type { AppendOptions, Durability } from '../../base/journal/journal.ts';
import { Journal } from '../../base/journal/journal.ts';
import { lockDirectory } from '../../base/journal/lock.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { encodeEvent } from '../../core/audit/canonical.ts';
import type { AuditEvent } from '../../core/audit/event.ts';
import { loadBatchKey } from './spool/batch-key.ts';
import { readMachineStart } from './spool/machine-start.ts';
import { Outbox } from './spool/outbox.ts';
import { StateFile } from './spool/state-file.ts';

export interface SpoolOptions {
  /** Of this spool alone; it is created (0700) if need be. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  /**
   * When an `append` that does not say so itself resolves: with the record durable (`fsync`, default), or written and durable
   * 5 ms later (`write`).
   */
  readonly durability?: Durability;
  /**
   * Bytes on disk beyond which records are refused, in bytes. Default 1 GiB: 3 to 5 million events. The last twentieth is for
   * refusals, gaps and heartbeats. It is not reserved on the disk: give the spool a volume or a quota of its own.
   */
  readonly maxBytes?: number;
  /** Tells starts of the machine apart. Default: what Linux says. */
  readonly machineStart?: string | undefined;
  /** Default: the files of `directory`. For tests, to make steps fail. */
  readonly files?: Files;
}

const DEFAULT_MAX_BYTES = 1024 ** 3;
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024;
/** Of the space, for what must be on record although there is no room for calls. */
const RESERVED = 0.05;
/** Parts of the space whose use is worth a warning. */
const HIGH_WATER = [0.5, 0.8];

/**
 * The durable queue between the sidecar and the ledger. A decision is in it before its call is forwarded, and a record leaves
 * it only when the ledger has acknowledged it as durable. What it can no longer ship, because somebody or a disk destroyed
 * it, it admits in a signed gap event.
 *
 * It fails closed: a full spool or a disk that does not take a record refuses it, and with it the call.
 */
export class Spool {
  /** Signs batches: Ed25519. */
  readonly batchKey: KeyObject;
  /** What the shipper works with. */
  readonly outbox: Outbox;
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #maxBytes: number;
  readonly #machineStart: string | undefined;
  readonly #durability: Durability;
  readonly #unlock: () => void;
  #lastAppendAt: number;
  #isFull = false;
  #isWindowOpen = false;
  #highWater = 0;
  #closing: Promise<void> | undefined;

  private constructor(parts: SpoolParts) {
    this.batchKey = parts.batchKey;
    this.outbox = parts.outbox;
    this.#journal = parts.journal;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
    this.#maxBytes = parts.maxBytes;
    this.#machineStart = parts.machineStart;
    this.#durability = parts.durability;
    this.#unlock = parts.unlock;
    this.#lastAppendAt = parts.clock.now();
  }

  /**
   * Recovers what the process before has left, however it ended. Throws `conflict` when another process has the spool,
   * `incompatible-data` when another version of Writ wrote it, `unavailable` when the disk does not let us.
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    const { directory, clock, logger } = options;
    await makePrivateDirectory(directory);
    const unlock = lockDirectory(directory);
    try {
      const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
      const batchKey = await loadBatchKey(directory, logger, options.random ?? secureRandom);
      const files = options.files ?? localFiles(directory);
      const { durability = 'fsync', machineStart = await readMachineStart() } = options;
      // The callbacks come during appends only, and there are none before the outbox is there.
      let outbox: Outbox | undefined;
      const journal = await Journal.open({
        files,
        kind: 'spool',
        clock,
        logger,
        random: options.random ?? secureRandom,
        durability,
        segmentBytes: Math.min(MAX_SEGMENT_BYTES, Math.ceil(maxBytes / 8)),
        onSegment: (index) => outbox?.segmentStarted(index),
        onRemoved: (next) => outbox?.startEpochAt(next),
      });
      const { file, state, cuts } = await StateFile.open(files);
      outbox = new Outbox({ journal, stateFile: file, clock, logger, state, cuts });
      await outbox.open(machineStart);
      return new Spool({ batchKey, outbox, journal, clock, logger, maxBytes, machineStart, durability, unlock });
    } catch (error) {
      unlock();
      throw toAppError(error);
    }
  }

  /** The epoch of events that are recorded now. */
  get epoch(): number {
    return this.outbox.epoch;
  }

  /** Grows when records become durable. */
  get durable(): Watch<number> {
    return this.#journal.durable;
  }

  /** When something was last recorded, in milliseconds since the epoch. */
  get lastAppendAt(): number {
    return this.#lastAppendAt;
  }

  /** Space used on disk, in bytes, and the most that may be used. */
  get usage(): { readonly bytes: number; readonly maxBytes: number } {
    return { bytes: this.#journal.bytes, maxBytes: this.#maxBytes };
  }

  /** Whether the last call that came found no room. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /**
   * Records an event. Resolves when it is as durable as asked for, with its sequence number in the current epoch. Rejects with
   * `audit-unavailable` when it cannot be made durable (the call must then be refused), and with `invalid` for an event
   * that is none. Records keep the order of the calls.
   *
   * `withinMs`: for an event that nothing waits for, how long it may wait for another one to be written with, in
   * milliseconds. Default: not at all.
   */
  async append(event: AuditEvent, o: AppendOptions = {}): Promise<{ readonly seq: number }> {
    const payload = encodeEvent(event);
    const isCall = !mayUseReserve(event);
    const room = isCall ? Math.floor(this.#maxBytes * (1 - RESERVED)) : this.#maxBytes;
    const isTooMuch = this.#journal.bytes + payload.length > room;
    if (isCall) this.#isFull = isTooMuch;
    this.#warnOfUse();
    if (isTooMuch) {
      throw new AppError(
        'audit-unavailable',
        `The call is refused because it cannot be recorded: the audit spool is full (${this.#maxBytes} bytes). ` +
          'It empties when the control plane is reachable.',
      );
    }
    this.#lastAppendAt = this.#clock.now();
    try {
      // Before such a promise is made, it must be known that it may be broken.
      if ((o.durability ?? this.#durability) === 'write' && !this.#isWindowOpen) {
        await this.outbox.openWindow(this.#machineStart);
        this.#isWindowOpen = true;
      }
      return { seq: this.outbox.seqOf(await this.#journal.append(payload, o)) };
    } catch (cause) {
      throw new AppError(
        'audit-unavailable',
        'The call is refused because it cannot be recorded: the audit spool cannot be written. The sidecar log says why.',
        { cause },
      );
    }
  }

  #warnOfUse(): void {
    const used = this.#journal.bytes / this.#maxBytes;
    const level = HIGH_WATER.filter((part) => used >= part).length;
    if (level > this.#highWater) {
      this.#logger.warn({ ...this.usage }, `the audit spool is ${Math.floor(used * 100)} % full`);
    }
    this.#highWater = level;
  }

  /** Makes everything durable and gives the directory free. Nothing may be appended any more. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#journal.close();
      await this.outbox.close();
    } finally {
      this.#unlock();
    }
  }
}

interface SpoolParts {
  readonly batchKey: KeyObject;
  readonly outbox: Outbox;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly maxBytes: number;
  readonly machineStart: string | undefined;
  readonly durability: Durability;
  readonly unlock: () => void;
}

/** Denials, gaps and heartbeats must be on record even when there is no room for calls. */
function mayUseReserve(event: AuditEvent): boolean {
  return event.kind === 'gap' || event.kind === 'heartbeat' || (event.kind === 'decision' && event.decision === 'deny');
}
