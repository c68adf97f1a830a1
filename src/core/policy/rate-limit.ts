import type { StringMatch } from './model.ts';

/** How many calls a workload lets in. Frozen values only. */
export interface RateLimit {
  readonly namespace: string;
  readonly name: string;
  /** As of a policy. */
  readonly revision: number;
  readonly selector: Readonly<Record<string, string>>;
  /** Of all callers together. */
  readonly total?: Rate;
  /** Of each caller that no override names. */
  readonly perSource?: Rate;
  /** The first that matches a caller holds for it, instead of `perSource`. */
  readonly overrides: readonly RateOverride[];
}

export interface Rate {
  /** Calls let in for each period; at most this many at once. */
  readonly requests: number;
  readonly periodMs: number;
}

export interface RateOverride {
  /** As in a policy's `from`. */
  readonly principals: readonly StringMatch[];
  readonly rate: Rate;
}
