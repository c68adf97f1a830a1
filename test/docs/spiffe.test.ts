import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/spiffe.md'), 'utf8');
/** `47` or `S17`. */
const rows = [...page.matchAll(/^\| (S?\d+) \|(.*)$/gm)].map(([, number = '', text = '']) => ({ number, text }));
const notOffered = rows.filter(({ text }) => /\bis not offered\b/.test(text) && !/SHOULD/.test(text));

describe('the page on SPIFFE', () => {
  it('numbers the rules of the standards from 1 to 54, and those of the issuing path from S1 to S20', () => {
    const wanted = [
      ...Array.from({ length: 54 }, (_, i) => `${i + 1}`),
      ...Array.from({ length: 20 }, (_, i) => `S${i + 1}`),
    ];
    expect(rows.map(({ number }) => number)).toEqual(wanted);
  });

  it('has a test that names each rule, but for what is not offered', () => {
    const tested = numbersInTitles();
    const missing = rows.filter((row) => !tested.has(row.number) && !notOffered.includes(row));
    expect(missing).toEqual([]);
  });

  it('has every number that a test names', () => {
    const known = new Set(rows.map(({ number }) => number));
    expect([...numbersInTitles()].filter((number) => !known.has(number))).toEqual([]);
  });
});

/** Of `it('spiffe 19, 20: …')`, `it('S8: …')` and `it('S20, spiffe 54: …')`. */
function numbersInTitles(): ReadonlySet<string> {
  const titles = testFiles().flatMap((file) => {
    const text = readFileSync(file, 'utf8');
    return [...text.matchAll(/\(\s*['"`]((?:spiffe \d+|S\d+|, \d+|, )+): /g)].map((match) => match[1] ?? '');
  });
  return new Set(titles.flatMap((title) => [...title.matchAll(/S?\d+/g)].map(([number]) => number)));
}

function testFiles(): string[] {
  const directory = join(root, 'test');
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => join(directory, path));
}
