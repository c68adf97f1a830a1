import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gapReasons } from '../../src/core/audit/event.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/audit-cases.md'), 'utf8');
/** `14` or `T5`. */
const rows = [...page.matchAll(/^\| (T?\d+) \|(.*)$/gm)].map(([, number = '', text = '']) => ({ number, text }));
const notBuilt = rows.filter(({ text }) => /\b(is|are) not built\b/.test(text));

describe('the page on the cases of the audit log', () => {
  it('numbers the formats from 1 to 27, and the faults from T1 to T30', () => {
    const formats = Array.from({ length: 27 }, (_, i) => `${i + 1}`);
    const faults = Array.from({ length: 30 }, (_, i) => `T${i + 1}`);
    expect(rows.map(({ number }) => number)).toEqual([...formats, ...faults]);
  });

  it('has a test that names each number, but for what is not built', () => {
    const tested = numbersInTitles();
    expect(rows.filter((row) => !tested.has(row.number) && !notBuilt.includes(row))).toEqual([]);
  });

  it('has every number that a test names', () => {
    const known = new Set(rows.map(({ number }) => number));
    expect([...numbersInTitles()].filter((number) => !known.has(number))).toEqual([]);
  });

  it('says what each reason of a gap means', () => {
    const [, table = ''] = page.split('## Gaps');
    expect([...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, reason]) => reason)).toEqual([...gapReasons]);
  });
});

/** Of `it('audit 19, 20: …')` and `it('audit 4, T29: …')`, also where a title has two such parts. */
function numbersInTitles(): ReadonlySet<string> {
  const lists = testFiles().flatMap((file) => {
    const text = readFileSync(file, 'utf8');
    const titles = [...text.matchAll(/\(\s*['"`](audit T?\d[^'"`\n]*)/g)].map((match) => match[1] ?? '');
    return titles.flatMap((title) =>
      [...title.matchAll(/\baudit ((?:T?\d+(?:, )?)+)/g)].map((match) => match[1] ?? ''),
    );
  });
  return new Set(lists.flatMap((list) => list.split(', ')));
}

function testFiles(): string[] {
  const directory = join(root, 'test');
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => join(directory, path));
}
