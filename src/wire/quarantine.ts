import type { Quarantine } from '../core/policy/snapshot.ts';
import * as field from './fields.ts';
import type { Quarantine as ProtoQuarantine, Quarantine__Output } from './gen/writ/v1/Quarantine.ts';

/** More than a control plane lets there be: one that sends more is not a list that anybody has made. */
const MAX_IDENTITIES = 10_000;

/** Stands for the snapshot before, where there was none: see `Snapshot.quarantine` in the protocol. */
export const NO_SNAPSHOT: { readonly revision: number; readonly hash: Buffer } = Object.freeze({
  revision: 0,
  hash: Buffer.alloc(32),
});

export function toQuarantine(quarantine: Quarantine): ProtoQuarantine {
  return { revision: field.toU64(quarantine.revision), spiffeIds: [...quarantine.spiffeIds] };
}

export function fromQuarantine(message: Quarantine__Output, path: string): Quarantine {
  return Object.freeze({
    revision: field.u64(message.revision, `${path}.revision`),
    spiffeIds: field.list(message.spiffeIds, `${path}.spiffe_ids`, field.spiffeId, { max: MAX_IDENTITIES }),
  });
}
