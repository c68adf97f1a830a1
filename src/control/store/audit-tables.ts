/**
 * The search index over the ledger. It is a follower: every row can be rebuilt from the ledger, and nothing but the index
 * (`control/ledger/index.ts`) writes here.
 */
export interface AuditTables {
  readonly audit_cursor: AuditCursorTable;
  readonly audit_records: AuditRecordsTable;
  readonly audit_completions: AuditCompletionsTable;
  readonly audit_notes: AuditNotesTable;
  readonly identity_events: IdentityEventsTable;
  readonly admin_events: AdminEventsTable;
}

/** One row: how far into the ledger the index has come. */
export interface AuditCursorTable {
  id: number;
  /** Number of the next batch to index. */
  leaf: number;
}

/**
 * One row per decision. Times are milliseconds since the epoch, by the sidecar's clock; one that is ahead of the ledger's
 * clock beyond measure is the time of receipt instead.
 */
export interface AuditRecordsTable {
  sidecar: string;
  epoch: number;
  seq: number;
  /** Order of arrival: grows over the whole ledger. */
  place: number;
  /** Number of the batch in the ledger that holds it. */
  leaf: number;
  call: string;
  /** SHA-256 of the event's canonical bytes, lower hex: tells the same event, shipped again, from another one. */
  event_hash: string;
  time: number;
  source: string;
  destination: string;
  protocol: string;
  method: string;
  host: string;
  path: string;
  /** The first `INDEXED_UNITS` of `path`: what the index holds, since PostgreSQL refuses index entries beyond 2,704 bytes. */
  path_start: string;
  port: number;
  decision: string;
  reason: string;
  rule: string;
  policy_revision: number;
  trace_id: string;
  token_subject: string;
  certificate_serial: string;
  /** `outbound` for a call that goes out, recorded by the sidecar of the caller; null for one that comes in. */
  direction: string | null;
  /** What the decision would have been with policies in shadow mode enforced; null where it and its rule are the same. */
  shadow_decision: string | null;
  shadow_rule: string | null;
  /** Rule of an AUDIT policy that matched. */
  audit_rule: string | null;
  /** `plaintext`, or null: mutual TLS. */
  transport: string | null;
  /** `<issuer>/<subject>` of the token of an end user. */
  end_user: string | null;
}

/**
 * One row per completion, in a table of its own: it may arrive in any batch, and joining it when it is read makes the
 * order of arrival immaterial.
 */
export interface AuditCompletionsTable {
  sidecar: string;
  call: string;
  time: number;
  status: number;
  duration_ms: number;
  bytes_in: number;
  bytes_out: number;
  /** Why it was cut off, by which rule, and by which revision of what was changed; null for a call that was not. */
  cut_reason: string | null;
  cut_rule: string | null;
  cut_revision: number | null;
}

/** What the ledger holds besides calls and heartbeats, and what is wrong with calls in it. */
export interface AuditNotesTable {
  sidecar: string;
  epoch: number;
  seq: number;
  leaf: number;
  /**
   * - 'gap': the sidecar admits that records are missing.
   * - 'unreadable': no event, or no batch, that this version can read.
   * - 'foreign': a decision for another service than the one whose sidecar shipped it, or an identity event that is not
   *   from a control plane. It is no record.
   * - 'repeated-call': a decision that contradicts an earlier one of the same call. The earlier one is the record.
   * - 'clock': decisions of a batch, the first of them here, claim a time that had not come; they are listed
   *   under that of receipt.
   */
  kind: 'gap' | 'unreadable' | 'foreign' | 'repeated-call' | 'clock';
  /** As that of a record for gaps and repeated calls; when it was received, for all others. */
  time: number;
  /** JSON of the gap event, or of what the sidecar's clock claimed; a sentence that says what is wrong for all others. */
  detail: string;
}

/** One row per identity event of a control plane. Texts as `IdentityEvent` has them; times are milliseconds since the epoch. */
export interface IdentityEventsTable {
  /** Instance id of the control plane that recorded it. */
  recorder: string;
  epoch: number;
  seq: number;
  /** Order of arrival: grows over the whole ledger. */
  place: number;
  leaf: number;
  time: number;
  action: string;
  outcome: string;
  subject: string;
  /** The first `INDEXED_UNITS` of `subject`, as with paths. */
  subject_start: string;
  actor: string;
  actor_start: string;
  entry: string;
  instance: string;
  serial: string;
  method: string;
  /** JSON: a list of texts. */
  selectors: string;
  /** JSON: a list of texts. */
  audience: string;
  /** 0 where nothing was issued. */
  expires_at: number;
  reason: string;
  source: string;
}

/** One row per administrative event of a control plane. Texts as `AdminEvent` has them; times are milliseconds since the epoch. */
export interface AdminEventsTable {
  /** Instance id of the control plane that recorded it. */
  recorder: string;
  epoch: number;
  seq: number;
  /** Order of arrival: grows over the whole ledger. */
  place: number;
  leaf: number;
  time: number;
  action: string;
  outcome: string;
  /** 0: begun, and nothing on the record says how it ended. */
  settled: number;
  actor: string;
  role: string;
  credential: string;
  source: string;
  operation: string;
  permission: string;
  object: string;
  /** The first `INDEXED_UNITS` of `object`, as with paths. */
  object_start: string;
  query: string;
  request: string;
  status: number;
  count: number;
  /** 0 for one. */
  last_time: number;
  before_hash: string;
  after_hash: string;
  detail: string;
  reason: string;
}
