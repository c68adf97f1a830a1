import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import type { Admission, Caller } from '../../../../src/control/authority/nodes/nodes.ts';
import { Nodes } from '../../../../src/control/authority/nodes/nodes.ts';
import type { Store, StoreOptions } from '../../../../src/control/store/store.ts';
import { parseSpiffeId } from '../../../../src/core/identity/spiffe-id.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import { listRecorder } from '../../../support/recorder.ts';
import type { StoreBench } from '../../../support/stores.ts';
import { describeEachStore } from '../../../support/stores.ts';

const AGENT = 'spiffe://example.org/writ/agent/join_token/t-1';
const WEB = 'spiffe://example.org/ns/shop/sa/web';
const hour = 3_600_000;

const agent = (clock: FakeClock, change: Partial<Admission> = {}): Admission => ({
  instanceId: 'agent-1',
  spiffeId: AGENT,
  kind: 'agent',
  method: 'join_token',
  subject: 'join_token:t-1',
  entryId: null,
  selectors: ['join_token:id:t-1'],
  canReattest: false,
  serial: 'a0',
  expiresAt: clock.now() + hour,
  ...change,
});
const sidecar = (clock: FakeClock, change: Partial<Admission> = {}): Admission =>
  agent(clock, { instanceId: 'web-1', spiffeId: WEB, kind: 'workload', subject: 'join_token:t-2', ...change });

function caller(serial: string, spiffeId = AGENT, instanceId = 'agent-1'): Caller {
  return { id: parseSpiffeId(spiffeId), instanceId, serial };
}
const asWeb = (serial: string) => caller(serial, WEB, 'web-1');

async function start(stores: StoreBench, database?: StoreOptions) {
  const clock = new FakeClock();
  const store = await stores.open(database);
  const recorder = listRecorder();
  const nodes = await Nodes.open({ store, recorder, clock, logger: silentLogger });
  onTestFinished(() => nodes.close());
  return { clock, store, recorder, nodes };
}

async function twoReplicas(stores: StoreBench) {
  const database = await stores.database();
  const one = await start(stores, database);
  const two = await start(stores, database);
  return { one, two };
}

/** Counts what is asked of the database from now on, but for what the store asks by itself to follow other replicas. */
function countReads(store: Store): () => number {
  let reads = 0;
  const read = store.db.selectFrom.bind(store.db);
  store.db.selectFrom = ((...args: Parameters<typeof read>) => {
    if (String(args[0]) !== 'feed') reads += 1;
    return read(...args);
  }) as typeof read;
  return () => reads;
}

/** What has changed about nodes cannot be read from now on, until the returned function is called. */
function failReads(store: Store): () => void {
  const read = store.db.selectFrom.bind(store.db);
  let isAway = true;
  store.db.selectFrom = ((...args: Parameters<typeof read>) => {
    if (isAway && String(args[0]) === 'evicted_nodes') throw new Error('The database is away.');
    return read(...args);
  }) as typeof read;
  return () => {
    isAway = false;
  };
}

const write = { actor: 'admin', source: '10.0.0.9' };

describeEachStore('The gate of nodes', (stores) => {
  it('S3: an agent passes with the certificate that it got, and one that is not attested does not', async () => {
    const { nodes, clock } = await start(stores);
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /is not attested, or was evicted\. Attest it again/);
    await nodes.admit(agent(clock));
    await nodes.check(caller('a0'));
    await expectAppError(nodes.check(caller('ff')), 'forbidden', /was replaced by a newer one/);
    await expectAppError(nodes.check(caller('a0', `${AGENT}x`)), 'forbidden', /The instance agent-1 is not/);
  });

  it('S3: a workload that is not known got its identity through an agent, and passes', async () => {
    const { nodes } = await start(stores);
    await nodes.check(asWeb('01'));
    expect(nodes.refusal(asWeb('01'))).toBeUndefined();
    await expectAppError(nodes.renewable(asWeb('01')), 'forbidden', /through an agent, and the agent renews it/);
  });

  it('S3: the certificate of a renewal takes over when it is first shown, and the one before is refused from then on', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.renewed('agent-1', 'a1', clock.now() + 2 * hour, 'a0');
    await nodes.check(caller('a0'));
    expect((await nodes.get('agent-1')).nextSerial).toBe('a1');
    await nodes.check(caller('a1'));
    expect(await nodes.get('agent-1')).toMatchObject({
      serial: 'a1',
      nextSerial: null,
      expiresAt: clock.now() + 2 * hour,
    });
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /its key was copied: evict the node/);
    await nodes.check(caller('a1'));
  });

  it('S3: a renewal whose answer was lost locks nobody out: the node renews again, and the lost certificate is worth nothing', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.renewed('agent-1', 'lost', clock.now() + hour, 'a0');
    await nodes.check(caller('a0'));
    await nodes.renewed('agent-1', 'a1', clock.now() + hour, 'a0');
    await expectAppError(nodes.check(caller('lost')), 'forbidden', /newer one/);
    await nodes.check(caller('a1'));
    await expectAppError(nodes.check(caller('lost')), 'forbidden', /newer one/);
  });

  it('S3: a cloned key is refused after the next renewal, and cannot renew either', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.renewed('agent-1', 'a1', clock.now() + hour, 'a0');
    await nodes.check(caller('a1'));
    await expectAppError(nodes.check(caller('a0')), 'forbidden');
    await expectAppError(nodes.renewed('agent-1', 'evil', clock.now() + hour, 'a0'), 'forbidden', /newer certificate/);
    await expectAppError(nodes.check(caller('evil')), 'forbidden');
    await nodes.check(caller('a1'));
  });

  it('S3: a clone that renews first shows, since the node itself is refused then', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.renewed('agent-1', 'a1', clock.now() + hour, 'a0');
    await nodes.renewed('agent-1', 'clone', clock.now() + hour, 'a0');
    await nodes.check(caller('clone'));
    await expectAppError(nodes.check(caller('a1')), 'forbidden', /If nobody restored a backup, its key was copied/);
  });

  it('S3: a banned node is refused at once and when it attests, as the same subject under any instance, until that is lifted', async () => {
    const { nodes, clock, recorder } = await start(stores);
    await nodes.admit(agent(clock));
    let changes = 0;
    nodes.watch('agent-1', () => {
      changes += 1;
    });
    await nodes.ban('agent-1', write);
    expect(changes).toBe(1);
    expect(nodes.refusal(caller('a0'))).toMatchObject({ why: 'banned' });
    await expectAppError(
      nodes.check(caller('a0')),
      'forbidden',
      /is banned\. An operator can lift that: writ node unban agent-1/,
    );
    await expectAppError(nodes.renewed('agent-1', 'a1', clock.now() + hour, 'a0'), 'forbidden', /banned/);
    await expectAppError(nodes.refuseBanned('join_token:t-1', AGENT), 'forbidden', /what is banned cannot attest/);
    for (const again of [agent(clock, { serial: 'a9' }), sidecar(clock, { subject: 'join_token:t-1' })]) {
      await expectAppError(nodes.admit(again), 'forbidden', /what is banned cannot attest/);
    }
    await nodes.unban('agent-1', write);
    await nodes.check(caller('a0'));
    await nodes.admit(agent(clock, { serial: 'a9' }));
    await nodes.check(caller('a9'));
    expect(recorder.events.map(({ action, actor, instance, subject }) => [action, actor, instance, subject])).toEqual([
      ['node.ban', 'admin', 'agent-1', AGENT],
      ['node.unban', 'admin', 'agent-1', AGENT],
    ]);
  });

  it('S3: an evicted node is refused, a workload too, and comes back only by attesting again', async () => {
    const { nodes, clock, store, recorder } = await start(stores);
    for (const [admission, who] of [
      [agent(clock), caller('a0')],
      [sidecar(clock), asWeb('a0')],
    ] as const) {
      await nodes.admit(admission);
      await nodes.evict(admission.instanceId, write);
      await expectAppError(nodes.check(who), 'forbidden', /was evicted\. Attest it again/);
      const reopened = await Nodes.open({ store, recorder, clock, logger: silentLogger });
      await expectAppError(reopened.check(who), 'forbidden', /was evicted/);
      await reopened.close();
      await expectAppError(nodes.get(admission.instanceId), 'not-found', 'There is no node with this instance id.');
      await nodes.admit({ ...admission, serial: 'b0' });
      await expectAppError(nodes.check(who), 'forbidden', /newer one/);
      await nodes.check({ ...who, serial: 'b0' });
    }
    expect(recorder.events.map((event) => event.action)).toEqual(['node.evict', 'node.evict']);
  });

  it('S3: another replica hears of bans, evictions and promotions', async () => {
    const { one, two } = await twoReplicas(stores);
    await one.nodes.admit(agent(one.clock));
    await one.nodes.admit(sidecar(one.clock));
    await two.nodes.check(caller('a0'));
    const heard = () => new Promise<void>((resolve) => two.nodes.watch('agent-1', resolve));
    let change = heard();
    await one.nodes.renewed('agent-1', 'a1', one.clock.now() + hour, 'a0');
    await one.nodes.check(caller('a1'));
    await change;
    expect(two.nodes.refusal(caller('a0'))).toMatchObject({ why: 'superseded' });
    change = heard();
    await one.nodes.ban('agent-1', write);
    await change;
    expect(two.nodes.refusal(caller('a1'))).toMatchObject({ why: 'banned' });
    const gone = new Promise<void>((resolve) => two.nodes.watch('web-1', resolve));
    await one.nodes.evict('web-1', write);
    await gone;
    await expectAppError(two.nodes.check(asWeb('a0')), 'forbidden', /was evicted/);
  });

  it('S3: what another replica did a moment ago is looked up before anybody is refused', async () => {
    const { one, two } = await twoReplicas(stores);
    await one.nodes.admit(agent(one.clock));
    // At once: no feed has told the other replica of either.
    await two.nodes.check(caller('a0'));
    await one.nodes.renewed('agent-1', 'a1', one.clock.now() + hour, 'a0');
    await two.nodes.check(caller('a1'));
    expect((await one.nodes.get('agent-1')).serial).toBe('a1');
    expect(two.nodes.agentSelectors('agent-1')).toEqual(['join_token:id:t-1']);
  });

  it('costs no read for who is welcome, and one read in a second for who is not', async () => {
    const { nodes, clock, store } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.check(caller('a0'));
    const reads = countReads(store);
    for (let i = 0; i < 100; i++) await nodes.check(caller('a0'));
    for (let i = 0; i < 100; i++) await nodes.check(asWeb('01'));
    expect(reads()).toBe(0);
    for (let i = 0; i < 100; i++) await expectAppError(nodes.check(caller('ff')), 'forbidden');
    expect(reads()).toBe(1);
    await clock.advance(1_000);
    await expectAppError(nodes.check(caller('ff')), 'forbidden');
    expect(reads()).toBe(2);
    await nodes.ban('agent-1', write);
    const before = reads();
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /banned/);
    expect(reads()).toBe(before);
  });

  it('promotes once, however many calls come with the new certificate at the same time', async () => {
    const { nodes, clock, store } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.renewed('agent-1', 'a1', clock.now() + hour, 'a0');
    const before = store.revision.current;
    await Promise.all(Array.from({ length: 20 }, () => nodes.check(caller('a1'))));
    expect(store.revision.current).toBe(before + 1);
  });

  it('S6: what can attest again must do so instead of renewing', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(agent(clock, { canReattest: true, method: 'x509pop' }));
    await expectAppError(
      nodes.renewable(caller('a0')),
      'forbidden',
      /attested by x509pop, which can be repeated: attest again/,
    );
    await nodes.admit(sidecar(clock));
    expect((await nodes.renewable(asWeb('a0'))).instanceId).toBe('web-1');
  });

  it('S6: attesting again is as a renewal: the certificate in use goes on until the new one is shown', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(agent(clock, { canReattest: true }));
    await nodes.admit(agent(clock, { canReattest: true, serial: 'a1', selectors: ['x:y'] }));
    await nodes.check(caller('a0'));
    await nodes.check(caller('a1'));
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /newer one/);
    expect(nodes.agentSelectors('agent-1')).toEqual(['x:y']);
  });

  it('an instance stays one identity and one subject', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(sidecar(clock));
    for (const other of [sidecar(clock, { spiffeId: `${WEB}2` }), sidecar(clock, { subject: 'join_token:t-9' })]) {
      await expectAppError(nodes.admit(other), 'conflict', /is another node already/);
    }
    await nodes.check(asWeb('a0'));
  });

  it('what was admitted and never got its certificate is taken back', async () => {
    const { nodes, clock } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.retract('agent-1', 'a0');
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /evicted/);
    await nodes.admit(agent(clock, { serial: 'b0' }));
    await nodes.admit(agent(clock, { serial: 'b1' }));
    await nodes.retract('agent-1', 'b1');
    await expectAppError(nodes.check(caller('b1')), 'forbidden');
    await nodes.check(caller('b0'));
  });

  it('a ban is in force although it cannot be recorded; lifting it is not', async () => {
    const { nodes, clock, recorder } = await start(stores);
    await nodes.admit(agent(clock));
    recorder.fail();
    await expectAppError(nodes.ban('agent-1', write), 'unavailable');
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /banned/);
    await expectAppError(nodes.unban('agent-1', write), 'unavailable');
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /banned/);
    await expectAppError(nodes.evict('agent-1', write), 'unavailable');
    await expectAppError(nodes.check(caller('a0')), 'forbidden', /evicted/);
  });

  it('bans and evictions are in force though what changed cannot be read now, here at once and elsewhere a second later', async () => {
    const database = await stores.database();
    const [here, there] = [await start(stores, database), await start(stores, database)];
    for (const subject of ['one', 'two']) {
      await here.nodes.admit(agent(here.clock, { instanceId: subject, spiffeId: `${AGENT}-${subject}`, subject }));
    }
    const [one, two] = [caller('a0', `${AGENT}-one`, 'one'), caller('a0', `${AGENT}-two`, 'two')];
    for (const { nodes } of [here, there]) for (const each of [one, two]) await nodes.check(each);
    const [mend, mendThere] = [failReads(here.store), failReads(there.store)];
    await here.nodes.ban('one', write);
    await here.nodes.evict('two', write);
    expect(here.recorder.events.map((event) => event.action)).toEqual(['node.ban', 'node.evict']);
    await expectAppError(here.nodes.check(one), 'forbidden', /is banned/);
    expect(here.nodes.refusal(two)).toMatchObject({ why: 'evicted' });
    mend();

    const { revision } = there.store;
    while (revision.current < here.store.revision.current) await revision.next(revision.version);
    await new Promise((resolve) => setImmediate(resolve));
    expect(there.nodes.refusal(one)).toBeUndefined();
    mendThere();
    const { changes } = there.nodes;
    const heard = changes.next(changes.version);
    await there.clock.advance(1000);
    await heard;
    await expectAppError(there.nodes.check(one), 'forbidden', /is banned/);
    await expectAppError(there.nodes.check(two), 'forbidden', /was evicted/);
  });

  it('a dry run changes and records nothing', async () => {
    const { nodes, clock, recorder } = await start(stores);
    await nodes.admit(agent(clock));
    expect((await nodes.ban('agent-1', { ...write, dryRun: true })).banned).toBe(true);
    expect((await nodes.evict('agent-1', { ...write, dryRun: true })).instanceId).toBe('agent-1');
    await expectAppError(nodes.ban('nobody', { ...write, dryRun: true }), 'not-found', /no node with this instance id/);
    await nodes.check(caller('a0'));
    expect(recorder.events).toEqual([]);
  });

  it('are listed page by page, by kind, method, identity and ban', async () => {
    const { nodes, clock } = await start(stores);
    for (const name of ['c', 'a', 'b']) await nodes.admit(sidecar(clock, { instanceId: name, subject: name }));
    await nodes.admit(agent(clock, { method: 'x509pop' }));
    await nodes.ban('b', write);
    const first = await nodes.list({ limit: 3 });
    const second = await nodes.list({ limit: 3, cursor: first.nextCursor });
    const names = (page: typeof first) => page.items.map((node) => node.instanceId);
    expect([...names(first), ...names(second)]).toEqual(['a', 'agent-1', 'b', 'c']);
    expect(names(await nodes.list({ kind: 'agent' }))).toEqual(['agent-1']);
    expect(names(await nodes.list({ method: 'x509pop' }))).toEqual(['agent-1']);
    expect(names(await nodes.list({ spiffeId: WEB, banned: false }))).toEqual(['a', 'c']);
    expect(names(await nodes.list({ banned: true }))).toEqual(['b']);
    await expectAppError(nodes.list({ kind: 'agent', cursor: first.nextCursor }), 'invalid-cursor');
  });

  it('what attests anew each time has a thousand at most, of which the newest is kept for a week to be banned by', async () => {
    const { nodes, clock, store } = await start(stores);
    const job = (index: number, change: Partial<Admission> = {}) =>
      sidecar(clock, { instanceId: `job-${index}`, subject: 'oidc:ci:main', canReattest: true, ...change });
    await nodes.admit(job(0));
    const [row] = await store.db.selectFrom('nodes').selectAll().execute();
    if (row === undefined) throw new Error('no row');
    const rows = Array.from({ length: 999 }, (_, i) => ({ ...row, instance_id: `job-${i + 1}` }));
    await store.transaction(async (trx) => {
      const revision = await store.nextRevision(trx);
      for (let at = 0; at < rows.length; at += 37) {
        const some = rows.slice(at, at + 37).map((each) => ({ ...each, revision }));
        await trx.insertInto('nodes').values(some).execute();
      }
    });
    await expectAppError(nodes.admit(job(1000)), 'exhausted', /has 1000 valid certificates already/);
    await nodes.admit(job(1001, { subject: 'oidc:ci:dev' }));
    // The one that it has goes on.
    await nodes.admit(job(0, { serial: 'a1' }));
    await clock.advance(hour);
    await nodes.admit(job(1002));

    const stop = new AbortController();
    const run = nodes.run(stop.signal);
    const left = async () => {
      await clock.advance(60_000);
      return (await nodes.list()).items.map((node) => node.instanceId);
    };
    await expect.poll(left, { timeout: 10_000 }).toEqual(['job-1001', 'job-1002']);
    await clock.advance(hour);
    await expect.poll(left).toEqual(['job-1001', 'job-1002']);
    stop.abort();
    await clock.advance(60_000);
    await run;
    await nodes.ban('job-1002', write);
    await expectAppError(nodes.admit(job(1003)), 'forbidden', /is banned/);
  });

  it('are recorded as seen, and forgotten a week after their last certificate; those that are banned are not', async () => {
    const { nodes, clock, store } = await start(stores);
    await nodes.admit(agent(clock));
    await nodes.admit(sidecar(clock));
    await nodes.ban('web-1', write);
    const stop = new AbortController();
    const run = nodes.run(stop.signal);
    await clock.advance(1000);
    await nodes.check(caller('a0'));
    const seenAt = clock.now();
    /** One minute after the other: each waits for the database. */
    const eventually = (read: () => Promise<unknown>) =>
      expect.poll(async () => {
        await clock.advance(60_000);
        return await read();
      });
    await eventually(async () => (await nodes.get('agent-1')).lastSeen).toBeGreaterThan(seenAt);
    await clock.advance(7 * 24 * hour + hour);
    await eventually(async () => (await nodes.list()).items.map((node) => node.instanceId)).toEqual(['web-1']);
    await nodes.evict('web-1', write);
    await eventually(async () => (await store.db.selectFrom('evicted_nodes').selectAll().execute()).length).toBe(0);
    stop.abort();
    await clock.advance(60_000);
    await run;
  });
});
