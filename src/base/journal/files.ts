import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, syncDirectory } from '../durable.ts';

/**
 * What a journal needs of a directory. Narrow, so that a test can make every single step fail. All methods reject with the
 * system's error.
 */
export interface Files {
  /** For messages. */
  readonly directory: string;
  list(): Promise<readonly string[]>;
  /** A new file (mode 0600), which must not exist. Its name is durable after `syncDirectory`. */
  create(name: string): Promise<OpenFile>;
  /** An existing file. */
  open(name: string): Promise<OpenFile>;
  /** Removes a file; one that is gone already is fine. Durable after `syncDirectory`. */
  remove(name: string): Promise<void>;
  syncDirectory(): Promise<void>;
}

export interface OpenFile {
  /** Writes all of `data` at `position`. When it rejects, any part of it may have been written. */
  write(data: Uint8Array, position: number): Promise<void>;
  /** Up to `length` bytes; fewer only at the end of the file. */
  read(position: number, length: number): Promise<Buffer>;
  /** What was written is durable when this resolves. When it rejects, it may be lost even if a later call resolves. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  size(): Promise<number>;
  /** Whether the name still leads to this file: not after somebody removed or replaced it. */
  isLinked(): Promise<boolean>;
  close(): Promise<void>;
}

export function localFiles(directory: string): Files {
  const openAt = async (name: string, flags: number): Promise<OpenFile> => {
    const path = join(directory, name);
    return new LocalFile(path, await open(path, flags, 0o600));
  };
  return {
    directory,
    list: () => readdir(directory),
    create: (name) => openAt(name, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL),
    open: (name) => openAt(name, constants.O_RDWR),
    async remove(name) {
      await unlink(join(directory, name)).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    },
    syncDirectory: () => syncDirectory(directory),
  };
}

class LocalFile implements OpenFile {
  readonly #path: string;
  readonly #handle: FileHandle;

  constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    let written = 0;
    while (written < data.length) {
      const { bytesWritten } = await this.#handle.write(data, written, data.length - written, position + written);
      written += bytesWritten;
    }
  }

  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    let read = 0;
    while (read < length) {
      const { bytesRead } = await this.#handle.read(buffer, read, length - read, position + read);
      if (bytesRead === 0) break;
      read += bytesRead;
    }
    return buffer.subarray(0, read);
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(length: number): Promise<void> {
    return this.#handle.truncate(length);
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async isLinked(): Promise<boolean> {
    try {
      const [ours, named] = await Promise.all([this.#handle.stat(), stat(this.#path)]);
      return ours.ino === named.ino && ours.dev === named.dev;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
