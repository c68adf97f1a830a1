import { createHash } from 'node:crypto';

/** Above every place. */
export const EVERYBODY = 2 ** 32;

/**
 * Where a sidecar stands in the order in which a change reaches them: 0 to 2^32 - 1. It is the same on every replica and after
 * every restart, and another one for every change, so that it is not always the same sidecars that try what is new.
 */
export function placeOf(change: number, instanceId: string): number {
  return createHash('sha256').update(`${change} ${instanceId}`).digest().readUInt32BE(0);
}

/**
 * The threshold below which a share of the sidecars stands: at least one of them, and none fewer than before. Those that
 * connect later are where their place puts them.
 *
 * @param percent above 0, at most 100
 * @param before the threshold of the step before; 0 for the first
 */
export function thresholdFor(change: number, instanceIds: readonly string[], percent: number, before: number): number {
  if (percent >= 100) return EVERYBODY;
  const places = instanceIds.map((instanceId) => placeOf(change, instanceId)).sort((a, b) => a - b);
  const count = Math.ceil((percent / 100) * places.length);
  const last = places[count - 1] ?? Math.floor((percent / 100) * EVERYBODY);
  return Math.max(last + 1, before);
}
