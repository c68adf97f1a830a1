import type { Transaction } from 'kysely';
import { AppError } from '../../../base/errors.ts';
import type { WriteOptions } from '../../store/rehearse.ts';
import { writer } from '../../store/rehearse.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import type { Eviction, Node } from './node.ts';
import { toNode } from './node.ts';

/** Takes part in the transaction that stores a node. It may run several times, and must change nothing but the database. */
export type Claim = (trx: Transaction<Tables>) => Promise<unknown>;

/** A node that is about to be let in. */
export interface Admission {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly kind: Node['kind'];
  readonly method: string;
  readonly subject: string;
  readonly entryId: string | null;
  readonly selectors: readonly string[];
  readonly canReattest: boolean;
  /** Of the certificate that it is about to get. */
  readonly serial: string;
  readonly expiresAt: number;
}

/** Who was last seen when, and has which bundle. */
export type Sighting = Pick<Node, 'instanceId' | 'spiffeId' | 'lastSeen' | 'bundleSequence'>;

const MAX_IDS_PER_STATEMENT = 500;
/**
 * Nodes with certificates that are valid, of one subject that can attest again as often as it likes, each time as another
 * instance: the jobs of one branch, all that a stolen token is good for. All nodes are in memory on every replica.
 */
const MAX_ALIVE = 1_000;

/** Nodes as they are stored. */
export class NodeRows {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async byInstance(instanceId: string): Promise<Node | Eviction | undefined> {
    const row = await this.#store.db
      .selectFrom('nodes')
      .selectAll()
      .where('instance_id', '=', instanceId)
      .executeTakeFirst();
    if (row !== undefined) return toNode(row);
    const evicted = await this.#store.db
      .selectFrom('evicted_nodes')
      .selectAll()
      .where('instance_id', '=', instanceId)
      .executeTakeFirst();
    return evicted === undefined ? undefined : toEviction(evicted);
  }

  /**
   * All that changed after one revision, up to another one: what changes while this reads is left for the next time, so that
   * nothing falls between its two reads.
   */
  async changed(after: number, upTo: number): Promise<readonly (Node | Eviction)[]> {
    const evictions = await this.#store.db
      .selectFrom('evicted_nodes')
      .selectAll()
      .where('revision', '>', after)
      .where('revision', '<=', upTo)
      .execute();
    const nodes = await this.#store.db
      .selectFrom('nodes')
      .selectAll()
      .where('revision', '>', after)
      .where('revision', '<=', upTo)
      .execute();
    return [...evictions.map(toEviction), ...nodes.map(toNode)];
  }

  async isBanned(subject: string): Promise<boolean> {
    return (await this.#bannedOf(this.#store.db, subject)) !== undefined;
  }

  /**
   * Stores a node with its first certificate; of one that is there, the certificate becomes the next one, and the one in use
   * goes on until the new one is shown. Throws `forbidden` when the subject is banned, `exhausted` when it has a thousand nodes
   * already, and what `claim` throws.
   */
  async admit(admission: Admission, now: number, claim: Claim | undefined): Promise<Node> {
    return await this.#store.transaction(async (trx) => {
      if ((await this.#bannedOf(trx, admission.subject)) !== undefined) throw bannedSubject(admission.spiffeId);
      await claim?.(trx);
      const { instanceId } = admission;
      const before = await trx.selectFrom('nodes').selectAll().where('instance_id', '=', instanceId).executeTakeFirst();
      await trx.deleteFrom('evicted_nodes').where('instance_id', '=', instanceId).execute();
      const content = {
        spiffe_id: admission.spiffeId,
        kind: admission.kind,
        method: admission.method,
        subject: admission.subject,
        entry_id: admission.entryId,
        selectors: JSON.stringify(admission.selectors),
        can_reattest: admission.canReattest ? 1 : 0,
        attested_at: now,
        last_seen: now,
        expires_at: Math.max(admission.expiresAt, before?.expires_at ?? 0),
        revision: await this.#store.nextRevision(trx),
      };
      if (before === undefined) {
        if (admission.canReattest) await this.#refuseTooMany(trx, admission, now);
        const row = {
          ...content,
          instance_id: instanceId,
          serial: admission.serial,
          next_serial: null,
          banned: 0,
          bundle_sequence: null,
        };
        await trx.insertInto('nodes').values(row).execute();
        return toNode(row);
      }
      // Whoever could prove one identity must not become another one under the same instance id.
      if (before.spiffe_id !== admission.spiffeId || before.subject !== admission.subject) {
        throw new AppError('conflict', 'This instance is another node already. Attest as a new one.');
      }
      const change = { ...content, next_serial: admission.serial };
      await trx.updateTable('nodes').set(change).where('instance_id', '=', instanceId).execute();
      return toNode({ ...before, ...change });
    });
  }

  /** What was admitted never got its certificate: takes `admit` back. */
  async retract(instanceId: string, serial: string, release: Claim | undefined): Promise<void> {
    await this.#store.transaction(async (trx) => {
      const row = await trx.selectFrom('nodes').selectAll().where('instance_id', '=', instanceId).executeTakeFirst();
      if (row?.serial === serial) await this.#evict(trx, toNode(row));
      else if (row?.next_serial === serial) {
        await trx.updateTable('nodes').set({ next_serial: null }).where('instance_id', '=', instanceId).execute();
      }
      await release?.(trx);
    });
  }

  /**
   * The next certificate of a node, before it gets it. No new revision: replicas that have not heard of it look it up when it
   * is shown. Undefined when the node is gone, banned, or does not use the certificate `usedSerial` any more.
   */
  async setNext(
    instanceId: string,
    next: { readonly serial: string; readonly expiresAt: number },
    usedSerial: string | undefined,
  ): Promise<Node | undefined> {
    return await this.#store.transaction(async (trx) => {
      let update = trx
        .updateTable('nodes')
        .set((eb) => ({
          next_serial: next.serial,
          expires_at: eb
            .case()
            .when('expires_at', '<', next.expiresAt)
            .then(next.expiresAt)
            .else(eb.ref('expires_at'))
            .end(),
        }))
        .where('instance_id', '=', instanceId)
        .where('banned', '=', 0);
      if (usedSerial !== undefined) update = update.where('serial', '=', usedSerial);
      const row = await update.returningAll().executeTakeFirst();
      return row === undefined ? undefined : toNode(row);
    });
  }

  /** The next certificate was shown: it is the one in use from now on. Undefined when it is not the next one any more. */
  async promote(instanceId: string, serial: string, now: number): Promise<Node | undefined> {
    return await this.#store.transaction(async (trx) => {
      const isNext = await trx
        .selectFrom('nodes')
        .select('instance_id')
        .where('instance_id', '=', instanceId)
        .where('next_serial', '=', serial)
        .where('banned', '=', 0)
        .executeTakeFirst();
      if (isNext === undefined) return undefined;
      const row = await trx
        .updateTable('nodes')
        .set({ serial, next_serial: null, last_seen: now, revision: await this.#store.nextRevision(trx) })
        .where('instance_id', '=', instanceId)
        .returningAll()
        .executeTakeFirstOrThrow();
      return toNode(row);
    });
  }

  /** Throws `not-found`. A node that is so already stays as it is. */
  async setBanned(instanceId: string, banned: boolean, options: WriteOptions): Promise<Node> {
    const store = writer(this.#store, options);
    return await store.transaction(async (trx) => {
      const row = await trx.selectFrom('nodes').selectAll().where('instance_id', '=', instanceId).executeTakeFirst();
      if (row === undefined) throw noNode();
      const value = banned ? 1 : 0;
      if (row.banned === value) return toNode(row);
      const change = { banned: value, revision: await store.nextRevision(trx) };
      await trx.updateTable('nodes').set(change).where('instance_id', '=', instanceId).execute();
      return toNode({ ...row, ...change });
    });
  }

  /** Throws `not-found`. Returns what it was. */
  async evict(instanceId: string, options: WriteOptions): Promise<Node> {
    const store = writer(this.#store, options);
    return await store.transaction(async (trx) => {
      const row = await trx.selectFrom('nodes').selectAll().where('instance_id', '=', instanceId).executeTakeFirst();
      if (row === undefined) throw noNode();
      await this.#evict(trx, toNode(row), store);
      return toNode(row);
    });
  }

  async acknowledge(instanceId: string, sequence: number): Promise<Node | undefined> {
    return await this.#store.transaction(async (trx) => {
      const row = await trx
        .updateTable('nodes')
        .set({ bundle_sequence: sequence })
        .where('instance_id', '=', instanceId)
        .returningAll()
        .executeTakeFirst();
      return row === undefined ? undefined : toNode(row);
    });
  }

  async seen(instanceIds: readonly string[], now: number): Promise<void> {
    for (let start = 0; start < instanceIds.length; start += MAX_IDS_PER_STATEMENT) {
      const ids = instanceIds.slice(start, start + MAX_IDS_PER_STATEMENT);
      await this.#store.transaction((trx) =>
        trx.updateTable('nodes').set({ last_seen: now }).where('instance_id', 'in', ids).execute(),
      );
    }
  }

  /** The agents that are not banned and whose last certificate did not expire before `expiredBefore`. */
  async agentSightings(expiredBefore: number): Promise<readonly Sighting[]> {
    const rows = await this.#store.db
      .selectFrom('nodes')
      .select(['instance_id', 'spiffe_id', 'last_seen', 'bundle_sequence'])
      .where('kind', '=', 'agent')
      .where('banned', '=', 0)
      .where('expires_at', '>=', expiredBefore)
      .execute();
    return rows.map((row) => ({
      instanceId: row.instance_id,
      spiffeId: row.spiffe_id,
      lastSeen: row.last_seen,
      bundleSequence: row.bundle_sequence,
    }));
  }

  /**
   * Forgets evictions whose certificates have expired, and nodes whose certificates had by then; of workloads that attest anew
   * each time (`isPassing`) all but the newest of a subject as early as evictions: by that one, the subject can still be banned.
   * Bans stay.
   */
  async prune(now: number, nodesExpiredBefore: number): Promise<void> {
    await this.#store.transaction(async (trx) => {
      await trx.deleteFrom('evicted_nodes').where('expires_at', '<', now).execute();
      await trx.deleteFrom('nodes').where('expires_at', '<', nodesExpiredBefore).where('banned', '=', 0).execute();
      await trx
        .deleteFrom('nodes')
        .where('expires_at', '<', now)
        .where('kind', '=', 'workload')
        .where('can_reattest', '=', 1)
        .where('banned', '=', 0)
        .where(({ exists, selectFrom }) =>
          exists(
            selectFrom('nodes as newer')
              .select('newer.instance_id')
              .whereRef('newer.subject', '=', 'nodes.subject')
              .whereRef('newer.expires_at', '>', 'nodes.expires_at'),
          ),
        )
        .execute();
    });
  }

  async #refuseTooMany(trx: Transaction<Tables>, { subject, spiffeId }: Admission, now: number): Promise<void> {
    const { alive } = await trx
      .selectFrom('nodes')
      .select((eb) => eb.fn.countAll().as('alive'))
      .where('subject', '=', subject)
      .where('expires_at', '>', now)
      .executeTakeFirstOrThrow();
    if (Number(alive) < MAX_ALIVE) return;
    throw new AppError(
      'exhausted',
      `What attests as ${spiffeId} has ${MAX_ALIVE} valid certificates already. Keep one and renew it in time, or wait.`,
    );
  }

  async #evict(trx: Transaction<Tables>, node: Node, store: Pick<Store, 'nextRevision'> = this.#store): Promise<void> {
    const { instanceId, spiffeId, expiresAt } = node;
    await trx.deleteFrom('nodes').where('instance_id', '=', instanceId).execute();
    const revision = await store.nextRevision(trx);
    const row = { spiffe_id: spiffeId, expires_at: expiresAt, revision };
    await trx
      .insertInto('evicted_nodes')
      .values({ instance_id: instanceId, ...row })
      .onConflict((conflict) => conflict.column('instance_id').doUpdateSet(row))
      .execute();
  }

  async #bannedOf(db: Pick<Transaction<Tables>, 'selectFrom'>, subject: string) {
    return await db
      .selectFrom('nodes')
      .select('instance_id')
      .where('subject', '=', subject)
      .where('banned', '=', 1)
      .limit(1)
      .executeTakeFirst();
  }
}

export function bannedSubject(spiffeId: string): AppError {
  return new AppError(
    'forbidden',
    `${spiffeId} is banned, and what is banned cannot attest. An operator can lift that.`,
  );
}

function noNode(): AppError {
  return new AppError('not-found', 'There is no node with this instance id.');
}

function toEviction(row: {
  readonly instance_id: string;
  readonly spiffe_id: string;
  readonly expires_at: number;
  readonly revision: number;
}): Eviction {
  return Object.freeze({
    instanceId: row.instance_id,
    spiffeId: row.spiffe_id,
    evicted: true,
    expiresAt: row.expires_at,
    revision: row.revision,
  });
}
