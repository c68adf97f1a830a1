import { expect, it } from 'vitest';
import { createWorld } from './world.ts';

const list = async (world: Awaited<ReturnType<typeof createWorld>>) =>
  (await world.request({ url: '/v1/authorities' })).json();

it('GET /v1/authorities shows every root and key in the bundle', async () => {
  const world = await createWorld();
  const { items, bundleSequence } = await list(world);
  expect(items.map((item: { kind: string; state: string }) => `${item.kind} ${item.state}`).sort()).toEqual([
    'jwt active',
    'wit active',
    'x509 active',
  ]);
  for (const item of items) {
    expect(item).toMatchObject({
      bundleSequence,
      soon: false,
      missing: [],
      upstream: false,
      listener: item.kind === 'x509',
    });
    expect(JSON.stringify(item)).not.toMatch(/key|certificate/i);
  }
});

it('every change is answered with what has become of it, and recorded with who made it', async () => {
  const world = await createWorld();
  const { items } = await list(world);
  const old = items.find((item: { kind: string }) => item.kind === 'wit').id;
  const post = async (path: string, payload?: object) =>
    await world.request({ method: 'POST', url: `/v1/authorities${path}`, ...(payload !== undefined && { payload }) });
  const prepared = (await post(':prepare', { kind: 'wit' })).json();
  expect(prepared).toMatchObject({ kind: 'wit', state: 'prepared' });
  expect((await post(`/${prepared.id}:activate`)).json()).toMatchObject({ id: prepared.id, state: 'active' });
  expect((await post(`/${old}:taint`)).json()).toMatchObject({ id: old, state: 'tainted' });
  expect((await post(`/${old}:revoke`)).json()).toMatchObject({ id: old, state: 'revoked' });
  expect((await post(':rotate', { kind: 'wit' })).json()).toMatchObject({ state: 'prepared', soon: true });
  expect(world.recorder.events).toMatchObject([
    { action: 'authority.prepare', actor: 'admin', serial: prepared.id, source: '127.0.0.1' },
    { action: 'authority.activate', actor: 'admin' },
    { action: 'authority.taint', actor: 'admin', serial: old },
    { action: 'authority.revoke', actor: 'admin', serial: old },
    { action: 'authority.prepare', actor: 'admin' },
  ]);
});

it('S17: an authority is named by its id, and what may not be is refused', async () => {
  const world = await createWorld();
  const { items } = await list(world);
  const post = async (url: string, payload?: object) => {
    const answer = await world.request({ method: 'POST', url, ...(payload !== undefined && { payload }) });
    return [answer.statusCode, answer.json().code];
  };
  for (const verb of ['activate', 'revoke', 'taint']) {
    expect(await post(`/v1/authorities/${items[0].id}:${verb}`)).toEqual([409, 'conflict']);
    expect(await post(`/v1/authorities/00000000-0000-0000-0000-000000000000:${verb}`)).toEqual([404, 'not-found']);
    expect(await post(`/v1/authorities/active:${verb}`)).toEqual([400, 'invalid']);
  }
  expect(await post('/v1/authorities:prepare', { kind: 'ssh' })).toEqual([422, 'invalid-document']);
  expect(await post('/v1/authorities:prepare', {})).toEqual([422, 'invalid-document']);
  await world.request({ method: 'POST', url: '/v1/authorities:prepare', payload: { kind: 'jwt' } });
  expect(await post('/v1/authorities:prepare', { kind: 'jwt' })).toEqual([409, 'conflict']);
});

it('a dry run answers with what would be, and neither changes nor records anything', async () => {
  const world = await createWorld();
  const before = await list(world);
  for (const verb of ['prepare', 'rotate']) {
    const url = `/v1/authorities:${verb}?dryRun=true`;
    const answer = (await world.request({ method: 'POST', url, payload: { kind: 'x509' } })).json();
    expect(answer).toMatchObject({ kind: 'x509', state: 'prepared', name: '', warnings: [] });
  }
  const url = `/v1/authorities/${before.items[0].id}:taint?dryRun=true`;
  expect((await world.request({ method: 'POST', url })).statusCode).toBe(409);
  expect(await list(world)).toEqual(before);
  expect(world.recorder.events).toEqual([]);
});

it('each step of a rotation can be tried first: the authority is shown as it would be, and stays as it is', async () => {
  const world = await createWorld();
  const old = (await list(world)).items.find((item: { kind: string }) => item.kind === 'wit').id;
  const post = async (url: string, payload?: object) =>
    (await world.request({ method: 'POST', url, ...(payload !== undefined && { payload }) })).json();
  const { id } = await post('/v1/authorities:prepare', { kind: 'wit' });
  const steps = [
    ['activate', id, 'active'],
    ['taint', old, 'tainted'],
    ['revoke', old, 'revoked'],
  ] as const;
  for (const [verb, which, state] of steps) {
    const before = [await list(world), world.recorder.events.length];
    expect(await post(`/v1/authorities/${which}:${verb}?dryRun=true`)).toMatchObject({
      id: which,
      state,
      warnings: [],
    });
    expect([await list(world), world.recorder.events.length]).toEqual(before);
    expect(await post(`/v1/authorities/${which}:${verb}`)).toMatchObject({ id: which, state });
  }
});
