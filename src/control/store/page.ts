import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';

export interface Page<T> {
  readonly items: readonly T[];
  /** Pass it back to get what follows; null on the last page. */
  readonly nextCursor: string | null;
}

/** A page, and the revision of the store that everything on it is at least as new as. */
export interface RevisedPage<T> extends Page<T> {
  readonly revision: number;
}

export interface PageRequest {
  /** Items per page, 1 to 500. Default 50. */
  readonly limit?: number | undefined;
  /** `nextCursor` of the page before; absent for the first page. */
  readonly cursor?: string | null | undefined;
}

const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 500;
/** A cursor holds a few short keys; anything longer is not one of ours. */
const MAX_CURSOR_CHARACTERS = 2048;
const MAC_BYTES = 16;
const TIME_BYTES = 6;
const LIFETIME_MS = 24 * 60 * 60 * 1000;

export type CursorKey = string | number;

/** The number of items asked for. Throws `invalid` when it is out of range: silently returning fewer would hide items. */
export function pageLimit(limit: number | undefined): number {
  if (limit === undefined) return DEFAULT_LIMIT;
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw new AppError('invalid', `limit must be a whole number from 1 to ${MAX_LIMIT}.`);
  }
  return limit;
}

/**
 * Keyset cursors: the key of the last item that was shown, authenticated (HMAC-SHA-256), so that a caller cannot make one
 * up and reach keys or listings that it was not given. They are good for 24 hours and hold no secret.
 *
 * `scope` names the listing and its filters: a cursor is good for exactly the listing that it came from.
 */
export class Cursors {
  readonly #key: Buffer;
  readonly #clock: Pick<Clock, 'now'>;

  /** @param key At least 32 random bytes; the same on every replica and after every restart. */
  constructor(key: Buffer, clock: Pick<Clock, 'now'>) {
    this.#key = key;
    this.#clock = clock;
  }

  seal(scope: string, keys: readonly CursorKey[]): string {
    const time = Buffer.alloc(TIME_BYTES);
    time.writeUIntBE(this.#clock.now(), 0, TIME_BYTES);
    const body = Buffer.concat([time, Buffer.from(JSON.stringify(keys), 'utf8')]);
    return Buffer.concat([this.#mac(scope, body), body]).toString('base64url');
  }

  /**
   * The keys that were sealed, or `undefined` for the first page. Throws `invalid-cursor` for anything but our own cursor,
   * and `cursor-expired`.
   */
  open(scope: string, cursor: string | null | undefined): readonly CursorKey[] | undefined {
    if (cursor === null || cursor === undefined) return undefined;
    const bytes = cursor.length <= MAX_CURSOR_CHARACTERS ? Buffer.from(cursor, 'base64url') : Buffer.alloc(0);
    const body = bytes.subarray(MAC_BYTES);
    // Node skips characters that are not base64url: comparing the re-encoding leaves one spelling of each cursor.
    if (
      bytes.length <= MAC_BYTES + TIME_BYTES ||
      bytes.toString('base64url') !== cursor ||
      !timingSafeEqual(bytes.subarray(0, MAC_BYTES), this.#mac(scope, body))
    ) {
      throw new AppError(
        'invalid-cursor',
        'The cursor is not one that this listing returned for these filters. Start again without a cursor.',
      );
    }
    // One from the future comes from a replica whose clock is ahead: it is authentic, and will expire a little later.
    if (this.#clock.now() - body.readUIntBE(0, TIME_BYTES) > LIFETIME_MS) {
      throw new AppError('cursor-expired', 'The cursor is older than 24 hours. Start again without a cursor.');
    }
    return JSON.parse(body.toString('utf8', TIME_BYTES)) as CursorKey[];
  }

  /**
   * Cuts a page out of `rows`, which were read in key order with one row more than `limit`: the extra one only says that
   * there is a next page.
   */
  page<Row>(scope: string, rows: readonly Row[], limit: number, keysOf: (row: Row) => readonly CursorKey[]): Page<Row> {
    const items = rows.slice(0, limit);
    const last = items.at(-1);
    const nextCursor = rows.length > limit && last !== undefined ? this.seal(scope, keysOf(last)) : null;
    return { items, nextCursor };
  }

  #mac(scope: string, body: Buffer): Buffer {
    const scopeBytes = Buffer.from(scope, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(scopeBytes.length);
    // The length keeps scope and body apart.
    const mac = createHmac('sha256', this.#key).update(length).update(scopeBytes).update(body).digest();
    return mac.subarray(0, MAC_BYTES);
  }
}
