import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { AuditQuery } from '../../core/audit/query.ts';
import { oneOf, spiffeId } from './schemas.ts';
import { parseTime } from './time.ts';

const when = (what: string) =>
  Type.Optional(
    Type.String({ minLength: 1, maxLength: 64, description: `${what}: RFC 3339, or an age such as 15m, 2h, 7d.` }),
  );

/** The filters that search and tail share; all given ones must match. */
export const auditFilters = {
  source: Type.Optional(spiffeId),
  destination: Type.Optional(spiffeId),
  decision: Type.Optional(oneOf(['allow', 'deny'])),
  rule: Type.Optional(Type.String({ minLength: 1, maxLength: 512, description: 'Rule id, exactly.' })),
  path: Type.Optional(
    Type.String({ minLength: 1, maxLength: 2048, description: 'Exactly, or with a trailing * as a prefix.' }),
  ),
  trace: Type.Optional(Type.String({ pattern: '^[0-9a-f]{32}$', description: 'W3C trace id.' })),
  since: when('At or after'),
  until: when('Before'),
};
const Filters = Type.Object(auditFilters);

export function toAuditQuery(query: Static<typeof Filters>, now: number): AuditQuery {
  return {
    ...(query.source !== undefined && { source: query.source }),
    ...(query.destination !== undefined && { destination: query.destination }),
    ...(query.decision !== undefined && { decision: query.decision }),
    ...(query.rule !== undefined && { rule: query.rule }),
    ...(query.path !== undefined && { path: query.path }),
    ...(query.trace !== undefined && { trace: query.trace }),
    ...(query.since !== undefined && { since: parseTime(query.since, 'since', now) }),
    ...(query.until !== undefined && { until: parseTime(query.until, 'until', now) }),
  };
}
