import type { KeyObject } from 'node:crypto';
import { generateKeyPairSync, sign } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import { batchKeyStatement, cutBatch, EVENT_PREFIX_BYTES, rawBatchKey } from '../../core/audit/batch.ts';
import { encodeEvent } from '../../core/audit/canonical.ts';
import type { AuditEvent } from '../../core/audit/event.ts';
import type { ShipCaller } from '../../core/audit/ship.ts';
import { MAX_BATCH_BYTES } from '../../core/audit/ship.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import { checkLeaf } from '../../core/identity/profile.ts';
import type { Ledger, LedgerSession } from './ledger.ts';

/** Who records: an X.509-SVID whose subject names the instance, as every sidecar has one. */
export interface ProducerIdentity {
  /** DER, leaf first. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
}

export interface ProducerOptions {
  readonly ledger: Pick<Ledger, 'connect'>;
  /** As it is now: read when a stream begins, not before the first event. */
  readonly identity: () => ProducerIdentity;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  readonly limits?: Partial<ProducerLimits>;
}

export interface ProducerLimits {
  /** Events that may wait to become durable; more are refused. Default 16,384. */
  readonly waitingEvents: number;
  /** Their bytes. Default 16 MiB. */
  readonly waitingBytes: number;
}

const DEFAULT_LIMITS: ProducerLimits = { waitingEvents: 16_384, waitingBytes: 16 * 1024 * 1024 };

/** Events that share a batch at most: hashing and signing keep everybody else waiting, and more would gain nothing. */
const GROUP_EVENTS = 512;
/** Fewer events gain little by compression, and one that is alone should not wait for it. */
const MIN_COMPRESSED = 8;

interface Waiting {
  readonly bytes: Buffer;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

/** Where the next batch begins, as the ledger has it. */
interface Stream {
  readonly session: LedgerSession;
  readonly instanceId: string;
  readonly epoch: number;
  nextSeq: number;
  prevHash: Buffer;
}

/**
 * What this process itself puts on the record, of whatever kind: batches that it signs and chains, through the door that
 * sidecars use. Its batch key lives in memory, is bound to the identity that it presents, and ends with the process, as does
 * its instance id; so each start begins at epoch 1 with event 1.
 *
 * Group commit: while a batch is on its way to the disk, what comes waits and goes into the next one together. A batch is never
 * sent again: when it cannot be stored, those who wait for its events hear so, and the next batch takes its place.
 *
 * Not solved: a disk that neither writes nor fails. What waits then waits with it, up to the limits.
 */
export class EventProducer {
  readonly #options: ProducerOptions;
  readonly #limits: ProducerLimits;
  readonly #batchKey: KeyObject;
  readonly #bootId: string;
  #stream: Stream | undefined;
  #waiting: Waiting[] = [];
  #events = 0;
  #bytes = 0;
  #work: Promise<void> | undefined;
  #isFailing = false;
  #isClosed = false;

  constructor(options: ProducerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#batchKey = generateKeyPairSync('ed25519').privateKey;
    this.#bootId = uuidv7(options.clock, options.random ?? secureRandom);
  }

  /**
   * Resolves when the event is durable in the ledger. Events have the order of the calls. Rejects with `unavailable` when it
   * cannot be made durable: no reader of this process will ever see it, though after a crash at that moment it may be found;
   * more may be recorded than was done, never less. Rejects with `internal` for an event out of its bounds, which fails alone.
   */
  append(event: AuditEvent): Promise<void> {
    if (this.#isClosed) return Promise.reject(unavailable('The control plane is stopping.'));
    let bytes: Buffer;
    try {
      bytes = encodeEvent(event);
    } catch (cause) {
      return Promise.reject(new AppError('internal', 'The event cannot be recorded as it is.', { cause }));
    }
    if (this.#events >= this.#limits.waitingEvents || this.#bytes + bytes.length > this.#limits.waitingBytes) {
      return Promise.reject(unavailable('Too much is waiting to be recorded. Try again later.'));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, resolve, reject });
      this.#events += 1;
      this.#bytes += bytes.length;
      this.#work ??= this.#run();
    });
  }

  /** Refuses what comes from now on, and waits for what was taken. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#work;
    this.#stream?.session.close();
    this.#stream = undefined;
  }

  async #run(): Promise<void> {
    // What comes in the same turn shares a batch.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      const failure = await this.#ship(group.map(({ bytes }) => bytes));
      this.#events -= group.length;
      this.#bytes -= group.reduce((sum, { bytes }) => sum + bytes.length, 0);
      for (const waiting of group) {
        if (failure === undefined) waiting.resolve();
        else waiting.reject(failure);
      }
    }
    // In the same breath as the check above: nothing is left behind.
    this.#work = undefined;
  }

  /** As many as share a batch. */
  #takeGroup(): readonly Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      bytes += EVENT_PREFIX_BYTES + waiting.bytes.length;
      if (bytes > MAX_BATCH_BYTES || count === GROUP_EVENTS) break;
      count += 1;
    }
    const group = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    return group;
  }

  /** Returns why the events are not in the ledger, when they are not. */
  async #ship(events: readonly Buffer[]): Promise<AppError | undefined> {
    try {
      this.#stream ??= this.#connect();
      await this.#append(this.#stream, events);
      this.#settle();
      return undefined;
    } catch (cause) {
      // A refusal ends a session. The next one says where the ledger stands.
      this.#stream?.session.close();
      this.#stream = undefined;
      this.#report(cause);
      return unavailable(
        'The audit ledger cannot be written now, and nothing is done that is not on the record.',
        cause,
      );
    }
  }

  async #append(stream: Stream, events: readonly Buffer[]): Promise<void> {
    const { session, instanceId, epoch, nextSeq: firstSeq, prevHash } = stream;
    const { batch, header, hash } = cutBatch({
      instanceId,
      epoch,
      firstSeq,
      prevHash,
      events,
      privateKey: this.#batchKey,
      encoding: events.length < MIN_COMPRESSED ? 'identity' : 'zstd',
    });
    const reply = await session.append(batch);
    if ('nack' in reply)
      throw new AppError('unavailable', `The ledger refuses (${reply.nack.code}): ${reply.nack.message}`);
    stream.nextSeq += header.count;
    stream.prevHash = hash;
  }

  #connect(): Stream {
    const { ledger, identity, clock } = this.#options;
    const { chain, privateKey } = identity();
    const caller = callerOf(chain);
    const batchKey = rawBatchKey(this.#batchKey);
    const start = ledger.connect(caller, {
      bootId: this.#bootId,
      epoch: 1,
      nextSeq: 1,
      lastBatchHash: Buffer.alloc(0),
      batchKey,
      batchKeySignature: sign('sha256', batchKeyStatement(caller.instanceId, batchKey), privateKey),
      time: clock.now(),
    });
    if ('nack' in start)
      throw new AppError('unavailable', `The ledger refuses (${start.nack.code}): ${start.nack.message}`);
    const { expectedEpoch, expectedSeq, expectedPrevHash } = start.welcome;
    return {
      session: start.session,
      instanceId: caller.instanceId,
      epoch: expectedEpoch,
      nextSeq: expectedSeq,
      prevHash: expectedPrevHash,
    };
  }

  #report(cause: unknown): void {
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#options.logger.error({ err: cause }, 'nothing can be recorded: what must be on the record is refused');
  }

  #settle(): void {
    if (this.#isFailing) this.#options.logger.info('the control plane records again');
    this.#isFailing = false;
  }
}

/** As gRPC reads it of a sidecar. */
function callerOf(chain: readonly Buffer[]): ShipCaller {
  const leaf = parseCertificate(chain[0] ?? Buffer.alloc(0));
  return { instanceId: leaf.subjectSerialNumber, spiffeId: checkLeaf(leaf).uri, certificate: leaf.der };
}

function unavailable(message: string, cause?: unknown): AppError {
  return new AppError('unavailable', message, { cause });
}
