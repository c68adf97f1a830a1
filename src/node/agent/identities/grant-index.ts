import { matchEntries } from '../../../core/identity/selectors.ts';
import type { Grant, WorkloadEntry } from '../../../core/identity/workload-entry.ts';

/**
 * Entries by one of their selectors, the one that the fewest others have: a workload then looks at the few that have something
 * to do with it, and not at all that there are.
 */
export class GrantIndex {
  readonly #bySelector = new Map<string, WorkloadEntry[]>();

  constructor(entries: Iterable<WorkloadEntry>) {
    const all = [...entries];
    const counts = new Map<string, number>();
    for (const { selectors } of all) {
      for (const selector of selectors) counts.set(selector, (counts.get(selector) ?? 0) + 1);
    }
    for (const entry of all) {
      const rarest = rarestOf(entry.selectors, counts);
      // Without selectors it is for nobody.
      if (rarest === undefined) continue;
      const bucket = this.#bySelector.get(rarest);
      if (bucket === undefined) this.#bySelector.set(rarest, [entry]);
      else bucket.push(entry);
    }
  }

  /** As `matchEntries` of all entries. */
  grantsFor(selectors: readonly string[], now: number): readonly Grant[] {
    const candidates = [...new Set(selectors)].flatMap((selector) => this.#bySelector.get(selector) ?? []);
    return matchEntries(candidates, selectors, now);
  }
}

function rarestOf(selectors: readonly string[], counts: ReadonlyMap<string, number>): string | undefined {
  let rarest: string | undefined;
  for (const selector of selectors) {
    if (rarest === undefined || (counts.get(selector) ?? 0) < (counts.get(rarest) ?? 0)) rarest = selector;
  }
  return rarest;
}
