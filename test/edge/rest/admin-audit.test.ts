import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { AdminEvent } from '../../../src/core/audit/admin-event.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const url = '/v1/policies/shop/web';
const put = (o: { path?: string; reason?: string; ifMatch?: string; dryRun?: boolean } = {}) => ({
  method: 'PUT' as const,
  url: `${url}?${new URLSearchParams({ ...(o.reason !== undefined && { reason: o.reason }), ...(o.dryRun === true && { dryRun: 'true' }) })}`,
  payload: policyText('web', o.path === undefined ? {} : { path: o.path }),
  headers: { 'content-type': 'application/yaml', ...(o.ifMatch !== undefined && { 'if-match': o.ifMatch }) },
});
const hash = (text: string) => createHash('sha256').update(text).digest('hex');

/** What was recorded of calls, without what signing in leaves. */
function calls(world: World): AdminEvent[] {
  return world.admin.events.filter(({ action }) => action === 'call');
}

async function token(world: World, name: string, role: string): Promise<string> {
  const payload = { name, role, ttlSeconds: 3600 };
  const response = await world.request({ method: 'POST', url: '/v1/tokens', payload });
  return `Bearer ${response.json<{ token: string }>().token}`;
}

describe('a write', () => {
  it('is on the record before it is carried out and before it is answered: who, with what, from where, on what, and the change', async () => {
    const world = await createWorld();
    const made = await world.request(put({ reason: 'TICKET-1' }));
    const changed = await world.request(put({ path: '/orders', ifMatch: '*' }));
    const facts = {
      action: 'call',
      actor: 'admin',
      role: 'admin',
      credential: 'bootstrap',
      source: '127.0.0.1',
      operation: 'putPolicy',
      permission: 'policies:write',
      object: url,
      count: 1,
    };
    expect(calls(world)).toEqual([
      expect.objectContaining({
        ...facts,
        outcome: 'begun',
        query: 'reason=TICKET-1',
        status: 0,
        before: '',
        after: '',
      }),
      expect.objectContaining({
        ...facts,
        outcome: 'done',
        query: 'reason=TICKET-1',
        status: 201,
        request: made.headers['x-request-id'],
        before: '',
        after: hash(policyText('web')),
        detail: expect.stringMatching(/^--- \/dev\/null\n\+\+\+ shop\/web@\d+\n@@ .*\n\+apiVersion: writ.dev\/v1\n/),
      }),
      expect.objectContaining({ ...facts, outcome: 'begun', request: changed.headers['x-request-id'] }),
      expect.objectContaining({
        ...facts,
        outcome: 'done',
        status: 200,
        before: hash(policyText('web')),
        after: hash(policyText('web', { path: '/orders' })),
        detail: expect.stringMatching(/-\s+paths: \["\/\*"\]\n\+\s+paths: \["\/orders"\]\n$/),
      }),
    ]);
  });

  it('is refused, and nothing is changed, while the ledger cannot be written; then it works again', async () => {
    const world = await createWorld();
    await world.request(put());
    const before = (await world.request({ url })).json();
    const { items: entries } = (await world.request({ url: '/v1/entries' })).json();
    world.admin.mode = 'fail';
    const writes = [
      put({ path: '/orders', ifMatch: '*' }),
      { method: 'DELETE' as const, url, headers: { 'if-match': '*' } },
      { method: 'POST' as const, url: '/v1/authorities:rotate', payload: { kind: 'jwt' } },
      { method: 'POST' as const, url: '/v1/entries', payload: { spiffeId: 'spiffe://example.org/ns/shop/sa/web' } },
      { method: 'POST' as const, url: '/v1/tokens', payload: { name: 'ann', ttlSeconds: 60 } },
    ];
    for (const write of writes) {
      const { detail } = expectProblem(await world.request(write), 503, 'audit-unavailable');
      expect(detail).toContain('The audit ledger of the control plane cannot be written now');
    }
    // Whoever has to mend it can look.
    expect((await world.request({ url })).json()).toEqual(before);
    expect((await world.request({ url: '/v1/entries' })).json().items).toEqual(entries);
    expect((await world.request({ url: '/v1/tokens' })).json().items).toEqual([]);
    world.admin.mode = 'pass';
    expect((await world.request(writes[0] ?? put())).statusCode).toBe(200);
  });

  it('that was carried out is not answered as done while its end is not on the record, and the end comes later', async () => {
    const world = await createWorld();
    world.admin.fails = ({ outcome }) => outcome === 'done';
    const response = await world.request(put());
    const { detail } = expectProblem(response, 503, 'audit-unavailable');
    expect(detail).toMatch(/^This was carried out, but/);
    expect(response.headers).not.toHaveProperty('etag');
    expect(response.headers).not.toHaveProperty('location');
    const made = await world.request({
      method: 'POST',
      url: '/v1/tokens',
      payload: { name: 'ann', ttlSeconds: 60 },
    });
    expect(made.payload).not.toContain('writ_');
    expectProblem(made, 503, 'audit-unavailable');
    expect(calls(world).map(({ outcome }) => outcome)).toEqual(['begun', 'begun']);
    world.admin.fails = undefined;
    await world.clock.advance(60_000);
    const ends = calls(world).filter(({ outcome, operation }) => outcome === 'done' && operation !== 'getPolicy');
    expect(ends.map(({ operation, status }) => [operation, status])).toEqual([
      ['putPolicy', 201],
      ['createToken', 201],
    ]);
    expect(ends[0]).toMatchObject({ request: response.headers['x-request-id'], after: hash(policyText('web')) });
  });

  it('that contradicts what there is, is recorded with the reason, and stays refused whatever becomes of the record', async () => {
    const world = await createWorld();
    await world.request(put());
    expectProblem(await world.request(put({ path: '/x' })), 428, 'precondition-required');
    const [, , begun, refused] = calls(world);
    expect(begun).toMatchObject({ outcome: 'begun', request: refused?.request });
    expect(refused).toMatchObject({ outcome: 'refused', status: 428, before: '', after: '', detail: '' });
    expect(refused?.reason).toMatch(/^precondition-required: The policy shop\/web exists\./);
    world.admin.fails = ({ outcome }) => outcome === 'refused';
    expectProblem(await world.request(put({ path: '/x' })), 428, 'precondition-required');
  });

  it('that changes nothing has no change on the record', async () => {
    const world = await createWorld();
    await world.request(put());
    await world.request(put());
    expect(calls(world).at(-1)).toMatchObject({ outcome: 'done', status: 200, before: '', after: '', detail: '' });
  });

  it('that is only tried is one event, and needs no ledger', async () => {
    const world = await createWorld();
    await world.request(put({ dryRun: true }));
    expect(calls(world).map(({ outcome, query, status }) => [outcome, query, status])).toEqual([
      ['done', 'dryRun=true', 201],
    ]);
    world.admin.mode = 'fail';
    expect((await world.request(put({ dryRun: true }))).statusCode).toBe(201);
    expectProblem(await world.request({ url }), 404, 'not-found');
  });

  it('of an object that has no history has the object as it was and as it is', async () => {
    const world = await createWorld();
    const payload = { spiffeId: 'spiffe://example.org/ns/shop/sa/web', labels: { app: 'web' } };
    const { id } = (await world.request({ method: 'POST', url: '/v1/entries', payload })).json();
    const entry = `/v1/entries/${id}`;
    const headers = { 'if-match': '*' };
    await world.request({ method: 'PUT', url: entry, headers, payload: { ...payload, labels: { app: 'shop' } } });
    await world.request({ method: 'DELETE', url: entry, headers });
    const ends = calls(world).filter(({ outcome }) => outcome === 'done');
    expect(ends.map(({ operation, object }) => [operation, object])).toEqual([
      ['createEntry', entry],
      ['replaceEntry', entry],
      ['deleteEntry', entry],
    ]);
    expect(ends[0]?.detail).toContain('+  "spiffeId": "spiffe://example.org/ns/shop/sa/web"');
    expect(ends[1]?.detail).toMatch(/-\s+"app": "web"\n\+\s+"app": "shop"/);
    expect(ends[2]).toMatchObject({ before: ends[1]?.after, after: '' });
    expect(ends[1]?.before).toBe(ends[0]?.after);
  });

  it('of keys has the keys as they were and as they are', async () => {
    const world = await createWorld();
    await world.request({ method: 'POST', url: '/v1/authorities:prepare', payload: { kind: 'jwt' } });
    const end = calls(world).at(-1);
    expect(end).toMatchObject({ operation: 'prepareAuthority', permission: 'keys:write', outcome: 'done' });
    expect(end?.detail).toMatch(/\n\+jwt [^\n]+ prepared\n/);
  });
});

describe('a read', () => {
  it('is recorded with what was asked; the same again within a minute is counted', async () => {
    const world = await createWorld();
    for (let i = 0; i < 5; i++) await world.request({ url: '/v1/audit/events?decision=deny&since=15m' });
    await world.request({ url: '/v1/policies/shop/nothing' });
    expect(calls(world)).toEqual([
      expect.objectContaining({
        outcome: 'done',
        operation: 'searchAudit',
        permission: 'calls:read',
        object: '/v1/audit/events',
        query: 'decision=deny&since=15m',
        status: 200,
        count: 1,
      }),
      expect.objectContaining({
        outcome: 'refused',
        operation: 'getPolicy',
        status: 404,
        reason: 'not-found: There is no policy shop/nothing.',
      }),
    ]);
    await world.clock.advance(60_000);
    expect(calls(world).at(-1)).toMatchObject({ operation: 'searchAudit', count: 4, request: '' });
  });

  it('of a list, page after page, is one search', async () => {
    const world = await createWorld();
    for (const name of ['a', 'b', 'c']) await world.entries.create({ spiffeId: `spiffe://example.org/${name}` });
    let next = '';
    do {
      const { nextCursor } = (await world.request({ url: `/v1/entries?limit=1${next}` })).json();
      next = nextCursor === null ? '' : `&cursor=${nextCursor}`;
    } while (next !== '');
    expect(calls(world).map(({ query }) => query)).toEqual(['limit=1']);
    await world.clock.advance(60_000);
    expect(calls(world).map(({ count }) => count)).toEqual([1, 2]);
  });

  it('of the tiles of the log is one thing, however many there are', async () => {
    const world = await createWorld();
    for (let n = 0; n < 9; n++) await world.request({ url: `/log/tile/0/00${n}` });
    await world.clock.advance(60_000);
    expect(calls(world).map(({ object, count }) => [object, count])).toEqual([
      ['/log/tile/*', 1],
      ['/log/tile/*', 8],
    ]);
  });

  it('of what there is not, and by a method that there is not, is recorded', async () => {
    const world = await createWorld();
    await world.request({ url: '/v1/secrets' });
    await world.request({ method: 'DELETE', url: '/v1/policies' });
    const facts = { outcome: 'refused', actor: 'admin', permission: '', query: '' };
    expect(calls(world)).toEqual([
      expect.objectContaining({ ...facts, operation: 'GET', object: '/v1/secrets', status: 404 }),
      expect.objectContaining({ ...facts, operation: 'DELETE', object: '/v1/policies', status: 405 }),
    ]);
  });

  it('of a live view is recorded when it begins', async () => {
    const world = await createWorld();
    const { url: at } = await world.listen();
    const stop = new AbortController();
    await fetch(`${at}/v1/audit/tail?decision=deny`, {
      headers: { authorization: `Bearer ${world.token}` },
      signal: stop.signal,
    });
    expect(calls(world)).toEqual([
      expect.objectContaining({ operation: 'tailAudit', query: 'decision=deny', status: 200 }),
    ]);
    stop.abort();
  });

  it('is answered while the ledger cannot be written, and recorded when it can', async () => {
    const world = await createWorld();
    world.admin.mode = 'fail';
    expect((await world.request({ url: '/v1/proxies' })).statusCode).toBe(200);
    expect(world.admin.events).toEqual([]);
    world.admin.mode = 'pass';
    await world.clock.advance(5_000);
    expect(calls(world)).toEqual([expect.objectContaining({ operation: 'listProxies', count: 1 })]);
  });

  it('of what needs no token is not recorded', async () => {
    const world = await createWorld();
    for (const at of ['/', '/v1/bundle', '/v1/jwks', '/docs/errors', '/nothing'])
      await world.request({ url: at, headers: { authorization: null } });
    await world.clock.advance(3_600_000);
    expect(world.admin.events).toEqual([]);
  });
});

describe('who signs in', () => {
  it('is recorded once an hour for each token and address', async () => {
    const world = await createWorld();
    const ann = await token(world, 'ann', 'editor');
    for (let i = 0; i < 3; i++) await world.request({ url: '/v1/policies', headers: { authorization: ann } });
    const signIns = world.admin.events.filter(({ action }) => action === 'sign-in');
    expect(signIns).toEqual([
      expect.objectContaining({ actor: 'admin', credential: 'bootstrap', outcome: 'done', source: '127.0.0.1' }),
      expect.objectContaining({ actor: 'ann', role: 'editor', credential: expect.stringMatching(/^[0-9a-f-]{36}$/) }),
    ]);
  });

  it('with a token that is not known is recorded by address, and never with what was asked or presented', async () => {
    const world = await createWorld();
    const guess = 'an-operators-own-secret-token-0123456789';
    for (let i = 0; i < 3; i++) {
      const headers = { authorization: `Bearer ${guess}` };
      expectProblem(
        await world.request({ url: `/v1/policies/${guess}/x?t=${guess}`, headers }),
        401,
        'unauthenticated',
      );
    }
    await world.clock.advance(60_000);
    expect(world.admin.events.map(({ action, outcome, source, count }) => [action, outcome, source, count])).toEqual([
      ['sign-in', 'refused', '127.0.0.1', 1],
      ['sign-in', 'refused', '127.0.0.1', 2],
    ]);
    expect(world.admin.events[0]).toMatchObject({ actor: '', object: '', query: '', status: 401 });
    expect(JSON.stringify(world.admin.events)).not.toContain(guess);
  });

  it('from a page of another site is recorded', async () => {
    const world = await createWorld();
    expectProblem(await world.request({ url: '/v1/policies', headers: { host: 'evil.example' } }), 403, 'forbidden');
    expect(world.admin.events).toEqual([
      expect.objectContaining({ action: 'sign-in', outcome: 'refused', status: 403 }),
    ]);
  });
});

describe('what a role does not allow', () => {
  it('is recorded with who tried what, before it is looked at', async () => {
    const world = await createWorld();
    const viewer = await token(world, 'vic', 'viewer');
    const ask = { ...put(), headers: { ...put().headers, authorization: viewer }, payload: '{{' };
    expectProblem(await world.request(ask), 403, 'forbidden');
    expect(calls(world).at(-1)).toMatchObject({
      outcome: 'refused',
      actor: 'vic',
      role: 'viewer',
      operation: 'putPolicy',
      permission: 'policies:write',
      object: url,
      query: '',
      status: 403,
    });
    expect(calls(world).filter(({ outcome }) => outcome === 'begun')).toHaveLength(1);
  });
});

describe('no event', () => {
  it('holds a token, wherever one is put, nor the body of a request', async () => {
    const world = await createWorld();
    const ann = (await token(world, 'ann', 'admin')).slice('Bearer '.length);
    const entry = await world.entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/web' });
    const join = (
      await world.request({ method: 'POST', url: '/v1/join-tokens', payload: { entryId: entry.id } })
    ).json<{ token: string }>().token;
    const asks = [
      { url: `/v1/policies?access_token=${world.token}` },
      { url: `/v1/policies?labelSelector=${ann}` },
      { url: '/v1/policies?password=secret-in-a-parameter-that-there-is-not' },
      { url: `/v1/policies/shop/${encodeURIComponent(ann)}` },
      { url: `/v1/nodes/${join}` },
      { ...put({ reason: `because of ${ann}` }), payload: `${policyText('web')}# ${join}\n` },
      { method: 'POST' as const, url: '/v1/join-tokens', payload: { entryId: 'secret-in-a-body' } },
      { method: 'POST' as const, url: `/v1/entries:import`, payload: { 'secret-in-a-body': ann } },
    ];
    for (const ask of asks) await world.request(ask);
    await world.clock.advance(3_600_000);
    const record = JSON.stringify(world.admin.events);
    for (const secret of [world.token, ann, join]) expect(record).not.toContain(secret.slice(5));
    expect(record).not.toContain('secret-in-a');
    expect(record).toContain('because of writ_[masked]');
    expect(record).toContain('+# wjt_[masked]');
  });
});
