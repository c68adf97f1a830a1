import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { auditRecord, identityRecord } from './audit.ts';
import type { Ask } from './world.ts';
import { createWorld, policyText } from './world.ts';

const file = join(import.meta.dirname, 'golden/exchanges.txt');
const yaml = { 'content-type': 'application/yaml' };
const policy = '/v1/policies/shop/web';

/** One after the other against one server: what a reader of docs/api.md would try. */
const exchanges: readonly (Ask & { readonly title: string })[] = [
  { title: 'no token', url: '/v1/policies', headers: { authorization: null } },
  { title: 'nothing there yet', url: '/v1/policies' },
  {
    title: 'check before the first put',
    method: 'PUT',
    url: `${policy}?dryRun=true`,
    payload: policyText('web'),
    headers: yaml,
  },
  { title: 'create a policy', method: 'PUT', url: policy, payload: policyText('web'), headers: yaml },
  {
    title: 'replace it without saying which revision',
    method: 'PUT',
    url: policy,
    payload: policyText('web', { path: '/a' }),
    headers: yaml,
  },
  {
    title: 'replace a revision that is gone',
    method: 'PUT',
    url: policy,
    payload: policyText('web', { path: '/a' }),
    headers: { ...yaml, 'if-match': '"99"' },
  },
  {
    title: 'a document with two mistakes',
    method: 'PUT',
    url: policy,
    payload: policyText('web').replace('ALLOW', 'ALLOWED').replace('paths', 'path'),
    headers: { ...yaml, 'if-match': '*' },
  },
  { title: 'read its source', url: policy, headers: { accept: 'application/yaml' } },
  { title: 'nothing new', url: policy, headers: { 'if-none-match': '"1"' } },
  {
    title: 'would a call be allowed?',
    method: 'POST',
    url: '/v1/policies:check',
    payload: { from: 'shop/web', to: 'shop/orders', method: 'GET', path: '/orders//7' },
  },
  { title: 'delete it', method: 'DELETE', url: policy, headers: { 'if-match': '"1"' } },
  {
    title: 'a body with an unknown field',
    method: 'POST',
    url: '/v1/entries',
    payload: { spiffeId: 'spiffe://example.org/ns/shop/sa/web', lables: {} },
  },
  {
    title: 'register an identity',
    method: 'POST',
    url: '/v1/entries',
    payload: { spiffeId: 'spiffe://example.org/ns/shop/sa/web', labels: { app: 'web' } },
  },
  {
    title: 'withdraw it? not yet',
    method: 'DELETE',
    url: '/v1/entries/019b76da-a800-708f-8862-a0dd1eabf9dc?dryRun=true',
    headers: { 'if-match': '*' },
  },
  { title: 'entries by label', url: '/v1/entries?labelSelector=app%20in%20(web,shop),!legacy' },
  { title: 'a selector that cannot be read', url: '/v1/entries?labelSelector=app%3E1' },
  { title: 'a cursor that was made up', url: '/v1/entries?cursor=abc' },
  { title: 'a time that is none', url: '/v1/audit/events?since=yesterday' },
  { title: 'the record', url: '/v1/audit/events?since=1h&limit=1' },
  { title: 'who got which identity', url: '/v1/audit/identity?subject=spiffe://example.org/ns/shop/*&limit=1' },
  { title: 'a method that is not possible', method: 'POST', url: '/v1/proxies' },
];

it('the exchanges of golden/exchanges.txt are what the server says (UPDATE_GOLDEN=1 writes them)', async () => {
  const world = await createWorld();
  const { sequence: _, ...record } = auditRecord();
  world.audit.records.push({ ...record, id: 'inst-1.1.1', sequence: 1 });
  world.audit.identities.records.push(identityRecord({ id: 'control-1.1.1', sequence: 1 }));
  const texts: string[] = [];
  for (const { title, ...ask } of exchanges) texts.push(`### ${title}\n\n${await render(ask)}`);
  const text = texts.join('\n');
  if (process.env.UPDATE_GOLDEN === '1') {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  expect(text).toBe(await readFile(file, 'utf8'));

  async function inForce(revision: number): Promise<void> {
    while (world.policies.current.current.revision < revision) await new Promise((resolve) => setImmediate(resolve));
  }

  async function render(ask: Ask): Promise<string> {
    // What a put changes is in force a moment later.
    if (ask.url === '/v1/policies:check') await inForce(1);
    const response = await world.request(ask);
    const sent = Object.entries(ask.headers ?? {}).filter(([, value]) => value !== null);
    const body = typeof ask.payload === 'object' ? JSON.stringify(ask.payload) : String(ask.payload ?? '');
    // The defensive headers are the same everywhere; guard.test.ts has them.
    const shown = ['content-type', 'etag', 'location', 'allow', 'www-authenticate', 'vary', 'x-request-id'];
    const head = shown.flatMap((name) =>
      response.headers[name] === undefined ? [] : [`${name}: ${response.headers[name]}`],
    );
    const answer = response.headers['content-type']?.toString().includes('json')
      ? JSON.stringify(response.json(), undefined, 2)
      : response.payload;
    return [
      `${ask.method ?? 'GET'} ${ask.url}`,
      ...sent.map(([name, value]) => `${name}: ${value}`),
      ...(body === '' ? [] : ['', body.trimEnd()]),
      '',
      `${response.statusCode}`,
      ...head,
      ...(answer === '' ? [] : ['', answer.trimEnd()]),
      '',
    ].join('\n');
  }
});
