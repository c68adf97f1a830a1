import { expect, test } from 'vitest';
import { nextReminder, REMINDERS_MS, reminderAt } from '../../../src/core/policy/reminders.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const end = Date.UTC(2026, 5, 30);

test('a grant is reminded of a week, a day and an hour before its end, and at its end', () => {
  expect(REMINDERS_MS).toEqual([7 * DAY_MS, DAY_MS, HOUR_MS, 0]);
  expect(reminderAt(end, end - 7 * DAY_MS - 1)).toBeUndefined();
  for (const before of REMINDERS_MS) expect(reminderAt(end, end - before)).toBe(before);
  expect(reminderAt(end, end - DAY_MS - 1)).toBe(7 * DAY_MS);
  expect(reminderAt(end, end - 1)).toBe(HOUR_MS);
  expect(reminderAt(end, end + 400 * DAY_MS)).toBe(0);
});

test('the next reminder is the next moment at which another one holds', () => {
  expect(nextReminder(end, 0)).toBe(end - 7 * DAY_MS);
  for (const [i, before] of REMINDERS_MS.entries()) {
    expect(nextReminder(end, end - before - 1)).toBe(end - before);
    const next = REMINDERS_MS[i + 1];
    expect(nextReminder(end, end - before)).toBe(next === undefined ? undefined : end - next);
  }
});
