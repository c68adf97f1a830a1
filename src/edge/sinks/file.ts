import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isMissing, reason, syncDirectory } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { SinkItem } from '../../control/ledger/sinks/item.ts';
import type { Sink } from '../../control/ledger/sinks/sink.ts';

export interface FileSinkOptions {
  /** Of this sink alone. It is created with mode 0600; its directory must be there. */
  readonly path: string;
  /** Lines without their end. */
  readonly encode: (item: SinkItem) => readonly string[];
  /** A file is set aside as `<path>.<time>` before it would grow beyond, in bytes. Default 256 MiB. */
  readonly maxBytes?: number;
  readonly now: () => number;
}

const DEFAULT_MAX_BYTES = 256 * 1024 * 1024;
/** Longer than any line. */
const TAIL_BYTES = 1024 * 1024;

/**
 * Lines in a file, synced before they count. What others do to the file is noticed: one that was moved away or removed is begun
 * again, one that ends in the middle of a line is cut to whole lines. Files that were set aside are kept: whoever collects them
 * removes them.
 */
export class FileSink implements Sink {
  readonly #o: FileSinkOptions;
  readonly #maxBytes: number;
  #file: { readonly handle: FileHandle; readonly inode: number; size: number } | undefined;

  constructor(options: FileSinkOptions) {
    this.#o = options;
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  }

  async deliver(items: readonly SinkItem[]): Promise<void> {
    const lines = items.flatMap((item) => this.#o.encode(item));
    if (lines.length === 0) return;
    const bytes = Buffer.from(`${lines.join('\n')}\n`, 'utf8');
    try {
      if (this.#file !== undefined && !(await this.#isStillThere())) await this.close();
      let file = this.#file ?? (await this.#open());
      if (file.size > 0 && file.size + bytes.length > this.#maxBytes) {
        await this.#setAside();
        file = await this.#open();
      }
      await file.handle.appendFile(bytes);
      await file.handle.datasync();
      file.size += bytes.length;
    } catch (cause) {
      // It may end in the middle of a line now: it is looked at when it is opened again.
      await this.close();
      throw cause instanceof AppError
        ? cause
        : new AppError('unavailable', `Cannot write ${this.#o.path}: ${reason(cause)}.`, { cause });
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.handle.close().catch(() => undefined);
  }

  async #isStillThere(): Promise<boolean> {
    try {
      const { ino, size } = await stat(this.#o.path);
      return ino === this.#file?.inode && size === this.#file.size;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async #open() {
    const { path } = this.#o;
    // Never through a link: somebody else may write where it stands.
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
    const handle = await open(path, flags, 0o600);
    try {
      const about = await handle.stat();
      if (!about.isFile()) throw new AppError('usage', `Cannot write ${path}: it is no file.`);
      const size = await cutToLines(handle, about.size);
      if (size === undefined) {
        // Perhaps the beginning of our first line, perhaps not ours at all: nothing of it is thrown away.
        await this.#setAside();
        throw new AppError('unavailable', `${path} holds no whole line: it was set aside.`);
      }
      await syncDirectory(dirname(path));
      this.#file = { handle, inode: about.ino, size };
      return this.#file;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #setAside(): Promise<void> {
    await this.close();
    const { path, now } = this.#o;
    const at = new Date(now()).toISOString().replaceAll(':', '').replace('.', '');
    for (let n = 0; ; n += 1) {
      const name = n === 0 ? `${path}.${at}` : `${path}.${at}.${n}`;
      try {
        await stat(name);
      } catch (error) {
        if (!isMissing(error)) throw error;
        await rename(path, name);
        return await syncDirectory(dirname(path));
      }
    }
  }
}

/** Cuts off what is behind the last end of a line, and returns the size that is left; `undefined` for a file without lines. */
async function cutToLines(handle: FileHandle, size: number): Promise<number | undefined> {
  const from = Math.max(size - TAIL_BYTES, 0);
  const tail = Buffer.alloc(size - from);
  let read = 0;
  while (read < tail.length) {
    const { bytesRead } = await handle.read(tail, read, tail.length - read, from + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  const end = tail.subarray(0, read).lastIndexOf(10);
  if (end < 0 && size > 0) return undefined;
  const whole = from + end + 1;
  if (whole < size) await handle.truncate(whole);
  return whole;
}
