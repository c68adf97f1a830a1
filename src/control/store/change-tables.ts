/** Proposed changes of policies, and how they are rolled out. Times are milliseconds since the epoch. */
export interface ChangeTables {
  readonly policy_changes: PolicyChangesTable;
  readonly policy_change_documents: PolicyChangeDocumentsTable;
  readonly policy_change_events: PolicyChangeEventsTable;
  readonly policy_rollouts: PolicyRolloutsTable;
  readonly policy_rollout_proxies: PolicyRolloutProxiesTable;
}

export interface PolicyChangesTable {
  /** Store revision at which it was proposed: its name. */
  revision: number;
  state: 'proposed' | 'approved' | 'rolling' | 'applied' | 'rejected' | 'rolled-back' | 'expired';
  author: string;
  reason: string;
  created_at: number;
  /** From then on it is worth nothing, unless it is rolling or over. */
  expires_at: number;
  approver: string | null;
  /** Why it ended as it did: of one that was rejected or rolled back. */
  why: string | null;
  /** Store revision at which its documents came into force everywhere. */
  applied_revision: number | null;
  updated_at: number;
  /** Store revision of its last change: whoever changes it next must have read this one. */
  version: number;
}

/** Never changed once written: what is approved is what was proposed. */
export interface PolicyChangeDocumentsTable {
  change: number;
  /** From 0. */
  place: number;
  operation: 'put' | 'delete';
  kind: string;
  namespace: string;
  name: string;
  /** null for a deletion. */
  source: string | null;
  /** Revision of the document that it takes the place of; null where there is none. */
  replaces: number | null;
  /** Store revision of the document while it is rolled out: no other document has it. */
  revision: number;
}

export interface PolicyChangeEventsTable {
  change: number;
  /** From 0. */
  place: number;
  time: number;
  /** Name of a token, or `writ` for what happens by itself. */
  actor: string;
  action: string;
  detail: string;
}

export interface PolicyRolloutsTable {
  change: number;
  /** JSON: shares of the sidecars in percent, ascending, the last 100. */
  steps: string;
  bake_ms: number;
  /** JSON. */
  bounds: string;
  started_by: string;
  started_at: number;
  /** Index into `steps`. */
  step: number;
  /** Sidecars whose place is below it have the candidate; places are from 0 to 2^32 - 1. */
  threshold: number;
  /** Sidecars that were chosen when the step began. */
  chosen: number;
  step_started_at: number;
  /** When every chosen sidecar had acknowledged the candidate; null until then. */
  bake_started_at: number | null;
  /** Store revision at which the step began. */
  step_revision: number;
  /** JSON: what was seen of the step last. */
  observed: string;
  version: number;
}

/** What each sidecar made of the candidate, as the replica that it is connected to has seen it. */
export interface PolicyRolloutProxiesTable {
  change: number;
  instance_id: string;
  state: 'pending' | 'acknowledged' | 'rejected';
  /** Of the step that `state` is about. */
  step: number;
  error: string;
  /** Everything that it had recorded by then is in the audit index; null: not known. */
  heard_at: number | null;
}
