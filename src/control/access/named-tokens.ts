import { createHash } from 'node:crypto';
import type { Selectable, Transaction } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import type { Role } from '../../core/identity/roles.ts';
import { isRole, roles } from '../../core/identity/roles.ts';
import type { PageRequest, RevisedPage } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import type { WriteOptions } from '../store/rehearse.ts';
import { writer } from '../store/rehearse.ts';
import type { Store } from '../store/store.ts';
import type { AdminTokensTable, Tables } from '../store/tables.ts';
import type { Administrator } from './tokens.ts';
import { BOOTSTRAP } from './tokens.ts';

/** A token as lists show it: everything but the token. */
export interface NamedToken {
  readonly id: string;
  /** Who its holder is. One may have several tokens, and is then still one. */
  readonly name: string;
  readonly role: Role;
  /** Milliseconds since the epoch, as all times here. */
  readonly createdAt: number;
  readonly expiresAt: number;
  /** To the minute; null: never. */
  readonly lastUsedAt: number | null;
}

export interface CreatedToken extends NamedToken {
  /** Shown once; only its hash is stored. */
  readonly token: string;
}

export interface CreateToken {
  /** 1 to 63 lower-case letters, digits and `-._@`, so that no two names look alike but for their case. Not `admin`, `writ` or `control-plane`. */
  readonly name: string;
  /** Default `admin`. */
  readonly role?: Role | undefined;
  /** Seconds it can be used, 60 to 7,776,000 (90 days). */
  readonly ttlSeconds: number;
  /** Who asks for it. Only the bootstrap token makes others. */
  readonly by: string;
}

export interface CreateTokenOptions extends WriteOptions {
  /** Part of the same transaction. */
  readonly alongside?: ((trx: Transaction<Tables>, made: CreatedToken) => Promise<void>) | undefined;
}

export interface NamedTokensOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random?: RandomBytes;
  /** Tokens at a time. Default 1,000. */
  readonly maxTokens?: number;
}

const MIN_TTL_SECONDS = 60;
const MAX_TTL_SECONDS = 90 * 24 * 60 * 60;
/** How long an expired one is still listed. */
const KEEP_MS = 7 * 24 * 60 * 60 * 1000;
/** Being used is written down at most this often: a read of the API must not become a write each time. */
const USE_EVERY_MS = 60_000;
const MAX_TOKENS = 1_000;
/** In histories and records they stand for what the control plane does by itself, and for the token in its data directory. */
const reservedNames: readonly string[] = [BOOTSTRAP, 'writ', 'control-plane'];
const namePattern = /^[a-z0-9]([-a-z0-9._@]{0,61}[a-z0-9])?$/;

/**
 * Administrators by name: who each change is by, and with which role. None of them may make tokens, which only the token in the
 * data directory may: otherwise one person could be as many as they like. A token is 32 random bytes, expires, and is
 * stored as its SHA-256 only.
 */
export class NamedTokens {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: RandomBytes;
  readonly #maxTokens: number;

  constructor(options: NamedTokensOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random ?? secureRandom;
    this.#maxTokens = options.maxTokens ?? MAX_TOKENS;
  }

  /** Throws `forbidden`, `invalid`, and `exhausted` when there are too many. The token of a dry run is worth nothing. */
  async create(input: CreateToken, options: CreateTokenOptions = {}): Promise<CreatedToken> {
    if (input.by !== BOOTSTRAP) {
      throw new AppError(
        'forbidden',
        'Only the admin token of the data directory makes tokens: whoever could make them could be several people.',
      );
    }
    checkName(input.name);
    checkTtl(input.ttlSeconds);
    const role = input.role ?? 'admin';
    if (!isRole(role)) throw new AppError('invalid', `The role must be one of ${roles.join(', ')}.`);
    const now = this.#clock.now();
    const token = `writ_${this.#random(32).toString('base64url')}`;
    const row = {
      id: uuidv7(this.#clock, this.#random),
      name: input.name,
      token_hash: hashOf(token),
      created_at: now,
      expires_at: now + input.ttlSeconds * 1000,
      last_used_at: null,
      role,
    };
    const made = Object.freeze({ ...toNamedToken(row), token });
    await writer(this.#store, options).transaction(async (trx) => {
      await trx
        .deleteFrom('admin_tokens')
        .where('expires_at', '<', now - KEEP_MS)
        .execute();
      await this.#checkRoom(trx);
      await trx.insertInto('admin_tokens').values(row).execute();
      await options.alongside?.(trx, made);
    });
    return made;
  }

  /** Oldest first. Throws `invalid` for a bad limit, `invalid-cursor`, `cursor-expired`. */
  async list(request: PageRequest = {}): Promise<RevisedPage<NamedToken>> {
    const limit = pageLimit(request.limit);
    const revision = this.#store.revision.current;
    const [after] = this.#store.cursors.open('admin-tokens', request.cursor) ?? [];
    let query = this.#store.db.selectFrom('admin_tokens').select(columns);
    if (after !== undefined) query = query.where('id', '>', String(after));
    const rows = await query
      .orderBy('id')
      .limit(limit + 1)
      .execute();
    const page = this.#store.cursors.page('admin-tokens', rows, limit, (row) => [row.id]);
    return { items: page.items.map(toNamedToken), nextCursor: page.nextCursor, revision };
  }

  /** Throws `not-found`. */
  async get(id: string): Promise<NamedToken> {
    const row = await this.#store.db.selectFrom('admin_tokens').select(columns).where('id', '=', id).executeTakeFirst();
    if (row === undefined) throw new AppError('not-found', 'There is no token with this id.');
    return toNamedToken(row);
  }

  /**
   * From now on it is worth nothing. Everybody may revoke their own, the bootstrap token all. Throws `not-found`, also for one
   * of somebody else.
   */
  async revoke(id: string, by: string, options: WriteOptions = {}): Promise<NamedToken> {
    const revoked = await writer(this.#store, options).transaction((trx) => {
      const all = trx.deleteFrom('admin_tokens').where('id', '=', id);
      return (by === BOOTSTRAP ? all : all.where('name', '=', by)).returning(columns).executeTakeFirst();
    });
    if (revoked === undefined) throw new AppError('not-found', 'You have no token with this id.');
    return toNamedToken(revoked);
  }

  /** Found by its hash: how long that takes tells nothing of a token that is nearly right. `undefined`: unknown, revoked or expired. */
  async authenticate(presented: string): Promise<Administrator | undefined> {
    const now = this.#clock.now();
    const row = await this.#store.db
      .selectFrom('admin_tokens')
      .select(['id', 'name', 'role', 'last_used_at'])
      .where('token_hash', '=', hashOf(presented))
      .where('expires_at', '>', now)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    if (row.last_used_at === null || now - row.last_used_at >= USE_EVERY_MS) await this.#used(row.id, now);
    return Object.freeze({ name: row.name, role: roleOf(row.role), credential: row.id });
  }

  async #used(id: string, now: number): Promise<void> {
    await this.#store.transaction((trx) =>
      trx.updateTable('admin_tokens').set({ last_used_at: now }).where('id', '=', id).execute(),
    );
  }

  async #checkRoom(trx: Transaction<Tables>): Promise<void> {
    const { count } = await trx
      .selectFrom('admin_tokens')
      .select((eb) => eb.fn.countAll().as('count'))
      .executeTakeFirstOrThrow();
    if (Number(count) < this.#maxTokens) return;
    throw new AppError('exhausted', `There are ${this.#maxTokens} tokens already. Revoke those that nobody uses.`);
  }
}

const columns = ['id', 'name', 'role', 'created_at', 'expires_at', 'last_used_at'] as const;

function toNamedToken(row: Pick<Selectable<AdminTokensTable>, (typeof columns)[number]>): NamedToken {
  return Object.freeze({
    id: row.id,
    name: row.name,
    role: roleOf(row.role),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
  });
}

/** One of a later version, which this one does not know, may do the least. */
function roleOf(stored: string): Role {
  return isRole(stored) ? stored : 'viewer';
}

function checkName(name: string): void {
  if (!reservedNames.includes(name) && namePattern.test(name)) return;
  throw new AppError(
    'invalid',
    `The name must be 1 to 63 lower-case letters, digits and -._@, beginning and ending with a letter or digit, and not ${reservedNames.join(', ')}.`,
  );
}

function checkTtl(seconds: number): void {
  if (Number.isInteger(seconds) && seconds >= MIN_TTL_SECONDS && seconds <= MAX_TTL_SECONDS) return;
  throw new AppError(
    'invalid',
    `ttlSeconds must be a whole number from ${MIN_TTL_SECONDS} to ${MAX_TTL_SECONDS} (90 days).`,
  );
}

function hashOf(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('hex');
}
