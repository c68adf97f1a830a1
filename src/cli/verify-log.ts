import { AppError } from '../base/errors.ts';
import type { LogFindings } from '../core/audit/log-audit.ts';
import { LogAudit, noFindings } from '../core/audit/log-audit.ts';
import type { LogPolicy, TrustedCheckpoint } from '../core/audit/log-policy.ts';
import { verifyCheckpoint } from '../core/audit/log-policy.ts';
import { HASH_BYTES, leafHash } from '../core/audit/merkle.ts';
import type { TileId } from '../core/audit/tile.ts';
import { hashesAt, splitBundle, splitTile, TILE_WIDTH, tilePath, tilesBetween } from '../core/audit/tile.ts';
import type { BodySource } from './body-source.ts';
import type { LogSource } from './log-source.ts';

export interface VerifyLogOptions {
  readonly source: Pick<LogSource, 'checkpoint' | 'tile'>;
  readonly policy: LogPolicy;
  /** What was verified before; only what is new is read then. */
  readonly before?: { readonly origin: string; readonly findings: LogFindings } | undefined;
  /** The events of the batches, where somebody gives them: each batch is held against its entry. */
  readonly bodies?: Pick<BodySource, 'take'> | undefined;
  /** Batches read, of how many. */
  readonly progress: (done: number, of: number) => void;
  readonly signal: AbortSignal;
}

/** Bundles that are under way while one is verified. */
const AHEAD = 4;

/**
 * Re-derives a log from its entries: each is signed and follows the one before of its sidecar, each hashes to its place in
 * every tile, and all together to the root in the checkpoint. That root covers what was verified before, so this also shows
 * that nothing of it has changed. Throws `proof-refused`, naming what does not agree.
 */
export async function verifyLog(
  o: VerifyLogOptions,
): Promise<{ readonly checkpoint: TrustedCheckpoint; readonly findings: LogFindings }> {
  const checkpoint = verifyCheckpoint(await o.source.checkpoint(), o.policy);
  const from = findingsBefore(o, checkpoint);
  const audit = new LogAudit(from);
  const derived = hashesOf(from);
  for await (const { id, entries, hashes } of bundles(o, from.size, checkpoint.size)) {
    for (const [i, entry] of entries.entries()) {
      const index = id.index * TILE_WIDTH + i;
      const known = derived.get(`0/${index}`);
      const hash = leafHash(entry);
      if (known !== undefined && !known.equals(hash))
        throw refused(`entry ${index} (${tilePath(id)}) has changed since it was verified`);
      if (!hash.equals(hashes[i] ?? Buffer.alloc(0)))
        throw refused(
          `entry ${index} (${tilePath(id)}) is not the one that ${tilePath({ ...id, level: 0 })} has a hash of`,
        );
      if (index < from.size) continue;
      await o.bodies?.take(index, entry);
      for (const added of audit.add(entry))
        if (added.level > 0) derived.set(`${added.level}/${added.index}`, added.hash);
    }
    o.progress(audit.size, checkpoint.size);
  }
  await checkAbove(o, derived, tilesBetween(from.size, checkpoint.size));
  if (!audit.root().equals(checkpoint.root)) {
    throw refused(
      from.size === 0
        ? `its ${checkpoint.size} entries do not have the root that the checkpoint signs`
        : `the checkpoint signs another history than the one that was verified up to entry ${from.size}`,
    );
  }
  return { checkpoint, findings: audit.findings() };
}

function findingsBefore({ before }: VerifyLogOptions, checkpoint: TrustedCheckpoint): LogFindings {
  if (before === undefined) return noFindings();
  if (before.origin !== checkpoint.origin)
    throw refused(`it is ${checkpoint.origin}, and what was verified before is ${before.origin}`);
  const { size } = before.findings;
  if (size > checkpoint.size) throw refused(`it was rolled back: it had ${size} entries, and has ${checkpoint.size}`);
  return before.findings;
}

/** Those of the tiles that were not full yet, by level and index. */
function hashesOf({ size, edge }: LogFindings): Map<string, Buffer> {
  const hashes = new Map<string, Buffer>();
  for (const [level, tile] of edge.export().entries()) {
    const width = tile.length / HASH_BYTES;
    const first = hashesAt(level, size) - width;
    for (const [i, hash] of splitTile(tile, width).entries()) hashes.set(`${level}/${first + i}`, hash);
  }
  return hashes;
}

interface Bundle {
  readonly id: TileId;
  readonly entries: readonly Buffer[];
  readonly hashes: readonly Buffer[];
}

/** The bundles with entries from `from` to before `to`, and the tiles of their hashes, in order. */
async function* bundles(o: VerifyLogOptions, from: number, to: number): AsyncGenerator<Bundle> {
  const ids: TileId[] = [];
  for (let first = from - (from % TILE_WIDTH); first < to; first += TILE_WIDTH) {
    ids.push({ level: 'entries', index: first / TILE_WIDTH, width: Math.min(to - first, TILE_WIDTH) });
  }
  const underWay: Promise<Bundle>[] = [];
  for (let next = 0; next < ids.length || underWay.length > 0; ) {
    o.signal.throwIfAborted();
    for (; next < ids.length && underWay.length < AHEAD; next++) {
      const bundle = readBundle(o, ids[next] as TileId);
      // Somebody may have failed before it is its turn.
      bundle.catch(() => undefined);
      underWay.push(bundle);
    }
    yield await (underWay.shift() as Promise<Bundle>);
  }
}

async function readBundle({ source }: VerifyLogOptions, id: TileId): Promise<Bundle> {
  const tile = { ...id, level: 0 };
  const [entries, hashes] = await Promise.all([source.tile(id), source.tile(tile)]);
  return {
    id,
    entries: named(id, () => splitBundle(entries, id.width)),
    hashes: named(tile, () => splitTile(hashes, id.width)),
  };
}

/** The tiles above the leaves hold what was derived. */
async function checkAbove(
  o: VerifyLogOptions,
  derived: ReadonlyMap<string, Buffer>,
  tiles: readonly TileId[],
): Promise<void> {
  for (const id of tiles) {
    if (id.level === 'entries' || id.level === 0) continue;
    const bytes = await o.source.tile(id);
    for (const [i, hash] of named(id, () => splitTile(bytes, id.width)).entries()) {
      const expected = derived.get(`${id.level}/${id.index * TILE_WIDTH + i}`);
      if (expected !== undefined && !expected.equals(hash))
        throw refused(`hash ${i} of ${tilePath(id)} is not that of the tile below it`);
    }
  }
}

function named<T>(id: TileId, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof AppError) throw refused(`${tilePath(id)}: ${error.message}`);
    throw error;
  }
}

function refused(why: string): AppError {
  return new AppError('proof-refused', `The log does not verify: ${why}.`);
}
