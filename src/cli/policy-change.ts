import { AppError } from '../base/errors.ts';
import type { View } from './output.ts';
import { relative, span } from './table.ts';

/** A change of policies, as lists show it. */
export interface ChangeObject {
  readonly revision: number;
  readonly state: 'proposed' | 'approved' | 'rolling' | 'applied' | 'rejected' | 'rolled-back' | 'expired';
  readonly author: string;
  readonly reason: string;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly approver: string | null;
  readonly why: string | null;
  readonly appliedRevision: number | null;
  readonly updatedAt: string;
  readonly documents: readonly ChangeDocumentObject[];
  readonly rollout: RolloutObject | null;
}

export interface ChangeDocumentObject {
  readonly operation: 'put' | 'delete';
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly replaces: number | null;
  readonly revision: number;
}

export interface FullChangeObject extends ChangeObject {
  readonly documents: readonly (ChangeDocumentObject & { readonly source: string | null; readonly diff: string })[];
  readonly events: readonly {
    readonly time: string;
    readonly actor: string;
    readonly action: string;
    readonly detail: string;
  }[];
}

interface Counts {
  readonly calls: number;
  readonly denials: number;
  readonly errors: number;
}

export interface RolloutObject {
  readonly steps: readonly number[];
  readonly bakeSeconds: number;
  readonly maxDenials: number;
  readonly maxErrors: number;
  readonly startedBy: string;
  readonly step: number;
  readonly percent: number;
  readonly chosen: number;
  readonly stepStartedAt: string;
  readonly bakeStartedAt: string | null;
  readonly observed: {
    readonly at: string | null;
    readonly chosen: Counts;
    readonly before: Counts;
    readonly others: Counts;
  };
}

export const changeView: View<ChangeObject> = {
  columns: [
    { head: 'CHANGE', cell: (c) => String(c.revision) },
    { head: 'STATE', cell: stateOf },
    { head: 'AGE', cell: (c, now) => relative(c.createdAt, now) },
    { head: 'AUTHOR', cell: (c) => c.author },
    { head: 'APPROVER', cell: (c) => c.approver ?? '' },
    { head: 'DOCUMENTS', cell: documentsOf },
    { head: 'REASON', cell: (c) => c.reason },
    { head: 'WHY', cell: (c) => c.why ?? '' },
    { head: 'EXPIRES', wide: true, cell: (c, now) => (isOpen(c) ? relative(c.expiresAt, now) : '') },
    { head: 'APPLIED-AS', wide: true, cell: (c) => String(c.appliedRevision ?? '') },
  ],
  name: (c) => `policy-change/${c.revision}`,
};

/** Whether anything can still become of it. */
export function isOver({ state }: ChangeObject): boolean {
  return state !== 'proposed' && state !== 'approved' && state !== 'rolling';
}

function isOpen({ state }: ChangeObject): boolean {
  return state === 'proposed' || state === 'approved';
}

function stateOf({ state, rollout }: ChangeObject): string {
  return state === 'rolling' && rollout !== null ? `rolling ${rollout.percent}%` : state;
}

function documentsOf({ documents }: ChangeObject): string {
  const [first, ...others] = documents.map(nameOf);
  return others.length === 0 ? (first ?? '') : `${first} and ${others.length} more`;
}

/** `+` is new, `-` goes, `~` is another than before. */
export function nameOf({ operation, kind, namespace, name, replaces }: ChangeDocumentObject): string {
  const sign = operation === 'delete' ? '-' : replaces === null ? '+' : '~';
  return `${sign}${kind === 'AuthorizationPolicy' ? '' : `${kind}/`}${namespace}/${name}`;
}

/** What a rollout is doing, in one line. */
export function progressOf(change: ChangeObject, now: number): string {
  const { state, rollout, why, appliedRevision } = change;
  switch (state) {
    case 'rolling': {
      if (rollout === null) return 'rolling';
      const { step, steps, percent, chosen, bakeStartedAt, bakeSeconds, observed } = rollout;
      const left = bakeStartedAt === null ? 0 : (Date.parse(bakeStartedAt) - now) / 1000 + bakeSeconds;
      const bakes =
        bakeStartedAt === null
          ? 'waiting for the sidecars'
          : left > 0
            ? `baking, ${span(Math.ceil(left))} left`
            : 'waiting for the last records';
      const sidecars = `${chosen} ${chosen === 1 ? 'sidecar' : 'sidecars'}`;
      const { calls, denials, errors } = observed.chosen;
      const seen = `${calls} calls, ${denials} denied, ${errors} failed`;
      return `step ${step} of ${steps.length}: ${percent}% (${sidecars}), ${bakes}; ${seen}`;
    }
    case 'applied':
      return `applied, as revision ${appliedRevision}`;
    case 'rolled-back':
    case 'rejected':
      return `${state}: ${why ?? 'no reason was given'}`;
    case 'proposed':
    case 'approved':
    case 'expired':
      return state;
  }
}

export function pathOf(revision: number): string {
  return `/v1/policy-changes/${revision}`;
}

/** A number, or the name that `-o name` gives. Throws `usage`. */
export function parseChange(text: string): number {
  return parseNumber(text.replace(/^policy-change\//, ''), 'The change');
}

/** Throws `usage`. */
export function parseNumber(text: string, what: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new AppError('usage', `${what} must be a whole number from 1, not ${JSON.stringify(text)}.`);
}
