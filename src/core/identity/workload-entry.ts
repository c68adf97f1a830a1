/** An entry as an agent needs it: a workload whose selectors include all of these may have this identity. */
export interface WorkloadEntry {
  /** UUIDv7: entries sort by when they were made. */
  readonly id: string;
  /** Store revision of its last change. */
  readonly revision: number;
  /** A SPIFFE ID, or a template of one: `spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}`. */
  readonly spiffeId: string;
  /** `<type>:<value>`, at least one. */
  readonly selectors: readonly string[];
  /** Where a template has an identity: names of namespaces. Empty for an entry that is no template. */
  readonly namespaces: readonly string[];
  /** Trust domains whose bundles the workload gets. */
  readonly federatesWith: readonly string[];
  readonly dnsNames: readonly string[];
  /** What tells several identities of one workload apart (SPIFFE_Workload_API.md §5.2.1); empty for none. */
  readonly hint: string;
  /** Milliseconds since the epoch; null for never. */
  readonly expiresAt: number | null;
}

/** What a workload may have, by one entry. */
export interface Grant {
  readonly entry: WorkloadEntry;
  /** The entry's SPIFFE ID, variables filled in. */
  readonly spiffeId: string;
  /** Values of the variables of a template, by name without braces: `k8s.sa`. Empty for an entry that is no template. */
  readonly variables: Readonly<Record<string, string>>;
}
