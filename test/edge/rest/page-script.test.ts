import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished, vi } from 'vitest';
import { auditRecord } from './audit.ts';
import { FakeElement } from './element.ts';
import { createWorld, policyText } from './world.ts';

const directory = join(import.meta.dirname, '../../../src/edge/rest/page');

/** The page's own script, on stand-ins for the document, against the real server. */
async function openPage(url: string) {
  const html = await readFile(join(directory, 'index.html'), 'utf8');
  const elements = new Map<string, FakeElement>();
  for (const [, tag, attributes] of html.matchAll(/<(\w+)\s([^>]*\bid="[^>]*)>/g)) {
    const element = new FakeElement(tag ?? '');
    element.hidden = /\shidden/.test(attributes ?? '');
    elements.set(/\bid="([^"]+)"/.exec(attributes ?? '')?.[1] ?? '', element);
  }
  const byId = (id: string) => {
    const element = elements.get(id);
    if (element === undefined) throw new Error(`no element ${id}`);
    return element;
  };
  const storage = new Map<string, string>();
  const realFetch = globalThis.fetch;
  vi.stubGlobal('document', { getElementById: byId, createElement: (name: string) => new FakeElement(name) });
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => storage.get(key) ?? null,
    setItem: (key: string, value: string) => storage.set(key, value),
    removeItem: (key: string) => storage.delete(key),
  });
  vi.stubGlobal('fetch', (path: string, init?: RequestInit) => realFetch(new URL(path, url), init));
  onTestFinished(() => {
    byId('sign-out').dispatch('click');
    vi.unstubAllGlobals();
  });
  await import(pathToFileURL(join(directory, 'page.js')).href);
  return { byId, storage };
}

it('the page asks for the token, shows the mesh with it, and forgets it on signing out', async () => {
  const world = await createWorld();
  await world.policies.put({ source: policyText('web'), author: 'admin' });
  const cut = { reason: 'quarantined', rule: 'quarantine@9', revision: 9 } as const;
  world.audit.records.push(auditRecord({ rule: 'recorded-before', cut }));
  const outcast = 'spiffe://example.org/ns/shop/sa/outcast';
  await world.request({ method: 'POST', url: '/v1/quarantines', payload: { spiffeId: outcast, reason: 'INC-7' } });
  const { url } = await world.listen();
  const { byId, storage } = await openPage(url);
  const shows = (id: string, text: string) => vi.waitFor(() => expect(byId(id).text.join(' ')).toContain(text));

  expect({ signIn: byId('sign-in').hidden, mesh: byId('mesh').hidden }).toEqual({ signIn: false, mesh: true });
  await vi.waitFor(() => expect(byId('token-file').hidden).toBe(false));
  expect(byId('token-file').text).toEqual(['/somewhere/admin-token']);

  byId('token').value = 'wrong';
  byId('sign-in').dispatch('submit');
  await shows('message', 'This token is not valid here.');
  expect(storage.size).toBe(0);

  byId('token').value = ` ${world.token}\n`;
  byId('sign-in').dispatch('submit');
  expect(byId('token').value).toBe('');
  await shows('calls', 'recorded-before, cut by quarantine@9');
  await shows('quarantines', 'shop/outcast');
  await shows('quarantines', 'INC-7');
  expect(byId('quarantine').hidden).toBe(false);
  await shows('policies', 'shop/web');
  await shows('addresses', '127.0.0.1:8444');
  await shows('summary', 'example.org');
  await vi.waitFor(() => expect(world.audit.openTails).toBe(1));
  world.audit.emit({ type: 'record', record: auditRecord({ rule: 'recorded-now' }) });
  world.audit.emit({ type: 'lost', count: 4 });
  await shows('calls', 'recorded-now');
  await shows('calls-state', '4 calls came too fast');

  byId('sign-out').dispatch('click');
  expect({ signIn: byId('sign-in').hidden, mesh: byId('mesh').hidden, stored: storage.size }).toEqual({
    signIn: false,
    mesh: true,
    stored: 0,
  });
  await vi.waitFor(() => expect(world.audit.openTails).toBe(0));
});
