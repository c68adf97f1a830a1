import { execFile } from 'node:child_process';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { Migration } from '../../../src/control/store/migration.ts';
import { migrations } from '../../../src/control/store/migrations.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { migrate, openStore } from '../../../src/control/store/store.ts';
import { expectAppError } from '../../support/errors.ts';
import { describeEachStore } from '../../support/stores.ts';
import { tempDirectory } from '../../support/temp.ts';

const deps = { clock: systemClock, logger: silentLogger };
const size = migrations.length;
const next: Migration = {
  name: '9999-next',
  statements: (t) => [`create table next (id ${t.bigint} not null)${t.strict}`, 'insert into next (id) values (7)'],
};
const broken: Migration = {
  name: '9999-next',
  statements: (t) => [...next.statements(t), 'insert into nowhere values (1)'],
};

async function appliedNames(store: Store): Promise<readonly string[]> {
  const rows = await store.db.selectFrom('schema_migrations').selectAll().orderBy('position').execute();
  expect(rows.map((row) => row.position)).toEqual(rows.map((_, index) => index + 1));
  return rows.map((row) => row.name);
}

describeEachStore('The schema', (stores) => {
  it('is created whole in an empty database', async () => {
    const store = await stores.open();
    expect(await appliedNames(store)).toEqual(migrations.map((migration) => migration.name));
  });

  it('is created once when several replicas start at the same time', async () => {
    const database = await stores.database();
    const replicas = await Promise.all(Array.from({ length: 4 }, () => stores.open(database)));
    for (const store of replicas) expect(await appliedNames(store)).toHaveLength(size);
  });

  it('of an older version is refused, naming what to run; that keeps the data and mends it', async () => {
    const database = await stores.database();
    const older = await stores.open(database);
    await older.transaction((trx) => older.nextRevision(trx));
    await older.close();

    const newer = { migrations: [...migrations, next] };
    await expectAppError(
      stores.open(database, newer),
      'incompatible-data',
      `The database schema is at version ${size}; this version of Writ needs version ${size + 1}. ` +
        'Stop all servers, make a backup, and run: writ migrate',
    );
    expect(await migrate(database, { ...deps, ...newer })).toEqual({ from: size, to: size + 1 });
    expect(await migrate(database, { ...deps, ...newer })).toEqual({ from: size + 1, to: size + 1 });

    const store = await stores.open(database, newer);
    expect(store.revision.current).toBe(1);
    expect((await sql`select id from next`.execute(store.db)).rows).toEqual([{ id: 7 }]);
  });

  it('of a newer version is refused, by server and migration alike', async () => {
    const database = await stores.database();
    await (await stores.open(database, { migrations: [...migrations, next] })).close();
    const refusal = new RegExp(`"9999-next" as version ${size + 1}.*a newer version of Writ wrote it`);
    await expectAppError(stores.open(database), 'incompatible-data', refusal);
    await expectAppError(migrate(database, deps), 'incompatible-data', refusal);
  });

  it('is not half changed by a step that fails', async () => {
    const database = await stores.database();
    await (await stores.open(database)).close();
    await expect(migrate(database, { ...deps, migrations: [...migrations, broken] })).rejects.toThrow(/nowhere/);
    const store = await stores.open(database);
    expect(await appliedNames(store)).toHaveLength(size);
    expect(await migrate(database, { ...deps, migrations: [...migrations, next] })).toEqual({
      from: size,
      to: size + 1,
    });
  });

  it('is not half created by a step that fails', async () => {
    const database = await stores.database();
    await expect(stores.open(database, { migrations: [...migrations, broken] })).rejects.toThrow(/nowhere/);
    expect(await migrate(database, deps)).toEqual({ from: 0, to: size });
  });

  it('is migrated once by two migrations at the same time', async () => {
    const database = await stores.database();
    await (await stores.open(database)).close();
    const all = { ...deps, migrations: [...migrations, next] };
    await Promise.all([migrate(database, all), migrate(database, all), migrate(database, all)]);
    const store = await stores.open(database, all);
    expect(await appliedNames(store)).toHaveLength(size + 1);
    expect((await sql`select id from next`.execute(store.db)).rows).toEqual([{ id: 7 }]);
  });

  it("is not put into somebody else's database", async () => {
    const database = await stores.database();
    const store = await stores.open(database);
    await store.transaction(async (trx) => {
      await sql`drop table schema_migrations`.execute(trx);
    });
    await store.close();
    const error = await expectAppError(stores.open(database), 'incompatible-data', /^The database is not Writ's/);
    expect(error.message).toContain('"admin_events"');
  });
});

describe('A SQLite file', () => {
  it('can be read by its owner only', async () => {
    const path = join(await tempDirectory(), 'writ.db');
    const store = await openStore({ kind: 'sqlite', path }, deps);
    for (const file of [path, `${path}-wal`]) expect((await stat(file)).mode & 0o777).toBe(0o600);
    await store.close();
  });

  it('that is none is refused and left as it is', async () => {
    const path = join(await tempDirectory(), 'writ.db');
    await writeFile(path, 'Dear diary, this is not a database at all. '.repeat(100));
    await expectAppError(openStore({ kind: 'sqlite', path }, deps), 'incompatible-data', /is not an SQLite database/);
  });

  it('in a missing directory is refused with the reason', async () => {
    const path = join(await tempDirectory(), 'missing', 'writ.db');
    await expectAppError(
      openStore({ kind: 'sqlite', path }, deps),
      'unavailable',
      /^Cannot open the database .*: ENOENT/,
    );
  });

  it('is created once by processes that start at the same time', async () => {
    const path = join(await tempDirectory(), 'writ.db');
    const src = new URL('../../../src/', import.meta.url);
    const code = `
      import { openStore } from ${JSON.stringify(new URL('control/store/store.ts', src).href)};
      import { systemClock } from ${JSON.stringify(new URL('base/clock.ts', src).href)};
      import { silentLogger } from ${JSON.stringify(new URL('base/log.ts', src).href)};
      const store = await openStore({ kind: 'sqlite', path: ${JSON.stringify(path)} }, { clock: systemClock, logger: silentLogger });
      for (let i = 0; i < 10; i++) await store.transaction((trx) => store.nextRevision(trx));
      await store.close();`;
    const run = promisify(execFile);
    const processes = Array.from({ length: 3 }, () => run(process.execPath, ['--input-type=module', '-e', code]));
    await Promise.all(processes);
    const store = await openStore({ kind: 'sqlite', path }, deps);
    expect(store.revision.current).toBe(30);
    expect(await appliedNames(store)).toHaveLength(size);
    await store.close();
  });
});
