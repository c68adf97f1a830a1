/** What a unified diff calls its two sides. */
export interface DiffNames {
  readonly from: string;
  readonly to: string;
}

interface Edit {
  readonly kind: ' ' | '-' | '+';
  readonly line: string;
}

/** Unchanged lines around a change. */
const CONTEXT = 3;
/**
 * Steps of the search for the shortest script. Texts come from callers: two of a megabyte with nothing in common would take
 * minutes. Beyond it the changed middle is shown as removed and added whole, which is as true, only longer.
 */
const MAX_STEPS = 4_000_000;
/** Edits of a script that is searched for: the search keeps their square in memory. */
const MAX_EDITS = 1_500;

/**
 * The difference of two texts as `diff -u` writes it, and `patch` takes it; empty when there is none. `undefined` is a text
 * that is not there: the other side is then all new, or all gone, and its name is /dev/null.
 */
export function unifiedDiff(from: string | undefined, to: string | undefined, names: DiffNames): string {
  if (from === to) return '';
  const edits = compareLines(splitLines(from ?? ''), splitLines(to ?? ''));
  const head = `--- ${from === undefined ? '/dev/null' : names.from}\n+++ ${to === undefined ? '/dev/null' : names.to}\n`;
  return head + hunksOf(edits).map(writeHunk).join('');
}

/** Lines with their ends, so that a missing last one, or another kind, is a difference. */
function splitLines(text: string): readonly string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function compareLines(from: readonly string[], to: readonly string[]): readonly Edit[] {
  let start = 0;
  while (start < from.length && start < to.length && from[start] === to[start]) start += 1;
  let same = 0;
  while (same < Math.min(from.length, to.length) - start && from[from.length - 1 - same] === to[to.length - 1 - same])
    same += 1;
  const a = from.slice(start, from.length - same);
  const b = to.slice(start, to.length - same);
  return [
    ...from.slice(0, start).map(kept),
    ...(shortestScript(a, b) ?? [...a.map(removed), ...b.map(added)]),
    ...from.slice(from.length - same).map(kept),
  ];
}

/**
 * Myers, "An O(ND) Difference Algorithm and Its Variations" (1986): the furthest point on each diagonal after each number of
 * edits, then back along them. `undefined` when the bounds are reached.
 */
function shortestScript(a: readonly string[], b: readonly string[]): readonly Edit[] | undefined {
  const most = Math.min(a.length + b.length, MAX_EDITS);
  const trace: Int32Array[] = [];
  const reached = new Int32Array(2 * most + 3);
  const at = (diagonal: number) => reached[most + 1 + diagonal] ?? 0;
  let steps = 0;
  for (let edits = 0; edits <= most; edits += 1) {
    trace.push(reached.slice(most + 1 - edits - 1, most + 1 + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      let x = k === -edits || (k !== edits && at(k - 1) < at(k + 1)) ? at(k + 1) : at(k - 1) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) {
        x += 1;
        steps += 1;
      }
      reached[most + 1 + k] = x;
      if (x >= a.length && x - k >= b.length) return backtrack(a, b, trace);
      steps += 1;
    }
    if (steps > MAX_STEPS) return undefined;
  }
  return undefined;
}

/** `trace[n]` holds the diagonals -n-1 to n+1 as they were before the nth edit. */
function backtrack(a: readonly string[], b: readonly string[], trace: readonly Int32Array[]): readonly Edit[] {
  const script: Edit[] = [];
  let x = a.length;
  let y = b.length;
  for (let edits = trace.length - 1; edits >= 0; edits -= 1) {
    const before = (diagonal: number) => trace[edits]?.[diagonal + edits + 1] ?? 0;
    const k = x - y;
    const down = k === -edits || (k !== edits && before(k - 1) < before(k + 1));
    const previousX = edits === 0 ? 0 : before(down ? k + 1 : k - 1);
    const previousY = edits === 0 ? 0 : previousX - (down ? k + 1 : k - 1);
    while (x > previousX && y > previousY) {
      x -= 1;
      y -= 1;
      script.push(kept(a[x] ?? ''));
    }
    if (edits === 0) break;
    script.push(down ? added(b[previousY] ?? '') : removed(a[previousX] ?? ''));
    x = previousX;
    y = previousY;
  }
  return script.reverse();
}

interface Hunk {
  /** Lines of each side before it. */
  readonly from: number;
  readonly to: number;
  readonly edits: readonly Edit[];
}

function hunksOf(edits: readonly Edit[]): readonly Hunk[] {
  const changes = edits.flatMap((edit, index) => (edit.kind === ' ' ? [] : [index]));
  const spans: { start: number; end: number }[] = [];
  for (const index of changes) {
    const last = spans.at(-1);
    if (last !== undefined && index <= last.end + CONTEXT) last.end = Math.min(edits.length, index + 1 + CONTEXT);
    else spans.push({ start: Math.max(0, index - CONTEXT), end: Math.min(edits.length, index + 1 + CONTEXT) });
  }
  const hunks: Hunk[] = [];
  let [from, to, next] = [0, 0, 0];
  for (const { start, end } of spans) {
    for (; next < start; next += 1) [from, to] = passed(edits[next], from, to);
    hunks.push({ from, to, edits: edits.slice(start, end) });
    for (; next < end; next += 1) [from, to] = passed(edits[next], from, to);
  }
  return hunks;
}

function passed(edit: Edit | undefined, from: number, to: number): [number, number] {
  return [from + (edit?.kind === '+' ? 0 : 1), to + (edit?.kind === '-' ? 0 : 1)];
}

function writeHunk({ from, to, edits }: Hunk): string {
  const removedLines = edits.filter((edit) => edit.kind !== '+').length;
  const addedLines = edits.filter((edit) => edit.kind !== '-').length;
  const lines = edits.map(({ kind, line }) =>
    line.endsWith('\n') ? `${kind}${line}` : `${kind}${line}\n\\ No newline at end of file\n`,
  );
  return `@@ -${range(from, removedLines)} +${range(to, addedLines)} @@\n${lines.join('')}`;
}

/** As GNU diff counts: an empty range stands behind the line before it, and one line has no count. */
function range(before: number, count: number): string {
  if (count === 0) return `${before},0`;
  return count === 1 ? `${before + 1}` : `${before + 1},${count}`;
}

const kept = (line: string): Edit => ({ kind: ' ', line });
const removed = (line: string): Edit => ({ kind: '-', line });
const added = (line: string): Edit => ({ kind: '+', line });
