import type { Files, OpenFile } from '../../src/base/journal/files.ts';

export type Operation =
  | 'list'
  | 'create'
  | 'open'
  | 'remove'
  | 'syncDirectory'
  | 'write'
  | 'read'
  | 'sync'
  | 'truncate';

export interface Step {
  readonly operation: Operation;
  readonly name: string;
  /** Of a write. */
  readonly position?: number;
}

/** What a hook may make of a step: let it pass, fail it undone, or do it (a write perhaps only in part) and then fail it. */
export type Fault = 'pass' | 'fail' | 'fail-done' | 'fail-half';

/** A file's content now, and what a power cut would leave of it. */
interface Inode {
  content: Buffer;
  durable: Buffer;
}

/**
 * A directory in memory that knows what is durable and what is not, and lets a test fail every step. `crash` gives the
 * directory that the next process finds.
 */
export class MemoryFiles implements Files {
  readonly directory = '/spool';
  /** Decides about every step, before it is done. */
  hook: (step: Step) => Fault | Promise<Fault> = () => 'pass';
  readonly steps: Step[] = [];
  readonly #names = new Map<string, Inode>();
  readonly #durableNames = new Map<string, Inode>();

  static of(contents: ReadonlyMap<string, Buffer>): MemoryFiles {
    const files = new MemoryFiles();
    for (const [name, content] of contents) {
      const inode = { content: Buffer.from(content), durable: Buffer.from(content) };
      files.#names.set(name, inode);
      files.#durableNames.set(name, inode);
    }
    return files;
  }

  /** After `kill` everything written is there; after `power` only what was synced. */
  crash(kind: 'kill' | 'power'): MemoryFiles {
    const names = kind === 'kill' ? this.#names : this.#durableNames;
    return MemoryFiles.of(
      new Map([...names].map(([n, inode]) => [n, kind === 'kill' ? inode.content : inode.durable])),
    );
  }

  names(): string[] {
    return [...this.#names.keys()].sort();
  }

  content(name: string): Buffer {
    const inode = this.#names.get(name);
    if (inode === undefined) throw failure('ENOENT');
    return inode.content;
  }

  /** Changes a file behind everybody's back. */
  tamper(name: string, change: (content: Buffer) => Buffer): void {
    const inode = this.#names.get(name);
    if (inode === undefined) throw failure('ENOENT');
    inode.content = change(Buffer.from(inode.content));
    inode.durable = inode.content;
  }

  /** Removes a name; who has the file open keeps it. */
  unlink(name: string): void {
    this.#names.delete(name);
    this.#durableNames.delete(name);
  }

  list(): Promise<readonly string[]> {
    return this.#step({ operation: 'list', name: '' }, () => this.names());
  }

  create(name: string): Promise<OpenFile> {
    return this.#step({ operation: 'create', name }, () => {
      if (this.#names.has(name)) throw failure('EEXIST');
      const inode: Inode = { content: Buffer.alloc(0), durable: Buffer.alloc(0) };
      this.#names.set(name, inode);
      return this.#handle(name, inode);
    });
  }

  open(name: string): Promise<OpenFile> {
    return this.#step({ operation: 'open', name }, () => {
      const inode = this.#names.get(name);
      if (inode === undefined) throw failure('ENOENT');
      return this.#handle(name, inode);
    });
  }

  remove(name: string): Promise<void> {
    return this.#step({ operation: 'remove', name }, () => {
      this.#names.delete(name);
    });
  }

  syncDirectory(): Promise<void> {
    return this.#step({ operation: 'syncDirectory', name: '' }, () => {
      this.#durableNames.clear();
      for (const [name, inode] of this.#names) this.#durableNames.set(name, inode);
    });
  }

  #handle(name: string, inode: Inode): OpenFile {
    return {
      write: (data, position) =>
        this.#step({ operation: 'write', name, position }, (half) => {
          const part = half ? data.subarray(0, Math.floor(data.length / 2)) : data;
          const end = Math.max(inode.content.length, position + part.length);
          const next = Buffer.alloc(end);
          inode.content.copy(next);
          next.set(part, position);
          inode.content = next;
        }),
      read: (position, length) =>
        this.#step({ operation: 'read', name }, () => Buffer.from(inode.content.subarray(position, position + length))),
      sync: () =>
        this.#step({ operation: 'sync', name }, () => {
          inode.durable = inode.content;
        }),
      truncate: (length) =>
        this.#step({ operation: 'truncate', name }, () => {
          inode.content = inode.content.subarray(0, length);
        }),
      size: async () => inode.content.length,
      isLinked: async () => this.#names.get(name) === inode,
      close: async () => undefined,
    };
  }

  async #step<T>(step: Step, act: (half: boolean) => T): Promise<T> {
    const fault = await this.hook(step);
    this.steps.push(step);
    if (fault === 'fail') throw failure('EIO');
    const result = act(fault === 'fail-half');
    if (fault !== 'pass') throw failure('EIO');
    return result;
  }
}

export function failure(code: string): Error {
  return Object.assign(new Error(`${code}: made to fail`), { code });
}
