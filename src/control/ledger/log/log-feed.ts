import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { isAbort } from '../../../base/tasks.ts';
import type { LogPin, ShipLogged } from '../../../core/audit/ship.ts';
import type { AuditLog } from './audit-log.ts';

export interface LogFeedOptions {
  readonly log: Pick<AuditLog, 'published' | 'consistency' | 'vkeys'>;
  readonly clock: Clock;
  /** Between two messages to one sidecar, in milliseconds. Default 5,000: a checkpoint has some kB, and there may be many. */
  readonly periodMs?: number;
}

/** What of a stream's batches is below a checkpoint. */
export type LoggedThrough = (size: number) => { readonly epoch: number; readonly seq: number } | undefined;

const PERIOD_MS = 5_000;

/** Shows sidecars how the log grows, so that each of them can hold the control plane to what it has shown. */
export class LogFeed {
  readonly #o: LogFeedOptions;

  constructor(o: LogFeedOptions) {
    this.#o = o;
  }

  /** The checkpoint that is there, at once, and later ones with the proof that they continue it. Until `signal` aborts. */
  async *follow(
    pins: readonly LogPin[],
    loggedThrough: LoggedThrough,
    signal: AbortSignal,
  ): AsyncGenerator<ShipLogged> {
    const { log, clock, periodMs = PERIOD_MS } = this.#o;
    const { origin } = log.published.current.checkpoint;
    let known = pins.find((pin) => pin.origin === origin)?.size ?? 0;
    let keys = log.vkeys;
    while (!signal.aborted) {
      const { version, current } = log.published;
      const { size } = current.checkpoint;
      const through = loggedThrough(size);
      yield {
        checkpoint: current.note,
        consistency: await log.consistency(known, current),
        keys,
        epoch: through?.epoch ?? 0,
        loggedThroughSeq: through?.seq ?? 0,
      };
      known = size;
      keys = [];
      await sleep(clock, periodMs, signal);
      try {
        await log.published.next(version, signal);
      } catch (error) {
        if (isAbort(error, signal)) return;
        throw error;
      }
    }
  }
}
