import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcp } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import { signJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { trustOf } from '../../../src/core/identity/trust.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import { MeshPool } from '../../../src/node/sidecar/mesh-pool.ts';
import { nobody } from '../../../src/node/sidecar/quarantine/list.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { dialTls, fetchHttp } from './http.ts';
import { longCalls } from './long-calls.ts';
import { allow, ORDERS, policy, service, startPair, WEB } from './mesh.ts';

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

  it('that carry a token of the outcast are refused too, and are cut where they are open', async () => {
    const { orders, authority, outbound } = await answering();
    const issued = await signJwtSvid({
      id: parseSpiffeId(OTHER),
      audience: [ORDERS],
      ...authority.jwt,
      now: Date.now(),
      ttlSeconds: 300,
    });
    const headers = { authorization: `Bearer ${issued.token}` };
    const get = () => fetchHttp({ port: outbound.port, headers });
    expect((await get()).status).toBe(200);
    const open = get();
    orders.quarantine.set(quarantine(OTHER));
    await open.catch(() => undefined);
    const answer = await get();
    expect(answer.status).toBe(403);
    expect(answer.text).toContain(OTHER);
    expect(orders.recorder.decisions.at(-1)).toMatchObject({ source: WEB, tokenSubject: OTHER, reason: 'quarantined' });
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
  });

  it('that are refused on the side of the caller are on its record', async () => {
    const { web, get } = await answering();
    web.quarantine.set(quarantine(WEB));
    expect((await get()).status).toBe(403);
    expect(web.recorder.decisions).toMatchObject([
      { source: WEB, destination: ORDERS, decision: 'deny', reason: 'quarantined', rule: 'quarantine@5' },
    ]);
  });
});

describe('connections that carry nothing', () => {
  it('end when who has opened them comes into quarantine, and those of others stay', async () => {
    const { inbound, orders, authority } = await startPair(createServer((_req, res) => res.end('here')));
    const outcast = await dialTls(inbound.port, authority.issue(OTHER).pem);
    const neighbour = await dialTls(inbound.port, authority.issue(WEB).pem);
    // The other side knows of a connection only once the handshake is over there too.
    neighbour.write('GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\n\r\n');
    outcast.write('GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\n\r\n');
    await Promise.all([once(neighbour, 'data'), once(outcast, 'data')]);
    await orders.recorder.completed(2);
    const closed = once(outcast, 'close');
    outcast.on('error', () => undefined);
    orders.quarantine.set(quarantine(OTHER));
    await closed;
    neighbour.write('GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\n\r\n');
    expect(String((await once(neighbour, 'data'))[0])).toMatch(/HTTP\/1\.1 200/);
    expect(neighbour.destroyed).toBe(false);
  });
});

describe('connections to other sidecars', () => {
  const startPool = async () => {
    const pair = await startPair(
      createTcp((socket) => socket.on('error', () => undefined)),
      { protocol: 'tcp' },
    );
    const list = new WatchSource(nobody);
    const { web, inbound } = pair;
    const pool = new MeshPool({
      identity: web.identity,
      trust: new WatchSource(trustOf(web.bundle.current, [])),
      quarantine: list,
      limits: web.limits,
      clock: web.clock,
    });
    onTestFinished(() => pool.close());
    const orders = service('orders', [{ port: inbound.port, protocol: 'tcp' }]);
    const open = async () => {
      const socket = await pool.tcp(orders, orders.endpoints);
      onTestFinished(() => void socket.destroy());
      return socket.on('error', () => undefined);
    };
    return { list, open };
  };

  it.each([
    ['who is called', ORDERS],
    ['we ourselves', WEB],
  ])('end when %s comes into quarantine, and none is opened', async (_who, id) => {
    const { list, open } = await startPool();
    const socket = await open();
    const closed = once(socket, 'close');
    list.set(quarantine(OTHER));
    expect(socket.destroyed).toBe(false);
    list.set(quarantine(id));
    await closed;
    await expectAppError(open(), 'forbidden', /is in quarantine/);
    list.set({ ...nobody, revision: 6 });
    expect((await open()).destroyed).toBe(false);
  });

  it('is given up when the quarantine comes while it is made', async () => {
    const { list, open } = await startPool();
    const opening = open();
    list.set(quarantine(ORDERS));
    await expectAppError(opening, 'forbidden', /is in quarantine/);
  });
});
