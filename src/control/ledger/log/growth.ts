import { HASH_BYTES, leafHash } from '../../../core/audit/merkle.ts';
import { bundleEntry } from '../../../core/audit/tile.ts';
import type { TreeEdge } from '../../../core/audit/tree-edge.ts';
import { endsFile, entriesFile, hashesFile, SEGMENT } from './log-files.ts';
import type { StagedWrite } from './staged.ts';

/** What some new entries add to a log. */
export class Growth {
  readonly edge: TreeEdge;
  #end: number;
  readonly #writes = new Map<string, { readonly offset: number; readonly parts: Buffer[] }>();

  /**
   * @param edge of the log as it is; it is not changed
   * @param end where the next entry begins in its file
   */
  constructor(edge: TreeEdge, end: number) {
    this.edge = edge.clone();
    this.#end = end;
  }

  get end(): number {
    return this.#end;
  }

  get writes(): readonly StagedWrite[] {
    return [...this.#writes].map(([file, { offset, parts }]) => ({ file, offset, bytes: Buffer.concat(parts) }));
  }

  add(entry: Buffer): void {
    const index = this.edge.size;
    if (index % SEGMENT === 0) this.#end = 0;
    const bundled = bundleEntry(entry);
    this.#put(entriesFile(index), this.#end, bundled);
    this.#end += bundled.length;
    const end = Buffer.allocUnsafe(4);
    end.writeUInt32BE(this.#end);
    this.#put(endsFile(index), (index % SEGMENT) * end.length, end);
    for (const added of this.edge.append(leafHash(entry))) {
      this.#put(hashesFile(added.level, added.index), (added.index % SEGMENT) * HASH_BYTES, added.hash);
    }
  }

  /** Parts of a file come one behind the other. */
  #put(file: string, offset: number, part: Buffer): void {
    const write = this.#writes.get(file) ?? { offset, parts: [] };
    this.#writes.set(file, write);
    write.parts.push(part);
  }
}
