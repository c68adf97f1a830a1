import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const pages = globSync(['README.md', 'docs/**/*.md', 'certs/*.md'], { cwd: root }).map((page) => join(root, page));

describe('the documents', () => {
  it('link only to files that are there', () => {
    const missing = pages.flatMap((page) =>
      [...readFileSync(page, 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)/g)]
        .map((match) => join(dirname(page), match[1] ?? ''))
        .filter((target) => !existsSync(target))
        .map((target) => `${relative(root, page)} → ${relative(root, target)}`),
    );
    expect(pages.length).toBeGreaterThan(5);
    expect(missing).toEqual([]);
  });

  it('name only rooms and files of src that are there', () => {
    const rooms = 'base|core|wire|control|edge|node|cli|main';
    const missing = pages.flatMap((page) =>
      [...readFileSync(page, 'utf8').matchAll(new RegExp(`\`((?:${rooms})/[a-z0-9/.-]+)\``, 'g'))]
        .map((match) => match[1] ?? '')
        .filter((name) => !existsSync(join(root, 'src', name)) && !existsSync(join(root, 'src', `${name}.ts`)))
        .map((name) => `${relative(root, page)}: ${name}`),
    );
    expect(missing).toEqual([]);
  });
});
