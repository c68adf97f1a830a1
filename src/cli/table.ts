import { safe } from './style.ts';

/** A column: its head in upper case, and the cell for an item. */
export interface Column<T> {
  readonly head: string;
  /** Shown with `-o wide` only. */
  readonly wide?: boolean;
  cell(item: T, now: number): string;
}

/** Columns aligned by spaces, no borders, no trailing space: for eyes, `cut` and `awk` alike. */
export function table<T>(columns: readonly Column<T>[], items: readonly T[], now: number): string {
  const rows = [
    columns.map((column) => column.head),
    ...items.map((item) => columns.map((column) => safe(column.cell(item, now)) || '-')),
  ];
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** `45s`, `12m`, `3h`, `9d`: the age of a time, or the time until it with `in` in front. */
export function relative(time: string | null, now: number): string {
  if (time === null) return '';
  const seconds = Math.round((now - Date.parse(time)) / 1000);
  if (Number.isNaN(seconds)) return '';
  return seconds < 0 ? `in ${span(-seconds)}` : span(seconds);
}

/** A number of seconds in its largest useful unit. */
export function span(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

export function labels(of: Readonly<Record<string, string>>): string {
  return Object.entries(of)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}
