import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { AdminGroupsLimits } from '../../../src/control/ledger/admin-groups.ts';
import { AdminTrail } from '../../../src/control/ledger/admin-trail.ts';
import { listAdminRecorder } from '../../support/admin-recorder.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';

function setUp(limits?: Partial<AdminGroupsLimits>) {
  const clock = new FakeClock();
  const recorder = listAdminRecorder(clock);
  const lines: Record<string, unknown>[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const trail = new AdminTrail({ recorder, clock, logger, ...(limits !== undefined && { limits }) });
  const shown = () => recorder.events.map(({ action, outcome, object, count }) => [action, outcome, object, count]);
  return { clock, recorder, trail, lines, shown };
}

const call = { action: 'call', actor: 'ann' } as const;
const reading = { ...call, outcome: 'done', object: '/v1/policies' } as const;
const unavailable = /^The audit ledger of the control plane (cannot be written now|does not answer)/;

describe('a write', () => {
  it('is on the record when it begins and when it has ended', async () => {
    const { clock, trail, recorder } = setUp();
    const at = clock.now();
    await trail.begin({ ...call, request: 'r', object: '/v1/x' });
    await clock.advance(40);
    await trail.end({ ...call, outcome: 'done', request: 'r', object: '/v1/x', status: 200 });
    expect(recorder.events.map(({ outcome, time, status }) => [outcome, time - at, status])).toEqual([
      ['begun', 0, 0],
      ['done', 40, 200],
    ]);
  });

  it('must not be done when its beginning cannot be recorded', async () => {
    const { trail, recorder } = setUp();
    recorder.mode = 'fail';
    await expectAppError(() => trail.begin(call), 'audit-unavailable', unavailable);
    expect(recorder.events).toEqual([]);
  });

  it('waits for a ledger that neither writes nor fails for ten seconds, and is refused then', async () => {
    const { clock, trail, recorder } = setUp();
    recorder.mode = 'hang';
    const refused = expectAppError(() => trail.begin(call), 'audit-unavailable', unavailable);
    await clock.advance(10_000);
    await refused;
    recorder.mode = 'pass';
  });

  it('has its end recorded later when that was not possible at once, with the time at which it ended', async () => {
    const { clock, trail, recorder, shown } = setUp();
    await trail.begin({ ...call, request: 'r' });
    recorder.mode = 'fail';
    const endedAt = clock.now();
    await expectAppError(() => trail.end({ ...call, outcome: 'done', request: 'r' }), 'audit-unavailable', unavailable);
    await clock.advance(60_000);
    expect(shown()).toHaveLength(1);
    recorder.mode = 'pass';
    await clock.advance(5_000);
    expect(recorder.events.map(({ outcome, time }) => [outcome, time])).toEqual([
      ['begun', endedAt],
      ['done', endedAt],
    ]);
    await clock.advance(3_600_000);
    expect(shown()).toHaveLength(2);
  });

  it('that hung has its end recorded once, whenever the ledger comes back', async () => {
    const { clock, trail, recorder, shown } = setUp();
    recorder.mode = 'hang';
    const refused = expectAppError(() => trail.end({ ...call, outcome: 'done' }), 'audit-unavailable', unavailable);
    await clock.advance(10_000);
    await refused;
    recorder.mode = 'pass';
    await expect.poll(shown).toHaveLength(1);
    await clock.advance(60_000);
    expect(shown()).toHaveLength(1);
  });
});

describe('what is read', () => {
  it('is recorded at once, and what is the same in the next minute with its number', async () => {
    const { clock, trail, recorder, shown } = setUp();
    const at = clock.now();
    await trail.read(reading, { request: 'r1' });
    expect(recorder.events).toEqual([expect.objectContaining({ ...reading, count: 1, request: 'r1', lastTime: 0 })]);
    for (let i = 1; i <= 7; i++) {
      await clock.advance(1_000);
      await trail.read(reading, { request: `more ${i}` });
      await trail.read({ ...reading, object: '/v1/proxies' });
    }
    expect(shown()).toEqual([
      ['call', 'done', '/v1/policies', 1],
      ['call', 'done', '/v1/proxies', 1],
    ]);
    await clock.advance(60_000);
    const [, , group, other] = recorder.events;
    expect(group).toMatchObject({ ...reading, count: 7, time: at + 1_000, lastTime: at + 7_000, request: '' });
    expect(other).toMatchObject({ object: '/v1/proxies', count: 6, time: at + 2_000 });
    // The next one is the first of its like again.
    await trail.read(reading, { request: 'r9' });
    expect(recorder.events.at(-1)).toMatchObject({ count: 1, request: 'r9' });
    expect(recorder.events).toHaveLength(5);
  });

  it('once leaves no second event', async () => {
    const { clock, trail, shown } = setUp();
    await trail.read(reading);
    await clock.advance(3_600_000);
    expect(shown()).toHaveLength(1);
    expect(clock.pendingTimers).toBe(0);
  });

  it('is counted to the last one when the control plane stops', async () => {
    const { trail, shown } = setUp();
    for (let i = 0; i < 5; i++) await trail.read(reading);
    await trail.close();
    await trail.close();
    expect(shown()).toEqual([
      ['call', 'done', '/v1/policies', 1],
      ['call', 'done', '/v1/policies', 4],
    ]);
    // What comes in behind is recorded one by one.
    await trail.read(reading);
    await trail.read(reading);
    expect(shown()).toHaveLength(4);
  });

  it('is answered while nothing can be recorded, and is on the record with the rest once that is possible, none lost', async () => {
    const { clock, trail, recorder, lines } = setUp();
    recorder.mode = 'fail';
    for (let i = 0; i < 10; i++) {
      await trail.read(reading);
      await trail.read({ ...reading, object: `/v1/policies/shop/p${i}` });
    }
    await clock.advance(180_000);
    expect(recorder.events).toEqual([]);
    recorder.mode = 'pass';
    await clock.advance(5_000);
    expect(recorder.events.reduce((sum, { count }) => sum + count, 0)).toBe(20);
    expect(lines.map(({ msg }) => msg)).toEqual([
      'reads are answered that are not on the record yet',
      'what administrators do is recorded again',
    ]);
  });

  it('of which nothing but the number fits is recorded as that number', async () => {
    const { clock, trail, recorder, shown } = setUp({ groups: 3, backlog: 4 });
    recorder.mode = 'fail';
    for (let i = 0; i < 10; i++) await trail.read({ ...reading, object: `/v1/x/${i}` });
    recorder.mode = 'pass';
    await clock.advance(5_000);
    expect(shown()).toEqual([
      ...[0, 1, 2, 3].map((i) => ['call', 'done', `/v1/x/${i}`, 1]),
      ['unrecorded', 'failed', '', 6],
    ]);
  });

  it('does not wait for a ledger that hangs longer than half a second', async () => {
    const { clock, trail, recorder, shown } = setUp();
    recorder.mode = 'hang';
    let answered = false;
    const asked = trail.read(reading).then(() => {
      answered = true;
    });
    await clock.advance(499);
    expect(answered).toBe(false);
    await clock.advance(1);
    await asked;
    recorder.mode = 'pass';
    await expect.poll(shown).toHaveLength(1);
  });

  it('says in the log what a process that ends could not record', async () => {
    const { trail, recorder, lines } = setUp();
    recorder.mode = 'fail';
    await trail.read(reading);
    await trail.read(reading);
    await trail.close();
    expect(lines.at(-1)).toMatchObject({ level: 50, events: 2, msg: 'what administrators did could not be recorded' });
  });
});

describe('a token', () => {
  const ann = { actor: 'ann', role: 'editor', credential: 't1', source: '10.0.0.7' };

  it('is recorded when it is first used from an address, and once an hour as long as it is', async () => {
    const { clock, trail, recorder } = setUp();
    for (let i = 0; i < 30; i++) {
      await trail.signIn(ann);
      await trail.signIn({ ...ann, source: '10.0.0.8' });
      await clock.advance(60_000);
    }
    expect(recorder.events.map(({ action, source, count }) => [action, source, count])).toEqual([
      ['sign-in', '10.0.0.7', 1],
      ['sign-in', '10.0.0.8', 1],
    ]);
    await clock.advance(1_800_000);
    expect(recorder.events).toHaveLength(2);
    await trail.signIn(ann);
    expect(recorder.events.slice(2)).toEqual([expect.objectContaining({ source: '10.0.0.7', count: 1 })]);
  });

  it('that is refused is recorded by address, and a flood of addresses by its number', async () => {
    const { clock, trail, recorder } = setUp({ groups: 2 });
    for (let i = 0; i < 100; i++) await trail.refuse({ source: `10.0.0.${i}`, status: 401 }, { request: `r${i}` });
    await trail.refuse({ source: '10.0.0.0', status: 401 });
    await clock.advance(60_000);
    const facts = recorder.events.map(({ action, outcome, source, count }) => [action, outcome, source, count]);
    expect(facts.slice(0, 2)).toEqual([
      ['sign-in', 'refused', '10.0.0.0', 1],
      ['sign-in', 'refused', '10.0.0.1', 1],
    ]);
    expect(facts).toContainEqual(['sign-in', 'refused', '10.0.0.0', 1]);
    expect(facts).toContainEqual(['unrecorded', 'failed', '', 98]);
    expect(recorder.events.reduce((sum, { count }) => sum + count, 0)).toBe(101);
  });
});

describe('every text that is recorded', () => {
  it('is masked, wherever it comes from', async () => {
    const { trail, recorder } = setUp();
    const text = `writ_${'x'.repeat(43)}`;
    await trail.end({
      ...call,
      outcome: 'failed',
      operation: text,
      object: text,
      query: text,
      detail: text,
      reason: text,
    });
    const masked = 'writ_[masked]';
    expect(recorder.events).toEqual([
      expect.objectContaining({ operation: masked, object: masked, query: masked, detail: masked, reason: masked }),
    ]);
  });
});

describe('what the control plane does by itself', () => {
  it('is recorded before it is done, or not done', async () => {
    const { trail, recorder, shown } = setUp();
    await trail.record({ action: 'task', outcome: 'done', operation: 'rollBackChange', object: '7' });
    expect(recorder.events).toEqual([expect.objectContaining({ actor: 'control-plane', operation: 'rollBackChange' })]);
    recorder.mode = 'fail';
    await expectAppError(() => trail.record({ action: 'task', outcome: 'done' }), 'audit-unavailable', unavailable);
    expect(shown()).toHaveLength(1);
  });

  it('and cannot choose, such as that a sink has failed, is recorded as soon as that is possible', async () => {
    const { clock, trail, recorder } = setUp();
    recorder.mode = 'fail';
    await trail.report({ action: 'sink.failed', outcome: 'failed', object: 'siem', reason: 'unavailable: refused' });
    const at = clock.now();
    recorder.mode = 'pass';
    await clock.advance(5_000);
    expect(recorder.events).toEqual([
      expect.objectContaining({ action: 'sink.failed', actor: 'control-plane', object: 'siem', time: at }),
    ]);
  });
});
