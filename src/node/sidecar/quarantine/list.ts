import type { Quarantine } from '../../../core/policy/snapshot.ts';

/** Who is in quarantine, as far as this sidecar has heard. */
export interface QuarantineList {
  /** Of the newest list that the control plane has sent; 0 before the first. */
  readonly revision: number;
  /** SPIFFE IDs. */
  readonly ids: ReadonlySet<string>;
}

export const nobody: QuarantineList = Object.freeze({ revision: 0, ids: new Set<string>() });

/**
 * What is in force once `received` has come. A newer list replaces the one before. An older one comes from a replica of the
 * control plane that is behind, or whose database was restored from a backup: it may know of somebody whom we do not, and cannot
 * know of every release, so it adds to what is in force and releases nobody.
 */
export function merge(current: QuarantineList, received: Quarantine): QuarantineList {
  if (received.revision >= current.revision) {
    return Object.freeze({ revision: received.revision, ids: new Set(received.spiffeIds) });
  }
  return Object.freeze({ revision: current.revision, ids: new Set([...current.ids, ...received.spiffeIds]) });
}
