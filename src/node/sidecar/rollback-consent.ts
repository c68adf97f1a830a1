import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { isMissing, makePrivateDirectory, reason, syncDirectory, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';

const FILE = 'accept-rollback.json';
const VERSION = 1;
/** A consent that nobody needed must not be there for the next incident. */
const VALID_MS = 60 * 60 * 1000;

/**
 * The word of the operator that the control plane was restored from a backup, and that this sidecar is to go on with it although
 * it has lost what it had acknowledged. A file in the state directory: only who may write there can give it, and not the
 * workload beside the sidecar, nor the control plane. Good for an hour, and for one time.
 */
export class RollbackConsent {
  readonly #directory: string;
  readonly #clock: Clock;

  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /** Durable when this resolves. */
  async give(): Promise<void> {
    await makePrivateDirectory(this.#directory);
    const text = JSON.stringify({ version: VERSION, time: this.#clock.now() });
    try {
      await writeFileDurably(this.#path, `${text}\n`);
    } catch (cause) {
      throw new AppError('unavailable', `Cannot write ${this.#path}: ${reason(cause)}.`, { cause });
    }
  }

  /** Whether it was given and is still good. A damaged file is none. */
  async isGiven(): Promise<boolean> {
    try {
      const { version, time } = JSON.parse(await readFile(this.#path, 'utf8')) as Partial<Record<string, unknown>>;
      if (version !== VERSION || typeof time !== 'number') return false;
      const age = this.#clock.now() - time;
      return age >= 0 && age <= VALID_MS;
    } catch {
      return false;
    }
  }

  async withdraw(): Promise<void> {
    try {
      await unlink(this.#path);
      await syncDirectory(this.#directory);
    } catch (cause) {
      if (isMissing(cause)) return;
      throw new AppError('unavailable', `Cannot remove ${this.#path}: ${reason(cause)}.`, { cause });
    }
  }

  get #path(): string {
    return join(this.#directory, FILE);
  }
}
