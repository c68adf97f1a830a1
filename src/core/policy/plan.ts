import { boundsOf } from './bounds.ts';
import type { CompiledPolicies } from './compile.ts';
import { compile } from './compile.ts';
import { decide } from './decide.ts';
import type { Flip } from './flips.ts';
import { Flips } from './flips.ts';
import type { DecisionReason, Policy, Request, Workload } from './model.ts';
import type { Blind, RecordedCalls } from './recorded-call.ts';
import { blindOf, requestOf, wasDecidedByPolicy } from './recorded-call.ts';
import type { Verdict } from './replay.ts';
import { evidenceOf, noEvidence, Replay } from './replay.ts';
import { selects } from './selects.ts';

export interface PlanContext {
  /** In force. Policies that stay as they are must be the same values in both. */
  readonly before: readonly Policy[];
  /** The candidate: all that would be in force. */
  readonly after: readonly Policy[];
  /** Policies of it hold in every namespace. */
  readonly rootNamespace: string;
  /** Milliseconds since the epoch: each call is decided as if it came then. */
  readonly at: number;
  /** The workload of a SPIFFE ID, as policies are chosen for it. Undefined: it is none. */
  readonly workloadOf: (spiffeId: string) => PlannedWorkload | undefined;
  /** Tokens are accepted that may have no subject. Default false. */
  readonly tokensWithoutSubject?: boolean;
}

export interface PlannedWorkload extends Workload {
  /** Revision from which on it has had these labels. */
  readonly since: number;
}

export interface PlanResult {
  readonly calls: {
    readonly recorded: number;
    /** Decided again. The others were refused for what is none of the policies' business. */
    readonly replayed: number;
    /** That no changed rule can match: their verdicts stay. */
    readonly untouched: number;
    /** Not replayed, by reason. */
    readonly notReplayed: Readonly<Partial<Record<DecisionReason, number>>>;
  };
  readonly newlyDenied: Flip;
  readonly newlyAllowed: Flip;
  /** What became of them depends on what was not recorded. */
  readonly unknown: Flip;
  /** `<namespace>/<name>` of the candidate's policies by which no call was decided, marked or asked about. */
  readonly unused: readonly string[];
}

/**
 * What a change of policies would have done to recorded calls: decides each of them by those in force and by the candidate, and
 * keeps where the two differ. Pure; memory grows with the workloads and with what flips, up to a limit, and not with the calls.
 */
export class Plan {
  readonly #context: PlanContext;
  readonly #changed: readonly Policy[];
  readonly #sides = { ingress: new Map<string, Side>(), egress: new Map<string, Side>() };
  readonly #shared = new Map<string, Side>();
  readonly #used = new Set<string>();
  readonly #names: ReadonlyMap<string, string>;
  readonly #flips = { denied: new Flips(), allowed: new Flips(), unknown: new Flips() };
  readonly #skipped = new Map<DecisionReason, number>();
  #recorded = 0;
  #replayed = 0;
  #untouched = 0;

  constructor(context: PlanContext) {
    this.#context = context;
    const { before, after } = context;
    const [was, will] = [new Set(before), new Set(after)];
    this.#changed = [...before.filter((each) => !will.has(each)), ...after.filter((each) => !was.has(each))];
    this.#names = new Map(after.map((each) => [keyOf(each), `${each.namespace}/${each.name}`]));
  }

  add(call: RecordedCalls): void {
    this.#recorded += call.calls;
    if (!wasDecidedByPolicy(call)) {
      this.#skipped.set(call.reason, (this.#skipped.get(call.reason) ?? 0) + call.calls);
      return;
    }
    this.#replayed += call.calls;
    const { at, tokensWithoutSubject = false } = this.#context;
    const request = requestOf(call, at);
    const blind = blindOf(call, { tokensWithoutSubject });
    const called = this.#side(call.destination, 'ingress');
    const calling = this.#side(call.source, 'egress');
    // Whom an egress policy looks at is who is called.
    const outbound = calling === undefined ? undefined : { ...request, source: call.destination };
    const isTouched =
      called?.touches(request, blind) === true ||
      (calling !== undefined && outbound !== undefined && calling.touches(outbound, blind));
    const evidence = evidenceOf(call, called?.since ?? 0);
    const after = this.#both(
      called?.after.verdict(request, blind, evidence, this.#use),
      outbound && calling?.after.verdict(outbound, blind, noEvidence, this.#use),
    );
    if (!isTouched) {
      this.#untouched += call.calls;
      return;
    }
    const before = this.#both(
      called?.before.verdict(request, blind, evidence, ignore),
      outbound && calling?.before.verdict(outbound, blind, noEvidence, ignore),
    );
    this.#compare(call, before, after);
  }

  result(): PlanResult {
    const used = new Set([...this.#used].map((rule) => this.#names.get(policyOf(rule))));
    return Object.freeze({
      calls: Object.freeze({
        recorded: this.#recorded,
        replayed: this.#replayed,
        untouched: this.#untouched,
        notReplayed: Object.freeze(Object.fromEntries(this.#skipped)),
      }),
      newlyDenied: this.#flips.denied.result(),
      newlyAllowed: this.#flips.allowed.result(),
      unknown: this.#flips.unknown.result(),
      unused: Object.freeze([...new Set(this.#names.values())].filter((name) => !used.has(name)).sort()),
    });
  }

  readonly #use = (rule: string): void => void this.#used.add(rule);

  /** Who calls and who is called must both let the call pass. */
  #both(inbound: Verdict | undefined, outbound: Verdict | undefined): Verdict {
    if (inbound === undefined) return outbound ?? nobody;
    if (outbound === undefined || outbound.decision === 'allow') return inbound;
    if (outbound.decision === 'deny' || inbound.decision === 'allow') return { ...outbound, mayAsk: inbound.mayAsk };
    return inbound.decision === 'deny'
      ? inbound
      : { ...inbound, because: [...new Set([...inbound.because, ...outbound.because])].sort() };
  }

  #compare(call: RecordedCalls, before: Verdict, after: Verdict): void {
    const wasRefused = before.decision === 'deny' || call.reason === 'custom-rule';
    const newAsked = after.mayAsk.filter((provider) => !before.asks.includes(provider));
    const stillAsked = call.reason === 'custom-rule' ? after.mayAsk : newAsked;
    if (after.decision === 'deny') {
      if (before.decision === 'unknown') this.#flips.unknown.add(call, before, after, before.because);
      else if (!wasRefused) this.#flips.denied.add(call, before, after, []);
      return;
    }
    const asked = isSame(before, after) ? [] : stillAsked.map((provider) => `the authorizer ${provider}`);
    const because = [...new Set([...before.because, ...after.because, ...asked])].sort();
    if (because.length > 0) this.#flips.unknown.add(call, before, after, because);
    else if (wasRefused && after.decision === 'allow' && !isSame(before, after))
      this.#flips.allowed.add(call, before, after, []);
  }

  /** Undefined for an identity that is no workload, which no policy can be for. */
  #side(spiffeId: string, direction: 'ingress' | 'egress'): Side | undefined {
    if (direction === 'egress' && !this.#hasEgress) return undefined;
    const sides = this.#sides[direction];
    let side = sides.get(spiffeId);
    if (side === undefined) {
      const workload = this.#context.workloadOf(spiffeId);
      if (workload === undefined) return undefined;
      side = this.#sideOf(workload, direction);
      sides.set(spiffeId, side);
    }
    return side;
  }

  get #hasEgress(): boolean {
    this.#anyEgress ??= [...this.#context.before, ...this.#context.after].some((each) => each.direction === 'egress');
    return this.#anyEgress;
  }
  #anyEgress: boolean | undefined;

  /** Workloads that the same policies select share what is compiled for them. */
  #sideOf(workload: PlannedWorkload, direction: 'ingress' | 'egress'): Side {
    const { before, after, rootNamespace, at } = this.#context;
    const isFor = (policy: Policy) =>
      (policy.direction ?? 'ingress') === direction && selects(policy, workload, rootNamespace);
    const [was, will] = [before.filter(isFor), after.filter(isFor)];
    const key = `${direction} ${workload.since} ${was.map(keyOf).join(' ')} > ${will.map(keyOf).join(' ')}`;
    let side = this.#shared.get(key);
    if (side === undefined) {
      side = new Side(was, will, this.#changed.filter(isFor), { direction, since: workload.since, at });
      this.#shared.set(key, side);
    }
    return side;
  }
}

/** What applies to a workload in one direction, before and after. */
class Side {
  readonly before: Replay;
  readonly after: Replay;
  readonly since: number;
  readonly #changed: readonly Policy[];
  readonly #tests = new Map<number, CompiledPolicies>();
  /** With the first egress policy what was open is closed, and with the last one it opens: then every call is concerned. */
  readonly #isOpened: boolean;

  constructor(
    before: readonly Policy[],
    after: readonly Policy[],
    changed: readonly Policy[],
    o: { readonly direction: 'ingress' | 'egress'; readonly since: number; readonly at: number },
  ) {
    this.before = new Replay(before, o.direction);
    this.after = new Replay(after, o.direction);
    this.since = o.since;
    // A policy that decides nothing changes no verdict.
    this.#changed = changed.filter((each) => each.action !== 'AUDIT' && each.shadow !== true);
    this.#isOpened = o.direction === 'egress' && decides(before) !== decides(after);
  }

  /** Whether a rule that comes or goes may match the call: only then can its verdict change. */
  touches(request: Request, blind: Blind): boolean {
    if (this.#changed.length === 0) return false;
    if (this.#isOpened) return true;
    const key = Number(blind.token) + 2 * Number(blind.host) + 4 * Number(blind.path);
    let test = this.#tests.get(key);
    if (test === undefined) {
      test = compile(
        this.#changed.map((policy) => ({ ...boundsOf(policy, blind).widest, action: 'DENY' as const })),
        0,
      );
      this.#tests.set(key, test);
    }
    return decide(test, request).reason === 'deny-rule';
  }
}

const nobody: Verdict = Object.freeze({ decision: 'deny', rule: 'default-deny', asks: [], mayAsk: [], because: [] });

function ignore(): void {
  // Only what the candidate uses is of interest.
}

function decides(policies: readonly Policy[]): boolean {
  return policies.some((each) => each.action !== 'AUDIT' && each.shadow !== true);
}

function isSame(a: Verdict, b: Verdict): boolean {
  return a.decision === b.decision && isSameList(a.asks, b.asks) && isSameList(a.mayAsk, b.mayAsk);
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index]);
}

function keyOf({ namespace, name, revision }: Policy): string {
  return `${namespace}/${name}@${revision}`;
}

/** What stands before the `#` of a rule id. */
function policyOf(rule: string): string {
  return rule.slice(0, Math.max(0, rule.indexOf('#')));
}
