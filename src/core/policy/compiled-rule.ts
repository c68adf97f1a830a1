import type { Decision, Operation, Rule, Source } from './model.ts';
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
  /** What it was made from, for the index. */
  readonly source: readonly Source[];
  readonly operation: Operation;
  /** In how many places the index may put this entry; see `rule-index.ts`. */
  readonly maxCopies: number;
}

interface SourceTest {
  readonly principals: StringSet | undefined;
  readonly namespaces: StringSet | undefined;
}

const anything: Operation = Object.freeze({ methods: [], paths: [], ports: [] });

/** Copies of one rule that the index may hold beyond those that its own length pays for. */
const FREE_COPIES = 256;

export function compileRule(rule: Rule, order: number, decision: Decision): RuleEntry[] {
  const sources = mergeSources(rule.from);
  const from = sources.map((source) => ({
    principals: compileStrings(source.principals),
    namespaces: compileStrings(source.namespaces),
  }));
  const operations = mergeOperations(rule.to);
  const values =
    sum(sources, (s) => s.principals.length + s.namespaces.length) +
    sum(operations, (o) => o.methods.length + o.paths.length + o.ports.length);
  const maxCopies = Math.max(1, Math.floor((FREE_COPIES + 4 * values) / operations.length));
  return operations.map((operation) => ({
    order,
    decision,
    from,
    methods: compileStrings(operation.methods),
    paths: compileStrings(operation.paths),
    ports: operation.ports.length === 0 ? undefined : new Set(operation.ports),
    source: sources,
    operation,
    maxCopies,
  }));
}

/** On TCP there is no method and no path, so an entry that names one does not match: it neither allows nor denies. */
export function entryMatches(entry: RuleEntry, question: Question): boolean {
  return (
    (entry.ports === undefined || entry.ports.has(question.port)) &&
    (entry.methods === undefined || (question.method !== undefined && includes(entry.methods, question.method))) &&
    (entry.paths === undefined || (question.path !== undefined && includes(entry.paths, question.path))) &&
    (entry.from.length === 0 || anySource(entry.from, question))
  );
}

function anySource(from: readonly SourceTest[], question: Question): boolean {
  for (const { principals, namespaces } of from) {
    if (principals !== undefined && !includes(principals, question.principal)) continue;
    if (namespaces === undefined || includes(namespaces, question.namespace)) return true;
  }
  return false;
}

/** `from` is an OR: sources that constrain one and the same field are one source with all their values. */
function mergeSources(from: readonly Source[]): readonly Source[] {
  if (from.length < 2) return from.some((s) => s.principals.length + s.namespaces.length === 0) ? [] : from;
  const principals = from.filter((s) => s.namespaces.length === 0);
  const namespaces = from.filter((s) => s.principals.length === 0);
  // A source without any field is any caller, and makes the others irrelevant.
  if (principals.some((s) => s.principals.length === 0)) return [];
  return [
    ...(principals.length === 0 ? [] : [{ principals: principals.flatMap((s) => s.principals), namespaces: [] }]),
    ...(namespaces.length === 0 ? [] : [{ principals: [], namespaces: namespaces.flatMap((s) => s.namespaces) }]),
    ...from.filter((s) => s.principals.length > 0 && s.namespaces.length > 0),
  ];
}

/** The same for operations; at least one, which may be `anything`. */
function mergeOperations(to: readonly Operation[]): readonly Operation[] {
  if (to.length === 0) return [anything];
  const fields = (o: Operation) =>
    Number(o.methods.length > 0) + Number(o.paths.length > 0) + Number(o.ports.length > 0);
  if (to.some((operation) => fields(operation) === 0)) return [anything];
  const single = to.filter((operation) => fields(operation) === 1);
  const methods = single.flatMap((o) => o.methods);
  const paths = single.flatMap((o) => o.paths);
  const ports = single.flatMap((o) => o.ports);
  return [
    ...(methods.length === 0 ? [] : [{ ...anything, methods }]),
    ...(paths.length === 0 ? [] : [{ ...anything, paths }]),
    ...(ports.length === 0 ? [] : [{ ...anything, ports }]),
    ...to.filter((operation) => fields(operation) > 1),
  ];
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
