import { matchEntries } from '../../../core/identity/selectors.ts';
import { controlPlaneId, parseSpiffeId } from '../../../core/identity/spiffe-id.ts';
import { isTemplate } from '../../../core/identity/template.ts';
import type { Entry } from './entry.ts';
import type { EntrySnapshot } from './entry-index.ts';

export interface AgentView {
  readonly spiffeId: string;
  /** As the control plane found them when the agent attested itself: never what an agent says. */
  readonly selectors: readonly string[];
}

type Lookup = Pick<EntrySnapshot, 'byParent'>;

/**
 * What an agent may hand out, by id (S8): the entries below its own SPIFFE ID and below every alias that its selectors give
 * it, and whatever is below those. An alias itself is none of them. Whatever is not in here does not exist for the agent.
 */
export function authorisedEntries(snapshot: Lookup, agent: AgentView): ReadonlyMap<string, Entry> {
  const found = new Map<string, Entry>();
  const seen = new Set<string>();
  // A stack of our own: chains are as long as an administrator makes them, and may come back to where they began.
  const parents = [agent.spiffeId, ...aliasesOf(snapshot, agent)];
  for (let parent = parents.pop(); parent !== undefined; parent = parents.pop()) {
    if (seen.has(parent)) continue;
    seen.add(parent);
    for (const entry of snapshot.byParent(parent)) {
      found.set(entry.id, entry);
      if (!isTemplate(entry.spiffeId)) parents.push(entry.spiffeId);
    }
  }
  return found;
}

/** SPIFFE IDs that an agent is a parent by, besides its own: of the entries for who attests directly, those that it matches. */
export function aliasesOf(snapshot: Lookup, agent: AgentView): readonly string[] {
  const candidates = snapshot.byParent(controlPlaneId(parseSpiffeId(agent.spiffeId).trustDomain).uri);
  return [...new Set(matchEntries(candidates, agent.selectors).map((grant) => grant.spiffeId))];
}

/**
 * Whose the entry may be, without asking every agent: the SPIFFE IDs of all that is above it, and the entries for who attests
 * directly among them, which are aliases of whoever matches one.
 */
export function ancestorsOf(
  snapshot: Pick<EntrySnapshot, 'bySpiffeId'>,
  entry: Pick<Entry, 'parentId'>,
): { readonly spiffeIds: ReadonlySet<string>; readonly entries: readonly Entry[] } {
  const spiffeIds = new Set<string>();
  const entries: Entry[] = [];
  const parents = [entry.parentId];
  for (let parent = parents.pop(); parent !== undefined; parent = parents.pop()) {
    if (parent === null || spiffeIds.has(parent)) continue;
    spiffeIds.add(parent);
    for (const above of snapshot.bySpiffeId(parent)) {
      entries.push(above);
      parents.push(above.parentId);
    }
  }
  return { spiffeIds, entries };
}
