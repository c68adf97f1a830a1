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

  it('begin with what it is in three sentences, then the two commands, what you see, a picture, the next steps', () => {
    const [intro = '', ...sections] = readFileSync(join(root, 'README.md'), 'utf8').split(/^## /m);
    const sentences = intro.replace(/^# .*$/m, '').split(/\.(?=\s)/);
    expect(sentences.filter((sentence) => /\w/.test(sentence))).toHaveLength(3);
    const heads = sections.map((section) => section.split('\n', 1)[0]);
    expect(heads).toEqual(['Start', 'What you see', 'How it works', 'Next steps', 'Work on it']);
    const picture = /```text\n([\s\S]*?)```/.exec(sections[2] ?? '')?.[1] ?? '';
    for (const part of ['control plane', 'sidecar', 'agent', '(a)', '(b)', '(c)', 'REST /v1', 'Workload API'])
      expect(picture).toContain(part);
  });

  it('name every path of the REST API, and every warning of a dry run', () => {
    const page = readFileSync(join(root, 'docs/api.md'), 'utf8');
    const { paths } = JSON.parse(readFileSync(join(root, 'docs/openapi.json'), 'utf8')) as { paths: object };
    // The page says of the other kinds of documents that they are as the first, with all that is below it.
    const kinds =
      /^\| (.*) \| as `\/v1\/policies`, with all that is below it \|/m.exec(page)?.[1]?.match(/\/v1[a-z/-]+/g) ?? [];
    const asPolicies = (path: string) =>
      kinds.reduce((known, kind) => (path.startsWith(`${kind}/`) ? path.replace(kind, '/v1/policies') : known), path);
    expect(kinds).toHaveLength(3);
    expect(Object.keys(paths).filter((path) => !page.includes(`\`${asPolicies(path)}\``))).toEqual([]);
    const sources = globSync(['src/edge/rest/*.ts', 'src/control/authority/entries/entry-import.ts'], { cwd: root });
    const warnings = sources.flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(/code: '([a-z-]+)'(?: as const)?,\s+detail:/g)].map(
        (match) => match[1],
      ),
    );
    expect(warnings.length).toBeGreaterThan(5);
    expect(warnings.filter((code) => !page.includes(`\`${code}\``))).toEqual([]);
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
