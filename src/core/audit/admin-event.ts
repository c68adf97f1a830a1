import type { AuditRecord } from './event.ts';

/** What administrators and the control plane itself do. Closed: a new action is a new row here. */
export const adminActions = [
  /** A request to the REST API. `operation` says which. */
  'call',
  /** A token that was not used from this address for an hour; `refused`: one that is not known, or none where one is needed. */
  'sign-in',
  /** What the control plane did by itself: a step of a rollout, say. `operation` says what. */
  'task',
  /** What a control plane was started with. */
  'configuration',
  /** It ended in order. What has no such event before the next `configuration` ended otherwise. */
  'stop',
  /** A sink of the audit record could not be written, and can be again. `object` names it. */
  'sink.failed',
  'sink.recovered',
  /** `count` reads or refusals of which nothing but their number could be recorded. */
  'unrecorded',
] as const;
export type AdminAction = (typeof adminActions)[number];

export const adminOutcomes = [
  /** A write that was about to be carried out. Without a later event of the same `request` nobody knows how it ended. */
  'begun',
  'done',
  'refused',
  /** The server could not: status 5xx. */
  'failed',
] as const;
export type AdminOutcome = (typeof adminOutcomes)[number];

/**
 * Recorded by the control plane: who did what to it, reads included. Of a write there are two: `begun`, durable before anything
 * is changed, and one that says how it ended, durable before it is answered. What is read again and again by the same caller is
 * one event at once and one a minute later with the count of the others.
 *
 * No field ever holds a token, a key or the body of a request; what looks like one in a text is masked (`masked`). Texts
 * longer than their limit are cut and end in '…'. What does not apply is empty, or 0.
 */
export interface AdminEvent {
  readonly kind: 'admin';
  /** Milliseconds since the epoch, by the control plane's clock: of the first, where there are several. */
  readonly time: number;
  readonly action: AdminAction;
  readonly outcome: AdminOutcome;
  /** Name of the administrator; `control-plane` for what it did by itself; empty when nobody proved to be somebody. */
  readonly actor: string;
  /** The role that it had then. */
  readonly role: string;
  /** Id of the token; `bootstrap` for that of the data directory. */
  readonly credential: string;
  /** Network address of the caller. */
  readonly source: string;
  /** As the API document calls it: `putPolicy`. */
  readonly operation: string;
  /** What the role had to allow. */
  readonly permission: string;
  /** Path of what it was about. */
  readonly object: string;
  /** The parameters of the query that were understood, without cursors. */
  readonly query: string;
  /** Id of the request, which its answer and the server's log have too; empty for several. */
  readonly request: string;
  /** HTTP status of the answer; 0 for none. */
  readonly status: number;
  /** How many: 1, or those of a group. */
  readonly count: number;
  /** Time of the last of a group; 0 for one. */
  readonly lastTime: number;
  /** SHA-256 of what is changed, as text, in lower hex: before and after. Empty: there was or is nothing, or it has no text. */
  readonly before: string;
  readonly after: string;
  /** The change as a unified diff; of `configuration`, its lines. */
  readonly detail: string;
  /** Of a refusal or a failure: `<code>: <message>`. */
  readonly reason: string;
}

/** Longest recorded change, in UTF-16 units. */
export const MAX_DETAIL_TEXT = 8192;

/** What the ledger shows for one of them. This is the object that REST serves. */
export interface AdminRecord extends Omit<AdminEvent, 'kind' | 'time' | 'lastTime'> {
  /** `<instance id of the control plane>.<epoch>.<sequence>`. */
  readonly id: string;
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string;
  /** RFC 3339; null where it is one. */
  readonly lastTime: string | null;
  /** Of what was begun: whether the record says how it ended. True for all others. */
  readonly settled: boolean;
  /** Instance id of the control plane that recorded it: a new one per start. */
  readonly recorder: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly proof: AuditRecord['proof'];
}

const secrets = [
  // Tokens of administrators and of nodes, as Writ makes them.
  /(writ_|wjt_)[A-Za-z0-9_-]{16,}/g,
  // A JWT, signed or not: its first part is JSON. It starts where its alphabet does, so that no text is read twice.
  /(?<![A-Za-z0-9_-])(eyJ)[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/g,
  /(-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----)[\s\S]*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|$)/g,
  /\b(bearer +)[A-Za-z0-9._~+/=-]{8,}/gi,
] as const;

/** Of which more is not recorded anyway, in UTF-16 units. */
const MAX_MASKED_TEXT = 4 * MAX_DETAIL_TEXT;

/**
 * `text` without what looks like a secret, and without what is far beyond any limit. Nothing that is recorded should hold a
 * secret; people paste them where they do not belong all the same, and what is in the log stays there.
 */
export function masked(text: string): string {
  return secrets.reduce((rest, pattern) => rest.replace(pattern, '$1[masked]'), text.slice(0, MAX_MASKED_TEXT));
}
