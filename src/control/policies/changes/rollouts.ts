import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { uuidv7 } from '../../../base/random.ts';
import type { Watch } from '../../../base/watch.ts';
import { keyText, titleOf } from '../../../core/policy/kinds.ts';
import type { ChosenProxy, StepFacts } from '../../../core/policy/rollout.ts';
import { judgeStep } from '../../../core/policy/rollout.ts';
import type { AdminTrail } from '../../ledger/admin-trail.ts';
import type { ProxyStatus } from '../../registry/proxies.ts';
import type { Store } from '../../store/store.ts';
import type { PolicySet } from '../current.ts';
import type { CountsByProxy } from './call-counts.ts';
import { countCalls, sumOf, topDenials } from './call-counts.ts';
import type { Observed } from './change.ts';
import { BY_ITSELF } from './change.ts';
import type { Changes } from './changes.ts';
import { movedSince } from './overlay.ts';
import { thresholdFor } from './places.ts';
import { ProxyAnswers } from './proxy-answers.ts';
import { RolloutSteps } from './rollout-steps.ts';
import type { Stage, Stages } from './stages.ts';
import { isChosen } from './stages.ts';

export interface RolloutsOptions {
  readonly store: Store;
  readonly changes: Pick<Changes, 'rollBack' | 'complete' | 'expire'>;
  readonly stages: Pick<Stages, 'current' | 'settled'>;
  readonly policies: Watch<PolicySet>;
  /** Every sidecar of the mesh, whichever replica it is connected to. */
  readonly proxies: { list(): readonly ProxyStatus[] };
  readonly audit: {
    /** Until when everything that a sidecar has recorded can be counted; null: not known to this replica. */
    recordedUntil(instanceId: string): number | null;
  };
  /** Whether the change that is rolled out makes a difference to a workload. */
  readonly concerns: (spiffeId: string) => Promise<boolean>;
  /** The record of what is done to the control plane. Default: none is kept. */
  readonly trail?: Pick<AdminTrail, 'record' | 'report'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

const TICK_MS = 1_000;
/** Counting calls costs, the more the longer a step takes: this part of the time of a step, at most so often. */
const COUNTS_PER_BAKE = 20;
const MAX_COUNT_EVERY_MS = 5_000;
const EXPIRE_EVERY_MS = 60_000;
/** A sidecar that no replica has seen for so long is not waited for; nor is one that has said goodbye. */
const AWAY_MS = 60_000;
/** What was before: so long before the rollout, or as long as a step bakes. */
const MIN_BEFORE_MS = 10 * 60_000;

/**
 * Carries rollouts out: begins each step, watches what it does to calls, and goes on or back. Every replica does; everything
 * that is decided is in the store and swapped there, so that one of them carries it out, whichever is first, and a restart loses
 * nothing.
 *
 * Not solved: a candidate that allows too much shows in no denial. `writ policy plan` shows that before.
 */
export class Rollouts {
  readonly #options: RolloutsOptions;
  readonly #steps: RolloutSteps;
  readonly #answers: ProxyAnswers;
  /** Since when this process has been watching. */
  #watchedSince = Number.POSITIVE_INFINITY;
  #countedAt = Number.NEGATIVE_INFINITY;
  #expiredAt = Number.NEGATIVE_INFINITY;
  /** What was before a rollout never changes. */
  #before: { readonly change: number; readonly counts: CountsByProxy } | undefined;

  constructor(options: RolloutsOptions) {
    this.#options = options;
    this.#steps = new RolloutSteps(options);
    this.#answers = new ProxyAnswers(options.store);
  }

  /** Until `signal` aborts. What fails is logged and tried again at the next tick: nothing goes on meanwhile. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    this.#watchedSince = clock.now();
    while (!signal.aborted) {
      try {
        await this.tick();
      } catch (error) {
        // Somebody else was faster: another replica, or a person.
        if (error instanceof AppError && error.code === 'conflict')
          logger.debug({ err: error }, 'a rollout was changed');
        else logger.warn({ err: error }, 'cannot carry on with the rollout of a policy change');
      }
      await sleep(clock, TICK_MS, signal);
    }
  }

  /** One look at the rollout that there is, if there is one. */
  async tick(): Promise<void> {
    const { stages, changes, clock } = this.#options;
    this.#watchedSince = Math.min(this.#watchedSince, clock.now());
    if (clock.now() - this.#expiredAt >= EXPIRE_EVERY_MS) {
      this.#expiredAt = clock.now();
      await changes.expire();
    }
    const stage = stages.current.current;
    if (stage === undefined || stage.appliedRevision !== null) return;
    const moved = movedSince(this.#options.policies.current, stage.documents)[0];
    if (moved !== undefined) {
      return await this.#rollBack(stage, `Somebody changed the ${titleOf(moved)} meanwhile, which it was to replace.`);
    }
    if (stage.threshold === 0) return await this.#begin(stage, 0);
    await this.#look(stage);
  }

  /** Chooses the sidecars of a step. */
  async #begin(stage: Stage, step: number): Promise<void> {
    const concerned = await this.#concerned();
    const percent = stage.rollout.steps[step] ?? 100;
    const ids = concerned.map(({ instanceId }) => instanceId);
    const threshold = thresholdFor(stage.change, ids, percent, stage.threshold);
    const chosen = ids.filter((id) => isChosen({ change: stage.change, threshold }, id)).length;
    const detail = `step ${step + 1}: ${percent} %, ${chosen} of ${ids.length} sidecars`;
    await this.#recorded(stage, 'rollout.step', detail, () =>
      this.#steps.begin(stage, { step, threshold, chosen, concerned: ids.length }),
    );
    this.#countedAt = Number.NEGATIVE_INFINITY;
    await this.#options.stages.settled();
  }

  async #look(stage: Stage): Promise<void> {
    const { clock } = this.#options;
    const { rollout } = stage;
    const concerned = await this.#concerned();
    const chosen = concerned.filter(({ instanceId }) => isChosen(stage, instanceId));
    const answers = await this.#collect(stage, chosen);
    const now = clock.now();
    const bakeEnd = rollout.bakeStartedAt === null ? Number.POSITIVE_INFINITY : rollout.bakeStartedAt + rollout.bakeMs;
    const every = Math.min(rollout.bakeMs / COUNTS_PER_BAKE, MAX_COUNT_EVERY_MS);
    const isRejected = answers.some(({ state }) => state === 'rejected');
    // Nothing that a count could tell goes unseen: what would go on is counted first.
    if (now - this.#countedAt < every && now < bakeEnd && rollout.bakeStartedAt !== null && !isRejected) return;
    this.#countedAt = now;
    const observed = await this.#observe(stage, concerned, now);
    await this.#steps.observed(stage, observed);
    await this.#act(stage, chosen, {
      now,
      startedAt: rollout.stepStartedAt,
      watchedSince: this.#watchedSince,
      bakeStartedAt: rollout.bakeStartedAt,
      bakeMs: rollout.bakeMs,
      bounds: rollout.bounds,
      expected: rollout.chosen,
      proxies: answers,
      chosen: observed.chosen,
      before: observed.before,
      others: observed.others,
    });
  }

  async #act(stage: Stage, chosen: readonly ProxyStatus[], facts: StepFacts): Promise<void> {
    const verdict = judgeStep(facts);
    switch (verdict.verdict) {
      case 'wait':
        return;
      case 'bake':
        await this.#steps.bake(stage, chosen.length);
        return await this.#options.stages.settled();
      case 'go-on': {
        const next = stage.rollout.step + 1;
        if (next < stage.rollout.steps.length) return await this.#begin(stage, next);
        await this.#complete(stage);
        return;
      }
      case 'roll-back':
        return await this.#rollBack(stage, `${verdict.why}${await this.#mostDenied(stage, chosen, facts)}`);
    }
  }

  async #complete(stage: Stage): Promise<void> {
    const { changes, stages, logger } = this.#options;
    try {
      const detail = stage.documents.map((each) => `${each.operation} ${keyText(each)}`).join('\n');
      await this.#recorded(stage, 'rollout.applied', detail, () => changes.complete(stage.change));
    } catch (error) {
      if (!(error instanceof AppError) || isPassing(error)) throw error;
      logger.warn({ err: error, change: stage.change }, 'a change cannot be put into force');
      await this.#rollBack(stage, error.message);
      return;
    }
    await stages.settled();
  }

  async #rollBack(stage: Stage, why: string): Promise<void> {
    const { changes, stages, trail, logger } = this.#options;
    logger.warn({ change: stage.change, why }, 'a policy change is rolled back');
    await changes.rollBack({ revision: stage.change, by: BY_ITSELF, why });
    // Whatever the ledger says: to go back is safe, to wait for a disk is not.
    await trail?.report({ ...taskOf(stage, 'rollout.rolled-back'), outcome: 'done', reason: why });
    await stages.settled();
  }

  /** On the record before it is done, or it is not done. Throws `audit-unavailable`. */
  async #recorded<T>(stage: Stage, operation: string, detail: string, act: () => Promise<T>): Promise<T> {
    const { trail, clock } = this.#options;
    // What joins the beginning and the end of it on the record.
    const facts = { ...taskOf(stage, operation), detail, request: uuidv7(clock) };
    await trail?.record({ ...facts, outcome: 'begun' });
    try {
      const done = await act();
      await trail?.report({ ...facts, outcome: 'done' });
      return done;
    } catch (error) {
      const reason = error instanceof AppError ? `${error.code}: ${error.message}` : 'internal';
      await trail?.report({ ...facts, outcome: 'refused', reason });
      throw error;
    }
  }

  /** Those that are there, and to which the change makes a difference. */
  async #concerned(): Promise<readonly ProxyStatus[]> {
    const { proxies, concerns, clock } = this.#options;
    const now = clock.now();
    const known = new Map<string, boolean>();
    const concerned: ProxyStatus[] = [];
    for (const status of proxies.list()) {
      if (!status.connected && (!status.serving || now - status.lastSeen >= AWAY_MS)) continue;
      const isConcerned = known.get(status.spiffeId) ?? (await concerns(status.spiffeId));
      known.set(status.spiffeId, isConcerned);
      if (isConcerned) concerned.push(status);
    }
    return concerned;
  }

  /** What the chosen have made of the candidate: of those that are connected here as they are now, of others as their replica said. */
  async #collect(stage: Stage, chosen: readonly ProxyStatus[]): Promise<readonly ChosenProxy[]> {
    const { audit } = this.#options;
    const { step, stepRevision } = stage.rollout;
    const here = chosen.filter(({ connected }) => connected);
    await this.#answers.write(
      stage.change,
      step,
      here.map((status) => ({
        instanceId: status.instanceId,
        state: stateOf(status, stepRevision),
        error: status.lastError ?? '',
        heardAt: audit.recordedUntil(status.instanceId),
      })),
    );
    const answers = await this.#answers.read(stage.change, step);
    return chosen.map(({ instanceId, spiffeId }) => {
      const { state = 'pending', error = '', heardAt = null } = answers.get(instanceId) ?? {};
      return { name: `${spiffeId} (instance ${instanceId})`, state, error, heardAt };
    });
  }

  async #observe(stage: Stage, concerned: readonly ProxyStatus[], now: number): Promise<Observed> {
    const { db } = this.#options.store;
    const { stepStartedAt } = stage.rollout;
    const counts = await countCalls(db, { since: stepStartedAt, until: now + 1 });
    const before = await this.#countsBefore(stage);
    const of = (isIn: boolean) =>
      concerned.filter(({ instanceId }) => isChosen(stage, instanceId) === isIn).map(({ instanceId }) => instanceId);
    const chosen = of(true);
    return { at: now, chosen: sumOf(counts, chosen), before: sumOf(before, chosen), others: sumOf(counts, of(false)) };
  }

  async #countsBefore({ change, rollout }: Stage): Promise<CountsByProxy> {
    if (this.#before?.change !== change) {
      const { startedAt: until, bakeMs } = rollout;
      const period = { since: until - Math.max(MIN_BEFORE_MS, bakeMs), until };
      this.#before = { change, counts: await countCalls(this.#options.store.db, period) };
    }
    return this.#before.counts;
  }

  /** Which rules have denied most where the candidate is: what its author looks for first. */
  async #mostDenied(stage: Stage, chosen: readonly ProxyStatus[], facts: StepFacts): Promise<string> {
    if (facts.chosen.denials === 0) return '';
    const ids = chosen.map(({ instanceId }) => instanceId);
    const period = { since: stage.rollout.stepStartedAt, until: facts.now + 1 };
    const rules = await topDenials(this.#options.store.db, ids, period);
    return rules.length === 0 ? '' : ` Denied by: ${rules.map(({ rule, count }) => `${rule} (${count})`).join(', ')}.`;
  }
}

function taskOf(stage: Stage, operation: string) {
  return { action: 'task' as const, operation, object: `/v1/policy-changes/${stage.change}` };
}

/** It may be done the next time. */
function isPassing({ code }: AppError): boolean {
  return code === 'conflict' || code === 'unavailable' || code === 'audit-unavailable';
}

function stateOf(status: ProxyStatus, stepRevision: number): ChosenProxy['state'] {
  if (status.state === 'rejected') return 'rejected';
  const has = (status.acknowledgedRevision ?? -1) >= stepRevision;
  return has && status.state === 'synced' ? 'acknowledged' : 'pending';
}
