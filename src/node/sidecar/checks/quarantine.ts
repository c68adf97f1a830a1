import type { Problem } from '../problem.ts';
import type { QuarantineList } from '../quarantine/list.ts';

/** Stands where the rule of a policy would, with the revision of the list. */
export function quarantineRule(list: QuarantineList): string {
  return `quarantine@${list.revision}`;
}

/** The first of these identities that is in quarantine. */
export function quarantinedOf(list: QuarantineList, parties: readonly string[]): string | undefined {
  if (list.ids.size === 0) return undefined;
  return parties.find((party) => list.ids.has(party));
}

/** What is said of a call that one who is in quarantine has a part in. Not why: that is on the record of the control plane. */
export function quarantined(list: QuarantineList, party: string): Problem {
  return {
    status: 403,
    code: 'forbidden',
    reason: 'quarantined',
    rule: quarantineRule(list),
    detail: `${party} is in quarantine: its calls are refused, and calls to it, until an operator releases it.`,
  };
}
