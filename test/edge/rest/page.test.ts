import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { auditRecord } from './audit.ts';
import { FakeElement } from './element.ts';
import { createWorld } from './world.ts';

const directory = join(import.meta.dirname, '../../../src/edge/rest/page');
const load = (file: string) => import(pathToFileURL(join(directory, file)).href);

const document = { createElement: (name: string) => new FakeElement(name) };
const hostile = '/<img src=x onerror=alert(1)>';

describe('the page', () => {
  it('is served without a token, under a policy that allows no inline script', async () => {
    const world = await createWorld();
    const response = await world.request({ url: '/', headers: { authorization: null } });
    expect(response.statusCode).toBe(200);
    expect(response.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(response.headers['content-security-policy']).toMatch(
      /script-src 'self'.*require-trusted-types-for 'script'/,
    );
    expect(response.payload).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\son\w+=|style=|javascript:/i);
    const again = await world.request({ url: '/', headers: { 'if-none-match': String(response.headers.etag) } });
    expect(again.statusCode).toBe(304);
  });

  it('is served whole: every file it refers to, and every file there is', async () => {
    const world = await createWorld();
    const files = (await readdir(directory)).filter((file) => file !== 'index.html');
    for (const file of files) {
      const response = await world.request({ url: `/${file}`, headers: { authorization: null } });
      expect({ file, status: response.statusCode }).toEqual({ file, status: 200 });
      expect(response.payload).toBe(await readFile(join(directory, file), 'utf8'));
      for (const [, wanted] of response.payload.matchAll(/from '\.\/([^']+)'/g)) expect(files).toContain(wanted);
    }
    const html = await readFile(join(directory, 'index.html'), 'utf8');
    for (const [, wanted = ''] of html.matchAll(/(?:src|href)="(\/[^"]+)"/g))
      expect((await world.request({ url: wanted, headers: { authorization: null } })).statusCode, wanted).toBe(200);
  });

  it('says where the token is, without one', async () => {
    const world = await createWorld();
    const response = await world.request({ url: '/page.json', headers: { authorization: null } });
    expect(response.json()).toEqual({ version: '0.1.0', tokenFile: '/somewhere/admin-token' });
    const elsewhere = await createWorld({ host: '0.0.0.0' });
    expect((await elsewhere.request({ url: '/page.json' })).json()).toEqual({ version: '0.1.0', tokenFile: null });
  });

  it('refers to elements that exist', async () => {
    const html = await readFile(join(directory, 'index.html'), 'utf8');
    const script = await readFile(join(directory, 'page.js'), 'utf8');
    const ids = [...html.matchAll(/\bid="([^"]+)"/g)].map(([, id]) => id);
    for (const [, wanted] of script.matchAll(/byId\('([^']+)'\)/g)) expect(ids).toContain(wanted);
    for (const [, wanted] of html.matchAll(/(?:aria-labelledby|for)="([^"]+)"/g)) expect(ids).toContain(wanted);
  });

  it('never makes markup of text', async () => {
    for (const file of await readdir(directory)) {
      const source = await readFile(join(directory, file), 'utf8');
      expect(source, file).not.toMatch(
        /innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|createContextualFragment|eval\(|new Function/,
      );
    }
  });

  it('shows what callers chose as text', async () => {
    const { callRow, proxyRow } = await load('view.js');
    const call = auditRecord({
      operation: { protocol: 'http', method: '<b>', host: hostile, path: hostile, port: 1 },
      source: 'spiffe://example.org/<script>',
    });
    const row: FakeElement = callRow(document, call);
    expect(row.text).toContain(`<b> ${hostile}`);
    expect(row.text).toContain('spiffe://example.org/<script>');
    const proxy = {
      spiffeId: 'x',
      instanceId: 'i',
      state: 'rejected',
      lastError: hostile,
      acknowledgedRevision: null,
      serving: true,
      desiredRevision: 2,
      desiredChange: null,
      staleSince: null,
      endpoints: [],
      lastSeen: hostile,
    };
    expect(proxyRow(document, proxy).text).toEqual(expect.arrayContaining([`rejected: ${hostile}`, 'none of 2']));
  });

  it('does not draw a sidecar of which nothing is heard as if it were live', async () => {
    const { proxyRow } = await load('view.js');
    const stateOf = (record: unknown): FakeElement | undefined => {
      const shown = { spiffeId: 'x', instanceId: 'i', state: 'synced', lastError: null, endpoints: [], lastSeen: '' };
      const row: FakeElement = proxyRow(document, { ...shown, acknowledgedRevision: 2, desiredRevision: 2, record });
      return row.children.find((cell) => cell.dataset.label === 'State')?.children[0];
    };
    const since = new Date(Date.now() - 5 * 60_000).toISOString();
    const silent = stateOf({ heardAt: since, staleSince: since, epoch: 2, gaps: 3 });
    expect(silent?.textContent).toMatch(/^synced, record stale since .* \(5 min\), 3 gaps in its record$/);
    expect(silent?.className).toBe('bad');
    for (const record of [null, { heardAt: since, staleSince: null, epoch: 1, gaps: 0 }]) {
      expect(stateOf(record)).toMatchObject({ textContent: 'synced', className: 'allow' });
    }
  });

  it('shows who called whom, what, the verdict and the rule', async () => {
    const { callRow, describeCall } = await load('view.js');
    const row: FakeElement = callRow(document, auditRecord({ decision: 'deny', status: 403, rule: 'default-deny' }));
    expect(row.text.slice(1)).toEqual(['shop/web', 'shop/orders', 'GET /orders', 'deny 403', 'default-deny']);
    expect(row.children.map((cell) => cell.dataset.label)).toEqual(['Time', 'Who', 'Whom', 'What', 'Verdict', 'Rule']);
    expect(
      describeCall(auditRecord({ operation: { protocol: 'tcp', method: '', host: '', path: '', port: 5432 } })),
    ).toBe('tcp port 5432');
  });

  it('puts a call that ended in the place of its beginning, and keeps only the latest', async () => {
    const { showCall, MAX_CALLS } = await load('view.js');
    const body = new FakeElement('tbody');
    const rows = new Map<string, FakeElement>();
    const first = auditRecord({ status: null });
    showCall(document, body, rows, first);
    showCall(document, body, rows, auditRecord());
    showCall(document, body, rows, { ...first, status: 200 });
    expect(body.children).toHaveLength(2);
    expect(body.children[1]?.text).toContain('allow 200');
    for (let i = 0; i < MAX_CALLS + 10; i++) showCall(document, body, rows, auditRecord());
    expect({ rows: rows.size, shown: body.children.length }).toEqual({ rows: MAX_CALLS, shown: MAX_CALLS });
  });

  it('reads events however the stream is cut', async () => {
    const { createEventReader } = await load('events.js');
    const stream =
      ': open\n\nid: 1\nevent: record\ndata: {"a":1}\n\n: still here\n\nevent: lost\ndata: {"count":2}\n\nevent: record\ndata: cut off';
    for (let size = 1; size <= stream.length; size++) {
      const events: unknown[] = [];
      const read = createEventReader((event: unknown) => events.push(event));
      for (let at = 0; at < stream.length; at += size) read(stream.slice(at, at + size));
      expect(events).toEqual([
        { event: 'record', data: '{"a":1}' },
        { event: 'lost', data: '{"count":2}' },
      ]);
    }
  });
});
