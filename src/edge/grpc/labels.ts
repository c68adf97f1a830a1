import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { PolicyPort } from './services.ts';

export type WorkloadLabels = Readonly<Record<string, string>>;

/** Follows one workload's labels; `undefined` once its entry is gone. Release it after use. */
export interface FollowedLabels {
  readonly labels: Watch<WorkloadLabels | undefined>;
  release(): void;
}

export interface LabelsOptions {
  readonly entries: PolicyPort['entries'];
  readonly changes: PolicyPort['changes'];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Other work gets its turn after so many reads: an embedded database answers without giving up the thread. */
const READS_PER_TURN = 50;
const RETRY_MS = 1000;

/**
 * The labels that operators gave to the workloads that are connected. They are held in memory, so that a push waits for no
 * database, and read again in the background after every change that may concern them: once per workload, however many of
 * its sidecars are connected, and one round at a time, however many changes come together.
 */
export class Labels {
  readonly #options: LabelsOptions;
  readonly #followed = new Map<string, Workload>();
  readonly #unsubscribe: () => void;
  #refreshing = false;
  #refreshAgain = false;
  #cancelRetry: () => void = () => undefined;

  constructor(options: LabelsOptions) {
    this.#options = options;
    this.#unsubscribe = options.changes.subscribe(() => void this.#refresh());
  }

  /** Throws `forbidden` when the workload has no entry. */
  async follow(spiffeId: string): Promise<FollowedLabels> {
    const workload = this.#followed.get(spiffeId) ?? new Workload(spiffeId, this.#options.entries);
    this.#followed.set(spiffeId, workload);
    workload.followers += 1;
    try {
      if (workload.labels.current === undefined) await workload.read();
      if (workload.labels.current === undefined) throw notRegistered(spiffeId);
    } catch (error) {
      this.#release(workload);
      throw error;
    }
    return { labels: workload.labels, release: () => this.#release(workload) };
  }

  close(): void {
    this.#unsubscribe();
    this.#cancelRetry();
  }

  #release(workload: Workload): void {
    workload.followers -= 1;
    if (workload.followers === 0) this.#followed.delete(workload.spiffeId);
  }

  async #refresh(): Promise<void> {
    this.#refreshAgain = true;
    if (this.#refreshing) return;
    this.#refreshing = true;
    this.#cancelRetry();
    try {
      while (this.#refreshAgain) {
        this.#refreshAgain = false;
        await this.#readAll();
      }
    } catch (error) {
      const { clock, logger } = this.#options;
      logger.warn({ err: error }, 'cannot read labels; what is known stays in force');
      this.#cancelRetry = clock.after(RETRY_MS, () => void this.#refresh());
    } finally {
      this.#refreshing = false;
    }
  }

  async #readAll(): Promise<void> {
    for (const [index, workload] of [...this.#followed.values()].entries()) {
      await workload.read();
      if (index % READS_PER_TURN === READS_PER_TURN - 1) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

export function notRegistered(spiffeId: string): AppError {
  return new AppError('forbidden', `${spiffeId} is not registered (any more). Ask an operator for an entry.`);
}

class Workload {
  readonly spiffeId: string;
  readonly labels = new WatchSource<WorkloadLabels | undefined>(undefined);
  followers = 0;
  readonly #entries: PolicyPort['entries'];
  /** One read after the other, so that an older answer never replaces a newer one. */
  #reading: Promise<void> = Promise.resolve();

  constructor(spiffeId: string, entries: PolicyPort['entries']) {
    this.spiffeId = spiffeId;
    this.#entries = entries;
  }

  read(): Promise<void> {
    const read = async () => {
      const labels = (await this.#entries.bySpiffeId(this.spiffeId))?.labels;
      if (JSON.stringify(labels) !== JSON.stringify(this.labels.current)) this.labels.set(labels);
    };
    this.#reading = this.#reading.then(read, read);
    return this.#reading;
  }
}
