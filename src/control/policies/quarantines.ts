import type { Transaction } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import { controlPlaneId, parseSpiffeId } from '../../core/identity/spiffe-id.ts';
import type { Recorder } from '../ledger/recorder.ts';
import type { PageRequest, RevisedPage } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import type { WriteOptions } from '../store/rehearse.ts';
import { writer } from '../store/rehearse.ts';
import type { Store } from '../store/store.ts';
import type { QuarantinesTable, Tables } from '../store/tables.ts';

/** An identity that is cut off, or was. */
export interface QuarantineRecord {
  /** UUIDv7. */
  readonly id: string;
  readonly spiffeId: string;
  readonly reason: string;
  /** Name of the administrator. */
  readonly author: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** Store revision of its last change: sidecars that have the list of this one, or a later one, obey it. */
  readonly revision: number;
  /** Null while it is in force. */
  readonly released: { readonly reason: string; readonly author: string; readonly at: number } | null;
}

/** Who does it, from where, and why. */
export interface QuarantineWrite extends WriteOptions {
  /** One line, up to 1,024 characters. */
  readonly reason: string;
  /** Name of the administrator. */
  readonly actor: string;
  /** Network address. Default none. */
  readonly source?: string | undefined;
}

export interface QuarantineFilter extends PageRequest {
  /** Default: only those in force. */
  readonly released?: boolean | undefined;
}

export interface QuarantinesOptions {
  readonly store: Store;
  readonly trustDomain: string;
  readonly clock: Clock;
  /** Told of every change before it is there; while it cannot record, nothing changes. */
  readonly recorder: Recorder;
  readonly random?: RandomBytes;
}

/**
 * At a time. Every sidecar holds all of them, and each is pushed with all the others: with more, what is wanted is to taint the
 * root that has issued them (`writ ca taint`).
 */
export const MAX_QUARANTINED = 1000;
const MAX_REASON_CHARACTERS = 1024;
const SCOPE = 'quarantines';

/** Which identities are cut off from the mesh, as operators have decided it. Each change is one revision of the store. */
export class Quarantines {
  readonly #o: QuarantinesOptions;

  constructor(o: QuarantinesOptions) {
    this.#o = o;
  }

  /**
   * Cuts an identity off, of whatever trust domain. One that is in quarantine stays there with the reason that it has. Throws
   * `invalid` for what is no SPIFFE ID or is the control plane's own, `exhausted` when there are too many.
   */
  async put(
    spiffeId: string,
    write: QuarantineWrite,
  ): Promise<{ readonly quarantine: QuarantineRecord; readonly created: boolean }> {
    const id = parseSpiffeId(spiffeId);
    if (id.path === '') throw new AppError('invalid', 'This is the name of a trust domain. Name one identity in it.');
    if (id.uri === controlPlaneId(this.#o.trustDomain).uri) {
      throw new AppError(
        'invalid',
        'The control plane itself cannot be put into quarantine: taint its authority instead.',
      );
    }
    const reason = checkReason(write.reason);
    const { clock, random } = this.#o;
    const store = writer(this.#o.store, write);
    return await store.transaction(async (trx) => {
      const inForce = await readInForce(trx, id.uri);
      if (inForce !== undefined) return { quarantine: toRecord(inForce), created: false };
      await refuseTooMany(trx);
      const row: QuarantinesTable = {
        id: uuidv7(clock, random ?? secureRandom),
        spiffe_id: id.uri,
        reason,
        author: write.actor,
        created_at: clock.now(),
        release_reason: null,
        released_by: null,
        released_at: null,
        revision: await store.nextRevision(trx),
      };
      await trx.insertInto('quarantines').values(row).execute();
      await this.#record('quarantine.put', row, reason, write);
      return { quarantine: toRecord(row), created: true };
    });
  }

  /** Lets an identity in again. One that has been released stays as it is. Throws `not-found`. */
  async release(id: string, write: QuarantineWrite): Promise<QuarantineRecord> {
    const reason = checkReason(write.reason);
    const store = writer(this.#o.store, write);
    return await store.transaction(async (trx) => {
      const before = await trx.selectFrom('quarantines').selectAll().where('id', '=', id).executeTakeFirst();
      if (before === undefined) throw notFound();
      if (before.released_at !== null) return toRecord(before);
      const row: QuarantinesTable = {
        ...before,
        release_reason: reason,
        released_by: write.actor,
        released_at: this.#o.clock.now(),
        revision: await store.nextRevision(trx),
      };
      await trx.updateTable('quarantines').set(row).where('id', '=', id).execute();
      await this.#record('quarantine.release', row, reason, write);
      return toRecord(row);
    });
  }

  /** Throws `not-found`. */
  async get(id: string): Promise<QuarantineRecord> {
    const row = await this.#o.store.db.selectFrom('quarantines').selectAll().where('id', '=', id).executeTakeFirst();
    if (row === undefined) throw notFound();
    return toRecord(row);
  }

  /** The newest first. */
  async list(filter: QuarantineFilter = {}): Promise<RevisedPage<QuarantineRecord>> {
    const { store } = this.#o;
    const limit = pageLimit(filter.limit);
    const scope = `${SCOPE} ${filter.released === true}`;
    const [before] = store.cursors.open(scope, filter.cursor) ?? [];
    const revision = store.revision.current;
    let query = store.db.selectFrom('quarantines').selectAll();
    // The ids grow with time.
    if (before !== undefined) query = query.where('id', '<', String(before));
    query = query.where('released_at', filter.released === true ? 'is not' : 'is', null);
    const rows = await query
      .orderBy('id', 'desc')
      .limit(limit + 1)
      .execute();
    const page = store.cursors.page(scope, rows, limit, (row) => [row.id]);
    return { items: page.items.map(toRecord), nextCursor: page.nextCursor, revision };
  }

  async #record(
    action: 'quarantine.put' | 'quarantine.release',
    row: QuarantinesTable,
    reason: string,
    write: QuarantineWrite,
  ): Promise<void> {
    if (write.dryRun === true) return;
    await this.#o.recorder.record({
      action,
      outcome: 'granted',
      subject: row.spiffe_id,
      actor: write.actor,
      entry: '',
      instance: '',
      serial: row.id,
      method: '',
      selectors: [],
      audience: [],
      expiresAt: 0,
      reason,
      source: write.source ?? '',
    });
  }
}

type Reader = Pick<Transaction<Tables>, 'selectFrom'>;

async function readInForce(db: Reader, spiffeId: string): Promise<QuarantinesTable | undefined> {
  return await db
    .selectFrom('quarantines')
    .selectAll()
    .where('spiffe_id', '=', spiffeId)
    .where('released_at', 'is', null)
    .executeTakeFirst();
}

async function refuseTooMany(db: Reader): Promise<void> {
  const { count } = await db
    .selectFrom('quarantines')
    .select((eb) => eb.fn.countAll<number | string>().as('count'))
    .where('released_at', 'is', null)
    .executeTakeFirstOrThrow();
  if (Number(count) < MAX_QUARANTINED) return;
  throw new AppError(
    'exhausted',
    `${MAX_QUARANTINED} identities are in quarantine, which is the most there can be. Release some, or taint the authority ` +
      'that has issued them: writ ca taint.',
  );
}

function toRecord(row: QuarantinesTable): QuarantineRecord {
  const { release_reason: reason, released_by: author, released_at: at } = row;
  return Object.freeze({
    id: row.id,
    spiffeId: row.spiffe_id,
    reason: row.reason,
    author: row.author,
    createdAt: row.created_at,
    revision: row.revision,
    released: at === null ? null : Object.freeze({ reason: reason ?? '', author: author ?? '', at }),
  });
}

function checkReason(reason: string): string {
  if (reason.trim() !== '' && reason.length <= MAX_REASON_CHARACTERS && !/\p{Cc}/u.test(reason)) return reason;
  throw new AppError(
    'invalid',
    `The reason must have 1 to ${MAX_REASON_CHARACTERS} characters, on one line and without control characters.`,
  );
}

function notFound(): AppError {
  return new AppError('not-found', 'There is no such quarantine.');
}
