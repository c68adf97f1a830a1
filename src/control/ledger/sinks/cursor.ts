import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, makePrivateDirectory, writeFileDurably } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { SinkItem, SinkPosition } from './item.ts';
import { toPlainJson } from './plain-json.ts';

/** What a sink remembers. Each belongs to one follower. */
export interface SinkMemory {
  /** `undefined` for a sink that has taken nothing yet. Rejects with `incompatible-data` for what is no position. */
  read(): Promise<SinkPosition | undefined>;
  /** Durable when it resolves. */
  write(position: SinkPosition): Promise<void>;
  /** Keeps what the receiver will never take. Durable enough: it is in the ledger as well. */
  reject(item: SinkItem, why: string): Promise<void>;
}

/** Beside the ledger: `<name>.json`, and `<name>.rejected.jsonl` for what the receiver refused. */
export async function openSinkMemory(directory: string, name: string): Promise<SinkMemory> {
  await makePrivateDirectory(directory);
  const file = join(directory, `${name}.json`);
  return {
    async read() {
      let text: string;
      try {
        text = await readFile(file, 'utf8');
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
      return parse(text, file);
    },
    write: ({ leaf, position }) => writeFileDurably(file, `${JSON.stringify({ leaf, position })}\n`),
    reject: (item, why) =>
      appendFile(join(directory, `${name}.rejected.jsonl`), `${JSON.stringify({ why, event: toPlainJson(item) })}\n`, {
        mode: 0o600,
        flush: true,
      }),
  };
}

function parse(text: string, file: string): SinkPosition {
  try {
    const { leaf, position } = JSON.parse(text) as Partial<SinkPosition>;
    if (isCount(leaf) && isCount(position)) return Object.freeze({ leaf, position });
  } catch {
    // Told below.
  }
  throw new AppError(
    'incompatible-data',
    `${file} is not the position of a sink. Remove it, and the sink gets everything again.`,
  );
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
