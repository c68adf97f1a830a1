/**
 * Whether a candidate that some sidecars have may be given to more of them: the judgement, and nothing of how it is carried out.
 */

/** What is tolerated, as shares of the calls of the sidecars that have the candidate; from 0 to 1. */
export interface RolloutBounds {
  /** Of calls that are denied beyond those that were to be expected. */
  readonly denials: number;
  /** Of calls that end in a status from 500 beyond those that were to be expected. */
  readonly errors: number;
}

export interface CallCounts {
  readonly calls: number;
  readonly denials: number;
  readonly errors: number;
}

export const noCalls: CallCounts = Object.freeze({ calls: 0, denials: 0, errors: 0 });

/** A sidecar that was chosen for this step or an earlier one, and is connected to some replica. */
export interface ChosenProxy {
  /** For people: its workload and instance. */
  readonly name: string;
  readonly state: 'pending' | 'acknowledged' | 'rejected';
  /** Why it refused the candidate; empty if it did not. */
  readonly error: string;
  /** Milliseconds since the epoch: everything that it recorded by then is among the counted calls; null: not known. */
  readonly heardAt: number | null;
}

export interface StepFacts {
  readonly now: number;
  readonly startedAt: number;
  /** Since when somebody has been watching: time without a control plane is nobody's fault. */
  readonly watchedSince: number;
  /** When every chosen sidecar had acknowledged; null: not yet. */
  readonly bakeStartedAt: number | null;
  readonly bakeMs: number;
  readonly bounds: RolloutBounds;
  /** How many were chosen when the step began. */
  readonly expected: number;
  readonly proxies: readonly ChosenProxy[];
  /** Of the chosen since the step began. */
  readonly chosen: CallCounts;
  /** Of the same, before the rollout began. */
  readonly before: CallCounts;
  /** Of those that the change concerns and that were not chosen, since the step began. */
  readonly others: CallCounts;
}

export type StepVerdict =
  | { readonly verdict: 'wait' }
  /** Every chosen sidecar has it: the step bakes from now on. */
  | { readonly verdict: 'bake' }
  /** The step is over, and nothing was found. */
  | { readonly verdict: 'go-on' }
  | { readonly verdict: 'roll-back'; readonly why: string };

/**
 * How long sidecars may take to acknowledge the candidate, and to send what they recorded of a step that is over. Longer than it
 * takes to give up one that has gone.
 */
export const ANSWER_TIMEOUT_MS = 90_000;
/** A sidecar is heard of a moment after it has recorded something. */
const SETTLE_MS = 1_000;
/** One call is no trend. */
const SLACK_CALLS = 1;

/** What to do about a step now. What it does not know counts against the candidate. */
export function judgeStep(facts: StepFacts): StepVerdict {
  const bad = refusals(facts) ?? excess(facts, 'denials') ?? excess(facts, 'errors') ?? disappearance(facts);
  if (bad !== undefined) return { verdict: 'roll-back', why: bad };
  return facts.bakeStartedAt === null ? judgeArrival(facts) : judgeBake(facts, facts.bakeStartedAt);
}

function judgeArrival(facts: StepFacts): StepVerdict {
  const missing = facts.proxies.filter(({ state }) => state !== 'acknowledged');
  if (missing.length === 0 && (facts.proxies.length > 0 || facts.expected === 0)) return { verdict: 'bake' };
  if (!isOverdue(facts, facts.startedAt)) return { verdict: 'wait' };
  const why = `${namesOf(missing)} did not acknowledge the candidate within ${ANSWER_TIMEOUT_MS / 1000} s.`;
  return { verdict: 'roll-back', why };
}

function judgeBake(facts: StepFacts, bakeStartedAt: number): StepVerdict {
  const end = bakeStartedAt + facts.bakeMs;
  if (facts.now < end) return { verdict: 'wait' };
  const silent = facts.proxies.filter(({ heardAt }) => heardAt === null || heardAt < end + SETTLE_MS);
  if (silent.length === 0) return { verdict: 'go-on' };
  if (!isOverdue(facts, end)) return { verdict: 'wait' };
  const why =
    `${namesOf(silent)} did not send the record of their calls within ${ANSWER_TIMEOUT_MS / 1000} s after the step, so ` +
    'nobody can tell what the candidate did there.';
  return { verdict: 'roll-back', why };
}

function refusals({ proxies }: StepFacts): string | undefined {
  const refused = proxies.find(({ state }) => state === 'rejected');
  return refused === undefined ? undefined : `${refused.name} refused the candidate: ${refused.error}`;
}

/** The candidate may be what made them go. */
function disappearance(facts: StepFacts): string | undefined {
  if (facts.expected === 0 || facts.proxies.length > 0 || !isOverdue(facts, facts.startedAt)) return undefined;
  return `None of the ${facts.expected} sidecars that were chosen is connected any more.`;
}

/**
 * More than was to be expected: what the same sidecars had before, or what the others have now, whichever is more. So a
 * caller that was denied all along does not count, nor what has befallen the whole mesh meanwhile.
 */
function excess(facts: StepFacts, what: 'denials' | 'errors'): string | undefined {
  const { chosen, before, others, bounds } = facts;
  const usual = Math.max(share(before, what), share(others, what));
  const tolerated = Math.max(bounds[what] * chosen.calls, SLACK_CALLS);
  if (chosen[what] - usual * chosen.calls <= tolerated) return undefined;
  const name = what === 'denials' ? 'denied' : 'answered with an error';
  return (
    `${chosen[what]} of ${chosen.calls} calls (${percent(share(chosen, what))}) were ${name} where the candidate is in ` +
    `force; before it was ${percent(share(before, what))}, and elsewhere it is ${percent(share(others, what))}. ` +
    `Tolerated beyond that: ${percent(bounds[what])}.`
  );
}

function share(counts: CallCounts, what: 'denials' | 'errors'): number {
  return counts.calls === 0 ? 0 : counts[what] / counts.calls;
}

function isOverdue({ now, watchedSince }: StepFacts, since: number): boolean {
  return now - Math.max(since, watchedSince) >= ANSWER_TIMEOUT_MS;
}

function percent(value: number): string {
  return `${Number((value * 100).toFixed(1))} %`;
}

function namesOf(proxies: readonly ChosenProxy[]): string {
  const [first, ...others] = proxies;
  if (first === undefined) return 'The sidecars that were chosen';
  return others.length === 0 ? first.name : `${first.name} and ${others.length} more`;
}
