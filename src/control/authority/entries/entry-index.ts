import { matchTemplate } from '../../../core/identity/template.ts';
import type { Entry } from './entry.ts';

/** Ids of what is new or changed, and of what is gone. */
export type EntryChanges = { readonly upserted: readonly string[]; readonly removed: readonly string[] } | 'all';

/**
 * The entries at a time. It is read at once: the lookups always answer with what is newest, so that a change costs no copy
 * of everything; the answers themselves never change.
 */
export interface EntrySnapshot {
  /** Of the store: every change up to it is in here. Expiry has no revision. */
  readonly revision: number;
  /** Grows by one with every change, expiry included. */
  readonly sequence: number;
  /** Since the value before; whoever may have missed one asks `changesSince`. */
  readonly changed: EntryChanges;
  readonly size: number;
  /** In no order; all lists are oldest first. */
  all(): IterableIterator<Entry>;
  byId(id: string): Entry | undefined;
  byParent(parentId: string): readonly Entry[];
  /** Those of exactly this SPIFFE ID, templates not included. */
  bySpiffeId(spiffeId: string): readonly Entry[];
  /** What speaks for an identity: its first entry, else the first template that can make it. Its labels are the identity's. */
  ofIdentity(spiffeId: string): Entry | undefined;
  /** All that can make this identity: those of exactly it, then templates. */
  allOfIdentity(spiffeId: string): readonly Entry[];
  /** Since the value of `sequence`; 'all' when that is too long ago. */
  changesSince(sequence: number): EntryChanges;
}

/** Changes that are remembered for those who come late. */
const MAX_REMEMBERED = 1024;
const none: readonly Entry[] = Object.freeze([]);

/** Entries by everything that they are asked for by. Putting and removing one costs no more than its neighbours in a list. */
export class EntryIndex {
  readonly #byId = new Map<string, Entry>();
  readonly #byParent = new Groups();
  readonly #bySpiffeId = new Groups();
  readonly #templates = new Groups();
  readonly #expiring = new ExpiryHeap();
  readonly #remembered: { readonly sequence: number; readonly changed: EntryChanges }[] = [];
  #sequence = 0;

  byId(id: string): Entry | undefined {
    return this.#byId.get(id);
  }

  put(entry: Entry): void {
    this.remove(entry.id);
    this.#byId.set(entry.id, entry);
    if (entry.parentId !== null) this.#byParent.add(entry.parentId, entry);
    this.#groupOf(entry).add(keyOf(entry), entry);
    if (entry.expiresAt !== null) this.#expiring.add(entry);
  }

  remove(id: string): boolean {
    const entry = this.#byId.get(id);
    if (entry === undefined) return false;
    this.#byId.delete(id);
    if (entry.parentId !== null) this.#byParent.remove(entry.parentId, entry);
    this.#groupOf(entry).remove(keyOf(entry), entry);
    return true;
  }

  clear(): void {
    this.#byId.clear();
    for (const groups of [this.#byParent, this.#bySpiffeId, this.#templates]) groups.clear();
  }

  nextToExpire(): Entry | undefined {
    return this.#expiring.first((entry) => this.#byId.get(entry.id) === entry);
  }

  snapshot(revision: number, changed: EntryChanges): EntrySnapshot {
    this.#sequence += 1;
    const sequence = this.#sequence;
    this.#remembered.push({ sequence, changed });
    if (this.#remembered.length > MAX_REMEMBERED) this.#remembered.shift();
    const byId = this.#byId;
    return Object.freeze({
      revision,
      sequence,
      changed,
      get size() {
        return byId.size;
      },
      all: () => byId.values(),
      byId: (id: string) => byId.get(id),
      byParent: (parentId: string) => this.#byParent.get(parentId),
      bySpiffeId: (spiffeId: string) => this.#bySpiffeId.get(spiffeId),
      ofIdentity: (spiffeId: string) => this.#ofIdentity(spiffeId),
      allOfIdentity: (spiffeId: string) => [
        ...this.#bySpiffeId.get(spiffeId),
        ...this.#templates.get(templateKey(spiffeId)).filter((entry) => matchTemplate(entry, spiffeId) !== undefined),
      ],
      changesSince: (since: number) => this.#changesSince(since),
    });
  }

  #ofIdentity(spiffeId: string): Entry | undefined {
    const [exact] = this.#bySpiffeId.get(spiffeId);
    if (exact !== undefined) return exact;
    return this.#templates.get(templateKey(spiffeId)).find((entry) => matchTemplate(entry, spiffeId) !== undefined);
  }

  #changesSince(since: number): EntryChanges {
    if (since >= this.#sequence) return { upserted: [], removed: [] };
    const first = this.#remembered[0]?.sequence ?? this.#sequence;
    if (since + 1 < first) return 'all';
    const ids = new Set<string>();
    for (const { changed } of this.#remembered.slice(since + 1 - first)) {
      if (changed === 'all') return 'all';
      for (const id of changed.upserted) ids.add(id);
      for (const id of changed.removed) ids.add(id);
    }
    const upserted = [...ids].filter((id) => this.#byId.has(id));
    return { upserted, removed: [...ids].filter((id) => !this.#byId.has(id)) };
  }

  #groupOf(entry: Entry): Groups {
    return isTemplateEntry(entry) ? this.#templates : this.#bySpiffeId;
  }
}

function isTemplateEntry(entry: Entry): boolean {
  return entry.spiffeId.includes('{{');
}

function keyOf(entry: Entry): string {
  return isTemplateEntry(entry) ? templateKey(entry.spiffeId) : entry.spiffeId;
}

/** The first segment of the path, which is literal in every template. */
function templateKey(spiffeId: string): string {
  return spiffeId.split('/', 4)[3] ?? '';
}

/** Lists of entries under a key, each in the order of their ids. What was given out never changes. */
class Groups {
  readonly #groups = new Map<string, Group>();

  get(key: string): readonly Entry[] {
    const group = this.#groups.get(key);
    if (group === undefined) return none;
    group.shown ??= Object.freeze([...group.entries]);
    return group.shown;
  }

  add(key: string, entry: Entry): void {
    const group = this.#groups.get(key) ?? { entries: [], shown: undefined };
    this.#groups.set(key, group);
    group.entries.splice(placeOf(group.entries, entry.id), 0, entry);
    group.shown = undefined;
  }

  remove(key: string, entry: Entry): void {
    const group = this.#groups.get(key);
    if (group === undefined) return;
    const place = placeOf(group.entries, entry.id);
    if (group.entries[place]?.id !== entry.id) return;
    group.entries.splice(place, 1);
    group.shown = undefined;
    if (group.entries.length === 0) this.#groups.delete(key);
  }

  clear(): void {
    this.#groups.clear();
  }
}

interface Group {
  readonly entries: Entry[];
  /** A copy, made when it is asked for. */
  shown: readonly Entry[] | undefined;
}

/** Of the entry with this id, or where it belongs. */
function placeOf(group: readonly Entry[], id: string): number {
  let low = 0;
  let high = group.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((group[middle]?.id ?? '') < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Entries by when they expire. Those that have changed or gone stay in it until they come up. */
class ExpiryHeap {
  readonly #items: Entry[] = [];

  add(entry: Entry): void {
    const items = this.#items;
    items.push(entry);
    let at = items.length - 1;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!this.#isBefore(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  first(isThere: (entry: Entry) => boolean): Entry | undefined {
    for (let first = this.#items[0]; first !== undefined; first = this.#items[0]) {
      if (isThere(first)) return first;
      this.#shift();
    }
    return undefined;
  }

  #shift(): void {
    const items = this.#items;
    const last = items.pop();
    if (last === undefined || items.length === 0) return;
    items[0] = last;
    let at = 0;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < items.length && this.#isBefore(child, least)) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    return (this.#items[a]?.expiresAt ?? 0) < (this.#items[b]?.expiresAt ?? 0);
  }

  #swap(a: number, b: number): void {
    const [x, y] = [this.#items[a], this.#items[b]];
    if (x === undefined || y === undefined) return;
    this.#items[a] = y;
    this.#items[b] = x;
  }
}
