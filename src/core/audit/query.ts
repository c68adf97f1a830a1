import type { AdminAction, AdminOutcome, AdminRecord } from './admin-event.ts';
import type { AuditRecord, IdentityAction, IdentityOutcome, IdentityRecord } from './event.ts';

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

/** What to look for among identity events. Every field given must match. */
export interface IdentityQuery {
  /** SPIFFE ID that the event is about: exact, or with one `*` at the end a prefix. */
  readonly subject?: string | undefined;
  /** Likewise. */
  readonly actor?: string | undefined;
  readonly action?: IdentityAction | undefined;
  readonly outcome?: IdentityOutcome | undefined;
  /** Id of the entry. */
  readonly entry?: string | undefined;
  /** Serial number of a certificate, `jti` of a token, or id of an authority. */
  readonly serial?: string | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | null | undefined;
}

/**
 * What to look for among administrative events. Every field given must match. What was begun is left out when the record says
 * how it ended, unless `outcome` asks for what was begun.
 */
export interface AdminQuery {
  /** Name of the administrator, or `control-plane`: exact, or with one `*` at the end a prefix. */
  readonly actor?: string | undefined;
  readonly action?: AdminAction | undefined;
  readonly outcome?: AdminOutcome | undefined;
  /** As the API document calls it. */
  readonly operation?: string | undefined;
  /** Exact, or with one `*` at the end a prefix: `policies:*`. */
  readonly permission?: string | undefined;
  /** Path of what it was about: exact, or with one `*` at the end a prefix. */
  readonly object?: string | undefined;
  /** Network address of the caller. */
  readonly address?: string | undefined;
  /** Id of a request. */
  readonly request?: string | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | null | undefined;
}

export type TextFilter = { readonly kind: 'exact' | 'prefix'; readonly value: string };

export function textFilter(wanted: string): TextFilter {
  return wanted.endsWith('*') ? { kind: 'prefix', value: wanted.slice(0, -1) } : { kind: 'exact', value: wanted };
}

/** Whether a live view with this query shows the record: the same answer as the search index gives. */
export function matches(record: AuditRecord, query: AuditQuery): boolean {
  return (
    is(query.source, record.source) &&
    is(query.destination, record.destination) &&
    is(query.decision, record.decision) &&
    is(query.rule, record.rule) &&
    is(query.trace, record.traceId) &&
    isText(query.path, record.operation.path) &&
    matchesTime(query, Date.parse(record.time))
  );
}

/** As `matches`, for identity events. */
export function matchesIdentity(record: IdentityRecord, query: IdentityQuery): boolean {
  return (
    isText(query.subject, record.subject) &&
    isText(query.actor, record.actor) &&
    is(query.action, record.action) &&
    is(query.outcome, record.outcome) &&
    is(query.entry, record.entry) &&
    is(query.serial, record.serial) &&
    matchesTime(query, Date.parse(record.time))
  );
}

/** As `matches`, for administrative events. */
export function matchesAdmin(record: AdminRecord, query: AdminQuery): boolean {
  return (
    (record.outcome !== 'begun' || !record.settled || query.outcome === 'begun') &&
    isText(query.actor, record.actor) &&
    is(query.action, record.action) &&
    is(query.outcome, record.outcome) &&
    is(query.operation, record.operation) &&
    isText(query.permission, record.permission) &&
    isText(query.object, record.object) &&
    is(query.address, record.source) &&
    is(query.request, record.request) &&
    matchesTime(query, Date.parse(record.time))
  );
}

function is(wanted: string | undefined, actual: string): boolean {
  return wanted === undefined || wanted === actual;
}

function isText(wanted: string | undefined, actual: string): boolean {
  if (wanted === undefined) return true;
  const filter = textFilter(wanted);
  return filter.kind === 'prefix' ? actual.startsWith(filter.value) : actual === filter.value;
}

function matchesTime(query: Pick<AuditQuery, 'since' | 'until'>, time: number): boolean {
  return (query.since === undefined || time >= query.since) && (query.until === undefined || time < query.until);
}
