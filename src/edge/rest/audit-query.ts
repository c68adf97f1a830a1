import type { Static } from 'typebox';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { AuditQuery } from '../../core/audit/query.ts';
import { oneOf, spiffeId } from './schemas.ts';
import { isAge, parseTime } from './time.ts';

/** A time of the query. */
export const when = (what: string) =>
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

type FilterValues = Static<typeof Filters>;

/** The period that a search was over when its first page was read. */
export interface Period {
  readonly since?: number | undefined;
  readonly until?: number | undefined;
}

/** @param first Period of the first page, when this is a later one: an age keeps meaning what it meant there. */
export function toAuditQuery(query: FilterValues, now: number, first: Period = {}): AuditQuery {
  return {
    ...(query.source !== undefined && { source: query.source }),
    ...(query.destination !== undefined && { destination: query.destination }),
    ...(query.decision !== undefined && { decision: query.decision }),
    ...(query.rule !== undefined && { rule: query.rule }),
    ...(query.path !== undefined && { path: query.path }),
    ...(query.trace !== undefined && { trace: query.trace }),
    ...(query.since !== undefined && { since: timeOf(query.since, 'since', now, first.since) }),
    ...(query.until !== undefined && { until: timeOf(query.until, 'until', now, first.until) }),
  };
}

/** @param first what it was on the first page of a search, when this is a later one */
export function timeOf(text: string, parameter: string, now: number, first: number | undefined): number {
  return first !== undefined && isAge(text) ? first : parseTime(text, parameter, now);
}

/**
 * The index takes a cursor only with the very filters that it was given for. An age moves with the clock, so the cursor that
 * callers see holds the period in front of the index's own. Changing it gains nothing: the inner cursor is authenticated
 * together with the filters.
 */
export function toPageCursor(query: Period, inner: string): string {
  return `${query.since ?? ''}.${query.until ?? ''}.${inner}`;
}

/** Throws `invalid-cursor`. */
export function readPageCursor(cursor: string): { readonly period: Period; readonly inner: string } {
  const [, since, until, inner] = /^(-?\d{1,16})?\.(-?\d{1,16})?\.(.+)$/.exec(cursor) ?? [];
  if (inner === undefined)
    throw new AppError(
      'invalid-cursor',
      'The cursor is not one that this search returned. Start again without a cursor.',
    );
  const toNumber = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  return { period: { since: toNumber(since), until: toNumber(until) }, inner };
}
