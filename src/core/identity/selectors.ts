import type { Template } from './template.ts';
import { fill, isTemplate, parseTemplate } from './template.ts';
import type { Grant, WorkloadEntry } from './workload-entry.ts';

const noVariables: Readonly<Record<string, string>> = Object.freeze({});

/**
 * What a workload with these selectors may have: each entry whose selectors are all among them (S18). An entry without
 * selectors is for nobody; a template is only for a workload that has exactly one value for each of its variables, within
 * the bounds of the entry.
 *
 * The order is that of the entries' ids, so the same entries and selectors always give the same default identity, the first.
 * Hints are unique (SPIFFE_Workload_API.md §5.2.1): of several with one hint the first keeps it, the others have none.
 *
 * @param now entries that have expired by then are passed over; without it, none are
 */
export function matchEntries(
  entries: Iterable<WorkloadEntry>,
  selectors: Iterable<string>,
  now?: number,
): readonly Grant[] {
  const held = new HeldSelectors(selectors);
  const grants: Grant[] = [];
  for (const entry of entries) {
    if (now !== undefined && isExpired(entry, now)) continue;
    const grant = held.grantOf(entry);
    if (grant !== undefined) grants.push(grant);
  }
  return inOrder(grants);
}

export function isExpired(entry: { readonly expiresAt: number | null }, now: number): boolean {
  return entry.expiresAt !== null && entry.expiresAt <= now;
}

/** Whether every one of `selectors` is held, and there is at least one. */
export function holdsAll(held: ReadonlySet<string>, selectors: readonly string[]): boolean {
  return selectors.length > 0 && selectors.every((selector) => held.has(selector));
}

/** Selectors of one workload, ready to be asked. */
export class HeldSelectors {
  readonly #all: ReadonlySet<string>;

  constructor(selectors: Iterable<string>) {
    this.#all = new Set(selectors);
  }

  get all(): ReadonlySet<string> {
    return this.#all;
  }

  grantOf(entry: WorkloadEntry): Grant | undefined {
    if (!holdsAll(this.#all, entry.selectors)) return undefined;
    if (!isTemplate(entry.spiffeId)) {
      return Object.freeze({ entry, spiffeId: entry.spiffeId, variables: noVariables });
    }
    const template = templateOf(entry);
    if (template === undefined) return undefined;
    const variables = new Map<string, string>();
    for (const name of template.variables) {
      const value = this.#onlyValue(name);
      if (value === undefined) return undefined;
      variables.set(name, value);
    }
    const spiffeId = fill(template, entry.namespaces, (name) => variables.get(name));
    if (spiffeId === undefined) return undefined;
    return Object.freeze({ entry, spiffeId, variables: Object.freeze(Object.fromEntries(variables)) });
  }

  /** Several values mean none: which of them it is would be a matter of chance. */
  #onlyValue(variable: string): string | undefined {
    const prefix = `${variable.replace('.', ':')}:`;
    let only: string | undefined;
    for (const selector of this.#all) {
      if (!selector.startsWith(prefix)) continue;
      if (only !== undefined) return undefined;
      only = selector.slice(prefix.length);
    }
    return only;
  }
}

/** One that cannot be read takes nothing from the others. */
function templateOf(entry: WorkloadEntry): Template | undefined {
  try {
    return parseTemplate(entry.spiffeId);
  } catch {
    return undefined;
  }
}

/** By id of the entry, hints unique. */
export function inOrder(grants: readonly Grant[]): readonly Grant[] {
  const hints = new Set<string>();
  const sorted = grants.toSorted((a, b) => (a.entry.id < b.entry.id ? -1 : a.entry.id > b.entry.id ? 1 : 0));
  return sorted.map((grant) => {
    const { hint } = grant.entry;
    if (hint === '') return grant;
    if (hints.has(hint)) return Object.freeze({ ...grant, entry: Object.freeze({ ...grant.entry, hint: '' }) });
    hints.add(hint);
    return grant;
  });
}
