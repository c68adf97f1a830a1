import { createHash } from 'node:crypto';
import type { Transaction } from 'kysely';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom, uuidv7 } from '../../../base/random.ts';
import { isExpired } from '../../../core/identity/selectors.ts';
import { isTemplate } from '../../../core/identity/template.ts';
import type { PageRequest, RevisedPage } from '../../store/page.ts';
import { pageLimit } from '../../store/page.ts';
import type { WriteOptions } from '../../store/rehearse.ts';
import { writer } from '../../store/rehearse.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import type { Entry } from '../entries/entry.ts';
import { toEntry } from '../entries/entry.ts';
import type { Claim } from '../nodes/node-rows.ts';

/** What is known about a join token; the token itself is shown once, when it is created. */
export interface JoinToken {
  readonly id: string;
  /** The entry whose identity it buys; null: that of an agent, which is named after the token. */
  readonly entryId: string | null;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** null while it can still be used, as far as its expiry allows. */
  readonly usedAt: number | null;
}

export interface CreatedJoinToken extends JoinToken {
  /** `wjt_` and 43 characters of base64url. A secret; it cannot be shown again. */
  readonly token: string;
}

export interface CreateJoinToken {
  /** null for an agent. */
  readonly entryId: string | null;
  /** 1 to 86,400. Default 600. */
  readonly ttlSeconds?: number | undefined;
}

export interface CreateOptions extends WriteOptions {
  /** Stores something together with the token, or neither. */
  readonly alongside?: ((trx: Transaction<Tables>, made: CreatedJoinToken) => Promise<void>) | undefined;
}

export interface JoinTokensOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random?: RandomBytes;
}

const DEFAULT_TTL_SECONDS = 600;
const MAX_TTL_SECONDS = 86_400;
const TOKEN_PREFIX = 'wjt_';
const TOKEN_BYTES = 32;
/** Attacker-controlled: nothing longer is hashed. */
const MAX_TOKEN_CHARACTERS = 256;
/** Used and expired tokens stay listed for a day, so that people can see what became of them. */
const KEEP_MS = 24 * 60 * 60 * 1000;

/** A token that can be used now. */
export interface UsableJoinToken {
  readonly id: string;
  /** Absent for an agent. */
  readonly entry?: Entry;
}

/**
 * Single-use, expiring secrets, each of which buys one identity once: that of an entry, or that of an agent. Only their
 * SHA-256 is stored.
 */
export class JoinTokens {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: RandomBytes;

  constructor(options: JoinTokensOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random ?? secureRandom;
  }

  /**
   * Throws `invalid`, also for an entry that has no identity of its own (a template), or `not-found` when there is no such entry.
   * The token of a dry run is worth nothing.
   */
  async create(input: CreateJoinToken, options: CreateOptions = {}): Promise<CreatedJoinToken> {
    const ttlSeconds = input.ttlSeconds ?? DEFAULT_TTL_SECONDS;
    if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
      throw new AppError('invalid', `ttlSeconds must be a whole number from 1 to ${MAX_TTL_SECONDS}.`);
    }
    const now = this.#clock.now();
    const token = TOKEN_PREFIX + this.#random(TOKEN_BYTES).toString('base64url');
    const row = {
      id: uuidv7(this.#clock, this.#random),
      token_hash: hashOf(token),
      entry_id: input.entryId,
      created_at: now,
      expires_at: now + ttlSeconds * 1000,
      used_at: null,
    };
    const made = Object.freeze({ ...toJoinToken(row), token });
    await writer(this.#store, options).transaction(async (trx) => {
      if (input.entryId !== null) await checkEntry(trx, input.entryId);
      await trx
        .deleteFrom('join_tokens')
        .where('expires_at', '<', now - KEEP_MS)
        .execute();
      await trx.insertInto('join_tokens').values(row).execute();
      await options.alongside?.(trx, made);
    });
    return made;
  }

  /** Oldest first. Throws `invalid` for a bad limit, `invalid-cursor`, `cursor-expired`. */
  async list(request: PageRequest = {}): Promise<RevisedPage<JoinToken>> {
    const limit = pageLimit(request.limit);
    const revision = this.#store.revision.current;
    const [after] = this.#store.cursors.open('join-tokens', request.cursor) ?? [];
    let query = this.#store.db.selectFrom('join_tokens').select(columns);
    if (after !== undefined) query = query.where('id', '>', String(after));
    const rows = await query
      .orderBy('id')
      .limit(limit + 1)
      .execute();
    const page = this.#store.cursors.page('join-tokens', rows, limit, (row) => [row.id]);
    return { items: page.items.map(toJoinToken), nextCursor: page.nextCursor, revision };
  }

  /** The token is worth nothing any more. Returns what it was. Throws `not-found`. */
  async delete(id: string, options: WriteOptions = {}): Promise<JoinToken> {
    const deleted = await writer(this.#store, options).transaction((trx) =>
      trx.deleteFrom('join_tokens').where('id', '=', id).returning(columns).executeTakeFirst(),
    );
    if (deleted === undefined) throw new AppError('not-found', 'There is no join token with this id.');
    return toJoinToken(deleted);
  }

  /**
   * The token, if it can be used now; `use` says whether it still can. Unknown, used and expired are the same
   * `join-token-refused`, so that trying tokens tells nothing. Lookup is by hash: comparing takes no longer for a token that is
   * nearly right.
   */
  async find(token: string): Promise<UsableJoinToken> {
    if (token.length > MAX_TOKEN_CHARACTERS) throw refused();
    const found = await this.#store.db
      .selectFrom('join_tokens')
      .select(['id', 'entry_id'])
      .where('token_hash', '=', hashOf(token))
      .where('used_at', 'is', null)
      .where('expires_at', '>', this.#clock.now())
      .executeTakeFirst();
    if (found === undefined) throw refused();
    const { id, entry_id: entryId } = found;
    if (entryId === null) return { id };
    const row = await this.#store.db.selectFrom('entries').selectAll().where('id', '=', entryId).executeTakeFirst();
    if (row === undefined) throw refused();
    const entry = toEntry(row);
    if (isExpired(entry, this.#clock.now())) throw refused();
    return { id, entry };
  }

  /**
   * Uses the token up, as part of a transaction. However many callers present the same token at the same time, on however many
   * replicas, for exactly one this does not throw `join-token-refused`.
   */
  use(id: string): Claim {
    return async (trx) => {
      const now = this.#clock.now();
      const used = await trx
        .updateTable('join_tokens')
        .set({ used_at: now })
        .where('id', '=', id)
        .where('used_at', 'is', null)
        .where('expires_at', '>', now)
        .returning('id')
        .executeTakeFirst();
      if (used === undefined) throw refused();
    };
  }

  /** Undoes `use` for whoever got nothing for the token. */
  restore(id: string): Claim {
    return (trx) => trx.updateTable('join_tokens').set({ used_at: null }).where('id', '=', id).execute();
  }
}

/** A template has no identity before its variables have values, and a token brings none. */
async function checkEntry(trx: Transaction<Tables>, id: string): Promise<void> {
  const entry = await trx.selectFrom('entries').select('spiffe_id').where('id', '=', id).executeTakeFirst();
  if (entry === undefined) throw new AppError('not-found', 'There is no entry with this id to join as.');
  if (isTemplate(entry.spiffe_id)) {
    throw new AppError(
      'invalid',
      'The SPIFFE ID of this entry has variables, and a join token has no values for them.',
    );
  }
}

/** All but the hash of the token. */
const columns = ['id', 'entry_id', 'created_at', 'expires_at', 'used_at'] as const;

interface JoinTokenRow {
  readonly id: string;
  readonly entry_id: string | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly used_at: number | null;
}

function toJoinToken(row: JoinTokenRow): JoinToken {
  return Object.freeze({
    id: row.id,
    entryId: row.entry_id,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    usedAt: row.used_at,
  });
}

function hashOf(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('hex');
}

function refused(): AppError {
  return new AppError(
    'join-token-refused',
    'The join token is not known, or was used, or has expired. Ask for a new one: each is good for one enrollment.',
  );
}
