const HOUR_MS = 3_600_000;

/** How long before its end, in milliseconds, a policy with a `validity` is reminded of, and once more at its end. */
export const REMINDERS_MS: readonly number[] = Object.freeze([7 * 24 * HOUR_MS, 24 * HOUR_MS, HOUR_MS, 0]);

/**
 * The reminder that holds at `now` of what ends at `notAfter`: one of `REMINDERS_MS`, 0 when it is over, undefined while the end is
 * further away than the first. All times in milliseconds since the epoch.
 */
export function reminderAt(notAfter: number, now: number): number | undefined {
  return REMINDERS_MS.findLast((before) => notAfter - now <= before);
}

/** When the next reminder of it begins to hold; undefined when it is over. */
export function nextReminder(notAfter: number, now: number): number | undefined {
  return REMINDERS_MS.map((before) => notAfter - before).find((at) => at > now);
}
