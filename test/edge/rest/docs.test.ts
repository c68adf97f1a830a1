import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError, errorCodes } from '../../../src/base/errors.ts';
import { renderMarkdown } from '../../../src/edge/rest/markdown.ts';
import { problem } from '../../../src/wire/errors.ts';
import { createWorld, expectProblem } from './world.ts';

const nobody = { authorization: null };

describe('GET /docs/errors', () => {
  it('needs no token, is a page without script, and stands under the same policy as every page', async () => {
    const world = await createWorld();
    const response = await world.request({ url: '/docs/errors', headers: nobody });
    expect(response.statusCode).toBe(200);
    expect(response.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(response.headers['content-security-policy']).toMatch(/^default-src 'none'/);
    expect(response.payload).toContain('<title>Errors · Writ</title>');
    expect(response.payload).not.toMatch(/<script|<style|\son\w+=|style=|javascript:/i);
    const again = await world.request({
      url: '/docs/errors',
      headers: { ...nobody, 'if-none-match': String(response.headers.etag) },
    });
    expect({ status: again.statusCode, body: again.payload }).toEqual({ status: 304, body: '' });
  });

  it('has the place that the type of each problem points to, once', async () => {
    const world = await createWorld();
    for (const code of errorCodes) {
      const [path = '', anchor] = problem(new AppError(code, 'x')).type.split('#');
      const { payload } = await world.request({ url: path, headers: nobody });
      expect(payload.split(` id="${anchor}"`), code).toHaveLength(2);
      expect(payload).toContain(`<h2 id="${code}">${code}</h2>`);
    }
  });

  it('is the address that a problem is resolved to against its request', async () => {
    const world = await createWorld();
    const { type } = expectProblem(await world.request({ url: '/v1/policies/shop/none' }), 404, 'not-found');
    const { pathname, hash } = new URL(type, 'http://127.0.0.1:8080/v1/policies/shop/none');
    expect({ pathname, hash }).toEqual({ pathname: '/docs/errors', hash: '#not-found' });
  });

  it('comes as it is written to who accepts that, and in no third form', async () => {
    const world = await createWorld();
    const ask = (accept: string) => world.request({ url: '/docs/errors', headers: { accept } });
    const written = await readFile(join(import.meta.dirname, '../../../docs/errors.md'), 'utf8');
    const markdown = await ask('text/markdown');
    expect(markdown.headers['content-type']).toBe('text/markdown; charset=utf-8');
    expect(markdown.payload).toBe(written);
    expectProblem(await ask('image/png'), 406, 'invalid');
  });

  it('leads only to pages that are there', async () => {
    const world = await createWorld();
    for (const url of ['/docs', '/docs/api', '/docs/errors', '/docs/policy-findings']) {
      const { payload } = await world.request({ url, headers: nobody });
      for (const [, href = ''] of payload.matchAll(/href="([^"#]+)/g))
        expect((await world.request({ url: href, headers: nobody })).statusCode, href).toBe(200);
    }
    expect((await world.request({ url: '/docs/errors' })).payload).toContain('<a href="/docs/policy-findings">');
    const { payload: index } = await world.request({ url: '/docs', headers: nobody });
    expect([...index.matchAll(/href="(\/docs\/[^"]+)"/g)].map(([, href]) => href)).toEqual([
      '/docs/api',
      '/docs/errors',
      '/docs/policy-findings',
    ]);
  });

  it('is all of docs that is served', async () => {
    const world = await createWorld();
    for (const url of ['/docs/', '/docs/errors.md', '/docs/threat-model', '/docs/..%2fpackage.json'])
      expect((await world.request({ url, headers: nobody })).statusCode, url).toBe(404);
  });
});

describe('rendered Markdown', () => {
  const render = (text: string) => renderMarkdown(text, (target) => (target === 'a.md' ? '/docs/a' : undefined)).html;

  it('has headings with anchors, paragraphs, tables, code, strong text and links', () => {
    expect(render('# A `b` c\ntext\n\n| x | y |\n|---|---|\n| `1` | **2** |')).toBe(
      '<h1 id="a-b-c">A <code>b</code> c</h1>\n<p>text</p>\n' +
        '<table><thead><tr><th>x</th><th>y</th></tr></thead><tbody><tr><td><code>1</code></td><td><strong>2</strong></td></tr></tbody></table>',
    );
    expect(render('[in](a.md) [out](javascript:x) `[no](a.md)`')).toBe(
      '<p><a href="/docs/a">in</a> out <code>[no](a.md)</code></p>',
    );
  });

  it('has blocks of code, in which nothing is marked up', () => {
    expect(render('a\n```sh\n# b <c>\n\n| `d` |\n```\ne')).toBe(
      '<p>a</p>\n<pre><code># b &lt;c&gt;\n\n| `d` |\n</code></pre>\n<p>e</p>',
    );
  });

  it('shows the REST API as it is written, whole', async () => {
    const world = await createWorld();
    const { payload } = await world.request({ url: '/docs/api', headers: nobody });
    expect(payload).toContain('<title>The REST API · Writ</title>');
    expect(payload).not.toContain('```');
    const written = await readFile(join(import.meta.dirname, '../../../docs/api.md'), 'utf8');
    expect(payload.split('<pre>')).toHaveLength(written.split(/^```\w/m).length);
    expect(payload.split('<h2 ')).toHaveLength(written.split(/^## /m).length);
  });

  it('holds no element and no attribute but those that it makes itself, whatever the text', () => {
    const pieces = [
      '<img src=x onerror=y>',
      '"',
      "'",
      '`',
      '**',
      '[',
      '](a.md)',
      '](x"y)',
      '# ',
      '```\n',
      '\n',
      '\n\n',
      '|',
      '|-|',
      '&',
      'z',
    ];
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string())), (parts) => {
        const left = render(parts.join(''))
          .replace(/<\/?(h[1-6]|p|pre|table|thead|tbody|tr|td|th|code|strong|a)>/g, '')
          .replace(/<h[1-6] id="[a-z0-9-]*">|<a href="\/docs\/a">/g, '')
          .replace(/&(amp|lt|gt|quot|#39);/g, '');
        expect(left).not.toMatch(/[<>"'&]/);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the icon', () => {
  it('is there under the name that browsers ask for', async () => {
    const world = await createWorld();
    for (const url of ['/favicon.ico', '/favicon.svg']) {
      const response = await world.request({ url, headers: nobody });
      expect({ status: response.statusCode, type: response.headers['content-type'] }).toEqual({
        status: 200,
        type: 'image/svg+xml',
      });
      expect(response.payload).not.toMatch(/<script|on\w+=|href/);
    }
  });
});
