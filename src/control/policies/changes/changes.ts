import type { Transaction } from 'kysely';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { changeDefaults } from '../../../core/policy/change.ts';
import type { PolicyKey } from '../../../core/policy/kinds.ts';
import { noCalls } from '../../../core/policy/rollout.ts';
import type { WriteOptions, Writer } from '../../store/rehearse.ts';
import { writer } from '../../store/rehearse.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import { checkAuthor, checkReason } from '../checks.ts';
import type { PolicyStore, PolicyWrite } from '../store.ts';
import type { ChangeAction, ChangeDocument, PolicyChange, RolloutPlan } from './change.ts';
import { BY_ITSELF } from './change.ts';
import { changingDocuments, wantedDocuments } from './documents.ts';
import type { Protection } from './protection.ts';
import {
  anotherRolls,
  approvalRequired,
  changedMeanwhile,
  noChange,
  planRequired,
  sameAuthor,
  wrongState,
} from './refusals.ts';
import { checkRolloutPlan } from './rollout-plan.ts';
import type { ChangeRow } from './rows.ts';
import { addEvent, readChange, readDocuments, readRolling, readRollout, stateOf, toChange } from './rows.ts';

export interface ProposeChange extends WriteOptions {
  /** Texts of documents of any kind, one or several in each. */
  readonly put: readonly string[];
  readonly delete?: readonly PolicyKey[] | undefined;
  /** The name of a token. */
  readonly author: string;
  readonly reason: string;
  /** Seconds, 60 to 2,592,000 (30 days). Default 604,800 (7 days). */
  readonly expiresInSeconds?: number | undefined;
}

export interface DecideChange extends WriteOptions {
  readonly revision: number;
  /** The name of a token. */
  readonly by: string;
  readonly reason?: string | undefined;
}

export interface StartRollout extends DecideChange {
  readonly plan: RolloutPlan;
}

/** Whether a plan of exactly these documents was made against the policies as they are now. */
export interface Plans {
  covers(documents: readonly Pick<ChangeDocument, 'kind' | 'namespace' | 'name' | 'source'>[]): Promise<boolean>;
}

export interface ChangesOptions {
  readonly store: Store;
  readonly policies: Pick<PolicyStore, 'writeAll'>;
  readonly protection: Protection;
  /** Default: nobody can make a plan, so what needs one is refused. */
  readonly plans?: Plans;
  readonly clock: Clock;
  readonly logger: Logger;
}

const MIN_EXPIRY_SECONDS = 60;
const MAX_EXPIRY_SECONDS = 30 * 24 * 60 * 60;

/**
 * Changes of policies: sets of documents that are proposed, agreed on by somebody else where the namespace asks for that, and
 * come into force together, at once or step by step. The only writer of their states.
 *
 * What is agreed on is what was proposed: documents never change. Nor may what they take the place of: a change is refused
 * when one of those was changed since.
 */
export class Changes {
  readonly #options: ChangesOptions;

  constructor(options: ChangesOptions) {
    this.#options = options;
  }

  /**
   * Writes a change down. Throws `invalid-document` with the findings, `invalid`, `not-found` for a deletion of what is not
   * there, and `too-large`.
   */
  async propose(input: ProposeChange): Promise<PolicyChange> {
    const wanted = wantedDocuments(input.put, input.delete ?? []);
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? '';
    const lifetime = checkExpiry(input.expiresInSeconds ?? changeDefaults.expiresInSeconds);
    const now = this.#now();
    return await this.#write(input, async (trx, store) => {
      const changing = await changingDocuments(trx, wanted);
      const revision = await store.nextRevision(trx);
      const row: ChangeRow = {
        ...{ revision, state: 'proposed', author, reason, created_at: now, expires_at: now + lifetime * 1000 },
        ...{ approver: null, why: null, applied_revision: null, updated_at: now, version: revision },
      };
      await trx.insertInto('policy_changes').values(row).execute();
      const documents: ChangeDocument[] = [];
      for (const [place, document] of changing.entries()) {
        // One of its own for each: rule ids, and what is sent, tell documents apart by it.
        const stored = { ...document, revision: await store.nextRevision(trx) };
        documents.push(stored);
        await trx
          .insertInto('policy_change_documents')
          .values({ change: revision, place, ...stored })
          .execute();
      }
      await addEvent(trx, revision, { time: now, actor: author, action: 'proposed', detail: reason });
      return toChange(row, documents, undefined, now);
    });
  }

  /** Throws `not-found`, `conflict` for one that is not proposed, `forbidden` for its author. */
  async approve(input: DecideChange): Promise<PolicyChange> {
    return await this.#decide(input, 'approved', async (row, now) => {
      if (stateOf(row, now) !== 'proposed') throw wrongState(row.revision, stateOf(row, now), 'approved');
      if (row.author === input.by) throw sameAuthor(row.revision, row.author);
      return { state: 'approved', approver: input.by };
    });
  }

  /** Also by its author, who withdraws it. Throws `not-found`, `conflict` for one that rolls or is over. */
  async reject(input: DecideChange): Promise<PolicyChange> {
    return await this.#decide(input, 'rejected', async (row, now) => {
      checkOpen(row, now, 'rejected');
      return { state: 'rejected', why: checkReason(input.reason) ?? null };
    });
  }

  /**
   * Puts it into force everywhere, at once. Throws `not-found`, `conflict`, `approval-required`, `plan-required`, and
   * `precondition-failed` when something that it changes is not as it was.
   */
  async apply(input: DecideChange): Promise<PolicyChange> {
    const { row, documents } = await this.#read(input.revision);
    checkOpen(row, this.#now(), 'applied');
    await this.#checkAllowed(row, documents);
    return await this.#applyAll(row, documents, { by: input.by, detail: input.reason ?? '', dryRun: input.dryRun });
  }

  /**
   * Begins to put it into force, step by step. Throws as `apply`, `invalid` for a plan that makes no sense, and `conflict`
   * while another one is rolled out.
   */
  async rollout(input: StartRollout): Promise<PolicyChange> {
    const plan = checkRolloutPlan(input.plan);
    const { row, documents } = await this.#read(input.revision);
    checkOpen(row, this.#now(), 'rolled out');
    await this.#checkAllowed(row, documents);
    await this.#checkApplicable(row, documents, input);
    return await this.#decide(input, 'rollout-started', async (current, now, trx, version) => {
      checkOpen(current, now, 'rolled out');
      const other = await readRolling(trx);
      if (other !== undefined) throw anotherRolls(other.revision);
      const observed = JSON.stringify({ at: null, chosen: noCalls, before: noCalls, others: noCalls });
      await trx
        .insertInto('policy_rollouts')
        .values({
          change: current.revision,
          steps: JSON.stringify(plan.steps),
          bake_ms: plan.bakeMs,
          bounds: JSON.stringify(plan.bounds),
          ...{ started_by: input.by, started_at: now, step: 0, threshold: 0, chosen: 0 },
          ...{ step_started_at: now, bake_started_at: null, step_revision: version, observed, version },
        })
        .execute();
      return { state: 'rolling' };
    });
  }

  /** Takes back a rollout: everybody has what was in force before it. Throws `not-found`, `conflict`. */
  async abort(input: DecideChange): Promise<PolicyChange> {
    const why = checkReason(input.reason) ?? `Stopped by ${input.by}.`;
    return await this.rollBack({ ...input, why });
  }

  /** As `abort`; also what happens by itself. */
  async rollBack(input: DecideChange & { readonly why: string }): Promise<PolicyChange> {
    return await this.#decide({ ...input, reason: input.why }, 'rolled-back', async (row, now) => {
      if (row.state !== 'rolling') throw wrongState(row.revision, stateOf(row, now), 'rolled back');
      return { state: 'rolled-back', why: input.why };
    });
  }

  /** The last step of a rollout: it is in force everywhere, and its documents are policies like any others. */
  async complete(revision: number): Promise<PolicyChange> {
    const { row, documents } = await this.#read(revision);
    if (row.state !== 'rolling') throw wrongState(revision, stateOf(row, this.#now()), 'applied');
    return await this.#applyAll(row, documents, { by: BY_ITSELF, detail: 'Every step held.' });
  }

  /** Writes down which changes have run out of time; `toChange` shows them so anyway. */
  async expire(): Promise<void> {
    const now = this.#now();
    const { store } = this.#options;
    const overdue = await store.db
      .selectFrom('policy_changes')
      .select('revision')
      .where('state', 'in', ['proposed', 'approved'])
      .where('expires_at', '<=', now)
      .execute();
    for (const { revision } of overdue) {
      await this.#write({}, async (trx) => {
        const row = await readChange(trx, revision);
        if (row === undefined || stateOf(row, now) !== 'expired' || row.state === 'expired') return;
        await trx
          .updateTable('policy_changes')
          .set({ state: 'expired', updated_at: now })
          .where('revision', '=', revision)
          .execute();
        const detail = 'Nobody put it into force in time.';
        await addEvent(trx, revision, { time: now, actor: BY_ITSELF, action: 'expired', detail });
      });
    }
  }

  async #applyAll(
    row: ChangeRow,
    documents: readonly ChangeDocument[],
    how: { readonly by: string; readonly detail: string; readonly dryRun?: boolean | undefined },
  ): Promise<PolicyChange> {
    const { policies } = this.#options;
    const now = this.#now();
    let applied = row;
    await policies.writeAll({
      writes: documents.map(toWrite),
      author: row.author,
      reason: row.reason,
      dryRun: how.dryRun,
      alongside: async (trx, revision) => {
        const change = { state: 'applied' as const, applied_revision: revision, updated_at: now, version: revision };
        await this.#swap(trx, row, change);
        await addEvent(trx, row.revision, { time: now, actor: how.by, action: 'applied', detail: how.detail });
        applied = { ...row, ...change };
      },
    });
    this.#log(applied, 'applied', how.by, how.detail);
    return toChange(applied, documents, await readRollout(this.#options.store.db, row.revision), now);
  }

  /** A change of the state, by whoever read it as it is. */
  async #decide(
    input: DecideChange,
    action: ChangeAction,
    decide: (
      row: ChangeRow,
      now: number,
      trx: Transaction<Tables>,
      version: number,
    ) => Promise<Partial<Pick<ChangeRow, 'state' | 'approver' | 'why'>>>,
  ): Promise<PolicyChange> {
    const by = input.by === BY_ITSELF ? BY_ITSELF : checkAuthor(input.by);
    const detail = input.reason ?? '';
    if (input.reason !== undefined && by !== BY_ITSELF) checkReason(input.reason);
    const now = this.#now();
    const changed = await this.#write(input, async (trx, store) => {
      const row = await readChange(trx, input.revision);
      if (row === undefined) throw noChange(input.revision);
      const version = await store.nextRevision(trx);
      const change = { ...(await decide(row, now, trx, version)), updated_at: now, version };
      await this.#swap(trx, row, change);
      await addEvent(trx, row.revision, { time: now, actor: by, action, detail });
      const documents = (await readDocuments(trx, [row.revision])).get(row.revision) ?? [];
      return toChange({ ...row, ...change }, documents, await readRollout(trx, row.revision), now);
    });
    this.#log(changed, action, by, detail);
    return changed;
  }

  async #swap(trx: Transaction<Tables>, row: ChangeRow, change: Partial<ChangeRow>): Promise<void> {
    const { numUpdatedRows } = await trx
      .updateTable('policy_changes')
      .set(change)
      .where('revision', '=', row.revision)
      .where('version', '=', row.version)
      .executeTakeFirst();
    if (numUpdatedRows !== 1n) throw changedMeanwhile(row.revision);
  }

  async #checkAllowed(row: ChangeRow, documents: readonly ChangeDocument[]): Promise<void> {
    const { protection, plans } = this.#options;
    const namespaces = [...new Set(documents.map(({ namespace }) => namespace))].sort();
    const unapproved = namespaces.filter((namespace) => protection.of(namespace).requireApproval);
    if (row.state === 'proposed' && unapproved.length > 0) throw approvalRequired(unapproved, row.revision);
    const unplanned = namespaces.filter((namespace) => protection.of(namespace).requirePlan);
    if (unplanned.length > 0 && (await plans?.covers(documents)) !== true) throw planRequired(unplanned);
  }

  /** Finds whatever `complete` would find, before anybody has the candidate. */
  async #checkApplicable(row: ChangeRow, documents: readonly ChangeDocument[], input: DecideChange): Promise<void> {
    const { policies } = this.#options;
    await policies.writeAll({
      writes: documents.map(toWrite),
      author: row.author,
      reason: row.reason,
      dryRun: true,
      alongside: async (trx) => {
        if ((await readChange(trx, input.revision))?.version !== row.version) throw changedMeanwhile(row.revision);
      },
    });
  }

  async #read(revision: number): Promise<{ readonly row: ChangeRow; readonly documents: readonly ChangeDocument[] }> {
    const { db } = this.#options.store;
    const row = await readChange(db, revision);
    if (row === undefined) throw noChange(revision);
    return { row, documents: (await readDocuments(db, [revision])).get(revision) ?? [] };
  }

  async #write<T>(options: WriteOptions, fn: (trx: Transaction<Tables>, store: Writer) => Promise<T>): Promise<T> {
    const store = writer(this.#options.store, options);
    return await store.transaction((trx) => fn(trx, store));
  }

  #now(): number {
    return this.#options.clock.now();
  }

  #log(
    change: { readonly revision: number; readonly state: string },
    action: ChangeAction,
    by: string,
    detail: string,
  ) {
    const { revision, state } = change;
    this.#options.logger.info({ event: 'policy.change', change: revision, action, state, by, detail }, 'policy change');
  }
}

/** Neither in force anywhere, nor over. */
function checkOpen(row: ChangeRow, now: number, wanted: string): void {
  const state = stateOf(row, now);
  if (state !== 'proposed' && state !== 'approved') throw wrongState(row.revision, state, wanted);
}

function toWrite(document: ChangeDocument): PolicyWrite {
  const { kind, namespace, name, source, replaces } = document;
  if (source !== null) return { operation: 'put', source, replaces };
  return { operation: 'delete', kind, namespace, name, replaces: replaces ?? 0 };
}

function checkExpiry(seconds: number): number {
  if (Number.isInteger(seconds) && seconds >= MIN_EXPIRY_SECONDS && seconds <= MAX_EXPIRY_SECONDS) return seconds;
  throw new AppError(
    'invalid',
    `A change expires after ${MIN_EXPIRY_SECONDS} to ${MAX_EXPIRY_SECONDS} seconds (30 days), not after ${seconds}.`,
  );
}
