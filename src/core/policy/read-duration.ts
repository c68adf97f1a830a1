import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Value } from './yaml-reader.ts';
import { readText } from './yaml-reader.ts';

const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};
const part = /(\d{1,9}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)/g;
/** As Go writes them (`1m30s`), which Istio reads them with; those of protobuf (`1.5s`) among them. */
const form = /^(?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h)){1,8}$/;

/** Both ends belong to it. */
export interface DurationLimits {
  readonly minMs: number;
  readonly maxMs: number;
}

/** Numbers with their units, such as `500ms`, `5s`, `1.5m` and `1h30m`. In milliseconds; what is smaller is cut off. */
export function readDuration(value: Value, limits: DurationLimits, findings: Findings): number | undefined {
  const text = readText(value, findings);
  if (text === undefined) return undefined;
  const parts = form.test(text) ? [...text.matchAll(part)] : [];
  const sum = parts.reduce((total, [, number, unit = '']) => total + Number(number) * (units[unit] ?? 0), 0);
  // Of a decimal number, less than a nanosecond may be missing.
  const ms = parts.length === 0 ? Number.NaN : Math.trunc(sum + 1e-7);
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
