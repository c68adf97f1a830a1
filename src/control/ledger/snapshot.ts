import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, writeFileDurably } from '../../base/durable.ts';
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

const NAME = 'snapshot.json';
const VERSION = 1;

export async function writeSnapshot(directory: string, snapshot: Snapshot): Promise<void> {
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
  await writeFileDurably(join(directory, NAME), `${hash('sha256', body)}\n${body}`);
}

export async function readSnapshot(directory: string, logger: Logger): Promise<Snapshot | undefined> {
  const path = join(directory, NAME);
  try {
    const text = await readFile(path, 'utf8');
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
  } catch (error) {
    if (!isMissing(error)) logger.warn({ err: error, path }, 'the snapshot is not used; the whole ledger is read');
    return undefined;
  }
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
