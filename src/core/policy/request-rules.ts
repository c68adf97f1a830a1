import type { Workload } from './model.ts';
import type { RequestAuthentication } from './request-authentication.ts';
import { selects } from './selects.ts';

/** Those that apply to one workload, all of them together (reference: rule 49), by namespace and name. */
export function requestAuthenticationsFor(
  workload: Workload,
  all: readonly RequestAuthentication[],
  rootNamespace: string,
): readonly RequestAuthentication[] {
  return all
    .filter((one) => one.rules.length > 0 && selects(one, workload, rootNamespace))
    .toSorted((a, b) => compareText(a.namespace, b.namespace) || compareText(a.name, b.name));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
