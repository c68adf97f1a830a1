import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { Store, StoreDeps } from '../../../src/control/store/store.ts';
import { openStore } from '../../../src/control/store/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { describeOnPostgres } from '../../support/describe-postgres.ts';
import { expectAppError } from '../../support/errors.ts';
import type { TemporaryPostgres } from '../../support/postgres.ts';
import { startPostgres } from '../../support/postgres.ts';

const eventually = <T>(fn: () => T | Promise<T>) => expect.poll(fn, { timeout: 10_000, interval: 5 });

describeOnPostgres('PostgreSQL', () => {
  let server: TemporaryPostgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => {
    await server.stop();
  });

  async function open(url: string, deps: Partial<StoreDeps> = {}): Promise<Store> {
    const store = await openStore({ kind: 'postgres', url }, { clock: systemClock, logger: silentLogger, ...deps });
    onTestFinished(() => store.close());
    return store;
  }

  const change = (store: Store) => store.transaction((trx) => store.nextRevision(trx));

  async function listeners(): Promise<readonly unknown[]> {
    const rows = await server.query(
      `select pid from pg_stat_activity where query ~* '^(listen|notify)' and state = 'idle'`,
    );
    return rows.map((row) => row.pid);
  }

  it("tells replicas of each other's changes without waiting for a poll", async () => {
    const url = await server.schema();
    const [writer, reader] = [await open(url), await open(url, { clock: new FakeClock() })];
    await eventually(listeners).toHaveLength(2);
    await change(writer);
    await eventually(() => reader.revision.current).toBe(1);
  });

  it('listens again after its connection broke, and has then seen what happened meanwhile', async () => {
    const url = await server.schema();
    // Only the reconnecting is allowed time, not the polling.
    const clock = new FakeClock();
    const allowReconnecting = async () => {
      if (clock.now() - new FakeClock().now() < 400) await clock.advance(20);
    };
    const [writer, reader] = [await open(url), await open(url, { clock })];
    await eventually(listeners).toHaveLength(2);
    const before = await listeners();
    await server.query(`select pg_terminate_backend(pid) from pg_stat_activity where pid in (${before.join()})`);
    await change(writer);
    await eventually(async () => {
      await allowReconnecting();
      return (await listeners()).filter((pid) => !before.includes(pid));
    }).toHaveLength(2);
    await eventually(() => reader.revision.current).toBe(1);
    await change(writer);
    await eventually(() => reader.revision.current).toBe(2);
  });

  it('reports a connection that breaks amid a transaction as unavailable, and works again afterwards', async () => {
    const store = await open(await server.schema());
    const broken = store.transaction(async (trx) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx);
      await server.query(`select pg_terminate_backend(${rows[0]?.pid})`);
      await store.nextRevision(trx);
    });
    await expectAppError(broken, 'unavailable', /^The database cannot be reached/);
    expect(await change(store)).toBe(1);
  });

  it('says unavailable, and nothing of the URL, when it cannot be reached', async () => {
    const url = 'postgres://somebody:secret@127.0.0.1:1/writ';
    const error = await expectAppError(open(url), 'unavailable', /^The database cannot be reached/);
    expect(error.message).not.toMatch(/secret|somebody|127/);
  });
});
