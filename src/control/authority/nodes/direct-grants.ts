import type { Clock } from '../../../base/clock.ts';
import type { Watch } from '../../../base/watch.ts';
import { matchEntries } from '../../../core/identity/selectors.ts';
import { controlPlaneId } from '../../../core/identity/spiffe-id.ts';
import type { Entry } from '../entries/entry.ts';
import type { EntrySnapshot } from '../entries/entry-index.ts';
import type { DirectGrant } from './enrollment.ts';

/**
 * What a workload may have that attests directly with the control plane, by its selectors: of the entries whose parent is the
 * control plane, in the order of their ids.
 */
export function directGrants(
  entries: { readonly current: Watch<Pick<EntrySnapshot, 'byParent'>> },
  clock: Pick<Clock, 'now'>,
  trustDomain: string,
): (selectors: readonly string[]) => readonly DirectGrant[] {
  const parent = controlPlaneId(trustDomain).uri;
  return (selectors) => {
    const candidates = entries.current.current.byParent(parent);
    const byId = new Map<string, Entry>(candidates.map((entry) => [entry.id, entry]));
    return matchEntries(candidates, selectors, clock.now()).flatMap((grant) => {
      const entry = byId.get(grant.entry.id);
      return entry === undefined ? [] : [{ ...grant, entry }];
    });
  };
}
