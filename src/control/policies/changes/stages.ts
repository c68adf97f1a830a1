import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { TrustDomains } from '../../../core/policy/trust-domain-aliases.ts';
import type { Store } from '../../store/store.ts';
import type { PolicySet } from '../current.ts';
import type { ChangeDocument, Rollout } from './change.ts';
import type { Overlay } from './overlay.ts';
import { overlayOf } from './overlay.ts';
import { EVERYBODY, placeOf } from './places.ts';
import { readChange, readDocuments, readRolling, readRollout, toRollout } from './rows.ts';

/** The change that is in force for some of the sidecars now. */
export interface Stage {
  readonly change: number;
  readonly documents: readonly ChangeDocument[];
  readonly overlay: Overlay;
  readonly rollout: Rollout;
  /** Sidecars whose place is below it have the candidate. */
  readonly threshold: number;
  /** Set once its documents are policies: everybody goes on with the candidate until this revision of the policies is published. */
  readonly appliedRevision: number | null;
}

export interface StagesOptions {
  readonly store: Store;
  readonly policies: Watch<PolicySet>;
  readonly trustDomains?: TrustDomains | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What a sidecar should have in force. */
export interface Desired {
  /** Of the policies; with a candidate, that of the step. */
  readonly revision: number;
  /** The change whose candidate it is; null: the policies as they are. */
  readonly change: number | null;
}

/** After a failure; the next change tries again sooner. */
const RETRY_MS = 1_000;

/**
 * Follows which change is rolled out and how far, whichever replica carries that out: everything is in the store. A rollout that
 * cannot be read is not served here; its sidecars then never acknowledge it, so that it goes back.
 */
export class Stages {
  readonly #options: StagesOptions;
  readonly #watch: WatchSource<Stage | undefined>;
  readonly #unsubscribe: () => void;
  #loading: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #cancelRetry: () => void = () => undefined;

  static async open(options: StagesOptions): Promise<Stages> {
    const { revision } = options.store;
    const seen = revision.current;
    return new Stages(options, await readStage(options, undefined), seen);
  }

  private constructor(options: StagesOptions, stage: Stage | undefined, seen: number) {
    this.#options = options;
    this.#watch = new WatchSource(stage);
    this.#unsubscribe = options.store.revision.subscribe(() => this.#loadSoon());
    // What was committed while we were loading.
    if (options.store.revision.current > seen) this.#loadSoon();
  }

  get current(): Watch<Stage | undefined> {
    return this.#watch;
  }

  desired(instanceId: string): Desired {
    const { revision } = this.#options.policies.current;
    const stage = this.#watch.current;
    if (stage === undefined || !isChosen(stage, instanceId)) return { revision, change: null };
    return { revision: Math.max(revision, stage.rollout.stepRevision), change: stage.change };
  }

  /** The policies with the change are published: nobody needs the candidate any more. */
  release(stage: Stage): void {
    if (this.#watch.current === stage) this.#watch.set(undefined);
  }

  /** Resolves when everything that was committed before the call is known here, or could not be read. */
  async settled(): Promise<void> {
    this.#loadSoon();
    await this.#loading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    this.#cancelRetry();
    await this.#loading;
  }

  #loadSoon(): void {
    if (this.#closed) return;
    if (this.#loading === undefined) this.#loading = this.#loadUntilSettled();
    else this.#again = true;
  }

  async #loadUntilSettled(): Promise<void> {
    const { clock, logger } = this.#options;
    do {
      this.#again = false;
      this.#cancelRetry();
      try {
        const before = this.#watch.current;
        const stage = await readStage(this.#options, before);
        if (!this.#closed && !isSame(before, stage)) this.#watch.set(stage);
      } catch (error) {
        if (this.#closed) break;
        logger.error({ err: error }, 'cannot read how far the rollout of a policy change is');
        this.#cancelRetry = clock.after(RETRY_MS, () => this.#loadSoon());
      }
    } while (this.#again && !this.#closed);
    // In the same breath as the check above: a change in between would be missed.
    this.#loading = undefined;
  }
}

export function isChosen(stage: Pick<Stage, 'change' | 'threshold'>, instanceId: string): boolean {
  return stage.threshold >= EVERYBODY || placeOf(stage.change, instanceId) < stage.threshold;
}

/** @param before what we know, so that documents are parsed once, and a change that has just been applied is not dropped too early */
async function readStage(options: StagesOptions, before: Stage | undefined): Promise<Stage | undefined> {
  const { store, trustDomains } = options;
  const { db } = store;
  const row = await readRolling(db);
  if (row === undefined) return before === undefined ? undefined : await endOf(options, before);
  const rollout = await readRollout(db, row.revision);
  if (rollout === undefined) return undefined;
  const known = before?.change === row.revision ? before : undefined;
  const documents = known?.documents ?? (await readDocuments(db, [row.revision])).get(row.revision) ?? [];
  return Object.freeze({
    change: row.revision,
    documents,
    overlay: known?.overlay ?? overlayOf(documents, trustDomains),
    rollout: toRollout(rollout),
    threshold: rollout.threshold,
    appliedRevision: null,
  });
}

/** One that rolls no more: gone, unless it was applied, and then it stays until the policies have it. */
async function endOf({ store }: StagesOptions, before: Stage): Promise<Stage | undefined> {
  if (before.appliedRevision !== null) return before;
  const row = await readChange(store.db, before.change);
  if (row?.state !== 'applied' || row.applied_revision === null) return undefined;
  return Object.freeze({ ...before, threshold: EVERYBODY, appliedRevision: row.applied_revision });
}

function isSame(a: Stage | undefined, b: Stage | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return (
    a.change === b.change &&
    a.threshold === b.threshold &&
    a.appliedRevision === b.appliedRevision &&
    a.rollout.stepRevision === b.rollout.stepRevision &&
    a.rollout.bakeStartedAt === b.rollout.bakeStartedAt
  );
}
