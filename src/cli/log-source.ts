import { AppError } from '../base/errors.ts';
import { HASH_BYTES } from '../core/audit/merkle.ts';
import { MAX_NOTE_BYTES } from '../core/audit/note.ts';
import type { TileId } from '../core/audit/tile.ts';
import { bundleBytes, MAX_ENTRY_BYTES, TILE_WIDTH, tilePath } from '../core/audit/tile.ts';
import type { Client } from './client.ts';

/** A log over HTTP, of anybody who serves one (c2sp.org/tlog-tiles). What it gives is not verified. */
export class LogSource {
  readonly #client: Client;
  readonly #prefix: string;

  /** @param prefix path of the log on the client's server, without a slash at its end */
  constructor(client: Client, prefix: string) {
    this.#client = client;
    this.#prefix = prefix;
  }

  checkpoint(): Promise<Buffer> {
    return this.#get('checkpoint', MAX_NOTE_BYTES);
  }

  /** A log may have thrown away partial tiles that have become full: then their beginning is taken. */
  async tile(id: TileId): Promise<Buffer> {
    const limit = id.level === 'entries' ? id.width * (MAX_ENTRY_BYTES + 2) : id.width * HASH_BYTES;
    try {
      return await this.#get(tilePath(id), limit);
    } catch (error) {
      if (id.width === TILE_WIDTH || !(error instanceof AppError) || error.code !== 'not-found') throw error;
      const full = await this.tile({ ...id, width: TILE_WIDTH });
      return full.subarray(0, id.level === 'entries' ? (bundleBytes(full, id.width) ?? 0) : limit);
    }
  }

  async #get(path: string, limit: number): Promise<Buffer> {
    const response = await this.#client.open(
      { method: 'GET', path: `${this.#prefix}/${path}`, headers: { accept: '*/*' } },
      AbortSignal.timeout(30_000),
    );
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of response.body ?? []) {
      length += part.length;
      // Counted after decompression: a small answer may unfold into anything.
      if (length > limit) throw new AppError('proof-refused', `${path} is longer than ${limit} bytes.`);
      parts.push(part);
    }
    return Buffer.concat(parts);
  }
}
