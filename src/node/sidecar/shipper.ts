import type { KeyObject } from 'node:crypto';
import { sign } from 'node:crypto';
import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError, toAppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import { batchKeyStatement, rawBatchKey, sealBatch } from '../../core/audit/batch.ts';
import type { ShipHello, ShipLogged, ShipNack, ShipWelcome } from '../../core/audit/ship.ts';
import { MAX_BATCH_EVENTS } from '../../core/audit/ship.ts';
import { goOnAfterRollback } from './after-rollback.ts';
import type { LogPins, LogPinsStatus } from './log-pins.ts';
import type { RollbackConsent } from './rollback-consent.ts';
import { nackError } from './ship-refusal.ts';
import type { ShipReply, ShipStream, ShipTransport } from './ship-transport.ts';
import { Wakeup } from './ship-wakeup.ts';
import { MAX_UNACKED_CUTS } from './spool/outbox.ts';
import { reconcile } from './spool/reconcile.ts';
import type { Spool } from './spool.ts';

export type { ShipStream, ShipTransport } from './ship-transport.ts';

export interface ShipperOptions {
  readonly spool: Spool;
  readonly transport: ShipTransport;
  /** Who we are: the instance id in our certificate, and the key of the certificate that the transport presents. */
  readonly identity: () => { readonly instanceId: string; readonly privateKey: KeyObject };
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  /** What was seen of the audit log; without it, the log is not followed. */
  readonly pins?: LogPins;
  /** Where an operator says that a control plane that was rolled back is to be gone on with; without it, never. */
  readonly consent?: RollbackConsent;
  /** How long events wait for others to share their batch, in milliseconds. Default 250. */
  readonly batchMs?: number;
  /** Silence after which a heartbeat is recorded, in milliseconds. Default 10,000. */
  readonly heartbeatMs?: number;
}

export interface ShipperStatus {
  readonly connected: boolean;
  /** Sequence, in its epoch, of the last event that is durable in the ledger. */
  readonly shippedThrough: number;
  /** Records that are not acknowledged. */
  readonly pending: number;
  /** Milliseconds since the epoch. */
  readonly lastAckAt: number | undefined;
  /** The audit log, as far as it was verified; undefined before the control plane has shown it. */
  readonly log: ShipperLog | undefined;
  /** Why nothing is shipped, for people. */
  readonly problem: string | undefined;
}

export interface ShipperLog extends LogPinsStatus {
  /** Of the events that were shipped since the last connection, the last that a checkpoint covers; 0 for none. */
  readonly loggedThrough: number;
}

const BATCH_MS = 250;
const HEARTBEAT_MS = 10_000;
/** Refusals of the same thing, one after the other, before it is given up and goes into a new epoch. */
const MAX_REFUSALS = 3;

/** Ships the spool: batches in order over one stream at a time, resent exactly as they were until they are acknowledged. */
export class Shipper {
  readonly #options: ShipperOptions;
  readonly #bootId: string;
  readonly #batchKey: Buffer;
  readonly #backoff: Backoff;
  readonly #wakeup = new Wakeup();
  #connected = false;
  #lastAckAt: number | undefined;
  #loggedThrough = 0;
  #problem: string | undefined;
  #refusals = 0;
  #rolledBackTo: ShipWelcome | undefined;
  #giveUpBehind: { readonly epoch: number; readonly nextSeq: number } | undefined;

  constructor(options: ShipperOptions) {
    const random = options.random ?? secureRandom;
    this.#options = options;
    this.#bootId = uuidv7(options.clock, random);
    this.#batchKey = rawBatchKey(options.spool.batchKey);
    this.#backoff = new Backoff({ random });
  }

  get status(): ShipperStatus {
    const { outbox } = this.#options.spool;
    return Object.freeze({
      connected: this.#connected,
      shippedThrough: outbox.acked.seq,
      pending: outbox.pendingRecords,
      lastAckAt: this.#lastAckAt,
      log: this.#logStatus(),
      problem: this.#problem,
    });
  }

  #logStatus(): ShipperLog | undefined {
    const seen = this.#options.pins?.status;
    return seen === undefined ? undefined : { ...seen, loggedThrough: this.#loggedThrough };
  }

  /** Ships until `signal` aborts. What is not shipped by then stays in the spool. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const unsubscribe = this.#options.spool.durable.subscribe(() => this.#wakeup.wake());
    try {
      await Promise.all([this.#keepShipping(signal), this.#keepBeating(signal)]);
    } finally {
      unsubscribe();
    }
  }

  async #keepShipping(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#shipOverOneStream(signal);
      } catch (error) {
        if (!signal.aborted) await this.#report(toAppError(error));
      }
      this.#connected = false;
      await sleep(this.#options.clock, this.#backoff.nextMs(), signal);
    }
  }

  async #shipOverOneStream(signal: AbortSignal): Promise<void> {
    const { spool, transport } = this.#options;
    if (this.#giveUpBehind !== undefined) {
      this.#options.logger.error('the ledger refuses the same batch again and again; its events go into a new epoch');
      await spool.outbox.startEpochAfter(this.#giveUpBehind);
      this.#giveUpBehind = undefined;
    }
    const hello = await this.#hello();
    const stream = await transport.open(hello, signal);
    const stop = new AbortController();
    const onAbort = () => stop.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    let sending: Promise<void> | undefined;
    try {
      const agreed = await reconcile(spool.outbox, stream.welcome);
      this.#rolledBackTo = agreed.state === 'rolled-back' ? stream.welcome : undefined;
      if (agreed.state === 'rolled-back') throw new AppError('audit-fork', agreed.message);
      if (agreed.state === 'new-epoch') {
        this.#options.logger.error(
          'the ledger has events that this spool does not know; shipping goes on in a new epoch',
        );
      }
      const replies = stream.replies[Symbol.asyncIterator]();
      await this.#checkLog(stream, replies);
      this.#connected = true;
      this.#settle();
      sending = this.#send(stream, stop.signal);
      await Promise.race([sending, this.#receive(replies)]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      stop.abort();
      stream.close();
      // One writer to the outbox at a time: the next stream begins when this one's sender has ended.
      await sending?.catch(() => undefined);
    }
  }

  async #hello(): Promise<ShipHello> {
    const { spool, identity, clock, pins } = this.#options;
    const { instanceId, privateKey } = identity();
    await spool.outbox.bind(instanceId);
    const next = spool.outbox.nextToShip;
    return {
      bootId: this.#bootId,
      epoch: next.epoch,
      nextSeq: next.seq,
      lastBatchHash: spool.outbox.acked.hash,
      batchKey: this.#batchKey,
      batchKeySignature: sign('sha256', batchKeyStatement(instanceId, this.#batchKey), privateKey),
      time: clock.now(),
      ...(pins !== undefined && { log: pins.known }),
    };
  }

  /**
   * Nothing is sent, so that nothing can be acknowledged and then freed here, before the log is found to continue what was
   * seen of it. A control plane that shows none any more is only reported: it may be of the version before.
   */
  async #checkLog(stream: ShipStream, replies: AsyncIterator<ShipReply>): Promise<void> {
    const { pins, logger } = this.#options;
    if (pins === undefined) return;
    if (stream.welcome.sendsLog !== true) {
      if (pins.known.length > 0) logger.error('the control plane does not show the audit log any more');
      return;
    }
    const { value, done } = await replies.next();
    if (done === true) throw new AppError('unavailable', 'The ledger has ended the stream.');
    if ('nack' in value) throw nackError(value.nack);
    if (!('logged' in value)) throw new AppError('audit-fork', 'The ledger acknowledges what was not sent.');
    this.#loggedThrough = 0;
    await this.#acceptLog(value.logged);
  }

  async #acceptLog(logged: ShipLogged): Promise<void> {
    await this.#options.pins?.accept(logged);
    this.#loggedThrough = logged.loggedThroughSeq;
  }

  /** Until `signal` aborts, which it throws. */
  async #send(stream: ShipStream, signal: AbortSignal): Promise<void> {
    const { outbox, batchKey } = this.#options.spool;
    const credit = Math.max(1, Math.min(stream.welcome.creditBatches, MAX_UNACKED_CUTS));
    let sentThrough = 0;
    for (;;) {
      signal.throwIfAborted();
      const seen = this.#wakeup.count;
      const next = outbox.cuts.find((cut) => cut.cut > sentThrough);
      const inFlight = outbox.cuts.filter((cut) => cut.cut <= sentThrough).length;
      if (next !== undefined && inFlight < credit) {
        const events = await outbox.load(next);
        if (events === undefined) throw new AppError('unavailable', 'A batch could not be read and was given up.');
        await unlessAborted(stream.send(sealBatch(next.bytes, events, batchKey)), signal);
        sentThrough = next.cut;
      } else if (next === undefined && outbox.hasUncut && inFlight < credit) {
        await this.#waitForMore(signal);
        await outbox.cut();
      } else {
        await this.#wakeup.after(seen, signal);
      }
    }
  }

  /** Gives others the chance to share the batch of the events that are there. */
  async #waitForMore(signal: AbortSignal): Promise<void> {
    const { clock, spool, batchMs = BATCH_MS } = this.#options;
    let isTime = false;
    const cancel = clock.after(batchMs, () => {
      isTime = true;
      this.#wakeup.wake();
    });
    try {
      while (!isTime && spool.outbox.uncutRecords < MAX_BATCH_EVENTS) {
        await this.#wakeup.after(this.#wakeup.count, signal);
      }
    } finally {
      cancel();
    }
  }

  /** Until the stream ends, which it throws. */
  async #receive(replies: AsyncIterator<ShipReply>): Promise<void> {
    const { spool, clock } = this.#options;
    for (;;) {
      const { value: reply, done } = await replies.next();
      if (done === true) break;
      if ('logged' in reply) {
        await this.#acceptLog(reply.logged);
        continue;
      }
      if ('nack' in reply) {
        this.#noteRefusal(reply.nack);
        throw nackError(reply.nack);
      }
      const { epoch, durableThroughSeq, batchHash } = reply.ack;
      if (!spool.outbox.acknowledge(epoch, durableThroughSeq, batchHash)) {
        throw new AppError('audit-fork', 'The ledger has acknowledged a batch that this sidecar has not sent.');
      }
      this.#lastAckAt = clock.now();
      this.#refusals = 0;
      this.#backoff.reset();
      this.#wakeup.wake();
    }
    throw new AppError('unavailable', 'The ledger has ended the stream.');
  }

  /** The stream ends with a refusal, and the next welcome says where the ledger stands. */
  #noteRefusal(nack: ShipNack): void {
    this.#refusals += 1;
    const isAboutPlace = nack.code === 'gap' || nack.code === 'fork';
    if (!isAboutPlace || this.#refusals < MAX_REFUSALS) return;
    this.#refusals = 0;
    this.#giveUpBehind = { epoch: nack.expectedEpoch, nextSeq: nack.expectedSeq };
  }

  async #keepBeating(signal: AbortSignal): Promise<void> {
    const { spool, clock, logger, heartbeatMs = HEARTBEAT_MS } = this.#options;
    while (!signal.aborted) {
      const idle = clock.now() - spool.lastAppendAt;
      // Negative after the clock was set back: then a full interval, not for ever.
      const wait = idle < 0 ? heartbeatMs : heartbeatMs - idle;
      if (wait > 0) {
        await sleep(clock, wait, signal);
        continue;
      }
      try {
        await spool.append({ kind: 'heartbeat', time: clock.now() });
      } catch (error) {
        logger.debug({ err: error }, 'no heartbeat could be recorded');
        await sleep(clock, heartbeatMs, signal);
      }
    }
  }

  async #report(error: AppError): Promise<void> {
    if (error.code === 'audit-fork') await this.#goOnIfTold();
    const isNews = error.message !== this.#problem;
    this.#problem = error.message;
    if (!isNews) return;
    const level = error.code === 'unavailable' || error.code === 'deadline-exceeded' ? 'warn' : 'error';
    this.#options.logger[level]({ err: error, pending: this.status.pending }, 'the audit record is not being shipped');
  }

  async #goOnIfTold(): Promise<void> {
    try {
      if (await goOnAfterRollback(this.#options, this.#rolledBackTo)) this.#backoff.reset();
    } catch (error) {
      this.#options.logger.error({ err: error }, 'a control plane that was rolled back could not be gone on with');
    }
  }

  #settle(): void {
    if (this.#problem !== undefined) this.#options.logger.info('the audit record is being shipped again');
    this.#problem = undefined;
  }
}

/** What `promise` does, or a rejection as soon as `signal` aborts. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
