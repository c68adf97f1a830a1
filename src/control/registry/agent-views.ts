import type { Watch } from '../../base/watch.ts';
import { holdsAll } from '../../core/identity/selectors.ts';
import { controlPlaneId } from '../../core/identity/spiffe-id.ts';
import { aliasesOf, ancestorsOf, authorisedEntries } from '../authority/entries/authorised.ts';
import type { Entry } from '../authority/entries/entry.ts';
import type { EntrySnapshot } from '../authority/entries/entry-index.ts';

/** An agent, as the control plane knows it: never what it says of itself. */
export interface KnownAgent {
  readonly spiffeId: string;
  /** What attestation found out about it. */
  readonly selectors: readonly string[];
}

/** What agents may hand out (S8). Frozen; a change is a new value. Agents with the same aliases share one. */
export interface EntryView {
  /** By id. Whatever is not in here does not exist for the agent. */
  readonly entries: ReadonlyMap<string, Entry>;
  /** Trust domains that some of the entries federate with. */
  readonly federatesWith: ReadonlySet<string>;
}

export interface AgentViewsOptions {
  readonly trustDomain: string;
  readonly entries: Watch<EntrySnapshot>;
}

/** Views of agents that do not follow theirs: those that ask often have the work done once for each change. */
const MAX_ASKED = 16;

/** Agents that see the same, and what they see. */
interface Shared {
  readonly key: string;
  /** SPIFFE IDs below which its entries are. */
  readonly roots: readonly string[];
  view: EntryView;
  readonly followers: Set<Follower>;
}

interface Follower {
  agent: KnownAgent;
  shared: Shared;
  readonly onChange: (view: EntryView) => void;
}

/**
 * Which entries each connected agent may hand out, kept up to date without asking anybody: a change of an entry leads up to
 * the agents above it, and only what they see is worked out again. Ten agents or ten thousand that have nothing to do with
 * the change cost nothing.
 */
export class AgentViews {
  readonly #controlPlane: string;
  readonly #entries: Watch<EntrySnapshot>;
  readonly #unsubscribe: () => void;
  readonly #shared = new Map<string, Shared>();
  /** By each of their roots. */
  readonly #byRoot = new Map<string, Set<Shared>>();
  readonly #followers = new Map<string, Set<Follower>>();
  /** Every entry as it was when we last looked: where a changed one has been is told as well. */
  readonly #known = new Map<string, Entry>();
  /** By key, until the next change. */
  readonly #asked = new Map<string, EntryView>();
  #sequence: number;

  constructor(o: AgentViewsOptions) {
    this.#controlPlane = controlPlaneId(o.trustDomain).uri;
    this.#entries = o.entries;
    this.#sequence = o.entries.current.sequence;
    for (const entry of o.entries.current.all()) this.#known.set(entry.id, entry);
    this.#unsubscribe = o.entries.subscribe(() => this.#catchUp());
  }

  /** What this agent may hand out now, whether it is connected or not. */
  of(agent: KnownAgent): EntryView {
    this.#catchUp();
    const roots = this.#rootsOf(agent);
    const key = keyOf(roots);
    return this.#shared.get(key)?.view ?? this.#viewOnce(key, roots);
  }

  /** Calls `onChange` with every change to what this agent may hand out, until it is closed. */
  follow(
    agent: KnownAgent,
    onChange: (view: EntryView) => void,
  ): { readonly view: EntryView; change(agent: KnownAgent): void; close(): void } {
    this.#catchUp();
    const follower: Follower = { agent, shared: this.#join(agent), onChange };
    follower.shared.followers.add(follower);
    addTo(this.#followers, agent.spiffeId, follower);
    let closed = false;
    return {
      view: follower.shared.view,
      change: (changed) => {
        if (closed) return;
        follower.agent = { ...changed, spiffeId: agent.spiffeId };
        this.#move(follower);
      },
      close: () => {
        if (closed) return;
        closed = true;
        removeFrom(this.#followers, agent.spiffeId, follower);
        this.#leave(follower);
      },
    };
  }

  close(): void {
    this.#unsubscribe();
  }

  #viewOnce(key: string, roots: readonly string[]): EntryView {
    const view = this.#asked.get(key) ?? makeView(this.#entries.current, roots);
    if (this.#asked.size >= MAX_ASKED) this.#asked.clear();
    this.#asked.set(key, view);
    return view;
  }

  #catchUp(): void {
    const snapshot = this.#entries.current;
    if (snapshot.sequence === this.#sequence) return;
    const changes = snapshot.changesSince(this.#sequence);
    this.#sequence = snapshot.sequence;
    this.#asked.clear();
    if (changes === 'all') {
      this.#known.clear();
      for (const entry of snapshot.all()) this.#known.set(entry.id, entry);
      this.#update([...this.#shared.values()], [...this.#allFollowers()]);
      return;
    }
    const touched: Entry[] = [];
    for (const id of [...changes.upserted, ...changes.removed]) {
      const before = this.#known.get(id);
      const now = snapshot.byId(id);
      if (before !== undefined) touched.push(before);
      if (now !== undefined) {
        touched.push(now);
        this.#known.set(id, now);
      } else this.#known.delete(id);
    }
    this.#update(...this.#concernedBy(touched));
  }

  /** Whose entries may be others now, and who may have other roots now. */
  #concernedBy(touched: readonly Entry[]): [readonly Shared[], readonly Follower[]] {
    const shared = new Set<Shared>();
    const followers = new Set<Follower>();
    for (const entry of touched) {
      for (const above of ancestorsOf(this.#entries.current, entry).spiffeIds) {
        for (const each of this.#byRoot.get(above) ?? []) shared.add(each);
        // Its own SPIFFE ID is a root of an agent only while something is below it.
        for (const each of this.#followers.get(above) ?? []) followers.add(each);
      }
      if (entry.parentId !== this.#controlPlane) continue;
      for (const each of this.#allFollowers()) {
        if (holdsAll(new Set(each.agent.selectors), entry.selectors)) followers.add(each);
      }
    }
    return [[...shared], [...followers]];
  }

  #update(shared: readonly Shared[], followers: readonly Follower[]): void {
    for (const each of shared) each.view = makeView(this.#entries.current, each.roots);
    const told = new Set<Follower>();
    for (const follower of followers) {
      if (this.#move(follower)) told.add(follower);
    }
    for (const each of shared) {
      for (const follower of each.followers) if (!told.has(follower)) follower.onChange(each.view);
    }
  }

  /** To those that have the same roots; returns whether these are others than before, and tells it then. */
  #move(follower: Follower): boolean {
    const before = follower.shared;
    if (keyOf(this.#rootsOf(follower.agent)) === before.key) return false;
    this.#leave(follower);
    follower.shared = this.#join(follower.agent);
    follower.shared.followers.add(follower);
    follower.onChange(follower.shared.view);
    return true;
  }

  #join(agent: KnownAgent): Shared {
    const roots = this.#rootsOf(agent);
    const key = keyOf(roots);
    let shared = this.#shared.get(key);
    if (shared === undefined) {
      shared = { key, roots, view: makeView(this.#entries.current, roots), followers: new Set() };
      this.#shared.set(key, shared);
      for (const root of roots) addTo(this.#byRoot, root, shared);
    }
    return shared;
  }

  #leave(follower: Follower): void {
    const { shared } = follower;
    shared.followers.delete(follower);
    if (shared.followers.size > 0) return;
    this.#shared.delete(shared.key);
    for (const root of shared.roots) removeFrom(this.#byRoot, root, shared);
  }

  #rootsOf(agent: KnownAgent): readonly string[] {
    const snapshot = this.#entries.current;
    const aliases = aliasesOf(snapshot, agent);
    // Without its own ID, agents that have only aliases share one view.
    const own = snapshot.byParent(agent.spiffeId).length > 0 ? [agent.spiffeId] : [];
    return [...new Set([...own, ...aliases])].sort();
  }

  *#allFollowers(): Iterable<Follower> {
    for (const followers of this.#followers.values()) yield* followers;
  }
}

function keyOf(roots: readonly string[]): string {
  // No SPIFFE ID has a blank.
  return roots.join(' ');
}

function makeView(snapshot: EntrySnapshot, roots: readonly string[]): EntryView {
  // By roots and not by agent: who shares a view now may have other aliases in a moment.
  const below = roots.map((spiffeId) => authorisedEntries(snapshot, { spiffeId, selectors: [] }));
  const entries = below.length === 1 && below[0] !== undefined ? below[0] : new Map(below.flatMap((map) => [...map]));
  const federatesWith = new Set<string>();
  for (const entry of entries.values()) for (const domain of entry.federatesWith) federatesWith.add(domain);
  return Object.freeze({ entries, federatesWith });
}

function addTo<K, V>(map: Map<K, Set<V>>, key: K, value: V): void {
  const set = map.get(key);
  if (set === undefined) map.set(key, new Set([value]));
  else set.add(value);
}

function removeFrom<K, V>(map: Map<K, Set<V>>, key: K, value: V): void {
  const set = map.get(key);
  set?.delete(value);
  if (set?.size === 0) map.delete(key);
}
