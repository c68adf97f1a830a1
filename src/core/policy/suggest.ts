import { AppError } from '../../base/errors.ts';
import { normalizePath } from './path.ts';
import { pathShape } from './path-shape.ts';
import { isTemplate } from './path-template.ts';
import { principalOf } from './principal.ts';
import type { RecordedCalls } from './recorded-call.ts';

/** Callers who did the same things, and those things. */
export interface SuggestedRule {
  /** Without `spiffe://`, sorted. */
  readonly principals: readonly string[];
  readonly operations: readonly SuggestedOperation[];
  readonly calls: number;
  /** Of the last call, in milliseconds since the epoch. */
  readonly last: number;
}

/** Each of the paths with each of the methods on each of the ports: all of them were seen. */
export interface SuggestedOperation {
  /** Neither these nor paths: TCP. */
  readonly methods: readonly string[];
  readonly paths: readonly CountedPath[];
  readonly ports: readonly number[];
  readonly calls: number;
}

export interface CountedPath {
  readonly path: string;
  readonly calls: number;
}

export interface Suggestion {
  readonly rules: readonly SuggestedRule[];
  /** That the rules admit. */
  readonly calls: number;
  /** Seen, and not admitted, since the language cannot say exactly this: by why not. */
  readonly left: Readonly<Record<Left, number>>;
}

/** - plaintext: nobody called. - caller: no principal names it. - text: a method or path that would be read as a pattern, or was cut. */
export type Left = 'plaintext' | 'caller' | 'text';

/** Kinds of calls: callers choose paths, and so how many there are. */
const MAX_KINDS = 50_000;
/** Of one policy (Istio's and Writ's limit). */
const MAX_RULES = 512;
const MAX_OPERATIONS = 512;

/**
 * Collects calls, and makes the narrowest rules that admit all of them: each caller may do what it did, and nothing else.
 * With `templates`, paths that differ in ids alone become one with `{*}` in their places, which admits more than was seen.
 */
export class Suggester {
  readonly #templates: boolean;
  readonly #callers = new Map<string, Map<string, Kind>>();
  readonly #left: Record<Left, number> = { plaintext: 0, caller: 0, text: 0 };
  #kinds = 0;

  constructor(o: { readonly templates?: boolean } = {}) {
    this.#templates = o.templates === true;
  }

  /** Throws `too-large` beyond 50,000 kinds of calls. */
  add(call: RecordedCalls): void {
    const left = whyNot(call);
    if (left !== undefined) {
      this.#left[left] += call.calls;
      return;
    }
    const principal = principalOf(call.source);
    const kinds = this.#callers.get(principal) ?? new Map<string, Kind>();
    this.#callers.set(principal, kinds);
    const path = this.#templates ? pathShape(call.path) : call.path;
    const isTcp = call.protocol === 'tcp';
    const key = isTcp ? `${call.port}` : `${call.port} ${call.method} ${path}`;
    const known = kinds.get(key);
    if (known !== undefined) {
      known.calls += call.calls;
      known.last = Math.max(known.last, call.last);
      return;
    }
    this.#kinds += 1;
    if (this.#kinds > MAX_KINDS) throw tooMany(`more than ${MAX_KINDS} kinds of calls`);
    const { port, method, calls, last } = call;
    kinds.set(key, { port, method: isTcp ? undefined : method, path: isTcp ? '' : path, calls, last });
  }

  /** Throws `too-large` for what does not fit into one policy. */
  result(): Suggestion {
    const byKinds = new Map<string, Growing>();
    for (const [principal, kinds] of [...this.#callers].sort(byFirst)) {
      const key = JSON.stringify([...kinds.keys()].sort());
      const known = byKinds.get(key);
      if (known === undefined) byKinds.set(key, { principals: [principal], kinds: new Map(clone(kinds)) });
      else {
        known.principals.push(principal);
        for (const [name, kind] of kinds) merge(known.kinds, name, kind);
      }
    }
    const rules = [...byKinds.values()].map(toRule);
    if (rules.length > MAX_RULES) throw tooMany(`more than ${MAX_RULES} groups of callers`);
    return Object.freeze({
      rules: Object.freeze(rules.sort((a, b) => b.calls - a.calls)),
      calls: rules.reduce((sum, rule) => sum + rule.calls, 0),
      left: Object.freeze({ ...this.#left }),
    });
  }
}

interface Kind {
  readonly port: number;
  /** Absent on TCP. */
  readonly method: string | undefined;
  readonly path: string;
  calls: number;
  last: number;
}

interface Growing {
  readonly principals: string[];
  readonly kinds: Map<string, Kind>;
}

/** What no rule can say exactly. Everything here but the caller is attacker-controlled. */
function whyNot({ source, protocol, method, path, cut }: RecordedCalls): Left | undefined {
  if (source === '') return 'plaintext';
  const principal = principalOf(source);
  if (principal === '' || !/^[A-Za-z0-9._/-]+$/.test(principal)) return 'caller';
  if (protocol === 'tcp') return undefined;
  if (cut?.path === true || !/^[A-Z0-9!#$%&'+.^_`|~-]+$/.test(method)) return 'text';
  if (path.includes('*') || path.includes('{') || path.includes('}') || isTemplate(path)) return 'text';
  const normal = normalizePath(path);
  return normal.ok && normal.path === path ? undefined : 'text';
}

function toRule({ principals, kinds }: Growing): SuggestedRule {
  const all = [...kinds.values()];
  const operations = operationsOf(all);
  if (operations.length > MAX_OPERATIONS)
    throw tooMany(`more than ${MAX_OPERATIONS} kinds of operations of one caller`);
  return Object.freeze({
    principals: Object.freeze(principals),
    operations: Object.freeze(operations),
    calls: sum(all),
    last: all.reduce((last, kind) => Math.max(last, kind.last), 0),
  });
}

/** Methods that were called on exactly the same paths stand together, then ports on which exactly the same was called. */
function operationsOf(kinds: readonly Kind[]): SuggestedOperation[] {
  const byMethod = group(kinds, (kind) => JSON.stringify([kind.port, kind.method ?? null]));
  const byPaths = group([...byMethod.values()], (some) => {
    const [first] = some;
    return JSON.stringify([first?.port, first?.method === undefined, some.map((kind) => kind.path).sort()]);
  });
  const withMethods = [...byPaths.values()].map((sets) => sets.flat());
  const byPort = group(withMethods, (some) =>
    JSON.stringify([some[0]?.method === undefined, some.map((kind) => `${kind.method ?? ''} ${kind.path}`).sort()]),
  );
  return [...byPort.values()].map((sets) => toOperation(sets.flat())).sort((a, b) => b.calls - a.calls);
}

function toOperation(kinds: readonly Kind[]): SuggestedOperation {
  const paths = new Map<string, number>();
  for (const { path, method, calls } of kinds) {
    if (method !== undefined) paths.set(path, (paths.get(path) ?? 0) + calls);
  }
  return Object.freeze({
    methods: Object.freeze([...new Set(kinds.flatMap(({ method }) => method ?? []))].sort()),
    paths: Object.freeze([...paths].sort(byFirst).map(([path, calls]) => Object.freeze({ path, calls }))),
    ports: Object.freeze([...new Set(kinds.map(({ port }) => port))].sort((a, b) => a - b)),
    calls: sum(kinds),
  });
}

function group<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [item]);
    else known.push(item);
  }
  return groups;
}

function clone(kinds: ReadonlyMap<string, Kind>): [string, Kind][] {
  return [...kinds].map(([key, kind]) => [key, { ...kind }]);
}

function merge(into: Map<string, Kind>, key: string, { calls, last }: Kind): void {
  const kind = into.get(key);
  if (kind === undefined) return;
  kind.calls += calls;
  kind.last = Math.max(kind.last, last);
}

function sum(kinds: readonly Kind[]): number {
  return kinds.reduce((total, kind) => total + kind.calls, 0);
}

function byFirst([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function tooMany(what: string): AppError {
  return new AppError(
    'too-large',
    `The calls do not fit into one policy: ${what}. Choose a shorter window, or let paths that differ in ids be one (templates).`,
  );
}
