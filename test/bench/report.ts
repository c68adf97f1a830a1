import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';

/** One line of the report: a figure, the reference measured in the same run, and how they compare. */
export interface Row {
  /** What was measured, in words. */
  readonly path: string;
  readonly figure: number;
  readonly unit: string;
  /** Absent where nothing simpler does the same work: an amount of memory. */
  readonly reference?: string;
  readonly referenceFigure?: number;
  /** figure / reference for rates, reference / figure for times and amounts: greater is better in all. */
  readonly ratio?: number;
  /** What the design asks for, where it names a number. */
  readonly target?: string;
}

/** For something that is done so many times a second. */
export function rate(path: string, figure: number, unit: string, reference: Reference, target?: string): Row {
  const ratio = figure / reference.figure;
  return row(path, figure, unit, reference, ratio, target);
}

/** For something that takes so long. */
export function time(path: string, figure: number, unit: string, reference: Reference, target?: string): Row {
  return row(path, figure, unit, reference, reference.figure / figure, target);
}

/** For what should not be more than something: the less, the better. */
export function amount(path: string, figure: number, unit: string, reference: Reference, target?: string): Row {
  return row(path, figure, unit, reference, reference.figure / figure, target);
}

/** For an amount that has no counterpart. */
export function alone(path: string, figure: number, unit: string, target?: string): Row {
  return { path, figure, unit, ...(target === undefined ? {} : { target }) };
}

/** Something as simple as possible that does the unavoidable part of the same work on the same machine. */
export interface Reference {
  readonly name: string;
  /** In the unit of the figure it is compared with. */
  readonly figure: number;
}

function row(path: string, figure: number, unit: string, reference: Reference, ratio: number, target?: string): Row {
  const base = { path, figure, unit, reference: reference.name, referenceFigure: reference.figure, ratio };
  return target === undefined ? base : { ...base, target };
}

export function table(rows: readonly Row[]): string {
  const cells = [
    ['PATH', 'FIGURE', 'REFERENCE (SAME RUN)', 'FIGURE', 'RATIO', 'TARGET'],
    ...rows.map((r) => [
      r.path,
      `${shown(r.figure)} ${r.unit}`,
      r.reference ?? '',
      r.referenceFigure === undefined ? '' : `${shown(r.referenceFigure)} ${r.unit}`,
      r.ratio === undefined ? '' : shown(r.ratio),
      r.target ?? '',
    ]),
  ];
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  return cells
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export async function writeJson(path: string, rows: readonly Row[]): Promise<void> {
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
  await writeFile(path, `${JSON.stringify({ machine, time: new Date().toISOString(), rows }, null, 2)}\n`);
}

function shown(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  if (value >= 10) return value.toFixed(1);
  return value.toPrecision(3);
}

/** The value below which `fraction` of the samples lie. Sorts the samples. */
export function quantile(samples: number[] | Float64Array, fraction: number): number {
  const sorted = Float64Array.from(samples).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}
