/**
 * - `proposed`: written down; in force nowhere.
 * - `approved`: somebody else has agreed.
 * - `rolling`: in force for a share of the sidecars that grows.
 * - `applied`: in force everywhere. From then on its documents are policies like any others.
 * - `rejected`, `expired`: it never came into force.
 * - `rolled-back`: it was in force somewhere, and is not any more.
 */
export const changeStates = Object.freeze([
  'proposed',
  'approved',
  'rolling',
  'applied',
  'rejected',
  'rolled-back',
  'expired',
] as const);
export type ChangeState = (typeof changeStates)[number];

/** Where a proposal or a rollout says nothing else. */
export const changeDefaults = Object.freeze({
  /** Percent of the sidecars. */
  steps: Object.freeze([1, 10, 50, 100]),
  bakeMs: 2 * 60_000,
  bounds: Object.freeze({ denials: 0.01, errors: 0.01 }),
  expiresInSeconds: 7 * 24 * 60 * 60,
});
