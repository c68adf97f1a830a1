import type { ChosenProxy } from '../../../core/policy/rollout.ts';
import type { Store } from '../../store/store.ts';

export interface ProxyAnswer extends Pick<ChosenProxy, 'state' | 'error' | 'heardAt'> {
  readonly instanceId: string;
}

/** A sidecar whose records are as new as this is not written down again: only what decides something is. */
const HEARD_EVERY_MS = 1_000;

/**
 * What sidecars made of a candidate, in the store: a sidecar is connected to one replica, and any replica may have to judge. Written
 * only while something is rolled out, and only what has changed.
 */
export class ProxyAnswers {
  readonly #store: Store;
  #written: { readonly change: number; readonly step: number; readonly answers: Map<string, ProxyAnswer> } | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Of the sidecars that are connected to this replica. */
  async write(change: number, step: number, answers: readonly ProxyAnswer[]): Promise<void> {
    if (this.#written?.change !== change || this.#written.step !== step) {
      this.#written = { change, step, answers: new Map() };
    }
    const { answers: before } = this.#written;
    const news = answers.filter((answer) => isNews(before.get(answer.instanceId), answer));
    if (news.length === 0) return;
    await this.#store.transaction(async (trx) => {
      for (const { instanceId, state, error, heardAt } of news) {
        const row = { state, step, error, heard_at: heardAt };
        await trx
          .insertInto('policy_rollout_proxies')
          .values({ change, instance_id: instanceId, ...row })
          .onConflict((conflict) => conflict.columns(['change', 'instance_id']).doUpdateSet(row))
          .execute();
      }
    });
    for (const answer of news) before.set(answer.instanceId, answer);
  }

  /** By instance id; what was said of an earlier step is no answer to this one. */
  async read(change: number, step: number): Promise<ReadonlyMap<string, ProxyAnswer>> {
    const rows = await this.#store.db
      .selectFrom('policy_rollout_proxies')
      .selectAll()
      .where('change', '=', change)
      .where('step', '=', step)
      .execute();
    return new Map(
      rows.map(({ instance_id: instanceId, state, error, heard_at: heardAt }) => [
        instanceId,
        { instanceId, state, error, heardAt },
      ]),
    );
  }
}

function isNews(before: ProxyAnswer | undefined, now: ProxyAnswer): boolean {
  if (before === undefined || before.state !== now.state || before.error !== now.error) return true;
  return now.heardAt !== null && (before.heardAt === null || now.heardAt - before.heardAt >= HEARD_EVERY_MS);
}
