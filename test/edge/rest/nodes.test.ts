import { describe, expect, it } from 'vitest';
import type { World } from './world.ts';
import { createWorld, expectProblem } from './world.ts';

const AGENT = 'spiffe://example.org/writ/agent/x509pop/a1';
const WEB = 'spiffe://example.org/ns/shop/sa/web';

async function admit(world: World, instanceId: string, kind: 'agent' | 'workload' = 'workload') {
  await world.nodes.admit({
    instanceId,
    spiffeId: kind === 'agent' ? AGENT : WEB,
    kind,
    method: kind === 'agent' ? 'x509pop' : 'join_token',
    subject: instanceId,
    entryId: null,
    selectors: ['a:b'],
    canReattest: kind === 'agent',
    serial: '0a',
    expiresAt: world.clock.now() + 3_600_000,
  });
}

describe('Nodes over REST', () => {
  it('are listed with filters, page by page, and shown one by one', async () => {
    const world = await createWorld();
    for (const name of ['web-1', 'web-2']) await admit(world, name);
    await admit(world, 'agent-1', 'agent');
    const agent = {
      instanceId: 'agent-1',
      spiffeId: AGENT,
      kind: 'agent',
      method: 'x509pop',
      entryId: null,
      selectors: ['a:b'],
      serial: '0a',
      renewed: false,
      canReattest: true,
      banned: false,
      attestedAt: '2026-01-01T00:00:00.000Z',
      lastSeen: '2026-01-01T00:00:00.000Z',
      expiresAt: '2026-01-01T01:00:00.000Z',
      bundleSequence: null,
      clockSkewMs: null,
    };
    const one = await world.request({ url: '/v1/nodes/agent-1' });
    expect(one.json()).toEqual(agent);
    const agents = await world.request({ url: '/v1/nodes?kind=agent&method=x509pop&banned=false' });
    expect(agents.json()).toMatchObject({ items: [agent], nextCursor: null });
    const first = (await world.request({ url: '/v1/nodes?limit=2' })).json();
    const second = (await world.request({ url: `/v1/nodes?limit=2&cursor=${first.nextCursor}` })).json();
    const names = [...first.items, ...second.items].map((node: { instanceId: string }) => node.instanceId);
    expect(names).toEqual(['agent-1', 'web-1', 'web-2']);
    expectProblem(await world.request({ url: '/v1/nodes/nobody' }), 404, 'not-found');
    expectProblem(await world.request({ url: '/v1/nodes?kind=robot' }), 400, 'invalid');
  });

  it('are banned and let back in, on the record with who did it', async () => {
    const world = await createWorld();
    await admit(world, 'web-1');
    const dry = await world.request({ method: 'POST', url: '/v1/nodes/web-1:ban?dryRun=true' });
    expect(dry.json()).toMatchObject({ banned: true, warnings: [] });
    expect((await world.request({ url: '/v1/nodes/web-1' })).json()).toMatchObject({ banned: false });
    const banned = await world.request({ method: 'POST', url: '/v1/nodes/web-1:ban' });
    expect([banned.statusCode, banned.json().banned]).toEqual([200, true]);
    expect((await world.request({ url: '/v1/nodes?banned=true' })).json().items).toHaveLength(1);
    const unbanned = await world.request({ method: 'POST', url: '/v1/nodes/web-1:unban' });
    expect(unbanned.json().banned).toBe(false);
    expect(world.recorder.events).toMatchObject([
      { action: 'node.ban', outcome: 'granted', actor: 'admin', subject: WEB, instance: 'web-1', source: '127.0.0.1' },
      { action: 'node.unban', outcome: 'granted', actor: 'admin' },
    ]);
    expectProblem(await world.request({ method: 'POST', url: '/v1/nodes/nobody:ban' }), 404, 'not-found');
    expectProblem(await world.request({ method: 'POST', url: '/v1/nodes/web-1:drop' }), 405, 'invalid');
  });

  it('are evicted; of those that can come back by themselves, a dry run says so', async () => {
    const world = await createWorld();
    await admit(world, 'web-1');
    await admit(world, 'agent-1', 'agent');
    const dry = await world.request({ method: 'DELETE', url: '/v1/nodes/agent-1?dryRun=true' });
    expect(dry.json()).toMatchObject({ instanceId: 'agent-1', warnings: [{ code: 'comes-back' }] });
    expect((await world.request({ method: 'DELETE', url: '/v1/nodes/web-1?dryRun=true' })).json().warnings).toEqual([]);
    const evicted = await world.request({ method: 'DELETE', url: '/v1/nodes/web-1' });
    expect([evicted.statusCode, evicted.body]).toEqual([204, '']);
    expectProblem(await world.request({ method: 'DELETE', url: '/v1/nodes/web-1' }), 404, 'not-found');
    expect(world.recorder.events.map((event) => event.action)).toEqual(['node.evict']);
  });

  it('a join token is for an entry or for an agent', async () => {
    const world = await createWorld();
    const made = await world.request({ method: 'POST', url: '/v1/join-tokens', payload: { agent: true } });
    expect([made.statusCode, made.json().entryId]).toEqual([201, null]);
    expect(made.json().token).toMatch(/^wjt_/);
    expect((await world.request({ url: '/v1/join-tokens' })).json().items).toMatchObject([{ entryId: null }]);
    const id = '00000000-0000-7000-8000-000000000000';
    for (const payload of [{}, { agent: false }, { agent: true, entryId: id }]) {
      const answer = await world.request({ method: 'POST', url: '/v1/join-tokens', payload });
      expect(expectProblem(answer, 400, 'invalid').detail).toMatch(/is for an entry or for an agent/);
    }
  });
});
