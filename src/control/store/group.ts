import { AppError } from '../../base/errors.ts';

/** Enough that the cost of a commit is spread thin, few enough that nobody waits long for the others' statements. */
const MAX_ITEMS = 200;

interface Waiting<Item> {
  readonly item: Item;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Group commit: what arrives while a transaction is being committed goes into the next one together, since a commit waits
 * for the disk and the disk takes no longer for many.
 *
 * Items are committed in the order in which they came. When a group fails, each of its items is tried by itself, so that one
 * bad item never fails its neighbours; not when the database is away, which is nobody's fault.
 */
export class GroupCommit<Item> {
  readonly #commit: (items: readonly Item[]) => Promise<void>;
  #waiting: Waiting<Item>[] = [];
  #running = false;

  /** @param commit All of the items or none; it may be called again with items of a group that failed. */
  constructor(commit: (items: readonly Item[]) => Promise<void>) {
    this.#commit = commit;
  }

  /** Resolves when the item is committed; rejects with why it alone could not be. */
  add(item: Item): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) await this.#commitGroup(this.#waiting.splice(0, MAX_ITEMS));
    this.#running = false;
  }

  async #commitGroup(group: readonly Waiting<Item>[]): Promise<void> {
    try {
      await this.#commit(group.map((each) => each.item));
    } catch (error) {
      if (group.length === 1 || isUnavailable(error)) for (const each of group) each.reject(error);
      else for (const each of group) await this.#commitGroup([each]);
      return;
    }
    for (const each of group) each.resolve();
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof AppError && error.code === 'unavailable';
}
