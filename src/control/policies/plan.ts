import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import { parseSpiffeId, workloadOf } from '../../core/identity/spiffe-id.ts';
import { titleOf } from '../../core/policy/kinds.ts';
import type { Policy } from '../../core/policy/model.ts';
import type { PlannedWorkload, PlanResult } from '../../core/policy/plan.ts';
import { Plan } from '../../core/policy/plan.ts';
import type { CaseResult } from '../../core/policy/policy-case.ts';
import { asksForLabels, labelsIn, runCase } from '../../core/policy/policy-case.ts';
import { parsePolicyTests } from '../../core/policy/policy-test.ts';
import type { TrustDomains } from '../../core/policy/trust-domain-aliases.ts';
import type { RecordedPage } from '../ledger/recorded-calls.ts';
import { readRecordedCalls } from '../ledger/recorded-calls.ts';
import type { Store } from '../store/store.ts';
import type { CandidateChange, CandidateInput } from './candidate.ts';
import { candidateOf } from './candidate.ts';
import type { PolicySet } from './current.ts';
import type { PlanReceipts } from './plan-receipts.ts';
import { StoredRevisions } from './stored-revisions.ts';

export interface PlanInput extends CandidateInput {
  /** Of the calls, in milliseconds since the epoch. Default: 24 hours before `until`. */
  readonly since?: number | undefined;
  /** Default: now. */
  readonly until?: number | undefined;
  /** Who asks, for the receipt. */
  readonly author: string;
}

export interface PolicyPlan extends PlanResult {
  /** Revision of the policies that the candidate was compared with. */
  readonly baseRevision: number;
  readonly changes: readonly CandidateChange[];
  /** When the calls were decided as if they had come: milliseconds since the epoch, as all times here. */
  readonly at: number;
  readonly window: {
    readonly since: number;
    readonly until: number;
    /** From here on every call was replayed; later than `since` when there were more than `MAX_PLANNED_CALLS`. */
    readonly replayedFrom: number;
  };
  /** What to know before relying on it. */
  readonly notes: readonly string[];
}

export interface TestInput extends CandidateInput {
  /** Texts of expectations. */
  readonly cases: readonly string[];
}

export interface PolicyTestRun {
  readonly policyRevision: number;
  readonly results: readonly CaseResult[];
}

/** As of now, once `settled` has resolved. */
export interface KnownEntries {
  readonly current: Watch<{ ofIdentity(spiffeId: string): KnownEntry | undefined }>;
  settled(): Promise<void>;
}

interface KnownEntry {
  readonly revision: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface PlannerOptions {
  readonly trustDomain: string;
  readonly store: Store;
  readonly policies: Watch<PolicySet>;
  readonly entries: KnownEntries;
  readonly receipts: Pick<PlanReceipts, 'write'>;
  /** Policies of it hold in every namespace. */
  readonly rootNamespace: string;
  readonly trustDomains?: TrustDomains;
  readonly clock: Clock;
}

const DAY_MS = 24 * 60 * 60_000;
/** A window that ended when its plan was asked for ends now. */
const SLACK_MS = 60_000;
/** Calls that one plan replays, the newest of the window. */
export const MAX_PLANNED_CALLS = 5_000_000;
/** At a time: each keeps the database and a processor busy for seconds. */
const MAX_PLANS = 2;

/** Replays recorded calls over policies that are not in force yet. */
export class Planner {
  readonly #options: PlannerOptions;
  #running = 0;

  constructor(options: PlannerOptions) {
    this.#options = options;
  }

  /**
   * What a change of policies would have done to the recorded calls of a window. Afterwards there is a receipt for exactly these
   * documents, if the window holds the last 24 hours. Throws as `candidateOf`, `invalid` for an empty window, `exhausted` while too many others plan, and the reason
   * of `signal` when that aborts.
   */
  async plan(input: PlanInput, signal?: AbortSignal): Promise<PolicyPlan> {
    if (this.#running >= MAX_PLANS) {
      throw new AppError('exhausted', `${MAX_PLANS} plans are being made already. Try again when they are done.`, {
        retryAfterSeconds: 10,
      });
    }
    this.#running += 1;
    try {
      return await this.#plan(input, signal);
    } finally {
      this.#running -= 1;
    }
  }

  /**
   * Runs expectations over the policies in force, changed as a candidate says. Throws as `candidateOf`, and `invalid-document`
   * with the findings of the first text that has any.
   */
  async test(input: TestInput): Promise<PolicyTestRun> {
    const { policies, entries, rootNamespace, trustDomain, trustDomains, clock } = this.#options;
    await entries.settled();
    const current = policies.current;
    const { after } = candidateOf(current, input, trustDomains);
    const results = input.cases.flatMap((text) => {
      const { cases, workloads } = parsePolicyTests(text);
      const labelsOf = (spiffeId: string) =>
        entries.current.current.ofIdentity(spiffeId)?.labels ?? labelsIn(workloads, spiffeId, trustDomain);
      const world = { policies: after, rootNamespace, trustDomain, now: clock.now(), labelsOf };
      return cases.map((one) => runCase(one, world));
    });
    return Object.freeze({ policyRevision: current.revision, results: Object.freeze(results) });
  }

  async #plan(input: PlanInput, signal: AbortSignal | undefined): Promise<PolicyPlan> {
    const { store, policies, entries, rootNamespace, trustDomains, clock, receipts } = this.#options;
    const at = clock.now();
    const until = input.until ?? at;
    const since = input.since ?? until - DAY_MS;
    if (since >= until) throw new AppError('invalid', 'The window ends before it begins: since must be before until.');
    await entries.settled();
    const current = policies.current;
    const candidate = candidateOf(current, input, trustDomains);
    const both = [...current.policies, ...candidate.after];
    const unknownWorkloads = new Set<string>();
    const plan = new Plan({
      before: current.policies,
      after: candidate.after,
      rootNamespace,
      at,
      workloadOf: (spiffeId) => this.#workload(spiffeId, unknownWorkloads),
      tokensWithoutSubject: candidate.acceptsForeignTokens,
    });
    const replayedFrom = await replay(readRecordedCalls(store.db, { since, until }, signal), plan, store);
    const result = plan.result();
    // Otherwise whoever must make a plan could look at nothing.
    const counts = since <= at - DAY_MS && until >= at - SLACK_MS;
    if (counts) {
      await receipts.write({ documents: candidate.documents, baseRevision: current.revision, author: input.author });
    }
    return Object.freeze({
      ...result,
      baseRevision: current.revision,
      changes: candidate.changes,
      at,
      window: { since, until, replayedFrom: Math.max(since, replayedFrom) },
      notes: Object.freeze(
        notesOf({ result, candidate, policies: both, unknownWorkloads, isWhole: replayedFrom <= since, counts }),
      ),
    });
  }

  #workload(spiffeId: string, unknown: Set<string>): PlannedWorkload | undefined {
    const workload = ownWorkload(spiffeId, this.#options.trustDomain);
    if (workload === undefined) return undefined;
    const entry = this.#options.entries.current.current.ofIdentity(spiffeId);
    if (entry === undefined) unknown.add(spiffeId);
    // Without an entry nobody knows since when it has had no labels.
    const since = entry?.revision ?? Number.POSITIVE_INFINITY;
    return { namespace: workload.namespace, service: workload.service, labels: entry?.labels ?? {}, since };
  }
}

/** Who calls is the word of the sidecar that recorded it: what is no SPIFFE ID must not end a plan. */
function ownWorkload(spiffeId: string, trustDomain: string): ReturnType<typeof workloadOf> {
  try {
    const id = parseSpiffeId(spiffeId);
    // Policies are for the workloads of this trust domain, whatever namespaces others have.
    return id.trustDomain === trustDomain ? workloadOf(id) : undefined;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

/** Returns the time from which on everything was replayed. */
async function replay(pages: AsyncIterable<RecordedPage>, plan: Plan, store: Store): Promise<number> {
  const stored = new StoredRevisions(store);
  let count = 0;
  for await (const { calls, from } of pages) {
    await stored.look(calls.map((call) => call.policyRevision));
    for (const call of calls) {
      plan.add(stored.has(call.policyRevision) ? call : { ...call, policyRevision: 0 });
      count += call.calls;
    }
    if (count >= MAX_PLANNED_CALLS) return from;
  }
  return Number.NEGATIVE_INFINITY;
}

interface Noted {
  readonly result: PlanResult;
  readonly candidate: ReturnType<typeof candidateOf>;
  /** In force, and of the candidate. */
  readonly policies: readonly Policy[];
  readonly unknownWorkloads: ReadonlySet<string>;
  readonly isWhole: boolean;
  /** Where a plan is required, it is one. */
  readonly counts: boolean;
}

function notesOf({ result, candidate, policies, unknownWorkloads, isWhole, counts }: Noted): string[] {
  const notes: string[] = [];
  if (!counts) {
    notes.push(
      'The window is not the last 24 hours or longer: where a namespace requires a plan, this one does not count.',
    );
  }
  if (result.calls.recorded === 0) {
    notes.push('No call was recorded in the window, so nothing is known about what the change would do.');
  }
  if (!isWhole) {
    notes.push(`The window holds more than ${MAX_PLANNED_CALLS} calls: only the newest were replayed.`);
  }
  const others = candidate.changes.filter((each) => each.kind !== 'AuthorizationPolicy');
  if (others.length > 0) {
    const names = others.map((each) => titleOf(each)).slice(0, 5);
    notes.push(
      `Only authorization policies are replayed. What ${names.join(', ')}${others.length > names.length ? ' and others' : ''} would do is not in this plan.`,
    );
  }
  if (policies.some((policy) => policy.direction === 'egress')) {
    notes.push(
      'Only calls that reached whom they were for are replayed: what egress policies kept from going out, and would let out, is not in this plan.',
    );
  }
  // Of policies that are for everybody, labels make no difference.
  if (unknownWorkloads.size > 0 && policies.some(asksForLabels)) {
    const [first = ''] = unknownWorkloads;
    const who = unknownWorkloads.size === 1 ? `${first} has` : `${first} and ${unknownWorkloads.size - 1} others have`;
    notes.push(`${who} no entry: policies were chosen as for a workload without labels.`);
  }
  return notes;
}
