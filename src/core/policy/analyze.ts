import { attributeOf } from './attributes.ts';
import type { Shape } from './cover.ts';
import { covers, selectsAll, shapeOf, whyNever } from './cover.ts';
import type { PolicyFinding, PolicyWarningCode, Severity } from './findings.ts';
import { byPlace, quoted } from './findings.ts';
import type { Policy, Rule } from './model.ts';
import type { PolicyDocument } from './parse.ts';

/** What is known of the mesh. What is absent is not looked at. */
export interface AnalysisContext {
  /** Policies of it hold in every namespace. */
  readonly rootNamespace: string;
  /** Milliseconds since the epoch. */
  readonly now?: number;
  /** Every workload that has an identity. */
  readonly workloads?: readonly KnownWorkload[] | undefined;
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

/** A policy and where it stands. */
export type AnalyzedPolicy = Pick<PolicyDocument, 'policy' | 'ruleLines' | 'ruleColumns' | 'line' | 'pointer'> & {
  readonly file?: string;
};

/** Pairs of rules that are compared; a minute of work would help nobody. */
const MAX_PAIRS = 4_000_000;

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
    ...compared(rules, context.rootNamespace),
  ];
  return Object.freeze(found.toSorted((a, b) => compareFiles(a, b) || byPlace(a, b)));
}

interface PlacedRule {
  readonly at: AnalyzedPolicy;
  readonly rule: Rule;
  readonly index: number;
  readonly shape: Shape;
}

function compareFiles(a: PolicyFinding, b: PolicyFinding): number {
  const [left = '', right = ''] = [a.file, b.file];
  return left < right ? -1 : left > right ? 1 : 0;
}

function aboutPolicy(at: AnalyzedPolicy, { now, workloads, rootNamespace }: AnalysisContext): PolicyFinding[] {
  const { policy } = at;
  const found: PolicyFinding[] = [];
  const end = policy.validity?.notAfter;
  if (now !== undefined && end !== undefined && now >= end) {
    const message = `The policy held until ${new Date(end).toISOString()}, which is over. Delete it, or give it a new end.`;
    found.push(finding('validity-over', at, undefined, message));
  }
  const labels = Object.entries(policy.selector);
  if (workloads !== undefined && labels.length > 0 && !workloads.some((w) => isFor(policy, w, rootNamespace))) {
    const text = labels.map(([key, value]) => `${key}=${value}`).join(',');
    const message = `No workload of the namespace ${quoted(policy.namespace)} carries ${quoted(text)}. Compare it with the labels of the entries.`;
    found.push(finding('selects-nothing', at, undefined, message));
  }
  return found;
}

function isFor(policy: Policy, workload: KnownWorkload, rootNamespace: string): boolean {
  if (policy.namespace !== workload.namespace && policy.namespace !== rootNamespace) return false;
  return Object.entries(policy.selector).every(([key, value]) => workload.labels[key] === value);
}

function aboutRule(placed: PlacedRule, context: AnalysisContext): PolicyFinding[] {
  const { at, rule, index } = placed;
  const found: PolicyFinding[] = [];
  const never = whyNever(rule);
  if (never !== undefined) {
    found.push(finding('never-matches', at, index, `The rule can match no call: ${never}. Remove what contradicts.`));
  }
  if (context.workloads === undefined) return found;
  found.push(...unknownNames(placed, context.workloads));
  const tcp = tcpPorts(at.policy, rule, context.workloads, context.rootNamespace);
  if (tcp.length > 0 && isHttpOnly(rule)) {
    const what = at.policy.action === 'DENY' ? 'denies nothing there' : 'never matches there';
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

/** Those that are written out, without wildcards. */
function namesIn(rule: Rule) {
  const conditions = [...rule.from.flatMap((source) => source.where ?? []), ...(rule.when ?? [])];
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
  for (const workload of workloads.filter((each) => isFor(policy, each, rootNamespace))) {
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

/** Each rule against the others. Those in shadow mode or bound to a time prove nothing about others. */
function compared(rules: readonly PlacedRule[], rootNamespace: string): PolicyFinding[] {
  const found: PolicyFinding[] = [];
  let pairs = 0;
  const wide = rules.filter(({ at: { policy } }) => policy.shadow !== true && policy.validity === undefined);
  for (const placed of rules) {
    pairs += wide.length;
    if (pairs > MAX_PAIRS) {
      const message = `The rules from here on are not compared with the other ${wide.length}: there are too many. Analyze fewer at a time.`;
      return [...found, finding('too-many-rules', placed.at, placed.index, message)];
    }
    const { at } = placed;
    const by = wide.find((other) => isShadowedBy(placed, other, rootNamespace));
    if (by !== undefined)
      found.push(
        finding(
          'shadowed-rule',
          at,
          placed.index,
          `${nameOf(by)} matches whatever this rule does, with the same action. Remove this rule, or narrow the other.`,
        ),
      );
    if (at.policy.action !== 'ALLOW') continue;
    const deny = wide.find(
      (other) =>
        other.at.policy.action === 'DENY' &&
        selectsAll(other.at.policy, at.policy, rootNamespace) &&
        covers(other.shape, placed.shape),
    );
    if (deny !== undefined) {
      const message = `${nameOf(deny)} denies whatever this rule allows, and a DENY always wins. Narrow the DENY, or remove this rule.`;
      found.push(finding('allow-behind-deny', at, placed.index, message));
    }
  }
  return found;
}

function isShadowedBy(one: PlacedRule, other: PlacedRule, rootNamespace: string): boolean {
  if (one === other || one.at.policy.action !== other.at.policy.action) return false;
  if (!selectsAll(other.at.policy, one.at.policy, rootNamespace) || !covers(other.shape, one.shape)) return false;
  // Of two that match the same, the later one is too much.
  const mutual = selectsAll(one.at.policy, other.at.policy, rootNamespace) && covers(one.shape, other.shape);
  return !mutual || comesBefore(other, one) || isOnTerms(one.at.policy);
}

function isOnTerms(policy: Policy): boolean {
  return policy.shadow === true || policy.validity !== undefined;
}

function comesBefore(a: PlacedRule, b: PlacedRule): boolean {
  const [left, right] = [a, b].map(({ at: { policy } }) => `${policy.namespace}/${policy.name}`);
  return left === right ? a.index < b.index : (left ?? '') < (right ?? '');
}

function nameOf({ at: { policy }, index }: PlacedRule): string {
  return `Rule ${index} of ${policy.namespace}/${policy.name}`;
}

/** @param index Of the rule; undefined for the policy as a whole. */
function finding(
  code: PolicyWarningCode,
  at: AnalyzedPolicy,
  index: number | undefined,
  message: string,
  severity: Severity = 'warning',
): PolicyFinding {
  const line = index === undefined ? 1 : (at.ruleLines[index] ?? 1);
  return Object.freeze({
    code,
    severity,
    message,
    pointer: index === undefined ? at.pointer : `${at.pointer}/spec/rules/${index}`,
    ...(at.file !== undefined && { file: at.file }),
    line: at.line + line - 1,
    column: index === undefined ? 1 : (at.ruleColumns[index] ?? 1),
  });
}
