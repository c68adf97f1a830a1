import type { Decision, DecisionReason, Request } from '../../../core/policy/model.ts';
import { DEFAULT_DENY } from '../../../core/policy/model.ts';
import type { Problem } from '../problem.ts';
import type { RequestChanges } from './request-changes.ts';

/** What the checks came to about one call: for the record, for the caller, and for the request that is forwarded. */
export interface Ruling extends Decision {
  /** Path for the record; empty on TCP. */
  readonly path: string;
  /** What to forward, with the query; empty on TCP and where it is not forwarded. */
  readonly target: string;
  /** Subject of a token that verified; empty for none. */
  readonly tokenSubject: string;
  /** `<issuer>/<subject>` of the token of an end user that verified. Absent for none. */
  readonly endUser?: string | undefined;
  /** Fields as rules see them, name and value alternating: without a token that is taken out, with what is said of it. */
  readonly fields?: readonly string[];
  /** Of the fields, before they are forwarded. Absent for nothing. */
  readonly changes?: RequestChanges | undefined;
  /** What the policies were asked. Absent where they were not. */
  readonly request?: Request;
  /** Of the fields of the answer, before the caller gets it. Absent for nothing. */
  readonly answer?: RequestChanges | undefined;
  /** What the caller is told, where the reason alone does not say it. */
  readonly problem?: Problem;
}

/** What of a ruling is known before it is made. */
export type Known = Pick<Ruling, 'path' | 'tokenSubject'>;

/** A call that a check refuses, whatever the policies say. */
export function refused(
  reason: DecisionReason,
  known: Known,
  o: { readonly rule?: string; readonly problem?: Problem } = {},
): Ruling {
  const { path, tokenSubject } = known;
  const { rule = DEFAULT_DENY, problem } = o;
  return { decision: 'deny', reason, rule, path, tokenSubject, target: '', ...(problem !== undefined && { problem }) };
}
