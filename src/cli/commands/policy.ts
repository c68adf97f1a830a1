import type { Command } from 'commander';
import type { World } from '../world.ts';
import { addAnalyze } from './policy-analyze.ts';
import { addChanges } from './policy-changes.ts';
import { addCheck } from './policy-check.ts';
import { addHistory, addPolicyDiff, addRollback } from './policy-history.ts';
import { addPlan } from './policy-plan.ts';
import { addSuggest } from './policy-suggest.ts';
import { addTest } from './policy-test.ts';

/** @param denied called when the verdict is deny, or a diff is not empty: the command did its work, and its exit status says so. */
export function addPolicy(program: Command, world: World, denied: (code?: number) => void): void {
  const policy = program.command('policy').description('Ask what policy would decide, and how it came to be.');
  addHistory(policy, world);
  addAnalyze(policy, world, denied);
  addPolicyDiff(policy, world, () => denied());
  addRollback(policy, world, denied);
  addChanges(policy, world, denied);
  addCheck(policy, world, () => denied());
  addPlan(policy, world, () => denied());
  addTest(policy, world, () => denied());
  addSuggest(policy, world);
}
