import type { Policy } from './model.ts';

/**
 * The moments at which what policies decide may change by itself, ascending, in milliseconds since the epoch: where a validity
 * begins or ends. Policies that decide nothing (AUDIT, shadow) have none.
 */
export function boundariesOf(policies: readonly Policy[]): readonly number[] {
  const moments = new Set<number>();
  for (const { action, shadow, validity } of policies) {
    if (action === 'AUDIT' || shadow === true || validity === undefined) continue;
    for (const moment of [validity.notBefore, validity.notAfter]) if (moment !== undefined) moments.add(moment);
  }
  return Object.freeze([...moments].sort((a, b) => a - b));
}
