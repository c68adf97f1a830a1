import { isExpired } from '../../../core/identity/selectors.ts';
import { fill, isTemplate, parseTemplate } from '../../../core/identity/template.ts';
import type { WorkloadEntry } from '../../../core/identity/workload-entry.ts';

/** An entry that a workload did not match, and what it would have needed. */
export interface NearMiss {
  readonly entryId: string;
  readonly spiffeId: string;
  /** Selectors of the entry that the workload does not have, each with what it has of that kind. */
  readonly missing: readonly { readonly selector: string; readonly instead: readonly string[] }[];
  /** What else is in the way, in words. */
  readonly notes: readonly string[];
}

const MAX_NEAR_MISSES = 5;
const MAX_INSTEAD = 5;

/**
 * The entries that come closest to a workload without matching it: those with the fewest selectors missing. Entries that
 * share nothing with it are left out, unless it would take only one selector to match.
 */
export function nearMisses(o: {
  readonly entries: Iterable<WorkloadEntry>;
  readonly selectors: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}): readonly NearMiss[] {
  const held = new Set(o.selectors);
  const misses: (NearMiss & { readonly shared: number })[] = [];
  for (const entry of o.entries) {
    const missing = entry.selectors.filter((selector) => !held.has(selector));
    const shared = entry.selectors.length - missing.length;
    if (shared === 0 && missing.length > 1) continue;
    const notes = obstacles(entry, o.selectors, o.now);
    if (missing.length === 0 && notes.length === 0) continue;
    misses.push({
      entryId: entry.id,
      spiffeId: entry.spiffeId,
      missing: missing.map((selector) => ({ selector, instead: ofSameKind(selector, o.selectors) })),
      notes,
      shared,
    });
  }
  return misses
    .sort((a, b) => a.missing.length - b.missing.length || b.shared - a.shared || (a.entryId < b.entryId ? -1 : 1))
    .slice(0, MAX_NEAR_MISSES)
    .map(({ shared: _, ...miss }) => Object.freeze(miss));
}

/** One line for a log. */
export function describe(miss: NearMiss): string {
  const missing = miss.missing.map(({ selector, instead }) =>
    instead.length === 0 ? `no ${selector}` : `no ${selector}, but ${instead.join(', ')}`,
  );
  return `${miss.spiffeId} (entry ${miss.entryId}): ${[...missing, ...miss.notes].join('; ')}`;
}

/** Reasons other than selectors. */
function obstacles(entry: WorkloadEntry, selectors: readonly string[], now: number): readonly string[] {
  const notes: string[] = [];
  if (entry.selectors.length === 0) notes.push('it has no selectors, so no workload of an agent matches it');
  if (isExpired(entry, now)) notes.push('it has expired');
  if (!isTemplate(entry.spiffeId)) return notes;
  const template = parseTemplate(entry.spiffeId);
  const values = new Map<string, string>();
  for (const variable of template.variables) {
    const prefix = `${variable.replace('.', ':')}:`;
    const found = selectors.filter((selector) => selector.startsWith(prefix));
    const [only] = found;
    if (only === undefined) notes.push(`there is no ${prefix}… for {{${variable}}}`);
    else if (found.length > 1) notes.push(`there are several ${prefix}… for {{${variable}}}`);
    else values.set(variable, only.slice(prefix.length));
  }
  const { namespaceVariable } = template;
  const namespace = namespaceVariable === undefined ? undefined : values.get(namespaceVariable);
  if (namespace !== undefined && !entry.namespaces.includes(namespace)) {
    notes.push(`the namespace ${namespace} is not one of ${entry.namespaces.join(', ')}`);
  } else if (
    values.size === template.variables.length &&
    fill(template, entry.namespaces, (variable) => values.get(variable)) === undefined
  ) {
    notes.push('the values of its variables make no SPIFFE ID');
  }
  return notes;
}

/** `unix:uid:1000` → what there is of `unix:uid:`. */
function ofSameKind(selector: string, selectors: readonly string[]): readonly string[] {
  const [type, key] = selector.split(':');
  return selectors.filter((each) => each.startsWith(`${type}:${key}:`)).slice(0, MAX_INSTEAD);
}
