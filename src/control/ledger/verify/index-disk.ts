import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SQLOutputValue } from 'node:sqlite';
import { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../../base/clock.ts';
import { reason } from '../../../base/durable.ts';
import { silentLogger } from '../../../base/log.ts';
import type { Checkpoint } from '../../../core/audit/checkpoint.ts';
import { isSameCheckpoint } from '../../../core/audit/checkpoint.ts';
import type { LogPolicy } from '../../../core/audit/log-policy.ts';
import { verifyCheckpoint } from '../../../core/audit/log-policy.ts';
import { openStore } from '../../store/store.ts';
import { CLEARING } from '../clear-index.ts';
import { addRows, countRows, noRows } from '../index-batch.ts';
import { indexTables } from '../index-tables.ts';
import { insertRows } from '../insert-rows.ts';
import type { LoggedBatch } from '../ledger.ts';
import { unwitnessed } from './log-disk.ts';
import { checkPolicies } from './policies-disk.ts';
import type { DiskReport } from './report.ts';

export interface IndexOnDiskOptions {
  /** The SQLite file. It is only read. */
  readonly file: string;
  /** The batches of the ledger, in order. */
  readonly batches: AsyncIterable<LoggedBatch>;
  readonly size: number;
  readonly checkpoint: Checkpoint;
  readonly policy: LogPolicy;
  readonly clock: Clock;
  readonly report: DiskReport;
}

const ROWS_PER_TRANSACTION = 4096;
const SHOWN = 100;

/**
 * Holds the search index against the ledger: it is made a second time, in a database of its own, and every row that is not in
 * both is named. Returns how many rows were compared.
 */
export async function checkIndex(o: IndexOnDiskOptions): Promise<number | null> {
  const directory = await mkdtemp(join(tmpdir(), 'writ-verify-'));
  try {
    const again = join(directory, 'index.db');
    const indexed = await cursorOf(o);
    if (indexed === undefined) return null;
    if (indexed === CLEARING) {
      o.report.remark(`${o.file}: the search index is being built again, and was not checked.`);
      return null;
    }
    await indexAgain(o, again, Math.min(indexed, o.size));
    return compare(o, again);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** How far the index has come; what stands beside it in the database is looked at, too. */
async function cursorOf({ file, size, checkpoint, policy, report }: IndexOnDiskOptions): Promise<number | undefined> {
  return reading(file, report, (db) => {
    for (const row of db.prepare('pragma integrity_check(100)').all())
      if (row.integrity_check !== 'ok') report.problem({ file, what: `SQLite says: ${String(row.integrity_check)}` });
    const lock = db.prepare('select checkpoint from audit_log_locks where origin = ?').get(checkpoint.origin);
    const locked = verifyCheckpoint(Buffer.from(String(lock?.checkpoint ?? ''), 'utf8'), unwitnessed(policy));
    if (!isSameCheckpoint(locked, checkpoint))
      report.problem({
        file,
        what: `the checkpoint in audit_log_locks (${locked.size} batches) is not the one in the files of the log (${checkpoint.size})`,
      });
    const leaf = Number(db.prepare('select leaf from audit_cursor where id = 1').get()?.leaf ?? 0);
    if (leaf > size)
      report.problem({ file, what: `the index says that it has ${leaf} batches, and the ledger holds ${size}` });
    return leaf;
  });
}

async function indexAgain(o: IndexOnDiskOptions, file: string, until: number): Promise<void> {
  const store = await openStore({ kind: 'sqlite', path: file }, { clock: o.clock, logger: silentLogger });
  try {
    let rows = noRows();
    const flush = async () => {
      const some = rows;
      await store.transaction((trx) => insertRows(trx, some));
      rows = noRows();
    };
    for await (const batch of o.batches) {
      if (batch.leaf >= until) break;
      addRows(rows, batch);
      if (countRows(rows) >= ROWS_PER_TRANSACTION) await flush();
    }
    await flush();
  } finally {
    await store.close();
  }
}

/** Rows of the one that the other does not have, both ways. */
async function compare({ file, report }: IndexOnDiskOptions, again: string): Promise<number | null> {
  const rows = await reading(again, report, (db) => {
    db.prepare('attach ? as disk').run(file);
    let count = 0;
    for (const table of indexTables) {
      const columns = columnsOf(db, 'main', table);
      if (columns.join() !== columnsOf(db, 'disk', table).join()) {
        report.problem({ file, what: `${table} does not have the columns that this version of Writ gives it` });
        continue;
      }
      count += Number(db.prepare(`select count(*) as n from disk.${table}`).get()?.n ?? 0);
      const list = columns.join(', ');
      const only = (here: string, there: string) =>
        db
          .prepare(`select ${list} from ${here}.${table} except select ${list} from ${there}.${table} limit ${SHOWN}`)
          .all();
      for (const row of only('main', 'disk'))
        report.problem({ file, ...placeOf(row), what: `${table} lacks a row, or has it otherwise` });
      for (const row of only('disk', 'main'))
        report.problem({ file, ...placeOf(row), what: `${table} has a row that the ledger does not` });
    }
    checkPolicies(db, file, report);
    return count;
  });
  return rows ?? null;
}

function columnsOf(db: DatabaseSync, schema: string, table: string): readonly string[] {
  return db
    .prepare(`select name from ${schema}.pragma_table_info('${table}', '${schema}') order by name`)
    .all()
    .map((row) => String(row.name));
}

function placeOf(row: Record<string, SQLOutputValue>) {
  const { sidecar, recorder, epoch, seq, leaf } = row;
  const who = sidecar ?? recorder;
  return {
    ...(typeof who === 'string' && { sidecar: who }),
    ...(typeof leaf === 'number' && { leaf }),
    ...(typeof epoch === 'number' && typeof seq === 'number' && { epoch, firstSeq: seq, lastSeq: seq }),
  };
}

/** Whatever SQLite cannot read is a thing that differs. */
function reading<T>(file: string, report: DiskReport, read: (db: DatabaseSync) => T): T | undefined {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { readOnly: true });
    return read(db);
  } catch (error) {
    report.problem({ file, what: `it cannot be read: ${error instanceof Error ? error.message : reason(error)}` });
    return undefined;
  } finally {
    db?.close();
  }
}
