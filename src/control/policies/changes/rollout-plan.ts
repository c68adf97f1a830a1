import { AppError } from '../../../base/errors.ts';
import type { RolloutPlan } from './change.ts';

const MAX_STEPS = 20;
const MIN_BAKE_MS = 1_000;
const MAX_BAKE_MS = 24 * 60 * 60 * 1000;

/** Throws `invalid`. */
export function checkRolloutPlan(plan: RolloutPlan): RolloutPlan {
  const { steps, bakeMs, bounds } = plan;
  if (steps.length < 1 || steps.length > MAX_STEPS) {
    throw new AppError('invalid', `A rollout has 1 to ${MAX_STEPS} steps, not ${steps.length}.`);
  }
  const ascends = steps.every((step, i) => Number.isFinite(step) && step > (steps[i - 1] ?? 0) && step <= 100);
  if (!ascends || steps.at(-1) !== 100) {
    throw new AppError(
      'invalid',
      `The steps must be percentages that grow and end at 100, such as 1, 10, 50, 100; not ${steps.join(', ')}.`,
    );
  }
  if (!Number.isInteger(bakeMs) || bakeMs < MIN_BAKE_MS || bakeMs > MAX_BAKE_MS) {
    throw new AppError('invalid', 'A step bakes for 1 second to 24 hours.');
  }
  for (const bound of [bounds.denials, bounds.errors]) {
    if (!(bound >= 0 && bound <= 1)) throw new AppError('invalid', 'A bound is a share from 0 to 100 %.');
  }
  return plan;
}
