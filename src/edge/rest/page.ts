import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { App } from './app.ts';
import { isLoopback } from './guard.ts';
import type { ServerInfo } from './info.ts';

/** The files of the page: an exact list, so that no path of a caller ever reaches the file system. */
const files = [
  { path: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
  { path: '/page.css', file: 'page.css', type: 'text/css; charset=utf-8' },
  { path: '/page.js', file: 'page.js', type: 'text/javascript; charset=utf-8' },
  { path: '/view.js', file: 'view.js', type: 'text/javascript; charset=utf-8' },
  { path: '/events.js', file: 'events.js', type: 'text/javascript; charset=utf-8' },
  { path: '/favicon.svg', file: 'favicon.svg', type: 'image/svg+xml' },
  // What browsers ask for unasked, on every page without an icon of its own.
  { path: '/favicon.ico', file: 'favicon.svg', type: 'image/svg+xml' },
] as const;

/** GET / and its files: a plain page over the same API. Public; all that it shows, it fetches with the token that its user pastes. */
export async function page(app: App, info: ServerInfo, host: string): Promise<void> {
  for (const { path, file, type } of files) {
    const content = await readFile(join(import.meta.dirname, 'page', file));
    const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
    app.get(path, { config: { public: true }, schema: { hide: true } }, async (request, reply) => {
      reply.header('etag', etag).header('cache-control', 'no-cache');
      if (request.headers['if-none-match'] === etag) return reply.code(304).send();
      return reply.type(type).send(content);
    });
  }
  app.get('/page.json', { config: { public: true }, schema: { hide: true } }, async (_request, reply) => {
    reply.header('cache-control', 'no-store');
    // Only to callers on this machine: elsewhere a path of the server helps nobody but an attacker.
    return { version: info.version, tokenFile: isLoopback(host) ? (info.tokenFile ?? null) : null };
  });
}
