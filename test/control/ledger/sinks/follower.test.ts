import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { decision } from '../../../support/audit.ts';
import { orders, receivedAt } from '../test-ledger.ts';
import { controlPlane } from './batches.ts';
import { admin, identity } from './events.ts';
import { sinkWorld } from './world.ts';

const call = (n: number) => decision({ call: `call-${n}`, destination: orders });
const calls = (count: number) => Array.from({ length: count }, (_, i) => call(i));
const refused = () => new AppError('unavailable', 'The receiver answered 503.');

describe('a sink', () => {
  it('gets every event of the ledger once, in its order, also what comes later', async () => {
    const { ledger, sink, start, untilTaken } = sinkWorld();
    ledger.add(calls(3));
    const { stop, follower } = start();
    await untilTaken(3);
    ledger.add([{ kind: 'heartbeat', time: 1 }, call(4)], 'sidecar-2');
    await untilTaken(4);
    expect(sink.ids).toEqual(['sidecar-1.1.1', 'sidecar-1.1.2', 'sidecar-1.1.3', 'sidecar-2.1.2']);
    expect(follower.status).toMatchObject({ state: 'following', lagBatches: 0, lagMs: 0, delivered: 4, position: 2 });
    await stop();
  });

  it('goes on after a restart where it was, also in the middle of a batch', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(10));
    world.sink.before = () => {
      if (world.sink.taken.length >= 6) throw refused();
    };
    const first = world.start({ limits: { groupEvents: 3 } });
    await world.untilTaken(6);
    await first.stop();
    expect(world.memory.at).toEqual({ leaf: 0, position: 6 });
    world.sink.before = () => undefined;
    const second = world.start({ limits: { groupEvents: 3 } });
    await world.untilTaken(10);
    expect(world.sink.ids).toEqual(Array.from({ length: 10 }, (_, i) => `sidecar-1.1.${i + 1}`));
    await second.stop();
  });

  it('gets again what was delivered and not remembered: at least once', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(2));
    const first = world.start();
    await world.untilTaken(2);
    await first.stop();
    world.memory.at = { leaf: 0, position: 0 };
    const second = world.start();
    await world.untilTaken(4);
    expect(world.sink.ids.slice(2)).toEqual(world.sink.ids.slice(0, 2));
    await second.stop();
  });

  it('is tried again while its position cannot be remembered, and loses nothing', async () => {
    const world = sinkWorld();
    world.memory.failure = new Error('ENOSPC');
    world.ledger.add(calls(1));
    const { stop, follower } = world.start();
    await world.settle();
    expect(follower.status).toMatchObject({ state: 'failing', lagBatches: 1 });
    world.memory.failure = undefined;
    await world.clock.advance(60_000);
    await world.untilTaken(1);
    expect(world.memory.at).toEqual({ leaf: 1, position: 0 });
    await stop();
  });

  it('says how far it is behind while it fails, and how old the oldest is that it has not taken', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(2));
    const { stop, follower } = world.start();
    await world.untilTaken(2);
    world.sink.before = () => {
      throw refused();
    };
    world.ledger.add([call(3)]);
    world.ledger.add([call(4)]);
    await world.settle();
    world.clock.jump(receivedAt + 5_000 - world.clock.now());
    expect(follower.status).toMatchObject({ state: 'failing', position: 1, lagBatches: 2, lagMs: 5_000 });
    await stop();
  });

  it('that is new begins with the first event, or with what comes from now on, which a restart does not move', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(2));
    const first = world.start({ from: 'now' });
    await expect.poll(() => world.memory.at, { interval: 2 }).toEqual({ leaf: 1, position: 0 });
    await first.stop();
    world.ledger.add([call(3)]);
    const second = world.start({ from: 'now' });
    await world.untilTaken(1);
    expect(world.sink.ids).toEqual(['sidecar-1.1.3']);
    await second.stop();
  });

  it('that is ahead of the ledger gets everything again', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(2));
    world.memory.at = { leaf: 7, position: 0 };
    const { stop } = world.start();
    await world.untilTaken(2);
    await stop();
  });

  it('that is away is recorded once as failed and once as recovered, however often it is tried', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(1));
    let tries = 0;
    world.sink.before = () => {
      tries += 1;
      if (tries < 6) throw refused();
    };
    const { stop, follower } = world.start();
    await world.settle();
    expect(follower.status).toMatchObject({
      state: 'failing',
      lastError: { message: 'unavailable: The receiver answered 503.' },
    });
    await world.clock.advance(600_000);
    await world.untilTaken(1);
    expect(world.reports).toEqual([
      { action: 'sink.failed', outcome: 'failed', object: 'siem', reason: 'unavailable: The receiver answered 503.' },
      { action: 'sink.recovered', outcome: 'done', object: 'siem' },
    ]);
    expect(follower.status).toMatchObject({ state: 'following', lastError: { at: expect.any(Number) } });
    await stop();
  });

  it('that never answers does not hold up the ledger, and is given up after its time', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(1));
    world.sink.before = () => new Promise(() => undefined);
    const { stop, follower } = world.start();
    await world.settle();
    for (let i = 0; i < 50; i += 1) world.ledger.add([call(i)]);
    expect(world.ledger.size.current).toBe(51);
    await world.clock.advance(31_000);
    expect(follower.status).toMatchObject({ state: 'failing', lagBatches: 51 });
    expect(follower.status.lastError?.message).toBe('deadline-exceeded: The receiver has not answered in time.');
    world.sink.before = () => undefined;
    await world.clock.advance(60_000);
    await world.untilTaken(51);
    await stop();
  });

  it('whose transport gives up as if it were told to stop is tried again', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(1));
    world.sink.before = () => {
      throw new DOMException('This operation was aborted', 'AbortError');
    };
    const { stop, follower } = world.start();
    await world.settle();
    expect(follower.status.state).toBe('failing');
    world.sink.before = () => undefined;
    await world.clock.advance(60_000);
    await world.untilTaken(1);
    await stop();
  });

  it('that never answers does not keep a process from ending', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(1));
    world.sink.before = () => new Promise(() => undefined);
    const { stop } = world.start();
    await world.settle();
    await stop();
    expect(world.reports).toEqual([]);
  });

  it('gets no more at a time than fits, by number and by bytes', async () => {
    const world = sinkWorld();
    for (let i = 0; i < 5; i += 1) world.ledger.add(calls(7));
    const { stop } = world.start({ limits: { groupEvents: 4 } });
    await world.untilTaken(35);
    expect(Math.max(...world.sink.groups)).toBe(4);
    await stop();
    const small = sinkWorld();
    small.ledger.add(calls(3));
    const other = small.start({ limits: { groupBytes: 10 } });
    await small.untilTaken(3);
    expect(small.sink.groups).toEqual([1, 1, 1]);
    await other.stop();
  });

  it('that refuses some events for good gets all others, and those are kept', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(20));
    const bad = new Set(['sidecar-1.1.3', 'sidecar-1.1.4', 'sidecar-1.1.17']);
    world.sink.before = (items) => {
      if (items.some(({ id }) => bad.has(id))) throw new AppError('invalid', 'The receiver answered 400.');
    };
    const { stop, follower } = world.start();
    await world.untilTaken(17);
    await expect.poll(() => follower.status.lagBatches, { interval: 2 }).toBe(0);
    expect(world.memory.rejected).toEqual([...bad]);
    expect(world.sink.ids.some((id) => bad.has(id))).toBe(false);
    expect(follower.status).toMatchObject({ state: 'following', rejected: 3, delivered: 17 });
    await stop();
  });

  it('that refuses everything is not set up as it should be: nothing is set aside, and it gets all of it later', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(3));
    world.sink.before = () => {
      throw new AppError('invalid', 'The receiver answered 400.');
    };
    const { stop, follower } = world.start();
    await world.settle();
    await world.clock.advance(600_000);
    expect(follower.status).toMatchObject({
      ...{ state: 'failing', rejected: 0, lagBatches: 1 },
      lastError: { message: 'unavailable: It takes nothing: The receiver answered 400.' },
    });
    world.sink.before = () => undefined;
    await world.clock.advance(60_000);
    await world.untilTaken(3);
    expect(world.memory.rejected).toEqual([]);
    await stop();
  });

  it('that refuses the only event there is sets it aside as soon as there is another that it takes', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(1));
    world.sink.before = (items) => {
      if (items.some(({ id }) => id === 'sidecar-1.1.1')) throw new AppError('invalid', 'The receiver answered 400.');
    };
    const { stop } = world.start();
    await world.settle();
    expect(world.memory.rejected).toEqual([]);
    // As the trail does: that a sink has failed is an event, too.
    world.ledger.add([admin({ action: 'sink.failed', outcome: 'failed' })], 'cp-1', 1, controlPlane);
    await world.clock.advance(60_000);
    await world.untilTaken(1);
    expect(world.memory.rejected).toEqual(['sidecar-1.1.1']);
    await stop();
  });

  it('is shown what is not believed and what cannot be read as notes, in its place', async () => {
    const world = sinkWorld();
    world.ledger.add([
      decision({ destination: 'spiffe://example.org/ns/shop/sa/other' }),
      Buffer.from('{"kind":"new"}'),
    ]);
    const { stop } = world.start();
    await world.untilTaken(2);
    expect(world.sink.taken.map(({ event }) => event)).toEqual([
      expect.objectContaining({ kind: 'note', note: 'foreign' }),
      expect.objectContaining({ kind: 'note', note: 'unreadable' }),
    ]);
    await stop();
  });

  it('believes only a control plane about identities and administration', async () => {
    const world = sinkWorld();
    const said = [identity(), admin()];
    world.ledger.add(said);
    world.ledger.add(said, 'cp-1', 1, controlPlane);
    const { stop } = world.start();
    await world.untilTaken(4);
    expect(world.sink.taken.map(({ event }) => event.kind)).toEqual(['note', 'note', 'identity', 'admin']);
    await stop();
  });

  it('a ledger that cannot be read is said, and read again', async () => {
    const world = sinkWorld();
    world.ledger.add(calls(1));
    world.ledger.damagedAt = 0;
    const { stop, follower } = world.start();
    await world.settle();
    expect(follower.status.state).toBe('failing');
    world.ledger.damagedAt = undefined;
    await world.clock.advance(60_000);
    await world.untilTaken(1);
    await stop();
  });

  it('whatever fails and whenever it stops: nothing is left out, and the order is that of the ledger', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 7 }),
        fc.array(fc.constantFrom('ok', 'fail', 'late', 'stop'), { maxLength: 12 }),
        async (batches, groupEvents, faults) => {
          const world = sinkWorld();
          for (const size of batches) world.ledger.add(calls(size));
          const total = batches.reduce((sum, size) => sum + size, 0);
          let running = world.start({ limits: { groupEvents } });
          const plan = [...faults];
          world.sink.before = (items) => {
            const fault = plan.shift() ?? 'ok';
            // Taken, and the answer is lost.
            if (fault === 'late') world.sink.taken.push(...items);
            if (fault === 'fail' || fault === 'late') throw refused();
          };
          for (let i = 0; i < 30; i += 1) {
            if (plan[0] === 'stop') {
              plan.shift();
              await running.stop();
              running = world.start({ limits: { groupEvents } });
            }
            await world.clock.advance(60_000);
          }
          await running.stop();
          const wanted = Array.from({ length: total }, (_, i) => `sidecar-1.1.${i + 1}`);
          const firsts = [...new Set(world.sink.ids)];
          expect(firsts).toEqual(wanted);
          expect(world.memory.at).toEqual({ leaf: batches.length, position: 0 });
        },
      ),
      { numRuns: 40, seed: 7 },
    );
  });
});
