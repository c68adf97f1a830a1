import type { Transaction } from 'kysely';
import { GroupCommit } from '../store/group.ts';
import type { Store } from '../store/store.ts';
import type { Tables } from '../store/tables.ts';
import type { InboundEndpoint, ProxyHello } from './hello.ts';

/** What is stored of a sidecar. */
export interface ProxyRow {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly version: string;
  readonly inbound: readonly InboundEndpoint[];
  /** Its endpoints are part of the mesh. */
  readonly serving: boolean;
  /** By the clock of the replica that it was connected to. */
  readonly lastSeen: number;
  readonly revision: number;
  /** Of the trust bundle that it had in force; null when it has not said so. */
  readonly bundleSequence: number | null;
}

/** Fits the number of parameters that every database takes in one statement. */
const MAX_IDS_PER_STATEMENT = 500;

interface Acknowledged {
  readonly instanceId: string;
  readonly bundleSequence: number;
}

interface Registration {
  readonly hello: ProxyHello;
  readonly now: number;
}

/** The table of sidecars. Whole meshes connect at once: their registrations share transactions. */
export class ProxyRows {
  readonly #store: Store;
  readonly #registrations: GroupCommit<Registration>;
  readonly #sightings: GroupCommit<string>;
  readonly #acknowledged: GroupCommit<Acknowledged>;
  #lastSighting = 0;

  constructor(store: Store) {
    this.#store = store;
    this.#registrations = new GroupCommit((items) =>
      store.transaction(async (trx) => {
        for (const item of items) await this.#register(trx, item);
      }),
    );
    this.#acknowledged = new GroupCommit((items) =>
      store.transaction(async (trx) => {
        for (const { instanceId, bundleSequence } of items) {
          await trx
            .updateTable('proxies')
            .set({ bundle_sequence: bundleSequence })
            .where('instance_id', '=', instanceId)
            .execute();
        }
      }),
    );
    this.#sightings = new GroupCommit((instanceIds) => this.seen(instanceIds, this.#lastSighting));
  }

  /** Those that changed after `revision`. */
  async changedAfter(revision: number): Promise<readonly ProxyRow[]> {
    const rows = await this.#store.db.selectFrom('proxies').selectAll().where('revision', '>', revision).execute();
    return rows.map((row) => ({
      instanceId: row.instance_id,
      spiffeId: row.spiffe_id,
      version: row.version,
      inbound: JSON.parse(row.inbound) as InboundEndpoint[],
      serving: row.serving === 1,
      lastSeen: row.last_seen,
      revision: row.revision,
      bundleSequence: row.bundle_sequence,
    }));
  }

  /** When each was last seen, and which trust bundle it had in force; null when it has not said so. */
  async sightings(): Promise<
    ReadonlyMap<string, { readonly lastSeen: number; readonly bundleSequence: number | null }>
  > {
    const rows = await this.#store.db
      .selectFrom('proxies')
      .select(['instance_id', 'last_seen', 'bundle_sequence'])
      .execute();
    return new Map(
      rows.map((row) => [row.instance_id, { lastSeen: row.last_seen, bundleSequence: row.bundle_sequence }]),
    );
  }

  /** It has the trust bundle of that sequence in force: for other replicas. Those of a whole mesh share transactions. */
  async acknowledged(instanceId: string, bundleSequence: number): Promise<void> {
    await this.#acknowledged.add({ instanceId, bundleSequence });
  }

  /** Its endpoints are part of the mesh from now on. No new revision when nothing but `now` is new. */
  async register(hello: ProxyHello, now: number): Promise<void> {
    await this.#registrations.add({ hello, now });
  }

  /** One sidecar was there until now. */
  async seenLast(instanceId: string, now: number): Promise<void> {
    this.#lastSighting = now;
    await this.#sightings.add(instanceId);
  }

  /** All of them are there. */
  async seen(instanceIds: readonly string[], now: number): Promise<void> {
    for (let start = 0; start < instanceIds.length; start += MAX_IDS_PER_STATEMENT) {
      const ids = instanceIds.slice(start, start + MAX_IDS_PER_STATEMENT);
      await this.#store.transaction((trx) =>
        trx.updateTable('proxies').set({ last_seen: now }).where('instance_id', 'in', ids).execute(),
      );
    }
  }

  /** Its endpoints leave, if `isStill` holds at that moment: it is asked again whenever the transaction is tried again. */
  async leave(instanceId: string, now: number, isStill: () => boolean): Promise<void> {
    await this.#leaveIf(instanceId, () => isStill(), { last_seen: now });
  }

  /** Its endpoints leave, unless some replica has seen it since `lastSeen`. */
  async expire(instanceId: string, lastSeen: number): Promise<void> {
    await this.#leaveIf(instanceId, (row) => row.last_seen === lastSeen, {});
  }

  /** Forgets it, unless some replica has seen it since `lastSeen` or it serves. */
  async forget(instanceId: string, lastSeen: number): Promise<void> {
    await this.#store.transaction((trx) =>
      trx
        .deleteFrom('proxies')
        .where('instance_id', '=', instanceId)
        .where('last_seen', '=', lastSeen)
        .where('serving', '=', 0)
        .execute(),
    );
  }

  async #register(trx: Transaction<Tables>, { hello, now }: Registration): Promise<void> {
    const inbound = JSON.stringify(
      hello.inbound.map(({ address, protocol, applicationPort }) => ({ address, protocol, applicationPort })),
    );
    const content = { spiffe_id: hello.spiffeId, version: hello.version, inbound, serving: 1 };
    const before = await trx
      .selectFrom('proxies')
      .selectAll()
      .where('instance_id', '=', hello.instanceId)
      .executeTakeFirst();
    const isSame =
      before?.spiffe_id === content.spiffe_id &&
      before.version === content.version &&
      before.inbound === content.inbound &&
      before.serving === content.serving;
    const revision = isSame ? before.revision : await this.#store.nextRevision(trx);
    const change = { ...content, last_seen: now, revision };
    await trx
      .insertInto('proxies')
      .values({ instance_id: hello.instanceId, ...change })
      .onConflict((conflict) => conflict.column('instance_id').doUpdateSet(change))
      .execute();
  }

  async #leaveIf(
    instanceId: string,
    condition: (row: { readonly last_seen: number }) => boolean,
    change: { readonly last_seen?: number },
  ): Promise<void> {
    await this.#store.transaction(async (trx: Transaction<Tables>) => {
      const row = await trx
        .selectFrom('proxies')
        .select(['last_seen', 'serving'])
        .where('instance_id', '=', instanceId)
        .executeTakeFirst();
      if (row === undefined || row.serving === 0 || !condition(row)) return;
      const revision = await this.#store.nextRevision(trx);
      await trx
        .updateTable('proxies')
        .set({ serving: 0, revision, ...change })
        .where('instance_id', '=', instanceId)
        .execute();
    });
  }
}
