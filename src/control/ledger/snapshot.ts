import { hash } from 'node:crypto';
import type { Files } from '../../base/journal/files.ts';
import type { Logger } from '../../base/log.ts';
import type { Chain, RecentBatch } from './chain.ts';

/**
 * What follows from the ledger's records up to one of them, kept so that opening need not read them all again. It is never
 * the truth: without it, or when it is damaged, everything is derived from the records.
 */
export interface Snapshot {
  /** Number of the last record that it follows from. */
  readonly record: number;
  readonly leaves: number;
  /** Record numbers of what is no batch, ascending. */
  readonly others: readonly number[];
  readonly streamId: number;
  readonly sidecars: ReadonlyMap<string, { readonly chain: Chain; readonly key: SidecarKey | undefined }>;
}

/** The last batch key of a sidecar and the record that holds it. */
export interface SidecarKey {
  readonly batchKey: Buffer;
  readonly record: number;
}

const VERSION = 1;
/** With the number of its record. */
export const SNAPSHOT = /^snapshot-(\d{16})\.json$/;

/** The text of a snapshot: equal ones have equal texts. */
export function encodeSnapshot(snapshot: Snapshot): string {
  const body = JSON.stringify({
    version: VERSION,
    ...snapshot,
    sidecars: [...snapshot.sidecars].map(([instanceId, { chain, key }]) => ({
      instanceId,
      chain: {
        ...chain,
        lastHash: hex(chain.lastHash),
        recent: chain.recent.map((b) => ({ ...b, hash: hex(b.hash) })),
      },
      key: key === undefined ? null : { batchKey: hex(key.batchKey), record: key.record },
    })),
  });
  return `${hash('sha256', body)}\n${body}`;
}

/** Writes a snapshot in a file of its own and then removes those before it. */
export async function writeSnapshot(files: Files, snapshot: Snapshot): Promise<void> {
  const name = `snapshot-${String(snapshot.record).padStart(16, '0')}.json`;
  const before = (await snapshotNames(files)).filter((other) => other !== name);
  await files.remove(name);
  const file = await files.create(name);
  try {
    await file.write(Buffer.from(encodeSnapshot(snapshot), 'utf8'), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.syncDirectory();
  for (const other of before) await files.remove(other);
}

/** The newest snapshot that is whole, if there is one. */
export async function readSnapshot(files: Files, logger: Logger): Promise<Snapshot | undefined> {
  for (const name of (await snapshotNames(files)).toReversed()) {
    try {
      return await parse(files, name);
    } catch (error) {
      logger.warn({ err: error, name }, 'a snapshot of the ledger is not used');
    }
  }
  return undefined;
}

async function snapshotNames(files: Files): Promise<readonly string[]> {
  return (await files.list()).filter((name) => SNAPSHOT.test(name)).toSorted();
}

async function parse(files: Files, name: string): Promise<Snapshot> {
  const file = await files.open(name);
  let text: string;
  try {
    text = (await file.read(0, await file.size())).toString('utf8');
  } finally {
    await file.close();
  }
  const body = text.slice(65);
  if (text.slice(0, 64) !== hash('sha256', body)) throw new Error('its checksum does not agree');
  const parsed = JSON.parse(body) as StoredSnapshot;
  if (parsed.version !== VERSION) throw new Error('it is of another version');
  const sidecars = parsed.sidecars.map(({ instanceId, chain, key }) => {
    const recent: RecentBatch[] = chain.recent.map((b) => ({ ...b, hash: Buffer.from(b.hash, 'hex') }));
    return [
      instanceId,
      {
        chain: { ...chain, lastHash: Buffer.from(chain.lastHash, 'hex'), recent },
        key: key === null ? undefined : { batchKey: Buffer.from(key.batchKey, 'hex'), record: key.record },
      },
    ] as const;
  });
  const { record, leaves, others, streamId } = parsed;
  return { record, leaves, others, streamId, sidecars: new Map(sidecars) };
}

interface StoredSnapshot {
  readonly version: number;
  readonly record: number;
  readonly leaves: number;
  readonly others: readonly number[];
  readonly streamId: number;
  readonly sidecars: readonly {
    readonly instanceId: string;
    readonly chain: Omit<Chain, 'lastHash' | 'recent'> & {
      readonly lastHash: string;
      readonly recent: readonly (Omit<RecentBatch, 'hash'> & { readonly hash: string })[];
    };
    readonly key: { readonly batchKey: string; readonly record: number } | null;
  }[];
}

function hex(bytes: Buffer): string {
  return bytes.toString('hex');
}
