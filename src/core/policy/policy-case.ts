import { AppError } from '../../base/errors.ts';
import type { SpiffeId } from '../identity/spiffe-id.ts';
import { parseSpiffeId, workloadId, workloadOf } from '../identity/spiffe-id.ts';
import type { ConsideredRule } from './explain.ts';
import { explain } from './explain.ts';
import type { DecisionReason, HttpRequest, Policy, Request } from './model.ts';
import { DEFAULT_DENY } from './model.ts';
import { normalizePath } from './path.ts';
import { selects } from './selects.ts';
import { conditionsOf } from './uses.ts';

/** A call, and what is expected to be decided of it. */
export interface PolicyCase {
  readonly name: string;
  /** SPIFFE ID, or `<namespace>/<service>` of the own trust domain; '' for a caller in plain text. */
  readonly from: string;
  readonly to: string;
  /** Absent together with `path`: TCP. */
  readonly method?: string;
  /** As it is sent. */
  readonly path?: string;
  readonly port?: number;
  readonly host?: string;
  /** By name in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Of a token that verifies. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly sourceIp?: string;
  readonly destinationIp?: string;
  readonly serverName?: string;
  /** The caller's own policies are asked, instead of those of who is called. */
  readonly direction?: 'egress';
  /** Milliseconds since the epoch. Absent: now. */
  readonly at?: number;
  readonly expect: {
    readonly decision: 'allow' | 'deny';
    /** The rule that decides: `<namespace>/<policy>#<rule index>` or `default-deny`. Absent: any. */
    readonly rule?: string;
  };
  /** Where it stands. */
  readonly file?: string;
  readonly line?: number;
}

/** What a case is decided by. */
export interface CaseWorld {
  readonly policies: readonly Policy[];
  readonly rootNamespace: string;
  readonly trustDomain: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Of a SPIFFE ID; undefined for one that nobody knows. */
  readonly labelsOf: (spiffeId: string) => Readonly<Record<string, string>> | undefined;
}

export interface CaseResult {
  readonly name: string;
  readonly passed: boolean;
  readonly expected: PolicyCase['expect'];
  readonly decision: 'allow' | 'deny';
  readonly reason: DecisionReason;
  /** `<namespace>/<policy>@<revision>#<rule index>` or `default-deny`. */
  readonly rule: string;
  /** External authorizers that must agree before an `allow` is one. */
  readonly asks: readonly string[];
  /** Of a case that failed: the rules that were weighed, and what kept each from matching. */
  readonly considered: readonly ConsideredRule[];
  /** What to know before relying on it. */
  readonly notes: readonly string[];
  readonly file?: string;
  readonly line?: number;
}

/**
 * Decides a case as a sidecar would decide the call. Throws `invalid` for a party that is none or, where it is the one whose
 * policies are asked, no workload of the trust domain.
 */
export function runCase(one: PolicyCase, world: CaseWorld): CaseResult {
  const from = one.from === '' ? undefined : readParty(one.from, 'from', world.trustDomain);
  const to = readParty(one.to, 'to', world.trustDomain);
  const isEgress = one.direction === 'egress';
  const asked = isEgress ? from : to;
  const workload = asked === undefined ? undefined : workloadOf(asked);
  if (asked === undefined || workload === undefined || asked.trustDomain !== world.trustDomain) {
    throw invalid(isEgress ? 'from' : 'to', `${asked?.uri ?? 'nobody'} is no workload of ${world.trustDomain}.`);
  }
  const labels = world.labelsOf(asked.uri);
  const isGuessed = labels === undefined && world.policies.some(asksForLabels);
  const notes = isGuessed ? [`The labels of ${asked.uri} are not known; it was taken to have none.`] : [];
  const applying = world.policies.filter(
    (policy) =>
      (policy.direction === 'egress') === isEgress &&
      selects(policy, { ...workload, labels: labels ?? {} }, world.rootNamespace),
  );
  if (one.port === undefined && applying.some(namesPorts)) {
    notes.push('Rules name ports, and the case names none: none of those rules was taken to match.');
  }
  const path = one.path === undefined ? undefined : normalizePath(one.path);
  if (path?.ok === false) {
    notes.push(`The path cannot be interpreted safely (${path.why}): a sidecar refuses it before any rule.`);
    return judged(one, { decision: 'deny', reason: 'malformed-request', rule: DEFAULT_DENY, considered: [] }, notes);
  }
  const request = requestOf(one, { from, to, isEgress, path: path?.path, world });
  return judged(one, explain(applying, request, { egress: isEgress }), notes);
}

/** Whether it depends on labels whom a policy is for. */
export function asksForLabels({ selector, targets = [] }: Policy): boolean {
  return Object.keys(selector).length > 0 || targets.some(({ kind }) => kind === 'Gateway' || kind === 'GatewayClass');
}

function namesPorts(policy: Policy): boolean {
  return (
    policy.rules.some((rule) => rule.to.some((to) => to.ports.length > 0)) ||
    conditionsOf(policy).some((condition) => condition.key === 'destination.port')
  );
}

interface Asked {
  readonly from: SpiffeId | undefined;
  readonly to: SpiffeId;
  readonly isEgress: boolean;
  readonly path: string | undefined;
  readonly world: CaseWorld;
}

function requestOf(one: PolicyCase, { from, to, isEgress, path, world }: Asked): Request {
  const { method, port = 0, sourceIp, destinationIp, serverName } = one;
  const source = isEgress ? to.uri : (from?.uri ?? '');
  return {
    source,
    ...(source === '' && { plaintext: true as const }),
    port,
    time: one.at ?? world.now,
    connection: {
      ...(sourceIp !== undefined && { peerIp: sourceIp }),
      ...(destinationIp !== undefined && { ownIp: destinationIp }),
      ...(serverName !== undefined && { sni: serverName.toLowerCase() }),
    },
    ...(method !== undefined && path !== undefined && { http: { method, path, ...httpOf(one, world.trustDomain) } }),
  };
}

function httpOf({ host, headers, claims }: PolicyCase, trustDomain: string): Partial<HttpRequest> {
  return {
    ...(host !== undefined && { host }),
    ...(headers !== undefined && {
      headers: new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), [value]])),
    }),
    ...(claims !== undefined && { token: { trustDomain, claims } }),
  };
}

type Decided = Pick<CaseResult, 'decision' | 'reason' | 'rule' | 'considered'> & {
  readonly custom?: readonly { readonly provider: string }[];
};

function judged(one: PolicyCase, decided: Decided, notes: readonly string[]): CaseResult {
  const { decision, reason, rule, custom = [] } = decided;
  const { expect } = one;
  const passed = decision === expect.decision && (expect.rule === undefined || expect.rule === withoutRevision(rule));
  return Object.freeze({
    name: one.name,
    passed,
    expected: expect,
    decision,
    reason,
    rule,
    asks: Object.freeze(custom.map(({ provider }) => provider)),
    considered: passed ? Object.freeze([]) : decided.considered,
    notes: Object.freeze(notes),
    ...(one.file !== undefined && { file: one.file }),
    ...(one.line !== undefined && { line: one.line }),
  });
}

/** As people write it: `shop/web#0`. */
export function withoutRevision(rule: string): string {
  return rule.replace(/@\d+(?=#\d+$)/, '');
}

/** Throws `invalid` with the field. */
export function readParty(text: string, field: 'from' | 'to', trustDomain: string): SpiffeId {
  const short = /^([^/:]+)\/([^/:]+)$/.exec(text);
  try {
    return short === null ? parseSpiffeId(text) : workloadId(trustDomain, short[1] ?? '', short[2] ?? '');
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw invalid(field, `${field} is neither a SPIFFE ID nor <namespace>/<service>: ${error.message}`);
  }
}

function invalid(field: string, message: string): AppError {
  return new AppError('invalid', message, { details: [{ code: 'invalid', message, pointer: `/${field}` }] });
}

/** Of the workloads that expectations name themselves, by SPIFFE ID or `<namespace>/<service>`. */
export function labelsIn(
  workloads: ReadonlyMap<string, Readonly<Record<string, string>>>,
  spiffeId: string,
  trustDomain: string,
): Readonly<Record<string, string>> | undefined {
  const exact = workloads.get(spiffeId);
  if (exact !== undefined) return exact;
  const workload = spiffeId.startsWith(`spiffe://${trustDomain}/`) ? workloadOf(parseSpiffeId(spiffeId)) : undefined;
  return workload === undefined ? undefined : workloads.get(`${workload.namespace}/${workload.service}`);
}
