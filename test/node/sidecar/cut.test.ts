import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import { nobody } from '../../../src/node/sidecar/quarantine/list.ts';
import { FakeClock } from '../../support/clock.ts';
import { fetchHttp } from './http.ts';
import { longCalls } from './long-calls.ts';
import { allow, ORDERS, policy, startPair, WEB } from './mesh.ts';

const OTHER = 'spiffe://example.org/ns/shop/sa/other';
const quarantine = (...ids: string[]) => ({ revision: 5, ids: new Set(ids) });
const denyAll: Policy = policy('stop', 'DENY', [{ from: [], to: [] }]);

const [tcp, ...http] = Object.entries(longCalls);
if (tcp === undefined) throw new Error('no long calls');
const all = [tcp, ...http];

describe.each(all)('%s', (_kind, open) => {
  it('is cut when its caller comes into quarantine, and the record says why and by which revision', async () => {
    const call = await open();
    await call.echo();
    call.orders.quarantine.set(quarantine(WEB));
    await call.ended;
    const [completion] = await call.orders.recorder.completed(1);
    expect(completion).toMatchObject({ cutReason: 'quarantined', cutRule: 'quarantine@5', cutRevision: 5 });
  });

  it('is cut when the called workload itself comes into quarantine', async () => {
    const call = await open();
    await call.echo();
    call.orders.quarantine.set(quarantine(ORDERS));
    await call.ended;
    expect(await call.orders.recorder.completed(1)).toMatchObject([{ cutReason: 'quarantined' }]);
  });

  it("is cut by the caller's own sidecar when the called workload comes into quarantine", async () => {
    const call = await open();
    await call.echo();
    call.web.quarantine.set(quarantine(ORDERS));
    await call.ended;
    // What the other side saw is a caller that went away.
    expect((await call.orders.recorder.completed(1))[0]).not.toHaveProperty('cutReason');
  });

  it("is cut by the caller's own sidecar when its workload comes into quarantine", async () => {
    const call = await open();
    await call.echo();
    call.web.quarantine.set(quarantine(WEB));
    await call.ended;
  });

  it('goes on when somebody else comes into quarantine', async () => {
    const call = await open();
    call.orders.quarantine.set(quarantine(OTHER));
    call.web.quarantine.set(quarantine(OTHER));
    await call.echo();
    expect(call.isOver()).toBe(false);
  });

  it('is cut when a new revision does not allow it any more, and the record names the rule and the revision', async () => {
    const call = await open({ limits: { streamAgeMs: 0 } });
    await call.echo();
    call.orders.push([allow(), denyAll]);
    await call.ended;
    const revision = call.orders.policy.current?.revision;
    expect(await call.orders.recorder.completed(1)).toMatchObject([
      { cutReason: 'deny-rule', cutRule: 'shop/stop@7#0', cutRevision: revision },
    ]);
  });

  it('is cut when the policy that allowed it is gone', async () => {
    const call = await open({ limits: { streamAgeMs: 0 } });
    await call.echo();
    call.orders.push([]);
    await call.ended;
    expect(await call.orders.recorder.completed(1)).toMatchObject([
      { cutReason: 'default-deny', cutRule: 'default-deny' },
    ]);
  });

  it('goes on over revisions that still allow it', async () => {
    const call = await open({ limits: { streamAgeMs: 0 } });
    call.orders.push([allow()]);
    call.orders.push([allow(), policy('other', 'DENY', [{ from: [], to: [{ methods: [], paths: [], ports: [1] }] }])]);
    await call.echo();
    expect(call.isOver()).toBe(false);
  });

  it('is cut at the moment at which the validity of its grant ends', async () => {
    const clock = new FakeClock(Date.now());
    const notAfter = clock.now() + 60_000;
    const grant: Policy = { ...allow(), validity: { notAfter } };
    const call = await open({ clock, limits: { streamAgeMs: 0 } });
    call.orders.push([grant], [], { boundaries: [notAfter] });
    await call.echo();
    await clock.advance(59_999);
    await call.echo();
    expect(call.isOver()).toBe(false);
    await clock.advance(1);
    await call.ended;
    expect(await call.orders.recorder.completed(1)).toMatchObject([{ cutReason: 'default-deny' }]);
  });
});

describe.each(http)('%s that is young', (_kind, open) => {
  it('is not cut by a change of policy before it is a stream, and is then', async () => {
    const clock = new FakeClock(Date.now());
    const call = await open({ clock, limits: { streamAgeMs: 2_000 } });
    call.orders.push([]);
    await call.echo();
    await clock.advance(1_999);
    await call.echo();
    expect(call.isOver()).toBe(false);
    await clock.advance(1);
    await call.ended;
    expect(await call.orders.recorder.completed(1)).toMatchObject([{ cutReason: 'default-deny' }]);
  });

  it('is cut at once by quarantine', async () => {
    const clock = new FakeClock(Date.now());
    const call = await open({ clock, limits: { streamAgeMs: 2_000 } });
    call.orders.quarantine.set(quarantine(WEB));
    await call.ended;
  });
});

describe('new calls while somebody is in quarantine', () => {
  const answering = async () => {
    const { createServer } = await import('node:http');
    let served = 0;
    const pair = await startPair(
      createServer((_req, res) => {
        served += 1;
        res.end('here');
      }),
    );
    return { ...pair, served: () => served, get: () => fetchHttp({ port: pair.outbound.port }) };
  };

  it('are refused by the called side, and recorded', async () => {
    const { orders, get, served } = await answering();
    expect((await get()).status).toBe(200);
    orders.quarantine.set(quarantine(WEB));
    const answer = await get();
    expect(answer.status).toBe(403);
    expect(answer.headers).toMatchObject({ 'x-writ-reason': 'quarantined', 'x-writ-rule': 'quarantine@5' });
    expect(JSON.parse(answer.text)).toMatchObject({
      code: 'forbidden',
      reason: 'quarantined',
      detail: `${WEB} is in quarantine: its calls are refused, and calls to it, until an operator releases it.`,
    });
    expect(orders.recorder.decisions.at(-1)).toMatchObject({
      source: WEB,
      decision: 'deny',
      reason: 'quarantined',
      rule: 'quarantine@5',
    });
    expect(served()).toBe(1);
  });

  it('are refused whatever the policies say, and let in again after the release', async () => {
    const { orders, get } = await answering();
    orders.quarantine.set(quarantine(WEB));
    orders.push([policy('all', 'ALLOW', [{ from: [], to: [] }])]);
    expect((await get()).status).toBe(403);
    orders.quarantine.set({ ...nobody, revision: 6 });
    expect((await get()).status).toBe(200);
  });

  it("are refused by the caller's side before a connection is opened", async () => {
    const { web, orders, get } = await answering();
    web.quarantine.set(quarantine(ORDERS));
    const answer = await get();
    expect(answer.status).toBe(403);
    expect(answer.headers['x-writ-reason']).toBe('quarantined');
    expect(orders.recorder.decisions).toEqual([]);
    web.quarantine.set({ ...nobody, revision: 6 });
    expect((await get()).status).toBe(200);
  });

  it('are refused that were decided before the quarantine came and recorded after it', async () => {
    const { orders, get, served } = await answering();
    let durable = () => {};
    const held = new Promise<void>((resolve) => {
      durable = resolve;
    });
    const reached = new WatchSource(false);
    orders.recorder.beforeDurable = async (event) => {
      if (event.kind !== 'decision') return;
      reached.set(true);
      await held;
    };
    const answer = get();
    if (!reached.current) await reached.next(0);
    // Its connection is cut too; what matters is that the application never sees the call.
    orders.quarantine.set(quarantine(WEB));
    durable();
    await answer.then(
      ({ status }) => expect(status).not.toBe(200),
      () => undefined,
    );
    const [completion] = await orders.recorder.completed(1);
    expect(completion).toMatchObject({ cutReason: 'quarantined', cutRevision: 5 });
    expect(served()).toBe(0);
  });

  it('are refused that were decided by a policy that is gone before they were recorded', async () => {
    const { orders, get, served } = await answering();
    let durable = () => {};
    const held = new Promise<void>((resolve) => {
      durable = resolve;
    });
    const reached = new WatchSource(false);
    orders.recorder.beforeDurable = async (event) => {
      if (event.kind !== 'decision') return;
      reached.set(true);
      await held;
    };
    const answer = get();
    if (!reached.current) await reached.next(0);
    orders.push([]);
    durable();
    expect((await answer).status).toBe(403);
    expect(await orders.recorder.completed(1)).toMatchObject([{ status: 403, cutReason: 'default-deny' }]);
    expect(served()).toBe(0);
  });

  it('idle connections end too, and a new one is refused on the record', async () => {
    const { orders, web, get } = await answering();
    expect((await get()).status).toBe(200);
    // Both pools keep the connection open between calls.
    orders.quarantine.set(quarantine(WEB));
    await delay(20);
    expect((await get()).status).toBe(403);
    expect(web.quarantine.current.revision).toBe(0);
  });
});
