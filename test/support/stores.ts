import { join } from 'node:path';
import { afterAll, beforeAll, describe, inject, onTestFinished } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Store, StoreDeps, StoreOptions } from '../../src/control/store/store.ts';
import { openStore } from '../../src/control/store/store.ts';
import { describeOnPostgres } from './describe-postgres.ts';
import type { TemporaryPostgres } from './postgres.ts';
import { databaseOn, startPostgres } from './postgres.ts';
import { tempDirectory } from './temp.ts';

/** What a suite that runs on every database is given. To be used inside tests: all of it is gone when the test ends. */
export interface StoreBench {
  readonly kind: StoreOptions['kind'];
  /** A new, empty database. */
  database(): Promise<StoreOptions>;
  /** A store on a new database, or on one that is there: then it is a second replica. Default: system clock, no log. */
  open(options?: StoreOptions, deps?: Partial<StoreDeps>): Promise<Store>;
}

/**
 * Declares the same suite once on SQLite and once on PostgreSQL; where PostgreSQL is absent, it is skipped by name. Call it
 * at the top of a test file: all of a file's suites share one server.
 */
export function describeEachStore(name: string, suite: (bench: StoreBench) => void): void {
  describe(`${name} on SQLite`, () => {
    suite(bench('sqlite', async () => ({ kind: 'sqlite', path: join(await tempDirectory(), 'writ.db') })));
  });

  describeOnPostgres(`${name} on PostgreSQL`, () => {
    beforeAll(async () => {
      await sharedServer();
    });
    suite(bench('postgres', async () => ({ kind: 'postgres', url: await (await sharedServer()).schema() })));
  });

  if (stopsAtEnd) return;
  stopsAtEnd = true;
  afterAll(async () => {
    const stopping = server;
    server = undefined;
    stopsAtEnd = false;
    await (await stopping)?.stop();
  });
}

/** Of the test file that runs: several files may run in one process, one after the other. */
let server: Promise<TemporaryPostgres> | undefined;
let stopsAtEnd = false;

function sharedServer(): Promise<TemporaryPostgres> {
  const url = inject('postgres');
  server ??= url === undefined ? startPostgres() : databaseOn(url);
  return server;
}

function bench(kind: StoreOptions['kind'], database: () => Promise<StoreOptions>): StoreBench {
  return {
    kind,
    database,
    async open(options, deps) {
      const store = await openStore(options ?? (await database()), {
        clock: systemClock,
        logger: silentLogger,
        ...deps,
      });
      onTestFinished(() => store.close());
      return store;
    },
  };
}
