import { attributeOf } from './attributes.ts';
import { comparePairs } from './compare-pairs.ts';
import { shapeOf, whyNever } from './cover.ts';
import type { PolicyFinding } from './findings.ts';
import { byPlace, quoted } from './findings.ts';
import type { Policy, Rule } from './model.ts';
import type { AnalyzedPolicy, PlacedRule } from './place.ts';
import { finding } from './place.ts';
import { trustDomainOf } from './principal.ts';
import { selects } from './selects.ts';
import { UNNAMED_TRUST_DOMAIN } from './trust-domain-aliases.ts';

export type { AnalyzedPolicy } from './place.ts';

/** What is known of the mesh. What is absent is not looked at. */
export interface AnalysisContext {
  /** Policies of it hold in every namespace. */
  readonly rootNamespace: string;
  /** Milliseconds since the epoch. */
  readonly now?: number;
  /** Every workload that has an identity. */
  readonly workloads?: readonly KnownWorkload[] | undefined;
  /** Whose callers are let in at all: the own one, its aliases, and those that are federated with. */
  readonly trustDomains?: readonly string[] | undefined;
  /** Authorizers that the control plane knows. */
  readonly providers?: readonly string[] | undefined;
}

export interface KnownWorkload {
  readonly namespace: string;
  readonly service: string;
  /** With its trust domain and without `spiffe://`. */
  readonly principal: string;
  readonly labels: Readonly<Record<string, string>>;
  /** By port of the application, where that is known. */
  readonly protocols?: ReadonlyMap<number, 'http' | 'tcp'>;
}

/**
 * What is probably not meant in policies that mean what they say (reference: rule 48): rules that can never match, that a wider
 * one shadows, or that a DENY undoes, and names of what does not exist. By file, line and column.
 *
 * Compares each rule with each other one: for the tools of people, not for the path of a call.
 */
export function analyze(policies: readonly AnalyzedPolicy[], context: AnalysisContext): readonly PolicyFinding[] {
  const rules = policies.flatMap((at) =>
    at.policy.rules.map((rule, index) => ({ at, rule, index, shape: shapeOf(rule) })),
  );
  const found = [
    ...policies.flatMap((at) => aboutPolicy(at, context)),
    ...rules.flatMap((placed) => aboutRule(placed, context)),
    ...comparePairs(rules, context.rootNamespace),
  ];
  return Object.freeze(found.toSorted((a, b) => compareFiles(a, b) || byPlace(a, b)));
}

function compareFiles(a: PolicyFinding, b: PolicyFinding): number {
  const [left = '', right = ''] = [a.file, b.file];
  return left < right ? -1 : left > right ? 1 : 0;
}

function aboutPolicy(at: AnalyzedPolicy, context: AnalysisContext): PolicyFinding[] {
  const { policy } = at;
  const { now, workloads, rootNamespace } = context;
  const found: PolicyFinding[] = [];
  if (policy.provider !== undefined && context.providers?.includes(policy.provider) === false) {
    const message = `The control plane knows no authorizer ${quoted(policy.provider)}, so every call that the policy matches is denied. Is it written as in the configuration?`;
    found.push(finding('unknown-provider', at, undefined, message));
  }
  const end = policy.validity?.notAfter;
  if (now !== undefined && end !== undefined && now >= end) {
    const message = `The policy held until ${new Date(end).toISOString()}, which is over. Delete it, or give it a new end.`;
    found.push(finding('validity-over', at, undefined, message));
  }
  for (const { name } of classes(policy).filter(() => policy.namespace !== rootNamespace)) {
    const message = `The class ${quoted(name)} is of the whole mesh, and only policies of the namespace ${quoted(rootNamespace)} are for it. Move the policy there, or name a Gateway.`;
    found.push(finding('selects-nothing', at, undefined, message));
  }
  if (workloads === undefined || workloads.some((each) => selects(policy, each, rootNamespace))) return found;
  const missing = whoIsMissing(policy);
  if (missing !== undefined) found.push(finding('selects-nothing', at, undefined, missing));
  return found;
}

function classes({ targets = [] }: Policy) {
  return targets.filter((target) => target.kind === 'GatewayClass');
}

/** What nobody has whom the policy is for; undefined where it is for everybody, or that was said already. */
function whoIsMissing(policy: Policy): string | undefined {
  if (policy.targets !== undefined) {
    const named = policy.targets.filter((target) => target.kind === 'Service' || target.kind === 'Gateway');
    if (named.length === 0) return undefined;
    const text = named.map(({ kind, name }) => `${kind} ${name}`).join(', ');
    return `No workload of the namespace ${quoted(policy.namespace)} is ${quoted(text)}. A Service stands for the service account of its name, a Gateway for the label "gateway.networking.k8s.io/gateway-name".`;
  }
  const labels = Object.entries(policy.selector);
  if (labels.length === 0) return undefined;
  const text = labels.map(([key, value]) => `${key}=${value}`).join(',');
  return `No workload of the namespace ${quoted(policy.namespace)} carries ${quoted(text)}. Compare it with the labels of the entries.`;
}

function aboutRule(placed: PlacedRule, context: AnalysisContext): PolicyFinding[] {
  const { at, rule, index } = placed;
  const found: PolicyFinding[] = [];
  const never = whyNever(rule);
  if (never !== undefined) {
    found.push(finding('never-matches', at, index, `The rule can match no call: ${never}. Remove what contradicts.`));
  }
  found.push(...unknownDomains(placed, context.trustDomains));
  if (context.workloads === undefined) return found;
  found.push(...unknownNames(placed, context.workloads));
  // Of whom an egress policy is about, the ports are not those of the workloads that it is for.
  if (at.policy.direction === 'egress') return found;
  const tcp = tcpPorts(at.policy, rule, context.workloads, context.rootNamespace);
  if (tcp.length > 0 && isHttpOnly(rule)) {
    const what =
      at.policy.action === 'ALLOW' ? 'never matches there' : `is a ${at.policy.action} that does nothing there`;
    const message = `The rule names what only HTTP has, and ports ${tcp.join(', ')} of the workloads that it is for speak TCP: it ${what}. Name callers and ports only, or leave those ports out.`;
    found.push(finding('http-rule-on-tcp', at, index, message, 'error'));
  }
  return found;
}

function unknownNames({ at, rule, index }: PlacedRule, workloads: readonly KnownWorkload[]): PolicyFinding[] {
  const principals = new Set(workloads.map((w) => w.principal));
  const domains = new Set(workloads.map((w) => w.principal.split('/', 1)[0]));
  const namespaces = new Set(workloads.map((w) => w.namespace));
  const accounts = new Set(workloads.map((w) => `${w.namespace}/${w.service}`));
  const found: PolicyFinding[] = [];
  const named = namesIn(rule);
  // Who exists in another trust domain is not known here.
  for (const text of named.principals.filter((p) => domains.has(p.split('/', 1)[0]) && !principals.has(p))) {
    const message = `No workload has the identity ${quoted(text)}. Is it written as in its entry?`;
    found.push(finding('unknown-identity', at, index, message));
  }
  for (const text of named.accounts.filter((account) => !accounts.has(account))) {
    const message = `No workload is the service account ${quoted(text)}. Is it written as in its entry?`;
    found.push(finding('unknown-identity', at, index, message));
  }
  for (const text of named.namespaces.filter((namespace) => !namespaces.has(namespace))) {
    const message = `No workload is in the namespace ${quoted(text)}. Is it written as in the entries?`;
    found.push(finding('unknown-namespace', at, index, message));
  }
  return found;
}

/** Reference: rule 40. A caller of a domain that is not trusted is refused before any rule. */
function unknownDomains({ at, rule, index }: PlacedRule, known: readonly string[] | undefined): PolicyFinding[] {
  if (known === undefined) return [];
  const named = namesIn(rule);
  const all = new Set([...named.principals.map(trustDomainOf), ...named.trustDomains]);
  return [...all]
    .filter((domain) => !known.includes(domain) && domain !== UNNAMED_TRUST_DOMAIN)
    .map((domain) => {
      const message = `Nobody of the trust domain ${quoted(domain)} is let in: it is neither the own one, nor an alias, nor federated with. Is it written rightly?`;
      return finding('unknown-trust-domain', at, index, message);
    });
}

/** Those that are written out, without wildcards. */
function namesIn(rule: Rule) {
  const conditions = [
    ...rule.from.flatMap((source) => source.where ?? []),
    ...rule.to.flatMap((operation) => operation.where ?? []),
    ...(rule.when ?? []),
  ];
  const values = (key: string) =>
    conditions
      .filter((c) => c.key === key)
      .flatMap((c) => [...c.values, ...c.notValues].filter((v) => !v.includes('*')));
  const exact = (field: 'principals' | 'namespaces') =>
    rule.from.flatMap((source) => source[field].flatMap((match) => (match.kind === 'exact' ? [match.value] : [])));
  return {
    principals: [...new Set([...exact('principals'), ...values('source.principal')])],
    namespaces: [...new Set([...exact('namespaces'), ...values('source.namespace')])],
    accounts: [...new Set(values('source.serviceAccount'))],
    trustDomains: [...new Set(values('source.trustDomain'))],
  };
}

/** Ports that the rule is for and that are known to speak TCP. */
function tcpPorts(
  policy: Policy,
  rule: Rule,
  workloads: readonly KnownWorkload[],
  rootNamespace: string,
): readonly number[] {
  const ports = new Set<number>();
  const named = rule.to.flatMap((operation) => operation.ports);
  const isForAll = rule.to.length === 0 || rule.to.some((operation) => operation.ports.length === 0);
  for (const workload of workloads.filter((each) => selects(policy, each, rootNamespace))) {
    for (const [port, protocol] of workload.protocols ?? []) {
      if (protocol === 'tcp' && (isForAll || named.includes(port))) ports.add(port);
    }
  }
  return [...ports].sort((a, b) => a - b);
}

/** Whether every way to match the rule asks for something that TCP does not have. */
function isHttpOnly(rule: Rule): boolean {
  const http = (conditions: Rule['when']) => conditions?.some((c) => attributeOf(c.key)?.httpOnly === true) === true;
  if (http(rule.when)) return true;
  if (rule.from.length > 0 && rule.from.every((source) => http(source.where))) return true;
  return (
    rule.to.length > 0 &&
    rule.to.every((operation) => operation.methods.length + operation.paths.length > 0 || http(operation.where))
  );
}
