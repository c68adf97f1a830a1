import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import { lockDirectory } from '../../../base/journal/lock.ts';
import type { Checkpoint } from '../../../core/audit/checkpoint.ts';
import type { DiskFindings, VerifyDiskOptions } from '../../../core/audit/disk-findings.ts';
import { LogAudit } from '../../../core/audit/log-audit.ts';
import type { LogPolicy } from '../../../core/audit/log-policy.ts';
import { parseLogPolicy } from '../../../core/audit/log-policy.ts';
import type { LoggedBatch } from '../ledger.ts';
import { entryOf } from '../log/entry.ts';
import { checkIndex } from './index-disk.ts';
import type { DiskBatch } from './ledger-disk.ts';
import { LedgerOnDisk } from './ledger-disk.ts';
import { LogOnDisk } from './log-disk.ts';
import { DiskReport } from './report.ts';
import { readSegments } from './segments.ts';
import { SnapshotsOnDisk } from './snapshots-disk.ts';

const PROGRESS_EVERY = 256;

/**
 * Reads everything that a control plane keeps of the audit on its disk: the ledger with its events, its snapshots, the log,
 * and the search index. Every batch is held against its signed root and against its leaf in the log, every leaf against the
 * checkpoint, and every row of the index against the events; what differs is named, and the rest is still read. Nothing on the disk
 * is changed.
 *
 * Not covered, because nobody has signed it: the boot id and stream number beside a batch, for one who can also make the
 * checksum agree; tables of the database that do not belong to the audit.
 *
 * @throws AppError `conflict` while a control plane is running there; `usage` for what is no data directory
 */
export async function verifyDisk(o: VerifyDiskOptions, clock: Clock): Promise<DiskFindings> {
  const ledgerDirectory = join(o.directory, 'ledger');
  const logDirectory = join(o.directory, 'log');
  await mustExist(ledgerDirectory, logDirectory);
  const policy = parseLogPolicy(Buffer.from(o.policy));
  const unlock = lockIfWritable(ledgerDirectory);
  try {
    const report = new DiskReport();
    const log = await LogOnDisk.open(logDirectory, policy, report);
    const ledger = new LedgerOnDisk(report);
    const disk = { ledgerDirectory, log, ledger, report };
    await checkBatches(o, disk);
    await checkLockFile(join(ledgerDirectory, 'lock'), report);
    const { checkpoint } = log;
    const indexRows = checkpoint === undefined ? null : await indexOf(o, { ...disk, policy, checkpoint, clock });
    return Object.freeze({
      origin: checkpoint?.origin ?? '',
      batches: ledger.sidecars.leaves,
      sealed: checkpoint?.size ?? 0,
      events: ledger.events,
      root: checkpoint?.root.toString('base64') ?? '',
      indexRows,
      problems: report.problems,
      remarks: report.remarks,
    });
  } finally {
    unlock();
  }
}

interface Disk {
  readonly ledgerDirectory: string;
  readonly log: LogOnDisk;
  readonly ledger: LedgerOnDisk;
  readonly report: DiskReport;
}

/** Ledger and log side by side: batch n of the one is leaf n of the other. */
async function checkBatches(o: VerifyDiskOptions, { ledgerDirectory, log, ledger, report }: Disk): Promise<void> {
  const size = log.checkpoint?.size ?? 0;
  const audit = new LogAudit();
  let isFollowing = true;
  const takeLeaf = async (batch: DiskBatch | undefined) => {
    const made = batch?.key === undefined ? undefined : entryOf(batch.logged, batch.key);
    const leaf = log.size;
    const entry = await log.take(made, batch?.at);
    if (leaf % PROGRESS_EVERY === 0) o.progress(leaf);
    if (entry === undefined || !isFollowing) return;
    try {
      audit.add(entry);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // What comes behind it would be refused for the same reason.
      isFollowing = false;
      report.problem({ file: batch?.at.file ?? ledgerDirectory, leaf, what: error.message });
    }
  };
  const snapshots = await SnapshotsOnDisk.open(ledgerDirectory, report);
  const before = report.problems.length;
  let next = 0;
  for await (const record of readSegments(ledgerDirectory, report)) {
    o.signal.throwIfAborted();
    const batch = ledger.take(record);
    if (report.problems.length === before) snapshots.check(record.number, ledger.sidecars);
    if (batch === undefined) continue;
    const { leaf } = batch.logged;
    for (; next < Math.min(leaf, size); next++) {
      report.problem({ file: record.file, leaf: next, what: 'the ledger does not hold the batch' });
      await takeLeaf(undefined);
    }
    if (leaf !== next)
      report.problem({
        file: record.file,
        offset: record.offset,
        record: record.number,
        leaf,
        what: `the batch stands in the place of batch ${next}`,
      });
    if (next < size) await takeLeaf(batch);
    next += 1;
  }
  for (; next < size; next++) {
    report.problem({ file: ledgerDirectory, leaf: next, what: 'the ledger does not hold the batch' });
    await takeLeaf(undefined);
  }
  snapshots.finish(report.problems.length === before);
  await log.finish();
}

async function indexOf(
  o: VerifyDiskOptions,
  disk: Disk & { readonly policy: LogPolicy; readonly checkpoint: Checkpoint; readonly clock: Clock },
): Promise<number | null> {
  const { ledgerDirectory, ledger, policy, checkpoint, clock, report } = disk;
  const file = o.database ?? join(o.directory, 'writ.db');
  if (!(await isThere(file))) {
    report.remark(
      `${file} is not there: the search index was not checked. It can be made again at any time: writ audit reindex.`,
    );
    return null;
  }
  if (report.problems.length > 0) {
    report.remark('The search index was not checked: mend first what it follows from.');
    return null;
  }
  const batches = batchesOf(ledgerDirectory);
  return checkIndex({ file, batches, size: ledger.sidecars.leaves, checkpoint, policy, clock, report });
}

/** A second time: what was wrong is known. */
async function* batchesOf(ledgerDirectory: string): AsyncGenerator<LoggedBatch> {
  const silent = new DiskReport();
  const ledger = new LedgerOnDisk(silent);
  for await (const record of readSegments(ledgerDirectory, silent)) {
    const batch = ledger.take(record);
    if (batch !== undefined) yield batch.logged;
  }
}

/** SQLite locks the file and writes nothing to it. */
async function checkLockFile(file: string, report: DiskReport): Promise<void> {
  if ((await isThere(file)) && (await stat(file)).size > 0)
    report.problem({ file, what: 'it holds something, and should be empty' });
}

async function mustExist(...directories: readonly string[]): Promise<void> {
  for (const directory of directories)
    if (!(await isThere(directory)))
      throw new AppError('usage', `${directory} is not there: give the data directory of a control plane (data-dir).`);
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Nobody writes meanwhile. A copy that cannot be written is locked as it is. */
function lockIfWritable(directory: string): () => void {
  try {
    return lockDirectory(directory);
  } catch (error) {
    if (error instanceof AppError && error.code === 'unavailable') return () => undefined;
    throw error;
  }
}
