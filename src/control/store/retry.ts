import { setTimeout } from 'node:timers/promises';
import { Backoff } from '../../base/backoff.ts';
import { AppError } from '../../base/errors.ts';
import { isConflict } from './failures.ts';

/** With the delays below, about five seconds of trying. */
const MAX_ATTEMPTS = 25;
const INITIAL_DELAY_MS = 5;
const MAX_DELAY_MS = 250;

/** Waits between tries of a transaction. It keeps the process alive, unlike `Clock.after`: a command awaits it. */
export type Wait = (ms: number) => Promise<void>;

export const realWait: Wait = (ms) => setTimeout(ms);

/** Runs `transaction` again while it fails only because of others; `unavailable` when that goes on for seconds. */
export async function retryConflicts<T>(transaction: () => Promise<T>, wait: Wait): Promise<T> {
  const backoff = new Backoff({ initialMs: INITIAL_DELAY_MS, maxMs: MAX_DELAY_MS });
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await transaction();
    } catch (error) {
      if (!isConflict(error)) throw error;
      if (attempt === MAX_ATTEMPTS) {
        throw new AppError('unavailable', 'The database is busy with other changes. Try again.', {
          cause: error,
          retryAfterSeconds: 1,
        });
      }
    }
    await wait(backoff.nextMs());
  }
}
