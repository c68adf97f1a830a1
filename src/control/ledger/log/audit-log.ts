import { AppError } from '../../../base/errors.ts';
import type { Watch } from '../../../base/watch.ts';
import { openBatch } from '../../../core/audit/batch.ts';
import type { BatchBody } from '../../../core/audit/batch-body.ts';
import { lastSeqOf } from '../../../core/audit/batch-header.ts';
import { encodeEvidence } from '../../../core/audit/event-proof.ts';
import { LogTree } from '../../../core/audit/log-tree.ts';
import { inclusionProof, leafHash } from '../../../core/audit/merkle.ts';
import { formatVkey } from '../../../core/audit/note-key.ts';
import type { TileId } from '../../../core/audit/tile.ts';
import { splitTile, TILE_WIDTH, widthOf } from '../../../core/audit/tile.ts';
import { encodeProof } from '../../../core/audit/tlog-proof.ts';
import type { Ledger, LoggedBatch } from '../ledger.ts';
import { parseRecordId } from '../rows.ts';
import { entryOf, KeyCache } from './entry.ts';
import type { LogKeys } from './keys.ts';
import type { LogFiles } from './log-files.ts';
import type { Published } from './recover.ts';
import type { Witnesses } from './witnesses.ts';

export interface AuditLogOptions {
  readonly ledger: Pick<Ledger, 'read' | 'keyOf'>;
  readonly files: LogFiles;
  readonly keys: LogKeys;
  readonly published: Watch<Published>;
  /** See `AuditLog.served`. Default `published`. */
  readonly witnesses?: Pick<Witnesses, 'served' | 'states' | 'policy' | 'problem'> | undefined;
  /** The batch that holds an event. Rejects with `not-found`. */
  readonly leafOf: (id: string) => Promise<number>;
}

/** A log as everybody may read it: nothing of it is newer than the published checkpoint. */
export class AuditLog {
  readonly #o: AuditLogOptions;
  readonly #keys: KeyCache;
  /** Keys that verify its checkpoints, as somebody is told to trust them. */
  readonly vkeys: readonly string[];

  constructor(o: AuditLogOptions) {
    this.#o = o;
    this.#keys = new KeyCache(o.ledger);
    this.vkeys = Object.freeze(o.keys.publicKeys.map(formatVkey));
  }

  get published(): Watch<Published> {
    return this.#o.published;
  }

  /** What everybody is shown: the newest checkpoint that the witnesses have cosigned, where any are asked. */
  get served(): Watch<Published> {
    return this.#o.witnesses?.served ?? this.published;
  }

  get witnesses(): AuditLogOptions['witnesses'] {
    return this.#o.witnesses;
  }

  /** A tile or bundle, or its beginning; `undefined` for one that no published checkpoint implies. */
  async tile(id: TileId): Promise<Buffer | undefined> {
    const width = widthOf(id, this.published.current.checkpoint.size);
    return width < id.width ? undefined : this.#o.files.tile(id);
  }

  /** That the log of the published checkpoint begins with the one of `size` leaves: empty for none and for all. */
  async consistency(size: number, to: Published = this.published.current): Promise<readonly Buffer[]> {
    return this.#tree(to.checkpoint.size).consistency(size);
  }

  /**
   * The .tlog-proof of an event, under the newest checkpoint.
   *
   * @throws AppError `not-found`; `unavailable` for an event that no published checkpoint covers yet, which takes about a
   *   second; `incompatible-data` when the ledger does not hold what was sealed
   */
  async prove(id: string): Promise<Buffer> {
    const place = parseRecordId(id);
    if (place === undefined) throw new AppError('not-found', 'No event has this id.');
    const leaf = await this.#o.leafOf(id);
    const { checkpoint, note } = this.served.current;
    if (leaf >= checkpoint.size) {
      throw new AppError(
        'unavailable',
        `The event is recorded, and not in a published checkpoint yet. ${this.#o.witnesses?.problem ?? 'Try again in a second.'}`,
        {
          retryAfterSeconds: 1,
        },
      );
    }
    const batch = await this.#batch(leaf);
    const { header } = batch;
    if (header.epoch !== place.epoch || place.seq < header.firstSeq || place.seq > lastSeqOf(header))
      throw new AppError(
        'incompatible-data',
        `Batch ${leaf} of the ledger does not hold event ${id}: the index is of another ledger.`,
      );
    const events = openBatch(batch.batch, header);
    const position = place.seq - header.firstSeq;
    const key = await this.#o.ledger.keyOf(batch.keyRecord);
    const record = entryOf(batch, key);
    await this.#checkSealed(leaf, record);
    const extra = encodeEvidence({
      event: events[position] ?? Buffer.alloc(0),
      position,
      path: inclusionProof(events.map(leafHash), position),
      record,
      certificate: Buffer.from(key.certificate, 'base64'),
      keySignature: Buffer.from(key.signature, 'base64'),
    });
    const path = await this.#tree(checkpoint.size).inclusion(leaf);
    return encodeProof({ extra, index: leaf, path, checkpoint: note });
  }

  /**
   * What the ledger holds of the batches from `from` on, up to the published checkpoint: as it is, for whoever verifies it.
   * Throws `incompatible-data`, naming file and offset, for what cannot be read.
   */
  async *bodies(from: number): AsyncGenerator<BatchBody & { readonly leaf: number }, void, undefined> {
    const { size } = this.published.current.checkpoint;
    if (from >= size) return;
    for await (const { leaf, batch, keyRecord } of this.#o.ledger.read(from)) {
      const key = await this.#keys.get(keyRecord);
      yield {
        leaf,
        batch,
        certificate: Buffer.from(key.certificate, 'base64'),
        keySignature: Buffer.from(key.signature, 'base64'),
      };
      if (leaf + 1 >= size) return;
    }
  }

  async #batch(leaf: number): Promise<LoggedBatch> {
    for await (const batch of this.#o.ledger.read(leaf)) return batch;
    throw new AppError('incompatible-data', `The ledger does not hold batch ${leaf}, which the log has sealed.`);
  }

  /** What the ledger holds now is what was sealed: otherwise the proof would be of something else. */
  async #checkSealed(leaf: number, record: Buffer): Promise<void> {
    const index = Math.floor(leaf / TILE_WIDTH);
    const width = (leaf % TILE_WIDTH) + 1;
    const hashes = splitTile(await this.#o.files.tile({ level: 0, index, width }), width);
    if (hashes.at(-1)?.equals(leafHash(record)) === true) return;
    throw new AppError(
      'incompatible-data',
      `Batch ${leaf} of the ledger is not the one that the log has sealed: it was changed on disk.`,
    );
  }

  #tree(size: number): LogTree {
    return new LogTree(async (id) => splitTile(await this.#o.files.tile(id), id.width), size);
  }
}
