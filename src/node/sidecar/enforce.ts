import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import type { AuditEvent } from '../../core/audit/event.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { decide } from '../../core/policy/decide.ts';
import type { Connection, Decision, DecisionReason, Token } from '../../core/policy/model.ts';
import { DEFAULT_DENY } from '../../core/policy/model.ts';
import { normalizePath } from '../../core/policy/path.ts';
import type { Svid } from '../agent/svid.ts';
import type { PolicyState } from './policy-state.ts';
import type { Problem } from './problem.ts';
import type { TokenVerifier } from './token.ts';

/**
 * Where decisions are recorded. Resolves when the event is durable; rejects when it cannot be. An event that nothing waits
 * for may be held back for up to `withinMs`, to be written together with others.
 */
export interface Recorder {
  append(event: AuditEvent, o?: { readonly withinMs?: number }): Promise<unknown>;
}

/** How long the end of a call may wait for the next decision, in milliseconds: alone it would double the writes to disk. */
const COMPLETION_WITHIN_MS = 5;

/** One call as it arrived. Everything but `peer` and `port` is attacker-controlled. */
export interface Call {
  readonly peer: PeerIdentity;
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

  constructor(o: EnforcerDeps) {
    this.#o = o;
    this.#random = o.random ?? secureRandom;
  }

  async admit(call: Call): Promise<Verdict> {
    const { clock, identity, policy, recorder, logger } = this.#o;
    const startedAt = clock.now();
    const svid = identity.current;
    const state = policy.current;
    const ruling = this.#rule(call, svid, state, startedAt);
    const { decision, reason, rule, path, target, tokenSubject, why, shadow, audited } =
      ruling instanceof Promise ? await ruling : ruling;
    const id = uuidv7(clock, this.#random);
    try {
      await recorder.append({
        kind: 'decision',
        call: id,
        time: startedAt,
        source: call.peer.id.uri,
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
        certificateSerial: call.peer.serial,
        ...(shadow !== undefined && { shadowDecision: shadow.decision, shadowRule: shadow.rule }),
        ...(audited !== undefined && { auditRule: audited }),
      });
    } catch (error) {
      logger.error({ err: error }, 'a decision could not be recorded; the call was refused');
      return { admitted: false, id: undefined, startedAt, problem: notRecorded };
    }
    if (decision === 'allow') return { admitted: true, id, startedAt, target };
    return { admitted: false, id, startedAt, problem: problemFor(reason, rule, why) };
  }

  /** Records how a call ended. Not awaited by callers: the answer does not wait for it, and a loss is logged. */
  complete(verdict: Verdict, outcome: Outcome): void {
    if (verdict.id === undefined) return;
    const now = this.#o.clock.now();
    this.#o.recorder
      .append(
        {
          kind: 'completion',
          call: verdict.id,
          time: now,
          // A clock that was set back must not yield a negative duration.
          durationMs: Math.max(0, now - verdict.startedAt),
          status: outcome.status,
          bytesIn: outcome.bytesIn,
          bytesOut: outcome.bytesOut,
        },
        { withinMs: COMPLETION_WITHIN_MS },
      )
      .catch((error: unknown) => this.#o.logger.error({ err: error }, 'the end of a call could not be recorded'));
  }

  /** Decides. A promise only where a token has to be verified. */
  #rule(call: Call, svid: Svid, state: PolicyState | undefined, now: number): Ruling | Promise<Ruling> {
    const deny = (reason: DecisionReason, path: string, why?: string): Ruling => {
      return { decision: 'deny', reason, rule: DEFAULT_DENY, path, target: '', tokenSubject: '', why };
    };
    const asSent = call.target.split(/[?#]/, 1)[0] ?? '';
    if (now >= svid.notAfter) return deny('no-identity', asSent);
    if (state === undefined) return deny('no-policy', asSent);
    const { compiled } = state;
    const request = { source: call.peer.id.uri, port: call.port, time: now, connection: call.connection };
    if (call.protocol === 'tcp') {
      return { ...decide(compiled, request), path: '', target: '', tokenSubject: '', why: undefined };
    }
    if (call.malformed !== undefined) return deny('malformed-request', asSent, call.malformed);
    const normal = normalizePath(call.target);
    if (!normal.ok) return deny('malformed-request', asSent, normal.why);
    const { path, target } = normal;
    const headers = headersOf(call.fields, compiled.uses.headers);
    const decided = (tokenSubject: string, token?: Token): Ruling => {
      const http = { method: call.method, path, host: call.host, headers, ...(token !== undefined && { token }) };
      return { ...decide(compiled, { ...request, http }), path, target, tokenSubject, why: undefined };
    };
    const { tokens } = this.#o;
    // The trust domain that a token claims chooses the one bundle that verifies it; of one that is not trusted it is the
    // application's own business.
    const bundle = [state.bundle, ...state.federated].find((each) => tokens.find(call.authorization, each.trustDomain));
    const token = bundle === undefined ? undefined : tokens.find(call.authorization, bundle.trustDomain);
    if (bundle === undefined || token === undefined) return decided('');
    const { trustDomain } = bundle;
    return tokens
      .verify(token, bundle)
      .then((good) =>
        good === undefined ? deny('token-refused', path) : decided(good.subject, { trustDomain, claims: good.claims }),
      );
  }
}

const noHeaders: ReadonlyMap<string, readonly string[]> = new Map();

/** Those that rules ask for, by name in lower case, each as often as it stands there. */
function headersOf(fields: readonly string[], wanted: readonly string[]): ReadonlyMap<string, readonly string[]> {
  if (wanted.length === 0) return noHeaders;
  const headers = new Map<string, string[]>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = (fields[i] ?? '').toLowerCase();
    if (!wanted.includes(name)) continue;
    const values = headers.get(name);
    if (values === undefined) headers.set(name, [fields[i + 1] ?? '']);
    else values.push(fields[i + 1] ?? '');
  }
  // HTTP/2 may cut a cookie into crumbs (RFC 9113 §8.2.3); it is one field.
  const crumbs = headers.get('cookie');
  if (crumbs !== undefined && crumbs.length > 1) headers.set('cookie', [crumbs.join('; ')]);
  return headers;
}

interface Ruling extends Decision {
  /** For the record. */
  readonly path: string;
  readonly target: string;
  readonly tokenSubject: string;
  /** What made the request ambiguous, where that is the reason. */
  readonly why: string | undefined;
}

const notRecorded: Problem = Object.freeze({
  status: 503,
  code: 'audit-unavailable',
  reason: 'audit-unavailable',
  detail: 'The decision could not be recorded, so the call was refused. Check the disk of the sidecar that was called.',
});

function problemFor(reason: DecisionReason, rule: string, why: string | undefined): Problem {
  switch (reason) {
    case 'malformed-request':
      return {
        status: 400,
        code: 'invalid',
        reason,
        rule,
        detail: `The request is ambiguous: ${why}.`,
      };
    case 'token-refused':
      return {
        status: 401,
        code: 'token-refused',
        reason,
        rule,
        detail:
          'The JWT-SVID is not valid here: wrong audience, expired, or not signed by the trust domain that it names.',
      };
    case 'no-policy':
      return {
        status: 503,
        code: 'unavailable',
        reason,
        rule,
        detail: 'The called sidecar has not received a policy yet.',
      };
    case 'no-identity':
      return {
        status: 503,
        code: 'unavailable',
        reason,
        rule,
        detail: 'The certificate of the called sidecar has expired.',
      };
    default:
      return { status: 403, code: 'forbidden', reason, rule, detail: `Refused by ${rule}.` };
  }
}
