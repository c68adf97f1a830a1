import type { DecisionReason } from '../../../core/policy/model.ts';

/** Why a call was cut off that had been let in. */
export interface Cut {
  readonly reason: DecisionReason;
  readonly rule: string;
  /** Of the policies, or of the quarantine, that does not allow it any more. */
  readonly revision: number;
}

/** One call that was let in and is not over. */
export class LiveCall<Facts> {
  /** What it is decided by. */
  readonly facts: Facts;
  /** SPIFFE IDs of all who have a part in it. */
  readonly parties: readonly string[];
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  #cut: Cut | undefined;
  #end: (() => void) | undefined;

  constructor(o: { readonly facts: Facts; readonly parties: readonly string[]; readonly startedAt: number }) {
    this.facts = o.facts;
    this.parties = o.parties;
    this.startedAt = o.startedAt;
  }

  /** Why it was cut off; undefined as long as it was not. */
  get wasCut(): Cut | undefined {
    return this.#cut;
  }

  /** Says how it is ended, by whoever carries it; at once if it was cut off before anybody did. */
  onCut(end: () => void): void {
    if (this.#cut !== undefined) end();
    else this.#end = end;
  }

  /** The first reason stays. */
  cut(why: Cut): void {
    if (this.#cut !== undefined) return;
    this.#cut = why;
    this.#end?.();
    this.#end = undefined;
  }
}
