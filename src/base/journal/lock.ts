import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { AppError } from '../errors.ts';

/**
 * Makes this process the only one that works in `directory`, until the returned function is called or the process ends,
 * however it ends. Throws `conflict` when another process has it, `unavailable` when the lock cannot be taken at all.
 *
 * The lock is SQLite's on the file `lock`: a kernel lock, which Node offers in no other way. It leaves nothing stale behind,
 * as a file with a process id does, and it also holds between containers that share the directory.
 */
export function lockDirectory(directory: string): () => void {
  const path = join(directory, 'lock');
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    database.exec('pragma journal_mode = memory; begin exclusive');
  } catch (cause) {
    database?.close();
    if (isBusy(cause)) {
      throw new AppError(
        'conflict',
        `Another process is using ${directory}. Stop it first, or choose another directory.`,
      );
    }
    throw new AppError('unavailable', `Cannot lock ${directory}: the file ${path} cannot be written.`, { cause });
  }
  const held = database;
  return () => {
    if (held.isOpen) held.close();
  };
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === 5;
}
