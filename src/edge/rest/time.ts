import { AppError } from '../../base/errors.ts';

/** RFC 3339 in UTC with milliseconds, as all times leave over REST. */
export function toTime(ms: number): string {
  return new Date(ms).toISOString();
}

export function toTimeOrNull(ms: number | null): string | null {
  return ms === null ? null : toTime(ms);
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$/;
const RELATIVE = /^(\d{1,6})(ms|s|m|h|d)$/;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Whether it is an age such as `15m`, and so means another time whenever it is read. */
export function isAge(text: string): boolean {
  return RELATIVE.test(text);
}

/** Reads `2026-01-31T08:00:00Z` or an age such as `15m` (ms, s, m, h, d). Throws `invalid` that names `parameter`. */
export function parseTime(text: string, parameter: string, now: number): number {
  const age = RELATIVE.exec(text);
  if (age !== null) return now - Number(age[1]) * (UNIT_MS[age[2] ?? ''] ?? Number.NaN);
  const time = RFC3339.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) {
    const message = `${parameter} is neither a time (RFC 3339, such as 2026-01-31T08:00:00Z) nor an age (such as 15m, 2h, 7d).`;
    throw new AppError('invalid', message, { details: [{ code: 'malformed', message, pointer: `/${parameter}` }] });
  }
  return time;
}
