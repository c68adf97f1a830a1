import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { EntrySnapshot } from '../authority/entries/entry-index.ts';

/**
 * Which trust domains an identity federates with: what all its entries name together. Changes of entries that name none, by
 * far the most, change nothing here, so that they publish nothing.
 */
export class FederatesWith {
  readonly #entries: Watch<EntrySnapshot>;
  readonly #changes = new WatchSource(0);
  readonly #unsubscribe: () => void;
  /** By entry, those that name any. */
  #naming = new Map<string, string>();
  #sequence: number;

  constructor(entries: Watch<EntrySnapshot>) {
    this.#entries = entries;
    this.#sequence = entries.current.sequence;
    this.#naming = readAll(entries.current);
    this.#unsubscribe = entries.subscribe((snapshot) => this.#catchUp(snapshot));
  }

  /** Sets whenever an answer of `of` may have changed. */
  get changes(): Watch<unknown> {
    return this.#changes;
  }

  of(spiffeId: string): readonly string[] {
    if (this.#naming.size === 0) return [];
    const snapshot = this.#entries.current;
    const exact = snapshot.bySpiffeId(spiffeId);
    if (exact.length > 0) return exact.flatMap((entry) => entry.federatesWith);
    // A template, which may make this identity.
    return snapshot.ofIdentity(spiffeId)?.federatesWith ?? [];
  }

  close(): void {
    this.#unsubscribe();
  }

  #catchUp(snapshot: EntrySnapshot): void {
    const changes = snapshot.changesSince(this.#sequence);
    this.#sequence = snapshot.sequence;
    let changed = false;
    if (changes === 'all') {
      this.#naming = readAll(snapshot);
      changed = true;
    } else {
      for (const id of [...changes.upserted, ...changes.removed]) {
        const entry = snapshot.byId(id);
        const now = entry === undefined ? undefined : described(entry);
        if (this.#naming.get(id) === now) continue;
        changed = true;
        if (now === undefined) this.#naming.delete(id);
        else this.#naming.set(id, now);
      }
    }
    if (changed) this.#changes.set(this.#changes.current + 1);
  }
}

function readAll(snapshot: EntrySnapshot): Map<string, string> {
  const naming = new Map<string, string>();
  for (const entry of snapshot.all()) {
    const text = described(entry);
    if (text !== undefined) naming.set(entry.id, text);
  }
  return naming;
}

function described(entry: {
  readonly spiffeId: string;
  readonly federatesWith: readonly string[];
}): string | undefined {
  return entry.federatesWith.length === 0 ? undefined : [entry.spiffeId, ...entry.federatesWith].join(' ');
}
