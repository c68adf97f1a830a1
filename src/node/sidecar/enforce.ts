import type { Clock } from '../../base/clock.ts';
import type { AppendOptions } from '../../base/journal/journal.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { AuditEvent } from '../../core/audit/event.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { decide } from '../../core/policy/decide.ts';
import type { Connection, Request } from '../../core/policy/model.ts';
import type { Svid } from '../agent/svid.ts';
import type { InboundFacts } from './checks/again.ts';
import { refusalNow } from './checks/again.ts';
import { ExternalAuthorizers } from './checks/custom.ts';
import { pathAsSent, readRequest } from './checks/http-request.ts';
import { checkJwtSvid } from './checks/jwt-svid.ts';
import { quarantined, quarantinedOf, quarantineRule } from './checks/quarantine.ts';
import { limited, RateLimiter } from './checks/rate-limit.ts';
import { ambiguous, notRecorded, problemFor } from './checks/refusal.ts';
import { withRemoteIp } from './checks/remote-ip.ts';
import { checkUserToken, seenByRules } from './checks/request-authentication.ts';
import type { RequestChanges } from './checks/request-changes.ts';
import type { Known, Ruling } from './checks/ruling.ts';
import { refused } from './checks/ruling.ts';
import { recordCompletion } from './completion.ts';
import { defaultLimits } from './limits.ts';
import type { LiveCall } from './live/live-call.ts';
import { LiveCalls } from './live/live-calls.ts';
import { isPlainTextAllowed } from './plain-text.ts';
import type { PolicyState } from './policy-state.ts';
import type { Problem } from './problem.ts';
import type { QuarantineList } from './quarantine/list.ts';
import { nobody } from './quarantine/list.ts';
import type { TokenVerifier } from './token.ts';
import { UserTokenVerifier } from './user-tokens.ts';

/**
 * Where decisions are recorded. Resolves when the event is durable; rejects when it cannot be. An event that nothing waits
 * for may be held back for up to `withinMs`, to be written together with others.
 */
export interface Recorder {
  append(event: AuditEvent, o?: AppendOptions): Promise<unknown>;
}

/** One call as it arrived. Everything but `peer` and `port` is attacker-controlled. */
export interface Call {
  /** Undefined for plain text: nobody. */
  readonly peer: PeerIdentity | undefined;
  /** Port of the local application. */
  readonly port: number;
  readonly protocol: 'http' | 'grpc' | 'tcp';
  readonly method: string;
  readonly host: string;
  /** Request target as sent; empty on TCP. */
  readonly target: string;
  /** '' for none. */
  readonly traceId: string;
  readonly authorization: string | undefined;
  /** Fields of the request that the application will get, name and value alternating; none on TCP. */
  readonly fields: readonly string[];
  /** What is known of the connection, as the operating system and the TLS handshake say. */
  readonly connection: Connection;
  /** Why the head of the request cannot be trusted to mean one thing, where that was found. */
  readonly malformed: string | undefined;
}

export interface Admitted {
  readonly admitted: true;
  readonly id: string;
  readonly startedAt: number;
  /** What to forward: the normalised path with the original query; empty on TCP. */
  readonly target: string;
  /** Of the fields, before they are forwarded. */
  readonly changes: RequestChanges | undefined;
  /** Of the fields of the answer, before the caller gets it. */
  readonly answer: RequestChanges | undefined;
  /** Told by whoever carries the call: how it is ended when it is not allowed any more. */
  onCut(end: () => void): void;
}

export interface Refused {
  readonly admitted: false;
  /** undefined when not even the refusal could be recorded. */
  readonly id: string | undefined;
  readonly startedAt: number;
  readonly problem: Problem;
}

export type Verdict = Admitted | Refused;

/** How a call ended. */
export interface Outcome {
  /** Status sent to the caller; 0 on TCP and when the caller went away first. */
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface EnforcerDeps {
  readonly identity: Watch<Svid>;
  readonly policy: Watch<PolicyState | undefined>;
  /** Default: nobody is in it. */
  readonly quarantine?: Watch<QuarantineList>;
  /** How old an HTTP call must be to be cut by a change of policy: see `Limits.streamAgeMs`. Default 2 s. */
  readonly streamAgeMs?: number;
  readonly recorder: Recorder;
  readonly tokens: TokenVerifier;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

/**
 * The one place where an inbound call is let through. `admit` decides, makes the decision durable, and only then answers:
 * nothing may reach the application before it has resolved with `admitted`. When the record cannot be made durable the
 * call is refused, whatever the policy says.
 */
export class Enforcer {
  readonly #o: EnforcerDeps;
  readonly #random: RandomBytes;
  readonly #quarantine: Watch<QuarantineList>;
  readonly #live: LiveCalls<InboundFacts>;
  readonly #rates: RateLimiter;
  readonly #authorizers: ExternalAuthorizers;
  readonly #users: UserTokenVerifier;
  #plainTextCalls = 0;
  readonly #begun = new WeakMap<Verdict, LiveCall<InboundFacts>>();

  constructor(o: EnforcerDeps) {
    this.#o = o;
    this.#random = o.random ?? secureRandom;
    this.#rates = new RateLimiter(o.clock);
    this.#users = new UserTokenVerifier(o.clock);
    this.#authorizers = new ExternalAuthorizers(o.logger);
    const { policy, clock, logger, streamAgeMs = defaultLimits.streamAgeMs } = o;
    this.#quarantine = o.quarantine ?? new WatchSource(nobody);
    this.#live = new LiveCalls({
      policy,
      quarantine: this.#quarantine,
      recheck: refusalNow,
      // Plain bytes are never a short answer.
      graceMs: ({ request }) => (request?.http === undefined ? 0 : streamAgeMs),
      clock,
      logger,
    });
  }

  /** Calls in plain text since the start, whatever was decided of them. */
  get plainTextCalls(): number {
    return this.#plainTextCalls;
  }

  async admit(call: Call): Promise<Verdict> {
    if (call.peer === undefined) this.#plainTextCalls += 1;
    const { clock, identity, policy, recorder, logger } = this.#o;
    const startedAt = clock.now();
    const svid = identity.current;
    const state = policy.current;
    const ruling = await this.#judge(call, svid, state, startedAt);
    const { decision, reason, rule, path, tokenSubject, shadow, audited } = ruling;
    const id = uuidv7(clock, this.#random);
    try {
      await recorder.append({
        kind: 'decision',
        call: id,
        time: startedAt,
        source: sourceOf(call),
        destination: svid.id.uri,
        protocol: call.protocol,
        method: call.method,
        host: call.host,
        path: path,
        port: call.port,
        decision,
        reason,
        rule,
        policyRevision: state?.revision ?? 0,
        traceId: call.traceId,
        tokenSubject,
        certificateSerial: call.peer?.serial ?? '',
        ...(call.peer === undefined && { transport: 'plaintext' as const }),
        ...(ruling.endUser !== undefined && { endUser: ruling.endUser }),
        ...(shadow !== undefined && { shadowDecision: shadow.decision, shadowRule: shadow.rule }),
        ...(audited !== undefined && { auditRule: audited }),
      });
    } catch (error) {
      logger.error({ err: error }, 'a decision could not be recorded; the call was refused');
      return { admitted: false, id: undefined, startedAt, problem: notRecorded };
    }
    if (decision === 'allow') return this.#begin(call, ruling, { id, startedAt, svid, state });
    return { admitted: false, id, startedAt, problem: ruling.problem ?? problemFor(reason, rule) };
  }

  /** Records how a call ended. Not awaited by callers: the answer does not wait for it, and a loss is logged. */
  complete(verdict: Verdict, outcome: Outcome): void {
    if (verdict.id === undefined) return;
    const live = this.#begun.get(verdict);
    if (live !== undefined) this.#live.end(live);
    const { id, startedAt } = verdict;
    recordCompletion(this.#o, { id, startedAt, cut: live?.wasCut }, outcome);
  }

  /** Lets go of what the checks hold open. */
  close(): void {
    this.#live.close();
    this.#authorizers.close();
  }

  /** What happened while the decision was written down, and whoever had to be asked was asked, counts too. */
  #begin(call: Call, ruling: Ruling, o: Begun): Verdict {
    const { id, startedAt, svid, state } = o;
    const { request, custom: agreed = [], tokenSubject, target, changes, answer } = ruling;
    const facts = { request, fields: ruling.fields ?? call.fields, agreed };
    const parties = [sourceOf(call), svid.id.uri, ...(tokenSubject === '' ? [] : [tokenSubject])];
    const live = this.#live.begin({ facts, parties, startedAt }, state);
    const cut = live.wasCut;
    const onCut = (end: () => void) => live.onCut(end);
    const verdict: Verdict =
      cut === undefined
        ? { admitted: true, id, startedAt, target, changes, answer, onCut }
        : { admitted: false, id, startedAt, problem: problemFor(cut.reason, cut.rule) };
    this.#begun.set(verdict, live);
    return verdict;
  }

  /**
   * The checks in their order; each ends it or adds to what the next ones know. Whoever cannot be served at all comes first,
   * then who calls, then the policies; the last two count and ask only about calls that would be let in.
   */
  async #judge(call: Call, svid: Svid, state: PolicyState | undefined, now: number): Promise<Ruling> {
    const asSent = { path: pathAsSent(call.target), tokenSubject: '' };
    if (now >= svid.notAfter) return refused('no-identity', asSent);
    if (state === undefined) return refused('no-policy', asSent);
    const list = this.#quarantine.current;
    const cutOff = (party: string, known: Known) =>
      refused('quarantined', known, { rule: quarantineRule(list), problem: quarantined(list, party) });
    const party = quarantinedOf(list, [sourceOf(call), svid.id.uri]);
    if (party !== undefined) return cutOff(party, asSent);
    if (call.peer === undefined && !isPlainTextAllowed(state, call.port)) return refused('plaintext-refused', asSent);
    const { compiled } = state;
    const read = call.protocol === 'tcp' ? undefined : readRequest(call, compiled.uses.headers);
    if (read?.ok === false) return refused('malformed-request', asSent, { problem: ambiguous(read.why) });
    const remote = withRemoteIp(call.connection, call.fields, state.trustedProxies);
    if (!remote.ok) return refused('malformed-request', asSent, { problem: ambiguous(remote.why) });
    const path = read?.http.path ?? '';
    const token = checkJwtSvid(call.authorization, state, this.#o.tokens);
    const svidToken = token instanceof Promise ? await token : token;
    if (!svidToken.ok) return refused('token-refused', { path, tokenSubject: '' });

    const known = { path, tokenSubject: svidToken.subject };
    if (quarantinedOf(list, [svidToken.subject]) !== undefined) return cutOff(svidToken.subject, known);
    const checked = read === undefined ? undefined : checkUserToken(call, read.target, state, this.#users);
    const user = checked instanceof Promise ? await checked : checked;
    if (user?.ok === false) return refused('token-refused', known, user);
    const seen =
      read && user && seenByRules(call, read.http, user, { svid: svidToken.token, wanted: compiled.uses.headers });
    const request: Request = {
      source: sourceOf(call),
      ...(call.peer === undefined && { plaintext: true as const }),
      port: call.port,
      time: now,
      connection: remote.connection,
      ...(seen !== undefined && { http: seen.http }),
    };
    const decided = decide(compiled, request);
    const ruling: Ruling = {
      ...decided,
      ...known,
      target: user?.target ?? '',
      request,
      ...(seen !== undefined && { fields: seen.fields }),
      changes: user?.changes,
      endUser: user?.subject || undefined,
    };
    if (decided.decision === 'deny') return ruling;
    const tooMany = this.#rates.take(state.rateLimits, sourceOf(call));
    if (tooMany !== undefined) return { ...ruling, ...limited(tooMany, known) };
    if (decided.custom === undefined) return ruling;
    const { target, changes } = ruling;
    const asked = { call, time: now, target, destination: svid.id.uri, changes };
    const custom = await this.#authorizers.ask(decided.custom, asked, state.authorizers);
    if (!custom.ok) return { ...ruling, ...refused('custom-rule', known, custom) };
    return { ...ruling, target: custom.target, changes: custom.changes, answer: custom.answer };
  }
}

/** '' for nobody. */
function sourceOf({ peer }: Call): string {
  return peer?.id.uri ?? '';
}

/** An inbound call that may go on. */
interface Begun {
  readonly id: string;
  readonly startedAt: number;
  readonly svid: Svid;
  /** That it was decided by. */
  readonly state: PolicyState | undefined;
}
