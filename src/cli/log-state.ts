import { readFile } from 'node:fs/promises';
import { isMissing, reason, writeFileDurably } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { ChainEnd, LogFindings } from '../core/audit/log-audit.ts';
import { TreeEdge } from '../core/audit/tree-edge.ts';

/** Up to where a log was verified, so that the next time only what is new is read. A file of ours: it is as good as its place. */
export interface LogState {
  readonly origin: string;
  readonly findings: LogFindings;
}

const VERSION = 1;

interface Stored {
  readonly version: number;
  readonly origin: string;
  readonly size: number;
  readonly root: string;
  readonly edge: readonly string[];
  readonly events: number;
  readonly newEpochs: number;
  readonly chains: readonly (readonly [string, ChainEnd])[];
}

/** `undefined` when there is none yet. Throws `incompatible-data` for one that is damaged. */
export async function readLogState(path: string): Promise<LogState | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw new AppError('usage', `Cannot read ${path}: ${reason(cause)}.`, { cause });
  }
  try {
    const stored = JSON.parse(text) as Stored;
    const edge = TreeEdge.import(
      stored.size,
      stored.edge.map((tile) => Buffer.from(tile, 'base64')),
    );
    if (stored.version === VERSION && edge?.root().toString('base64') === stored.root) {
      const { origin, size, events, newEpochs } = stored;
      return { origin, findings: { size, events, newEpochs, edge, chains: new Map(stored.chains) } };
    }
  } catch {
    // Told below.
  }
  throw new AppError(
    'incompatible-data',
    `${path} is not the state of a verification. Remove it to verify the whole log again.`,
  );
}

export async function writeLogState(path: string, { origin, findings }: LogState): Promise<void> {
  const { size, edge, events, newEpochs, chains } = findings;
  const stored: Stored = {
    version: VERSION,
    origin,
    size,
    root: edge.root().toString('base64'),
    edge: edge.export().map((tile) => tile.toString('base64')),
    events,
    newEpochs,
    chains: [...chains],
  };
  try {
    await writeFileDurably(path, `${JSON.stringify(stored)}\n`);
  } catch (cause) {
    throw new AppError('usage', `Cannot write ${path}: ${reason(cause)}.`, { cause });
  }
}
