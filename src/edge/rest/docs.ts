import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { App } from './app.ts';
import { escapeHtml, renderMarkdown } from './markdown.ts';
import { accepts } from './negotiate.ts';

/** An exact list, so that no path of a caller ever reaches the file system. */
const pages = [
  { path: '/docs/api', file: 'api.md' },
  { path: '/docs/errors', file: 'errors.md' },
  { path: '/docs/policy-findings', file: 'policy-findings.md' },
] as const;

const index = `# Documentation

| page | what it says |
|---|---|
| [The REST API](api.md) | what holds for all of it, and the usual calls; the reference is \`GET /v1/openapi.json\` |
| [Errors](errors.md) | what each error code means, and what to do |
| [Policy findings](policy-findings.md) | what the check of a policy can say |
`;

const directory = join(import.meta.dirname, '../../../docs');

/**
 * GET /docs: what there is to read here; /docs/errors, which the `type` of every problem points into
 * (`/docs/errors#<code>`), and the others. As pages, or with `Accept: text/markdown` as they are written. Public: it is the
 * documentation, and says nothing of this server.
 */
export async function docs(app: App): Promise<void> {
  servePage(app, '/docs', index);
  for (const { path, file } of pages) servePage(app, path, await readFile(join(directory, file), 'utf8'));
}

function servePage(app: App, path: string, markdown: string): void {
  const forms = {
    'text/html': tagged(toPage(markdown)),
    'text/markdown': tagged(markdown),
  } as const;
  app.get(path, { config: { public: true }, schema: { hide: true } }, async (request, reply) => {
    const type = accepts(request.headers.accept, ['text/html', 'text/markdown']) as keyof typeof forms;
    const { content, etag } = forms[type];
    reply.header('etag', etag).header('cache-control', 'no-cache').header('vary', 'accept');
    if (request.headers['if-none-match'] === etag) return reply.code(304).send();
    return reply.type(`${type}; charset=utf-8`).send(content);
  });
}

function toPage(markdown: string): string {
  const { title, html } = renderMarkdown(markdown, linkTo);
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <title>${escapeHtml(title)} · Writ</title>
    <link rel="icon" href="/favicon.svg" />
    <link rel="stylesheet" href="/page.css" />
  </head>
  <body>
    <main class="text">
${html}
    </main>
  </body>
</html>
`;
}

/** Between files in `docs`, as between the pages here; nowhere else. */
function linkTo(target: string): string | undefined {
  const [file = '', anchor] = target.split('#', 2);
  const page = pages.find((candidate) => candidate.file === file);
  return page && (anchor === undefined ? page.path : `${page.path}#${anchor}`);
}

function tagged(content: string): { readonly content: string; readonly etag: string } {
  return { content, etag: `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"` };
}
