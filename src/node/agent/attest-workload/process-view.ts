import { closeSync, openSync, readSync } from 'node:fs';
import { open, readlink, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { ProcessOwner } from './proc-formats.ts';
import { MAX_PROC_BYTES, parseOwner, parseStartTime } from './proc-formats.ts';

/** A process, as workload attestors see it. */
export interface ProcessView {
  readonly pid: number;
  readonly startTime: string;
  readonly owner: ProcessOwner;
  /** Text of a file of the process in /proc, at most 64 KiB. Throws `unavailable`. */
  read(file: 'cgroup'): Promise<string>;
  /** The program: a path for the agent, through the process, that stays right whatever becomes of the file's name. */
  readonly executable: string;
  /** What the process calls its program. */
  executableName(): Promise<string>;
}

export interface OpenedProcess {
  readonly view: ProcessView;
  /** Throws `forbidden` when the process has ended or become another since it was opened. */
  recheck(): void;
  close(): void;
}

/**
 * Opens the directory of a process in /proc and reads everything through that: once the process has ended, reading fails,
 * even when another process has its number by then.
 *
 * These files are made by the kernel while they are read, from memory, in microseconds: reading them in a thread would cost
 * ten times as much. What may lie on a disk, or on a file system that a user made, is not read here.
 *
 * @throws AppError `forbidden` when there is no such process, `unavailable` when it cannot be looked at
 */
export function openProcess(pid: number, procRoot = '/proc'): OpenedProcess {
  let directory: number;
  try {
    directory = openSync(`${procRoot}/${pid}`, 'r');
  } catch (cause) {
    throw notRead(cause, `process ${pid}`);
  }
  const base = `/proc/self/fd/${directory}`;
  try {
    const startTime = parseStartTime(readText(`${base}/stat`));
    const owner = parseOwner(readText(`${base}/status`));
    return {
      view: Object.freeze({
        pid,
        startTime,
        owner,
        read: async (file: 'cgroup') => readText(`${base}/${file}`),
        executable: `${base}/exe`,
        executableName: () => readlink(`${base}/exe`),
      }),
      recheck() {
        if (parseStartTime(readText(`${base}/stat`)) !== startTime) throw gone(undefined);
        const now = parseOwner(readText(`${base}/status`));
        if (now.uid !== owner.uid || now.gid !== owner.gid) throw becameAnother();
      },
      close: () => closeSync(directory),
    };
  } catch (error) {
    closeSync(directory);
    throw error;
  }
}

/** When the process that has this number now began. Throws as `openProcess`. */
export function startTimeOf(pid: number, procRoot = '/proc'): string {
  return parseStartTime(readText(`${procRoot}/${pid}/stat`));
}

/** Whether two paths are the same file. */
export async function isSameFile(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([stat(a, { bigint: true }), stat(b, { bigint: true })]);
  return first.dev === second.dev && first.ino === second.ino;
}

/** What a file is until it is written to again: changes of content change it, changes of name do not. */
export async function fileState(path: string): Promise<{ readonly key: string; readonly bytes: number }> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  // The time of modification can be set back by whoever owns the file; that of the change of the inode cannot.
  return { key: `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`, bytes: Number(size) };
}

export function becameAnother(): AppError {
  return new AppError(
    'forbidden',
    'The process has changed its user or group since it connected. Let it connect again.',
  );
}

function readText(path: string): string {
  try {
    const file = openSync(path, 'r');
    try {
      const buffer = Buffer.allocUnsafe(MAX_PROC_BYTES + 1);
      let total = 0;
      for (;;) {
        const read = readSync(file, buffer, total, buffer.length - total, null);
        if (read === 0) return buffer.toString('utf8', 0, total);
        total += read;
        if (total > MAX_PROC_BYTES) {
          throw new AppError('too-large', `${basename(path)} has more than ${MAX_PROC_BYTES} bytes.`);
        }
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw notRead(cause, `${basename(path)} of the process`);
  }
}

/** By pieces, since nobody promises a length. Throws `too-large`, or what the system said. */
export async function readCapped(path: string, maxBytes: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const parts: Buffer[] = [];
    const piece = Buffer.alloc(16 * 1024);
    for (let total = 0; ; ) {
      const { bytesRead } = await file.read(piece, 0, piece.length, null);
      if (bytesRead === 0) return Buffer.concat(parts).toString('utf8');
      total += bytesRead;
      if (total > maxBytes) throw new AppError('too-large', `${basename(path)} has more than ${maxBytes} bytes.`);
      parts.push(Buffer.from(piece.subarray(0, bytesRead)));
    }
  } finally {
    await file.close();
  }
}

/** That it is gone must not be said of a process that lives: its client would stop using its identity. */
function notRead(cause: unknown, what: string): AppError {
  const why = reason(cause);
  if (why === 'ENOENT' || why === 'ESRCH') return gone(cause);
  return new AppError('unavailable', `Cannot read ${what}: ${why}.`, { cause });
}

function gone(cause: unknown): AppError {
  return new AppError('forbidden', 'The process that called has ended.', { cause });
}
