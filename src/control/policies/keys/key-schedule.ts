/** After a good answer (reference: rule 50). */
export const REFRESH_MS = 20 * 60_000;
/** After a failure, and at most; doubled from one to the next. */
const FIRST_RETRY_MS = 60_000;
const MAX_RETRY_MS = 60 * 60_000;

/**
 * How long until the next attempt.
 *
 * @param failures in a row, 0 after a good answer
 * @param jitter from 0 to 1: many issuers are not all asked at once, and no issuer by all replicas
 */
export function nextAttemptMs(failures: number, jitter: number): number {
  const full = failures === 0 ? REFRESH_MS : Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 20), MAX_RETRY_MS);
  return Math.round(full * (0.9 + 0.1 * jitter));
}
