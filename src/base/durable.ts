import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { mkdir, open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { AppError } from './errors.ts';
import type { RandomBytes } from './random.ts';
import { secureRandom } from './random.ts';

/**
 * Files that are there, whole, after a crash or a power cut.
 *
 * BUG: on macOS fsync does not reach the platter (F_FULLFSYNC would); Node does not offer it.
 */

/** Replaces `path` atomically: after a crash it holds either the old content or the new one. Mode default 0600. */
export async function writeFileDurably(
  path: string,
  data: string | Uint8Array,
  options: { readonly mode?: number; readonly random?: RandomBytes } = {},
): Promise<void> {
  const temporary = `${path}.${(options.random ?? secureRandom)(6).toString('hex')}.tmp`;
  let file: FileHandle | undefined;
  try {
    // O_EXCL: never follow or reuse what somebody else put there.
    file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, options.mode ?? 0o600);
    await file.writeFile(data);
    await file.sync();
    await file.close();
    file = undefined;
    await rename(temporary, path);
  } catch (error) {
    await file?.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes creations, renames and deletions in `path` survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Creates a directory that only its owner can enter (0700), and its parents. Throws `unavailable` if that cannot be. */
export async function makePrivateDirectory(path: string): Promise<void> {
  try {
    await makeDirectories(resolve(path));
  } catch (cause) {
    throw new AppError(
      'unavailable',
      `Cannot create the directory ${path}: ${reason(cause)}. Choose another or mend its permissions.`,
      { cause },
    );
  }
}

/** Not by Node's `recursive`: below /proc that never ends. */
async function makeDirectories(path: string): Promise<void> {
  if (await makeOne(path)) return;
  const parent = dirname(path);
  if (parent !== path) await makeDirectories(parent);
  if (!(await makeOne(path))) throw Object.assign(new Error(`cannot create ${path}`), { code: 'ENOENT' });
}

/** Whether the directory is there now; false when its parent is missing. */
async function makeOne(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST') && (await stat(path)).isDirectory()) return true;
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Reads a file that holds a secret; refuses one that group or others can read. `undefined` when there is none. */
export async function readSecretFile(path: string): Promise<Buffer | undefined> {
  let mode: number;
  try {
    mode = (await stat(path)).mode;
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw new AppError('unavailable', `Cannot read ${path}: ${reason(cause)}.`, { cause });
  }
  if ((mode & 0o077) !== 0) {
    throw new AppError(
      'usage',
      `${path} can be read by others (mode ${(mode & 0o777).toString(8)}). Run: chmod 600 ${path}`,
    );
  }
  try {
    return await readFile(path);
  } catch (cause) {
    throw new AppError('unavailable', `Cannot read ${path}: ${reason(cause)}.`, { cause });
  }
}

export function isMissing(error: unknown): boolean {
  return hasCode(error, 'ENOENT');
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** The short name of a system error, such as EACCES: safe to show. */
export function reason(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return 'unknown error';
}
