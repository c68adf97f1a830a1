import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Value } from './yaml-reader.ts';
import { readText } from './yaml-reader.ts';

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Both ends belong to it. */
export interface DurationLimits {
  readonly minMs: number;
  readonly maxMs: number;
}

/** A whole or decimal number with its unit, such as `500ms`, `5s`, `1.5m` and `1h`. In milliseconds; what is smaller is cut off. */
export function readDuration(value: Value, limits: DurationLimits, findings: Findings): number | undefined {
  const text = readText(value, findings);
  if (text === undefined) return undefined;
  const [, number, unit] = /^(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)$/.exec(text) ?? [];
  const ms = number === undefined ? Number.NaN : Math.trunc(Number(number) * (units[unit ?? ''] ?? Number.NaN));
  if (ms >= limits.minMs && ms <= limits.maxMs) return ms;
  const range = `from ${formatDuration(limits.minMs)} to ${formatDuration(limits.maxMs)}`;
  const message = `${quoted(text)} is no duration ${range}. Write a number and its unit, for example "5s", "500ms" or "1h".`;
  findings.add('invalid-duration', value, message);
  return undefined;
}

/** In the largest unit that it is a whole number of. */
export function formatDuration(ms: number): string {
  const unit = (['h', 'm', 's'] as const).find((each) => ms % (units[each] ?? 1) === 0) ?? 'ms';
  return `${ms / (units[unit] ?? 1)}${unit}`;
}
