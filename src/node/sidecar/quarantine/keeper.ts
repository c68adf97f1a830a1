import { hash } from 'node:crypto';
import { join } from 'node:path';
import { readSecretFile, writeFileDurably } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import { parseSpiffeId } from '../../../core/identity/spiffe-id.ts';
import type { Quarantine } from '../../../core/policy/snapshot.ts';
import type { QuarantineList } from './list.ts';
import { merge, nobody } from './list.ts';

/**
 * The quarantine that is in force, and the file beside the policy that keeps it over restarts. One file: the SHA-256 of the
 * rest, then JSON.
 *
 * A file that is there and cannot be read is not the same as none: who stood in it is not known. Then `damaged` is true, and
 * nobody may be let in until the control plane has sent the list again.
 */
export class QuarantineKeeper {
  readonly path: string;
  readonly #logger: Logger;
  readonly #list: WatchSource<QuarantineList>;
  #damaged = false;

  /** With what the state directory holds in force already. */
  static async open(o: { readonly stateDirectory: string; readonly logger: Logger }): Promise<QuarantineKeeper> {
    const keeper = new QuarantineKeeper(o);
    await keeper.#restore();
    return keeper;
  }

  private constructor(o: { readonly stateDirectory: string; readonly logger: Logger }) {
    this.path = join(o.stateDirectory, 'quarantine.list');
    this.#logger = o.logger;
    this.#list = new WatchSource(nobody);
  }

  get current(): Watch<QuarantineList> {
    return this.#list;
  }

  get damaged(): boolean {
    return this.#damaged;
  }

  /** In force when this returns: whatever is cut has been cut. Durable when it resolves, or logged that it is not. */
  async receive(received: Quarantine): Promise<void> {
    const before = this.#list.current;
    const list = merge(before, received);
    this.#damaged = false;
    if (list.revision === before.revision && sameIds(list, before)) return;
    this.#logger.warn({ revision: list.revision, identities: list.ids.size }, 'quarantine in force');
    this.#list.set(list);
    try {
      await this.#save(list);
    } catch (error) {
      // In force already; without the file only a restart without a control plane would miss it.
      this.#logger.error({ err: error }, 'the quarantine could not be stored; it is in force');
    }
  }

  async #save(list: QuarantineList): Promise<void> {
    const file: QuarantineFile = { version: 1, revision: list.revision, spiffeIds: [...list.ids] };
    const body = JSON.stringify(file);
    await writeFileDurably(this.path, `${hash('sha256', body)}\n${body}\n`);
  }

  async #restore(): Promise<void> {
    const text = (await readSecretFile(this.path))?.toString('utf8');
    if (text === undefined) return;
    try {
      this.#list.set(parseFile(text));
    } catch (error) {
      this.#damaged = true;
      this.#logger.error(
        { err: error, path: this.path },
        'the stored quarantine is damaged: calls are refused until the control plane has sent it again',
      );
    }
  }
}

interface QuarantineFile {
  readonly version: number;
  readonly revision: number;
  readonly spiffeIds: readonly string[];
}

function parseFile(text: string): QuarantineList {
  const [checksum, body = ''] = text.split('\n');
  if (checksum !== hash('sha256', body)) throw damaged();
  const file = JSON.parse(body) as QuarantineFile;
  if (file.version !== 1 || !Number.isSafeInteger(file.revision) || !Array.isArray(file.spiffeIds)) throw damaged();
  return Object.freeze({ revision: file.revision, ids: new Set(file.spiffeIds.map((id) => parseSpiffeId(id).uri)) });
}

function damaged(): AppError {
  return new AppError('incompatible-data', 'The file does not hold what this version of Writ has written.');
}

function sameIds(a: QuarantineList, b: QuarantineList): boolean {
  return a.ids.size === b.ids.size && [...a.ids].every((id) => b.ids.has(id));
}
