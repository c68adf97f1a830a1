import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { IdentityRecord } from '../../core/audit/event.ts';
import { identityActions, identityOutcomes } from '../../core/audit/event.ts';
import type { IdentityQuery } from '../../core/audit/query.ts';
import type { Period } from './audit-query.ts';
import { timeOf, when } from './audit-query.ts';
import { closed, nullable, oneOf, time } from './schemas.ts';

const spiffeIdOrPrefix = (whose: string) =>
  Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 2048,
      description: `${whose}: exactly, or with a trailing * as a prefix.`,
    }),
  );

/** The filters that search and tail share; all given ones must match. */
export const identityFilters = {
  subject: spiffeIdOrPrefix('SPIFFE ID that it is about'),
  actor: spiffeIdOrPrefix('SPIFFE ID of the caller or agent, `control-plane`, or the name of the admin'),
  action: Type.Optional(oneOf(identityActions)),
  outcome: Type.Optional(oneOf(identityOutcomes)),
  entry: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'Id of the entry.' })),
  serial: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 128,
      description: 'Serial number of a certificate (lower hex), `jti` of a token, or id of an authority.',
    }),
  ),
  since: when('At or after'),
  until: when('Before'),
};
const Filters = Type.Object(identityFilters);

/** @param first Period of the first page, when this is a later one. */
export function toIdentityQuery(query: Static<typeof Filters>, now: number, first: Period = {}): IdentityQuery {
  const { since, until, ...others } = query;
  return {
    ...others,
    ...(since !== undefined && { since: timeOf(since, 'since', now, first.since) }),
    ...(until !== undefined && { until: timeOf(until, 'until', now, first.until) }),
  };
}

/** One identity event. Names, selectors and reasons may hold what callers chose: never treat them as markup. */
export const IdentityEventSchema = Type.Object(
  {
    id: Type.String({ description: '`<recorder>.<epoch>.<sequence>`' }),
    time,
    action: oneOf(identityActions),
    outcome: oneOf(identityOutcomes),
    subject: Type.String({ description: 'SPIFFE ID that it is about; empty for none.' }),
    actor: Type.String({
      description: 'SPIFFE ID of the caller or agent, `control-plane`, or the name of the admin.',
    }),
    entry: Type.String({ description: 'Id of the entry.' }),
    instance: Type.String({ description: 'Instance id in the certificate.' }),
    serial: Type.String({ description: 'Serial number (lower hex), `jti`, or id of the authority.' }),
    method: Type.String({ description: 'Of attestation.' }),
    selectors: Type.Array(Type.String()),
    audience: Type.Array(Type.String(), { description: 'Of a JWT-SVID.' }),
    expiresAt: nullable(time),
    reason: Type.String({ description: 'Why it was refused: `<code>: <message>`.' }),
    source: Type.String({ description: 'Network address of the caller.' }),
    recorder: Type.String({ description: 'Instance id of the control plane that recorded it: a new one per start.' }),
    epoch: Type.Integer(),
    sequence: Type.Integer(),
    proof: Type.Object({ state: oneOf(['pending', 'sealed']), leaf: nullable(Type.Integer()) }, closed),
  },
  closed,
);

/** Spelt out, so that a field is added to the API on purpose. */
export function toIdentityEvent(record: IdentityRecord): Static<typeof IdentityEventSchema> {
  return {
    id: record.id,
    time: record.time,
    action: record.action,
    outcome: record.outcome,
    subject: record.subject,
    actor: record.actor,
    entry: record.entry,
    instance: record.instance,
    serial: record.serial,
    method: record.method,
    selectors: [...record.selectors],
    audience: [...record.audience],
    expiresAt: record.expiresAt,
    reason: record.reason,
    source: record.source,
    recorder: record.recorder,
    epoch: record.epoch,
    sequence: record.sequence,
    proof: { state: record.proof.state, leaf: record.proof.leaf },
  };
}
