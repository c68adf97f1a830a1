import type { ChangeState } from '../../../core/policy/change.ts';
import type { PolicyKey } from '../../../core/policy/kinds.ts';
import type { CallCounts, RolloutBounds } from '../../../core/policy/rollout.ts';

/** One document of a change. */
export interface ChangeDocument extends PolicyKey {
  readonly operation: 'put' | 'delete';
  /** null for a deletion. */
  readonly source: string | null;
  /** The revision of the document that it takes the place of; null where there was none. */
  readonly replaces: number | null;
  /** Its revision in rule ids while it is rolled out. */
  readonly revision: number;
}

/** A set of documents that come into force together. What it says never changes; its state does. */
export interface PolicyChange {
  /** Of the store: its name. */
  readonly revision: number;
  readonly state: ChangeState;
  /** Who proposed it: the name of a token. */
  readonly author: string;
  readonly reason: string;
  /** Milliseconds since the epoch, as all times here. */
  readonly createdAt: number;
  /** When it stops being worth anything, unless it is in force by then. */
  readonly expiresAt: number;
  /** Who agreed; null: nobody yet. */
  readonly approver: string | null;
  /** Why it was rejected or rolled back; else null. */
  readonly why: string | null;
  /** The revision of the policies with which it came into force everywhere; else null. */
  readonly appliedRevision: number | null;
  readonly updatedAt: number;
  readonly documents: readonly ChangeDocument[];
  /** How it is or was rolled out; null where it never was. */
  readonly rollout: Rollout | null;
}

/** Something that happened to a change. */
export interface ChangeEvent {
  readonly time: number;
  /** Name of a token; `writ` for what happens by itself. */
  readonly actor: string;
  readonly action: ChangeAction;
  readonly detail: string;
}

export type ChangeAction =
  | 'proposed'
  | 'approved'
  | 'rejected'
  | 'rollout-started'
  | 'bake-started'
  | 'step'
  | 'applied'
  | 'rolled-back'
  | 'expired';

/** Who acts where nobody asked. No token can have this name: it has no `@` and is refused by `NamedTokens`. */
export const BY_ITSELF = 'writ';

/** What was asked of a rollout. */
export interface RolloutPlan {
  /** Shares of the sidecars that it concerns, in percent: ascending, above 0, the last 100. 1 to 20 of them. */
  readonly steps: readonly number[];
  /** How long each step must hold, in milliseconds: 1 s to 24 h. */
  readonly bakeMs: number;
  readonly bounds: RolloutBounds;
}

export interface Rollout extends RolloutPlan {
  readonly startedBy: string;
  readonly startedAt: number;
  /** Index into `steps`. */
  readonly step: number;
  /** Sidecars whose place (`placeOf`) is below it have the candidate. */
  readonly threshold: number;
  /** How many were chosen when the step began. */
  readonly chosen: number;
  readonly stepStartedAt: number;
  /** When all of them had acknowledged; null: not yet. */
  readonly bakeStartedAt: number | null;
  readonly stepRevision: number;
  readonly observed: Observed;
}

/** What was seen of a step last. */
export interface Observed {
  /** null: nothing yet. */
  readonly at: number | null;
  readonly chosen: CallCounts;
  readonly before: CallCounts;
  readonly others: CallCounts;
}
