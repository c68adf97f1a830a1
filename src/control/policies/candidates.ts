import type { PolicySet } from './current.ts';

type Lists = Omit<PolicySet, 'revision'>;
type Listed = Lists[keyof Lists][number];

/** What may concern the workloads of one namespace: what lies in it and in the root namespace, by namespace and name. */
export interface Candidates extends Lists {
  /** Whether any of them names workloads by their service. */
  readonly namesService: boolean;
}

interface Namespace {
  readonly name: string;
  readonly lists: Lists;
}

interface Joined {
  readonly parts: readonly Namespace[];
  readonly candidates: Candidates;
}

const nothing: Lists = Object.freeze({
  policies: Object.freeze([]),
  requestAuthentications: Object.freeze([]),
  peerAuthentications: Object.freeze([]),
  rateLimits: Object.freeze([]),
});

/**
 * Finds the candidates of a namespace without looking at all objects. A namespace in which nothing has changed has the very
 * same candidates as in the set before, so that whatever was made of them still holds.
 */
export class CandidatesOf {
  readonly #rootNamespace: string;
  #namespaces: ReadonlyMap<string, Namespace> = new Map();
  /** Checked against its parts whenever it is used. */
  readonly #joined = new Map<string, Joined>();

  constructor(rootNamespace: string) {
    this.#rootNamespace = rootNamespace;
  }

  /** What the set has for each namespace. */
  in(set: PolicySet): (namespace: string) => Candidates {
    const namespaces = byNamespace(set, this.#namespaces);
    this.#namespaces = namespaces;
    for (const name of this.#joined.keys()) {
      if (!namespaces.has(name) && name !== this.#rootNamespace) this.#joined.delete(name);
    }
    return (namespace) => this.#join(namespaces, namespace);
  }

  #join(namespaces: ReadonlyMap<string, Namespace>, namespace: string): Candidates {
    // A namespace without any objects: those of the root namespace, whichever it is.
    const own = namespaces.has(namespace) ? namespace : this.#rootNamespace;
    const names = own === this.#rootNamespace ? [own] : [own, this.#rootNamespace].sort();
    const parts = names.flatMap((name) => namespaces.get(name) ?? []);
    const known = this.#joined.get(own);
    if (known !== undefined && sameItems(known.parts, parts)) return known.candidates;
    const candidates = joined(parts);
    this.#joined.set(own, { parts, candidates });
    return candidates;
  }
}

function byNamespace(set: PolicySet, before: ReadonlyMap<string, Namespace>): ReadonlyMap<string, Namespace> {
  const policies = Map.groupBy(set.policies, namespaceOf);
  const requestAuthentications = Map.groupBy(set.requestAuthentications, namespaceOf);
  const peerAuthentications = Map.groupBy(set.peerAuthentications, namespaceOf);
  const rateLimits = Map.groupBy(set.rateLimits, namespaceOf);
  const names = new Set(
    [policies, requestAuthentications, peerAuthentications, rateLimits].flatMap((map) => [...map.keys()]),
  );
  return new Map(
    [...names].map((name) => {
      const lists: Lists = {
        policies: policies.get(name) ?? [],
        requestAuthentications: requestAuthentications.get(name) ?? [],
        peerAuthentications: peerAuthentications.get(name) ?? [],
        rateLimits: rateLimits.get(name) ?? [],
      };
      const known = before.get(name);
      return [name, known !== undefined && sameLists(known.lists, lists) ? known : { name, lists }];
    }),
  );
}

function namespaceOf(object: Listed): string {
  return object.namespace;
}

function joined(parts: readonly Namespace[]): Candidates {
  const [first = { lists: nothing }, second] = parts;
  const lists =
    second === undefined
      ? first.lists
      : {
          policies: [...first.lists.policies, ...second.lists.policies],
          requestAuthentications: [...first.lists.requestAuthentications, ...second.lists.requestAuthentications],
          peerAuthentications: [...first.lists.peerAuthentications, ...second.lists.peerAuthentications],
          rateLimits: [...first.lists.rateLimits, ...second.lists.rateLimits],
        };
  return Object.freeze({
    ...lists,
    namesService: [...lists.policies, ...lists.requestAuthentications].some(({ targets = [] }) =>
      targets.some((target) => target.kind === 'Service'),
    ),
  });
}

function sameLists(a: Lists, b: Lists): boolean {
  return (
    sameItems(a.policies, b.policies) &&
    sameItems(a.requestAuthentications, b.requestAuthentications) &&
    sameItems(a.peerAuthentications, b.peerAuthentications) &&
    sameItems(a.rateLimits, b.rateLimits)
  );
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}
