import { timingSafeEqual } from 'node:crypto';
import type { Selectable, Transaction } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { Store } from '../store/store.ts';
import type { IdempotencyKeysTable, Tables } from '../store/tables.ts';
import type { Presented, RowKeys } from './idempotency-seal.ts';
import { deriveRowKeys, hashKey, macRequest, openAnswer, sealAnswer } from './idempotency-seal.ts';

export interface IdempotentRequest extends Presented {
  /** What must be the same for it to be the same request: method, path, body. */
  readonly parts: readonly string[];
}

/** Either the first answer, or the right to carry the request out. */
export type Begun =
  | { readonly state: 'answered'; readonly answer: string }
  | { readonly state: 'claimed'; readonly claim: Claim };

export interface Claim {
  /**
   * Stores the answer in the transaction of the change itself: both are there or neither, whenever the process ends. Throws
   * `idempotency-in-flight` when another request took over meanwhile; the change must then be rolled back.
   */
  complete(trx: Transaction<Tables>, answer: string): Promise<void>;
  /** Frees the key after a failure, which changed nothing. Does nothing once an answer is stored. */
  release(): Promise<void>;
}

export interface IdempotencyOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random?: RandomBytes;
  /** Keys of one caller at a time. Default 10,000. */
  readonly maxKeys?: number;
}

const KEEP_MS = 24 * 60 * 60 * 1000;
/** A claim outlives its process by at most this; one that lasts longer may be taken over, and cannot complete any more. */
const CLAIM_MS = 60_000;
const MAX_KEYS = 10_000;
const MAX_ANSWER_CHARACTERS = 64 * 1024;
const keyPattern = /^[\x21-\x7e]{1,255}$/;

/**
 * Requests that may be repeated without being carried out twice (draft-ietf-httpapi-idempotency-key-header): what the first one
 * was answered is kept for 24 hours, sealed (`idempotency-seal.ts`). Failures are not kept: they changed nothing.
 */
export class IdempotencyKeys {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: RandomBytes;
  readonly #maxKeys: number;

  constructor(options: IdempotencyOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random ?? secureRandom;
    this.#maxKeys = options.maxKeys ?? MAX_KEYS;
  }

  /**
   * Throws `invalid` for a key that is none, `idempotency-mismatch` when it was used for another request or with another token,
   * `idempotency-in-flight`, and `exhausted` when the caller has too many keys.
   */
  async begin(request: IdempotentRequest): Promise<Begun> {
    if (!keyPattern.test(request.key))
      throw new AppError('invalid', 'Idempotency-Key must be 1 to 255 visible ASCII characters.');
    const fresh = { salt: this.#random(16), claim: this.#random(16).toString('base64url') };
    const id = { caller: request.caller, key_hash: hashKey(request.key) };
    return await this.#store.transaction(async (trx) => {
      const now = this.#clock.now();
      await trx.deleteFrom('idempotency_keys').where('expires_at', '<=', now).execute();
      const row = await trx
        .selectFrom('idempotency_keys')
        .selectAll()
        .where('caller', '=', id.caller)
        .where('key_hash', '=', id.key_hash)
        .executeTakeFirst();
      const claimed = { claim: fresh.claim, claimed_until: now + CLAIM_MS };
      if (row !== undefined) {
        const found = check(request, row, now);
        if ('answer' in found) return { state: 'answered', answer: found.answer };
        await trx
          .updateTable('idempotency_keys')
          .set(claimed)
          .where('caller', '=', id.caller)
          .where('key_hash', '=', id.key_hash)
          .execute();
        return { state: 'claimed', claim: this.#claim(id, fresh.claim, found) };
      }
      await this.#checkRoom(trx, request.caller);
      const sealing = sealingOf(request, fresh.salt);
      await trx
        .insertInto('idempotency_keys')
        .values({
          ...id,
          ...claimed,
          salt: fresh.salt.toString('base64'),
          request_mac: sealing.request.toString('base64'),
          answer: null,
          expires_at: now + KEEP_MS,
        })
        .execute();
      return { state: 'claimed', claim: this.#claim(id, fresh.claim, sealing) };
    });
  }

  #claim(id: RowId, claim: string, { keys, request }: Sealing): Claim {
    return {
      complete: async (trx, answer) => {
        if (answer.length > MAX_ANSWER_CHARACTERS)
          throw new AppError('internal', 'The answer is too long to be kept for its Idempotency-Key.');
        const sealed = sealAnswer(keys, this.#random(12), answer, request);
        const { numUpdatedRows } = await trx
          .updateTable('idempotency_keys')
          .set({ answer: sealed })
          .where('caller', '=', id.caller)
          .where('key_hash', '=', id.key_hash)
          .where('claim', '=', claim)
          .where('answer', 'is', null)
          .executeTakeFirst();
        if (numUpdatedRows !== 1n) throw inFlight(1);
      },
      release: async () => {
        await this.#store.transaction((trx) =>
          trx
            .deleteFrom('idempotency_keys')
            .where('caller', '=', id.caller)
            .where('key_hash', '=', id.key_hash)
            .where('claim', '=', claim)
            .where('answer', 'is', null)
            .execute(),
        );
      },
    };
  }

  async #checkRoom(trx: Transaction<Tables>, caller: string): Promise<void> {
    const { count } = await trx
      .selectFrom('idempotency_keys')
      .select((eb) => eb.fn.countAll().as('count'))
      .where('caller', '=', caller)
      .executeTakeFirstOrThrow();
    if (Number(count) < this.#maxKeys) return;
    throw new AppError(
      'exhausted',
      `${this.#maxKeys} idempotency keys of yours are kept already, each for 24 hours. Send requests without one, or wait.`,
      { retryAfterSeconds: 600 },
    );
  }
}

type Row = Selectable<IdempotencyKeysTable>;
type RowId = Pick<Row, 'caller' | 'key_hash'>;

interface Sealing {
  readonly keys: RowKeys;
  /** What tells whether another request is the same one. */
  readonly request: Buffer;
}

function sealingOf(request: IdempotentRequest, salt: Buffer): Sealing {
  const keys = deriveRowKeys(request, salt);
  return { keys, request: macRequest(keys, request.parts) };
}

/** The first answer; or nobody is at it any more, and it may be claimed again. */
function check(request: IdempotentRequest, row: Row, now: number): { readonly answer: string } | Sealing {
  const sealing = sealingOf(request, Buffer.from(row.salt, 'base64'));
  const before = Buffer.from(row.request_mac, 'base64');
  // Under another token it cannot be told whether the request is the same: to carry it out might be to do it twice.
  if (before.length !== sealing.request.length || !timingSafeEqual(before, sealing.request)) throw mismatch();
  if (row.answer !== null) {
    const answer = openAnswer(sealing.keys, row.answer, sealing.request);
    if (answer === undefined)
      throw new AppError('incompatible-data', 'The answer kept for this Idempotency-Key is damaged. Use a new key.');
    return { answer };
  }
  if (row.claimed_until > now) throw inFlight(Math.ceil((row.claimed_until - now) / 1000));
  return sealing;
}

function mismatch(): AppError {
  return new AppError(
    'idempotency-mismatch',
    'This Idempotency-Key was used for another request, or with another token, less than 24 hours ago. Use a new key.',
  );
}

function inFlight(seconds: number): AppError {
  return new AppError(
    'idempotency-in-flight',
    'A request with this Idempotency-Key is being carried out. Repeat yours a little later to get its answer.',
    { retryAfterSeconds: Math.min(seconds, 5) },
  );
}
