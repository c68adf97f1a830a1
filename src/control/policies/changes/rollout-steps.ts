import type { Transaction } from 'kysely';
import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import type { ChangeAction, Observed } from './change.ts';
import { BY_ITSELF } from './change.ts';
import { changedMeanwhile } from './refusals.ts';
import type { RolloutRow } from './rows.ts';
import { addEvent, readChange, readRollout } from './rows.ts';
import type { Stage } from './stages.ts';

/** How far a rollout is, in the store. Every step of it is taken by one replica: by the first. */
export class RolloutSteps {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor({ store, clock, logger }: { readonly store: Store; readonly clock: Clock; readonly logger: Logger }) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Throws `conflict` when it is not any more as `stage` says. */
  async begin(
    stage: Stage,
    next: {
      readonly step: number;
      readonly threshold: number;
      readonly chosen: number;
      readonly concerned: number;
    },
  ): Promise<void> {
    const { step, threshold, chosen, concerned } = next;
    const { steps } = stage.rollout;
    const now = this.#clock.now();
    const detail = `Step ${step + 1} of ${steps.length}: ${steps[step]} %, ${chosen} of ${concerned} sidecars.`;
    await this.#swap(stage, 'step', detail, (revision) => ({
      ...{ step, threshold, chosen, step_started_at: now, bake_started_at: null },
      step_revision: revision,
    }));
  }

  /** Every chosen sidecar has the candidate. Throws as `begin`. */
  async bake(stage: Stage, chosen: number): Promise<void> {
    const now = this.#clock.now();
    const detail = `${chosen} ${chosen === 1 ? 'sidecar has' : 'sidecars have'} the candidate.`;
    await this.#swap(stage, 'bake-started', detail, () => ({ bake_started_at: now, chosen }));
  }

  /** For people who look on; nothing is decided by it. */
  async observed(stage: Stage, observed: Observed): Promise<void> {
    await this.#store.transaction((trx) =>
      trx
        .updateTable('policy_rollouts')
        .set({ observed: JSON.stringify(observed) })
        .where('change', '=', stage.change)
        .where('step', '=', stage.rollout.step)
        .execute(),
    );
  }

  async #swap(
    stage: Stage,
    action: ChangeAction,
    detail: string,
    change: (revision: number) => Partial<RolloutRow>,
  ): Promise<void> {
    const { change: number, rollout } = stage;
    await this.#store.transaction(async (trx: Transaction<Tables>) => {
      const row = await readRollout(trx, number);
      const isSame =
        row?.step === rollout.step &&
        row.threshold === rollout.threshold &&
        row.bake_started_at === rollout.bakeStartedAt &&
        (await readChange(trx, number))?.state === 'rolling';
      if (!isSame) throw changedMeanwhile(number);
      const version = await this.#store.nextRevision(trx);
      await trx
        .updateTable('policy_rollouts')
        .set({ ...change(version), version })
        .where('change', '=', number)
        .execute();
      await addEvent(trx, number, { time: this.#clock.now(), actor: BY_ITSELF, action, detail });
    });
    this.#logger.info({ event: 'policy.change', change: number, action, detail }, 'policy change');
  }
}
