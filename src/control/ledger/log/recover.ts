import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { Checkpoint } from '../../../core/audit/checkpoint.ts';
import { checkpointIn, isSameCheckpoint } from '../../../core/audit/checkpoint.ts';
import { verifierOf } from '../../../core/audit/cosignature.ts';
import { LogTree } from '../../../core/audit/log-tree.ts';
import { parseNote, verifyNote } from '../../../core/audit/note.ts';
import { splitTile } from '../../../core/audit/tile.ts';
import { TreeEdge } from '../../../core/audit/tree-edge.ts';
import type { LogKeys } from './keys.ts';
import type { CheckpointLock } from './lock.ts';
import type { LogFiles } from './log-files.ts';

/** A checkpoint that everybody may see, as it is served. */
export interface Published {
  readonly checkpoint: Checkpoint;
  readonly note: Buffer;
}

/** Where a log stands. */
export interface LogState {
  /** As the lock has it, byte for byte. */
  readonly locked: Buffer;
  readonly published: Published;
  readonly edge: TreeEdge;
  /** Where the next entry begins in its file. */
  readonly end: number;
}

export interface RecoverOptions {
  readonly files: LogFiles;
  readonly lock: CheckpointLock;
  readonly keys: LogKeys;
  readonly logger: Logger;
  /** Batches in the ledger. */
  readonly ledgerSize: number;
  /** The operator says that the database was restored from a backup: the files, which are ahead of it, are what counts. */
  readonly databaseRestored: boolean;
}

/**
 * Brings a log to where its lock says it is, and finds out whether it is whole. The same at every start, after every failure
 * and in every step: what was begun and decided is finished, what was not decided has never happened.
 *
 * `undefined`: there is no such log, neither in the lock nor in the files.
 *
 * @throws AppError `incompatible-data` when lock, files and ledger contradict each other: one of them was restored from a
 *   backup, changed or exchanged, and going on would sign a second history. Nothing is changed then
 */
export async function recover(o: RecoverOptions): Promise<LogState | undefined> {
  const { files, lock, keys } = o;
  const locked = await lock.read();
  const published = await newestPublished(o);
  if (locked === undefined) {
    if (published === undefined) return undefined;
    throw halt(
      o,
      `the database knows nothing of it, and ${files.directory} holds it with ${published.checkpoint.size} batches`,
    );
  }
  const target = verified(locked, keys);
  if (target === undefined) throw halt(o, 'the checkpoint in the database is not signed by its keys');
  const current = await catchUp(o, { note: locked, checkpoint: target }, published);
  const { size } = current.published.checkpoint;
  if (o.ledgerSize < size) throw halt(o, `it covers ${size} batches, and the ledger holds ${o.ledgerSize}`);
  const edge = await readEdge(o, size);
  if (!edge.root().equals(current.published.checkpoint.root))
    throw halt(o, `the hashes in ${files.directory} are not those that were signed`);
  await files.dropStaging();
  return { ...current, edge, end: await files.endOfEntries(size) };
}

/** Finishes the step that the lock has decided on, if the files do not have it yet. */
async function catchUp(
  o: RecoverOptions,
  target: Published,
  published: Published | undefined,
): Promise<{ readonly locked: Buffer; readonly published: Published }> {
  const { files } = o;
  const size = published?.checkpoint.size ?? -1;
  if (published !== undefined && size === target.checkpoint.size) {
    if (!isSameCheckpoint(published.checkpoint, target.checkpoint))
      throw halt(o, `the database and ${files.directory} hold different checkpoints for ${size} batches`);
    return { locked: target.note, published };
  }
  if (published !== undefined && size > target.checkpoint.size) return followFiles(o, target, published);
  const staged = await files.staged();
  if (staged === undefined || !staged.note.equals(target.note)) {
    throw halt(
      o,
      `the database has signed it with ${target.checkpoint.size} batches, and ${files.directory} holds ${Math.max(size, 0)}`,
    );
  }
  await files.apply(staged);
  await files.publish(target.checkpoint.size, target.note);
  o.logger.info({ origin: o.keys.origin, size: target.checkpoint.size }, 'a step of the audit log was finished');
  return { locked: target.note, published: target };
}

/** The database is older than the files. Going on from it would sign a second history; the files are a history already. */
async function followFiles(
  o: RecoverOptions,
  target: Published,
  published: Published,
): Promise<{ readonly locked: Buffer; readonly published: Published }> {
  const { checkpoint } = published;
  const text = `the database is older than the files: it has ${target.checkpoint.size} batches, and ${o.files.directory} has ${checkpoint.size}`;
  if (!o.databaseRestored)
    throw halt(o, `${text}. If the database was restored from a backup, say so once: --audit-database-restored`);
  const old = await treeOf(o, target.checkpoint.size).root();
  if (!old.equals(target.checkpoint.root)) throw halt(o, `${text}, and they are not of one history`);
  if (!(await o.lock.swap(target.note, published.note))) throw halt(o, 'somebody else is writing it');
  o.logger.warn(
    { origin: checkpoint.origin, from: target.checkpoint.size, to: checkpoint.size },
    'the database follows the files of the audit log',
  );
  return { locked: published.note, published };
}

async function newestPublished(o: RecoverOptions): Promise<Published | undefined> {
  for (const note of await o.files.published()) {
    const checkpoint = verified(note, o.keys);
    if (checkpoint !== undefined) return { note, checkpoint };
    // A crash while it was written; or not, and then what is missing will show.
    o.logger.warn({ directory: o.files.directory }, 'a checkpoint of the audit log is not whole; it is passed over');
  }
  return undefined;
}

/** The checkpoint in a note, if all keys of the log have signed it. */
function verified(note: Buffer, keys: LogKeys): Checkpoint | undefined {
  try {
    const parsed = parseNote(note);
    const checkpoint = checkpointIn(parsed);
    const signers = verifyNote(parsed, keys.publicKeys.map(verifierOf));
    return signers.length === keys.publicKeys.length && checkpoint.origin === keys.origin ? checkpoint : undefined;
  } catch {
    return undefined;
  }
}

async function readEdge(o: RecoverOptions, size: number): Promise<TreeEdge> {
  return TreeEdge.restore(size, async (id) => splitTile(await o.files.tile(id), id.width));
}

function treeOf({ files }: RecoverOptions, size: number): LogTree {
  return new LogTree(async (id) => splitTile(await files.tile(id), id.width), size);
}

function halt({ keys }: RecoverOptions, why: string): AppError {
  return new AppError(
    'incompatible-data',
    `The audit log ${keys.origin} is not opened: ${why}. Nothing was changed; docs/decisions/one-log.md says what to do.`,
  );
}
