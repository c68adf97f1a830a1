import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, writeFileDurably } from '../../../base/durable.ts';
import type { WitnessedNote } from './witnesses.ts';

/** In the file `witnessed` of the log's directory. */
export function witnessedFile(directory: string): WitnessedNote {
  const path = join(directory, 'witnessed');
  return {
    async load() {
      try {
        return await readFile(path);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    save: (note) => writeFileDurably(path, note),
  };
}
