import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { uuidv7 } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import type { DecisionEvent } from '../../core/audit/event.ts';
import type { Decision } from '../../core/policy/model.ts';
import { DEFAULT_DENY } from '../../core/policy/model.ts';
import type { ServiceEndpoint } from '../../core/policy/snapshot.ts';
import type { Svid } from '../agent/svid.ts';
import type { OutgoingCall } from './checks/egress.ts';
import { decideOutgoing, readOutgoing, refusalOutgoing } from './checks/egress.ts';
import { pathAsSent } from './checks/http-request.ts';
import { quarantined, quarantinedOf, quarantineRule } from './checks/quarantine.ts';
import { ambiguous } from './checks/refusal.ts';
import { recordCompletion } from './completion.ts';
import type { Outcome, Recorder } from './enforce.ts';
import type { Cut, LiveCall } from './live/live-call.ts';
import { LiveCalls } from './live/live-calls.ts';
import type { PolicyState } from './policy-state.ts';
import type { Problem } from './problem.ts';
import type { QuarantineList } from './quarantine/list.ts';

/** A call that may go out. */
export interface LetOut {
  readonly admitted: true;
  /** Where to: not every endpoint of a service may be called. */
  readonly endpoints: readonly ServiceEndpoint[];
  /** What to send: the normalised path with the original query where policies decide, else as the application wrote it. */
  readonly target: string;
  /** Told by whoever carries the call: how it is ended when it is not allowed any more. */
  onCut(end: () => void): void;
}

export interface KeptIn {
  readonly admitted: false;
  readonly problem: Problem;
}

export type OutboundVerdict = LetOut | KeptIn;

export interface OutboundEnforcerDeps {
  readonly identity: Watch<Svid>;
  readonly policy: Watch<PolicyState | undefined>;
  readonly quarantine: Watch<QuarantineList>;
  /** See `Limits.streamAgeMs`. */
  readonly streamAgeMs: number;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: RandomBytes;
}

/** What is known of a call of which a verdict was given. */
interface Known {
  readonly call: OutgoingCall;
  readonly startedAt: number;
  readonly port: number;
  /** Of its record; undefined where nothing decided on it: then the record is that of who is called. */
  readonly id: string | undefined;
  readonly live: LiveCall<OutgoingCall> | undefined;
}

/**
 * The one place where a call of the application beside us is let out, before there is a connection to who is called. Where
 * egress policies select this workload, or somebody is in quarantine, it decides, and makes the decision durable before it
 * answers; elsewhere the sidecar of who is called decides and records alone.
 *
 * This protects others from a workload that is compromised only as long as it cannot get past its sidecar.
 */
export class OutboundEnforcer {
  readonly #o: OutboundEnforcerDeps;
  readonly #live: LiveCalls<OutgoingCall>;
  readonly #known = new WeakMap<OutboundVerdict, Known>();
  readonly #serials = new WeakMap<Svid, string>();

  constructor(o: OutboundEnforcerDeps) {
    this.#o = o;
    const { policy, quarantine, streamAgeMs, clock, logger } = o;
    this.#live = new LiveCalls({
      policy,
      quarantine,
      recheck: refusalOutgoing,
      graceMs: ({ protocol }) => (protocol === 'tcp' ? 0 : streamAgeMs),
      clock,
      logger,
    });
  }

  /** At once where there is nothing to decide. */
  admit(call: OutgoingCall): OutboundVerdict | Promise<OutboundVerdict> {
    const { policy, quarantine, identity, clock } = this.#o;
    const startedAt = clock.now();
    const state = policy.current;
    const list = quarantine.current;
    const party = quarantinedOf(list, [call.service.spiffeId, identity.current.id.uri]);
    if (party !== undefined) {
      const decision: Decision = { decision: 'deny', reason: 'quarantined', rule: quarantineRule(list) };
      return this.#refuse(call, { startedAt, state, decision, problem: quarantined(list, party) });
    }
    if (state?.egress === undefined) return this.#begin({ call, startedAt, state, target: call.target });
    return this.#decide(call, state, startedAt);
  }

  /** Records how a call ended, where it is on the record, or was cut off. */
  complete(verdict: OutboundVerdict, outcome: Outcome): void {
    const known = this.#known.get(verdict);
    if (known === undefined) return;
    const { call, startedAt, port, live } = known;
    if (live !== undefined) this.#live.end(live);
    const cut = live?.wasCut;
    const id = known.id ?? (cut === undefined ? undefined : uuidv7(this.#o.clock, this.#o.random));
    if (id === undefined) return;
    // It went out when nothing decided on it.
    if (known.id === undefined && cut !== undefined) this.#recordCut(id, call, { startedAt, port, cut });
    recordCompletion(this.#o, { id, startedAt, cut }, outcome);
  }

  close(): void {
    this.#live.close();
  }

  async #decide(call: OutgoingCall, state: PolicyState, startedAt: number): Promise<OutboundVerdict> {
    const read = readOutgoing(call);
    if (!read.ok) {
      const decision: Decision = { decision: 'deny', reason: 'malformed-request', rule: DEFAULT_DENY };
      return this.#refuse(call, { startedAt, state, decision, problem: ambiguous(read.why) });
    }
    const decided = decideOutgoing({ ...call, target: read.target }, state, startedAt);
    const { decision, port, endpoints } = decided;
    const problem = refusalOf(decision.reason, decision.rule);
    if (decision.decision === 'deny') {
      return this.#refuse(call, { startedAt, state, decision, problem, port, path: read.path });
    }
    const id = await this.#record(call, { startedAt, state, decision, port, path: read.path });
    if (id === undefined) return notRecorded;
    return this.#begin({ call: { ...call, endpoints }, startedAt, state, target: read.target, port, id });
  }

  /** What happened while the decision was written down counts too. */
  #begin(o: {
    readonly call: OutgoingCall;
    readonly startedAt: number;
    readonly state: PolicyState | undefined;
    readonly target: string;
    readonly port?: number;
    readonly id?: string;
  }): OutboundVerdict {
    const { call, startedAt, state, target, id, port = call.endpoints[0]?.applicationPort ?? 0 } = o;
    const parties = [call.service.spiffeId, this.#o.identity.current.id.uri];
    const live = this.#live.begin({ facts: call, parties, startedAt }, state);
    const cut = live.wasCut;
    const verdict: OutboundVerdict =
      cut === undefined
        ? { admitted: true, endpoints: call.endpoints, target, onCut: (end) => live.onCut(end) }
        : { admitted: false, problem: refusalOf(cut.reason, cut.rule) };
    this.#known.set(verdict, { call, startedAt, port, id, live });
    return verdict;
  }

  async #refuse(
    call: OutgoingCall,
    o: Decided & { readonly decision: Decision; readonly problem: Problem },
  ): Promise<OutboundVerdict> {
    const id = await this.#record(call, o);
    if (id === undefined) return notRecorded;
    const verdict: OutboundVerdict = { admitted: false, problem: o.problem };
    this.#known.set(verdict, { call, startedAt: o.startedAt, port: o.port ?? 0, id, live: undefined });
    return verdict;
  }

  /** The id of the record; undefined when it could not be made durable, and so nothing may go out. */
  async #record(call: OutgoingCall, o: Decided): Promise<string | undefined> {
    const id = uuidv7(this.#o.clock, this.#o.random);
    try {
      await this.#o.recorder.append(this.#eventOf(id, call, o));
      return id;
    } catch (error) {
      this.#o.logger.error({ err: error }, 'a decision could not be recorded; the call was not let out');
      return undefined;
    }
  }

  #recordCut(
    id: string,
    call: OutgoingCall,
    o: { readonly startedAt: number; readonly port: number; readonly cut: Cut },
  ): void {
    const { startedAt, port, cut } = o;
    const decision: Decision = { decision: 'deny', reason: cut.reason, rule: cut.rule };
    this.#o.recorder
      .append(this.#eventOf(id, call, { startedAt, state: this.#o.policy.current, decision, port }))
      .catch((error: unknown) => this.#o.logger.error({ err: error }, 'a call that was cut off could not be recorded'));
  }

  #eventOf(id: string, call: OutgoingCall, o: Decided): DecisionEvent {
    const svid = this.#o.identity.current;
    const { decision, reason, rule, shadow, audited } = o.decision;
    return {
      kind: 'decision',
      call: id,
      time: o.startedAt,
      source: svid.id.uri,
      destination: call.service.spiffeId,
      protocol: call.protocol,
      method: call.method,
      host: call.host,
      path: o.path ?? pathAsSent(call.target),
      port: o.port ?? call.endpoints[0]?.applicationPort ?? 0,
      decision,
      reason,
      rule,
      policyRevision: o.state?.revision ?? 0,
      traceId: call.traceId,
      tokenSubject: '',
      certificateSerial: this.#serialOf(svid),
      ...(shadow !== undefined && { shadowDecision: shadow.decision, shadowRule: shadow.rule }),
      ...(audited !== undefined && { auditRule: audited }),
      direction: 'outbound',
    };
  }

  #serialOf(svid: Svid): string {
    let serial = this.#serials.get(svid);
    if (serial === undefined) {
      const [leaf] = svid.chain;
      serial = leaf === undefined ? '' : new X509Certificate(leaf).serialNumber.toLowerCase();
      this.#serials.set(svid, serial);
    }
    return serial;
  }
}

/** What a record says beyond the call. */
interface Decided {
  readonly startedAt: number;
  readonly state: PolicyState | undefined;
  readonly decision: Decision;
  readonly port?: number;
  readonly path?: string;
}

const notRecorded: KeptIn = Object.freeze({
  admitted: false,
  problem: Object.freeze({
    status: 503,
    code: 'audit-unavailable',
    reason: 'audit-unavailable',
    detail: 'The decision could not be recorded, so the call was not let out. Check the disk of this sidecar.',
  }),
});

function refusalOf(reason: Decision['reason'], rule: string): Problem {
  const detail = `Not let out by ${rule}: the egress policies of this workload do not let it make this call.`;
  return { status: 403, code: 'forbidden', reason, rule, detail };
}
