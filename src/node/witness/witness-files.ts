import { hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, makePrivateDirectory, readSecretFile, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import type { Note } from '../../core/audit/note.ts';
import { encodeNote } from '../../core/audit/note.ts';

const VERSION = 1;
const SEED_BYTES = 32;
/** Of one log: what a log that forks itself can fill the disk with. */
const MAX_FORKS = 16;

interface Stored {
  readonly version: number;
  readonly name: string;
  readonly seed: string;
  /** Logs of which something was cosigned: of each there is a file. */
  readonly origins: readonly string[];
}

/**
 * What a witness knows, in a directory of its own:
 *
 *   witness.json            its key, and the logs that it has cosigned
 *   <SHA-256 of origin>     the largest checkpoint of a log that it has cosigned, with the cosignature
 *   fork-<SHA-256>-<hash>   a checkpoint that contradicts it, signed by the log
 *
 * Key and memory belong together: who lost the memory and kept the key would cosign a second history. So the file with the key says
 * which memories there must be. Not solved: a backup of the whole directory that is restored. It is a new witness that is
 * needed then.
 */
export class WitnessFiles {
  readonly #directory: string;
  #stored: Stored;

  private constructor(directory: string, stored: Stored) {
    this.#directory = directory;
    this.#stored = stored;
  }

  /**
   * @param name of the key; a directory is of one name for ever
   * @throws AppError `incompatible-data` for what is damaged or not whole, `usage` for another name
   */
  static async open(directory: string, name: string, random: RandomBytes): Promise<WitnessFiles> {
    await makePrivateDirectory(directory);
    const path = join(directory, 'witness.json');
    const saved = await readSecretFile(path);
    if (saved === undefined) {
      const stored: Stored = { version: VERSION, name, seed: random(SEED_BYTES).toString('base64'), origins: [] };
      await writeFileDurably(path, `${JSON.stringify(stored)}\n`);
      return new WitnessFiles(directory, stored);
    }
    const stored = parse(saved, path);
    if (stored.name !== name)
      throw new AppError(
        'usage',
        `${directory} is of the witness ${stored.name}. Give ${name} a directory of its own.`,
      );
    return new WitnessFiles(directory, stored);
  }

  get seed(): Buffer {
    return Buffer.from(this.#stored.seed, 'base64');
  }

  get origins(): readonly string[] {
    return this.#stored.origins;
  }

  /** Throws `incompatible-data` when it must be there and is not. */
  async load(origin: string): Promise<Buffer | undefined> {
    const path = this.#pathOf(origin);
    try {
      return await readFile(path);
    } catch (cause) {
      if (!isMissing(cause)) throw cause;
      if (!this.#stored.origins.includes(origin)) return undefined;
      throw new AppError(
        'incompatible-data',
        `${path} is missing: this witness has forgotten what it has cosigned of ${origin}, and could cosign a second history. Give it a new directory, and with it a new key.`,
        { cause },
      );
    }
  }

  /** Durable when it resolves; after a failure either of the two is there. */
  async save(origin: string, note: Buffer): Promise<void> {
    await writeFileDurably(this.#pathOf(origin), note);
    if (this.#stored.origins.includes(origin)) return;
    const stored = { ...this.#stored, origins: [...this.#stored.origins, origin] };
    await writeFileDurably(join(this.#directory, 'witness.json'), `${JSON.stringify(stored)}\n`);
    this.#stored = stored;
  }

  /** Keeps evidence, once, as long as there is not much of it. Returns the file; `undefined` when there is enough. */
  async keepFork(origin: string, note: Note): Promise<string | undefined> {
    const prefix = `fork-${nameOf(origin)}-`;
    const name = `${prefix}${hash('sha256', note.text).slice(0, 16)}`;
    const kept = (await readdir(this.#directory)).filter((each) => each.startsWith(prefix) && !each.endsWith('.tmp'));
    if (!kept.includes(name)) {
      if (kept.length >= MAX_FORKS) return undefined;
      await writeFileDurably(join(this.#directory, name), encodeNote(note));
    }
    return join(this.#directory, name);
  }

  #pathOf(origin: string): string {
    return join(this.#directory, nameOf(origin));
  }
}

/** How a log is called in paths: SHA-256 of its origin, lower hex. */
export function nameOf(origin: string): string {
  return hash('sha256', origin);
}

function parse(saved: Buffer, path: string): Stored {
  try {
    const { version, name, seed, origins } = JSON.parse(saved.toString('utf8')) as Partial<Stored>;
    if (
      version === VERSION &&
      typeof name === 'string' &&
      typeof seed === 'string' &&
      Buffer.from(seed, 'base64').length === SEED_BYTES &&
      Array.isArray(origins) &&
      origins.every((origin) => typeof origin === 'string')
    )
      return { version, name, seed, origins };
  } catch {
    // Told below.
  }
  throw new AppError(
    'incompatible-data',
    `${path} is damaged. Give the witness a new directory, and with it a new key.`,
  );
}
