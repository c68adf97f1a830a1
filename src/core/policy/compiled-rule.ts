import type { CompiledCondition } from './conditions.ts';
import { allHold, compileCondition } from './conditions.ts';
import type { Action, Condition, Decision, Operation, Request, Rule, Source, Validity } from './model.ts';
import type { StringSet } from './string-set.ts';
import { compileStrings, includes } from './string-set.ts';

/** One request, cut into what rules look at. */
export interface Question {
  readonly principal: string;
  /** '' when the caller has none, or when no rule asks for one. */
  readonly namespace: string;
  readonly port: number;
  /** Both undefined on TCP. */
  readonly method: string | undefined;
  readonly path: string | undefined;
  /** What conditions look at. */
  readonly request: Request;
}

/** A rule with one of its operations: the unit that is indexed. Which of a rule's operations matched is of no interest. */
export interface RuleEntry {
  /** Position of the rule among those of its action: the first that matches decides. */
  readonly order: number;
  /** Ready to be handed out, so that a decision allocates nothing. */
  readonly decision: Decision;
  /** None: any caller. */
  readonly from: readonly SourceTest[];
  readonly methods: StringSet | undefined;
  readonly paths: StringSet | undefined;
  readonly ports: ReadonlySet<number> | undefined;
  /** What few rules have; undefined for none of it. */
  readonly more: More | undefined;
  /** What it was made from, for the index. */
  readonly source: readonly Source[];
  readonly operation: Operation;
  /** In how many places the index may put this entry; see `rule-index.ts`. */
  readonly maxCopies: number;
}

interface More {
  /** Of the operation and of the rule, ANDed. */
  readonly conditions: readonly CompiledCondition[];
  /** Those, and those of its source if it has only one: what must hold in any case, for the index. */
  readonly necessary: readonly CompiledCondition[];
  readonly validity: Validity | undefined;
  /** A call without a time is outside of every validity for a rule that opens, and inside for one that closes. */
  readonly timeless: boolean;
}

interface SourceTest {
  readonly principals: StringSet | undefined;
  readonly namespaces: StringSet | undefined;
  readonly where: readonly CompiledCondition[] | undefined;
}

const anything: Operation = Object.freeze({ methods: [], paths: [], ports: [] });

/** Copies of one rule that the index may hold beyond those that its own length pays for. */
const FREE_COPIES = 256;

export interface RuleContext {
  /** Position among the rules of its kind. */
  readonly order: number;
  readonly decision: Decision;
  readonly action: Action;
  readonly validity: Validity | undefined;
}

/** Throws `invalid` for conditions that are not understood. */
export function compileRule(rule: Rule, { order, decision, action, validity }: RuleContext): RuleEntry[] {
  const compileAll = (conditions: readonly Condition[] | undefined) =>
    conditions === undefined || conditions.length === 0
      ? undefined
      : conditions.map((c) => compileCondition(c, action));
  const sources = mergeSources(rule.from);
  const from = sources.map((source) => ({
    principals: compileStrings(source.principals),
    namespaces: compileStrings(source.namespaces),
    where: compileAll(source.where),
  }));
  const when = compileAll(rule.when) ?? [];
  const operations = mergeOperations(rule.to);
  const values =
    sum(sources, (s) => s.principals.length + s.namespaces.length + countValues(s.where)) +
    sum(operations, (o) => o.methods.length + o.paths.length + o.ports.length + countValues(o.where)) +
    countValues(rule.when);
  const maxCopies = Math.max(1, Math.floor((FREE_COPIES + 4 * values) / operations.length));
  return operations.map((operation) => {
    const conditions = [...(compileAll(operation.where) ?? []), ...when];
    const own = from.length === 1 ? (from[0]?.where ?? []) : [];
    return {
      order,
      decision,
      from,
      methods: compileStrings(operation.methods),
      paths: compileStrings(operation.paths),
      ports: operation.ports.length === 0 ? undefined : new Set(operation.ports),
      more:
        conditions.length + own.length === 0 && validity === undefined
          ? undefined
          : { conditions, necessary: [...conditions, ...own], validity, timeless: action !== 'ALLOW' },
      source: sources,
      operation,
      maxCopies,
    };
  });
}

/** On TCP there is no method and no path, so an entry that names one does not match: it neither allows nor denies. */
export function entryMatches(entry: RuleEntry, question: Question): boolean {
  return (
    (entry.ports === undefined || entry.ports.has(question.port)) &&
    (entry.methods === undefined || (question.method !== undefined && includes(entry.methods, question.method))) &&
    (entry.paths === undefined || (question.path !== undefined && includes(entry.paths, question.path))) &&
    (entry.from.length === 0 || anySource(entry.from, question)) &&
    (entry.more === undefined || moreMatches(entry.more, question.request))
  );
}

function moreMatches({ conditions, validity, timeless }: More, request: Request): boolean {
  if (validity !== undefined && !(request.time === undefined ? timeless : isWithin(validity, request.time)))
    return false;
  return allHold(conditions, request);
}

export function isWithin({ notBefore, notAfter }: Validity, time: number): boolean {
  return (notBefore === undefined || time >= notBefore) && (notAfter === undefined || time < notAfter);
}

function anySource(from: readonly SourceTest[], question: Question): boolean {
  for (const { principals, namespaces, where } of from) {
    if (principals !== undefined && !includes(principals, question.principal)) continue;
    if (namespaces !== undefined && !includes(namespaces, question.namespace)) continue;
    if (where === undefined || allHold(where, question.request)) return true;
  }
  return false;
}

/** `from` is an OR: sources that constrain one and the same field are one source with all their values. */
function mergeSources(from: readonly Source[]): readonly Source[] {
  const fields = (s: Source) => Number(s.principals.length > 0) + Number(s.namespaces.length > 0) + countOf(s.where);
  // A source without any field is any caller, and makes the others irrelevant.
  if (from.some((source) => fields(source) === 0)) return [];
  if (from.length < 2) return from;
  const single = from.filter((source) => fields(source) === 1);
  const principals = single.flatMap((s) => s.principals);
  const namespaces = single.flatMap((s) => s.namespaces);
  return [
    ...(principals.length === 0 ? [] : [{ principals, namespaces: [] }]),
    ...(namespaces.length === 0 ? [] : [{ principals: [], namespaces }]),
    ...mergeConditions(single.flatMap((s) => s.where ?? [])).map((c) => ({
      principals: [],
      namespaces: [],
      where: [c],
    })),
    ...from.filter((source) => fields(source) > 1),
  ];
}

/** The same for operations; at least one, which may be `anything`. */
function mergeOperations(to: readonly Operation[]): readonly Operation[] {
  if (to.length === 0) return [anything];
  const fields = (o: Operation) =>
    Number(o.methods.length > 0) + Number(o.paths.length > 0) + Number(o.ports.length > 0) + countOf(o.where);
  if (to.some((operation) => fields(operation) === 0)) return [anything];
  if (to.length < 2) return to;
  const single = to.filter((operation) => fields(operation) === 1);
  const methods = single.flatMap((o) => o.methods);
  const paths = single.flatMap((o) => o.paths);
  const ports = single.flatMap((o) => o.ports);
  return [
    ...(methods.length === 0 ? [] : [{ ...anything, methods }]),
    ...(paths.length === 0 ? [] : [{ ...anything, paths }]),
    ...(ports.length === 0 ? [] : [{ ...anything, ports }]),
    ...mergeConditions(single.flatMap((o) => o.where ?? [])).map((c) => ({ ...anything, where: [c] })),
    ...to.filter((operation) => fields(operation) > 1),
  ];
}

/** Alternatives: those of one attribute that only say what it may be are one. */
function mergeConditions(alternatives: readonly Condition[]): readonly Condition[] {
  const positive = new Map<string, string[]>();
  const others: Condition[] = [];
  for (const condition of alternatives) {
    if (condition.notValues.length > 0) others.push(condition);
    else {
      const values = positive.get(condition.key) ?? [];
      for (const value of condition.values) values.push(value);
      positive.set(condition.key, values);
    }
  }
  return [...[...positive].map(([key, values]) => ({ key, values, notValues: [] })), ...others];
}

function countOf(conditions: readonly Condition[] | undefined): number {
  return conditions?.length ?? 0;
}

function countValues(conditions: readonly Condition[] | undefined): number {
  return sum(conditions ?? [], (c) => c.values.length + c.notValues.length);
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
