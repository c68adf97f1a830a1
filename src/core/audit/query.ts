import type { AuditRecord } from './event.ts';

/** What to look for. Every field given must match. */
export interface AuditQuery {
  /** SPIFFE ID of the caller. */
  readonly source?: string | undefined;
  /** SPIFFE ID of the called workload. */
  readonly destination?: string | undefined;
  readonly decision?: 'allow' | 'deny' | undefined;
  /** `<namespace>/<policy>@<revision>#<rule index>` or `default-deny`. */
  readonly rule?: string | undefined;
  /** Exact, or with one `*` at the end a prefix. */
  readonly path?: string | undefined;
  /** Trace id. */
  readonly trace?: string | undefined;
  /** Milliseconds since the epoch: not before. */
  readonly since?: number | undefined;
  /** Milliseconds since the epoch: before. */
  readonly until?: number | undefined;
  /** 1 to 500, default 50. Not for live views. */
  readonly limit?: number | undefined;
  /** Of the page before. Not for live views. */
  readonly cursor?: string | null | undefined;
}

export type PathFilter = { readonly kind: 'exact' | 'prefix'; readonly value: string };

export function pathFilter(path: string): PathFilter {
  return path.endsWith('*') ? { kind: 'prefix', value: path.slice(0, -1) } : { kind: 'exact', value: path };
}

/** Whether a live view with this query shows the record: the same answer as the search index gives. */
export function matches(record: AuditRecord, query: AuditQuery): boolean {
  return (
    is(query.source, record.source) &&
    is(query.destination, record.destination) &&
    is(query.decision, record.decision) &&
    is(query.rule, record.rule) &&
    is(query.trace, record.traceId) &&
    matchesPath(query.path, record.operation.path) &&
    matchesTime(query, Date.parse(record.time))
  );
}

function is(wanted: string | undefined, actual: string): boolean {
  return wanted === undefined || wanted === actual;
}

function matchesPath(wanted: string | undefined, path: string): boolean {
  if (wanted === undefined) return true;
  const filter = pathFilter(wanted);
  return filter.kind === 'prefix' ? path.startsWith(filter.value) : path === filter.value;
}

function matchesTime(query: AuditQuery, time: number): boolean {
  return (query.since === undefined || time >= query.since) && (query.until === undefined || time < query.until);
}
