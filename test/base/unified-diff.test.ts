import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unifiedDiff } from '../../src/base/unified-diff.ts';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

const names = { from: 'old', to: 'new' };

/** What a reader does with it: checks every kept and removed line, and puts the added ones. */
function apply(text: string, diff: string): string {
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const out: string[] = [];
  let at = 0;
  const patch = diff.replaceAll('\n\\ No newline at end of file\n', '§').match(/[^\n§]*[\n§]/g) ?? [];
  for (const raw of patch.slice(2)) {
    const line = raw.endsWith('§') ? raw.slice(0, -1) : raw;
    const hunk = /^@@ -(\d+)(?:,(\d+))? /.exec(line);
    if (hunk !== null) {
      const start = Number(hunk[1]) - (hunk[2] === '0' ? 0 : 1);
      while (at < start) out.push(lines[at++] ?? '');
      continue;
    }
    if (line.startsWith('+')) out.push(line.slice(1));
    else {
      expect(lines[at]).toBe(line.slice(1));
      at += 1;
      if (line.startsWith(' ')) out.push(line.slice(1));
    }
  }
  return [...out, ...lines.slice(at)].join('');
}

describe('a unified diff', () => {
  it('is empty where nothing differs', () => {
    expect(unifiedDiff('a\n', 'a\n', names)).toBe('');
    expect(unifiedDiff(undefined, undefined, names)).toBe('');
  });

  it('shows what changed with three lines around it', () => {
    const text = [...'abcdefghijklmnop'].map((letter) => `${letter}\n`);
    const changed = text.with(1, 'B\n').toSpliced(13, 1);
    expect(unifiedDiff(text.join(''), changed.join(''), names)).toBe(
      '--- old\n+++ new\n@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -11,6 +11,5 @@\n k\n l\n m\n-n\n o\n p\n',
    );
  });

  it('of a text that is not there names /dev/null; a missing last newline is a difference', () => {
    expect(unifiedDiff(undefined, 'a\n', names)).toBe('--- /dev/null\n+++ new\n@@ -0,0 +1 @@\n+a\n');
    expect(unifiedDiff('a\n', undefined, names)).toBe('--- old\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n');
    expect(unifiedDiff('a\n', 'a', names)).toBe(
      '--- old\n+++ new\n@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n',
    );
  });

  it('applied to the old text gives the new one, whatever they are', () => {
    const text = fc
      .array(fc.constantFrom('a', 'b', 'c', '', '+', '- d', '@@ x', 'e\r'), { maxLength: 40 })
      .chain((lines) => fc.boolean().map((ended) => lines.join('\n') + (ended ? '\n' : '')));
    fc.assert(
      fc.property(text, text, (from, to) => {
        expect(apply(from, unifiedDiff(from, to, names))).toBe(to);
      }),
      { numRuns: 2_000 },
    );
  });

  itWithTools(['patch'], 'is taken by patch', async () => {
    const directory = await tempDirectory();
    const from = Array.from({ length: 60 }, (_, n) => `line ${n % 7}\n`).join('');
    const to = from.replaceAll('line 3\nline 4\n', 'x\n').concat('end');
    const [file, difference] = [join(directory, 'text'), join(directory, 'diff')];
    await writeFile(file, from);
    await writeFile(difference, unifiedDiff(from, to, { from: 'text', to: 'text' }));
    await promisify(execFile)('patch', ['-p0', '-i', difference], { cwd: directory });
    expect(await readFile(file, 'utf8')).toBe(to);
  });

  it('of large texts with nothing in common is bounded, and still right', () => {
    const big = (seed: number) => Array.from({ length: 100_000 }, (_, n) => `${(n * seed) % 9973}\n`).join('');
    const [from, to] = [big(7), big(11)];
    expect(apply(from, unifiedDiff(from, to, names))).toBe(to);
  }, 20_000);
});
