import type { Entry } from './entry.ts';

/**
 * How long what is issued by an entry lives: as the entry says, and it ends with the entry, to the second.
 *
 * @param asked what the entry says of this kind of thing; null: nothing
 * @param usual in seconds, where it says nothing
 * @param now milliseconds since the epoch
 */
export function lifetimeBy(
  entry: Pick<Entry, 'expiresAt'>,
  asked: number | null,
  usual: number,
  now: number,
): { readonly ttlSeconds?: number } {
  if (entry.expiresAt === null) return asked === null ? {} : { ttlSeconds: asked };
  const leftSeconds = Math.floor((entry.expiresAt - now) / 1000);
  return { ttlSeconds: Math.max(1, Math.min(asked ?? usual, leftSeconds)) };
}
