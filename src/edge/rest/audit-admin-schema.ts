import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { AdminRecord } from '../../core/audit/admin-event.ts';
import { adminActions, adminOutcomes } from '../../core/audit/admin-event.ts';
import type { AdminQuery } from '../../core/audit/query.ts';
import type { Period } from './audit-query.ts';
import { timeOf, when } from './audit-query.ts';
import { closed, nullable, oneOf, time } from './schemas.ts';

const text = (description: string, maxLength = 128) =>
  Type.Optional(Type.String({ minLength: 1, maxLength, description }));

/** The filters that search and tail share; all given ones must match. */
export const adminFilters = {
  actor: text('Name of the administrator, or `control-plane`: exactly, or with a trailing * as a prefix.'),
  action: Type.Optional(oneOf(adminActions)),
  outcome: Type.Optional(
    oneOf(adminOutcomes, {
      description: 'Without it, what was begun is left out when the record says how it ended.',
    }),
  ),
  operation: text('As this document calls it: `putPolicy`.'),
  permission: text('What it needed: exactly, or with a trailing * as a prefix.'),
  object: text('Path of what it was about: exactly, or with a trailing * as a prefix.', 2048),
  address: text('Network address of the caller.'),
  request: text('Id of the request.'),
  since: when('At or after'),
  until: when('Before'),
};
const Filters = Type.Object(adminFilters);

/** @param first Period of the first page, when this is a later one. */
export function toAdminQuery(query: Static<typeof Filters>, now: number, first: Period = {}): AdminQuery {
  const { since, until, ...others } = query;
  return {
    ...others,
    ...(since !== undefined && { since: timeOf(since, 'since', now, first.since) }),
    ...(until !== undefined && { until: timeOf(until, 'until', now, first.until) }),
  };
}

const hash = (description: string) => Type.String({ description: `SHA-256, lower hex, ${description}; or empty.` });

/** One administrative event. Paths, queries and changes hold what callers chose: never treat them as markup. */
export const AdminEventSchema = Type.Object(
  {
    id: Type.String({ description: '`<recorder>.<epoch>.<sequence>`' }),
    time,
    action: oneOf(adminActions),
    outcome: oneOf(adminOutcomes),
    settled: Type.Boolean({ description: 'false: it was begun, and nothing says how it ended.' }),
    actor: Type.String({ description: 'Name of the administrator, `control-plane`, or empty for nobody known.' }),
    role: Type.String(),
    credential: Type.String({ description: 'Id of the token; `bootstrap` for that of the data directory.' }),
    source: Type.String({ description: 'Network address of the caller.' }),
    operation: Type.String(),
    permission: Type.String(),
    object: Type.String({ description: 'Path of what it was about.' }),
    query: Type.String(),
    request: Type.String({ description: 'Id of the request; empty for a group of them.' }),
    status: Type.Integer({ description: 'HTTP status of the answer; 0 for none.' }),
    count: Type.Integer({ description: 'How many of the same, up to `lastTime`.' }),
    lastTime: nullable(time),
    before: hash('of what it was'),
    after: hash('of what it is'),
    detail: Type.String({ description: 'The change as a unified diff; of a start, the configuration.' }),
    reason: Type.String({ description: 'Why it was refused or failed: `<code>: <message>`.' }),
    recorder: Type.String({ description: 'Instance id of the control plane that recorded it: a new one per start.' }),
    epoch: Type.Integer(),
    sequence: Type.Integer(),
    proof: Type.Object({ state: oneOf(['pending', 'sealed']), leaf: nullable(Type.Integer()) }, closed),
  },
  closed,
);

/** Spelt out, so that a field is added to the API on purpose. */
export function toAdminEvent(record: AdminRecord): Static<typeof AdminEventSchema> {
  return {
    id: record.id,
    time: record.time,
    action: record.action,
    outcome: record.outcome,
    settled: record.settled,
    actor: record.actor,
    role: record.role,
    credential: record.credential,
    source: record.source,
    operation: record.operation,
    permission: record.permission,
    object: record.object,
    query: record.query,
    request: record.request,
    status: record.status,
    count: record.count,
    lastTime: record.lastTime,
    before: record.before,
    after: record.after,
    detail: record.detail,
    reason: record.reason,
    recorder: record.recorder,
    epoch: record.epoch,
    sequence: record.sequence,
    proof: { state: record.proof.state, leaf: record.proof.leaf },
  };
}
