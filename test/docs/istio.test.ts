import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parsePolicies } from '../../src/core/policy/parse.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/istio.md'), 'utf8');
const rows = [...page.matchAll(/^\| (\d+) \| (.*) \| ?(.*)\|$/gm)].map(([, number = '', , differs = '']) => ({
  number: Number(number),
  differs: differs.trim(),
}));
const all = Array.from({ length: 51 }, (_, index) => index + 1);

describe("the page on Istio's policies", () => {
  it('numbers the rules from 1 to 51', () => {
    expect(rows.map(({ number }) => number)).toEqual(all);
  });

  it('has a test that names each rule', () => {
    const tested = numbersInTitles();
    expect(all.filter((number) => !tested.has(number))).toEqual([]);
  });

  it('has two differences, and each test that names a difference is of a rule that has one', () => {
    expect([...page.matchAll(/^\*\*(\w): /gm)].map(([, letter]) => letter)).toEqual(['A', 'B']);
    const different = rows.filter(({ differs }) => differs !== '');
    for (const { differs, number } of different) expect(differs, `${number}`).toMatch(/^[AB](: \S|$)/);
    const named = titles()
      .filter((title) => title.includes('with our difference'))
      .flatMap(numbersOf);
    const known = new Set(different.map(({ number }) => number));
    expect(named.filter((number) => !known.has(number))).toEqual([]);
    expect(named.length).toBeGreaterThan(4);
  });

  it('has a test that names each way around a proxy that it lists', () => {
    const listed = [...new Set(page.match(/CVE-\d+-\d+/g))];
    expect(listed.length).toBeGreaterThanOrEqual(20);
    const all = titles(/[^'"`\n]*CVE-/).join('\n');
    expect(listed.filter((id) => !all.includes(id))).toEqual([]);
  });

  it('shows a policy that is accepted', () => {
    const [, text = ''] = /```yaml\n([\s\S]*?)```/.exec(page) ?? [];
    expect(parsePolicies(text)[0]?.policy).toMatchObject({ direction: 'egress', rules: [{ from: [] }] });
  });
});

function numbersInTitles(): ReadonlySet<number> {
  return new Set(titles().flatMap(numbersOf));
}

/** Of `rule 17: …`, `rule 2 to 7, 9 and 42: …` and `rule 37 and 38: …`. */
function numbersOf(title: string): number[] {
  const list = /^rule ([\d, toand]+)/.exec(title)?.[1] ?? '';
  return [...list.matchAll(/(\d+)(?: to (\d+))?/g)].flatMap(([, from = '', to = from]) =>
    Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) => Number(from) + index),
  );
}

function titles(beginning = /rule \d/): string[] {
  const title = new RegExp(`\\(\\s*['"\`](${beginning.source}[^'"\`\\n]*)`, 'g');
  const directory = join(root, 'test');
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .flatMap((path) => {
      const text = readFileSync(join(directory, path), 'utf8');
      return [...text.matchAll(title)].map((match) => match[1] ?? '');
    });
}
