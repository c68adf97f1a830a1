import { pathShape } from './path-shape.ts';
import type { RecordedCalls } from './recorded-call.ts';
import type { Verdict } from './replay.ts';

/** Calls of which the same became. */
export interface Flip {
  readonly calls: number;
  /** Those with the most calls first; at most `MAX_LISTED`. */
  readonly groups: readonly FlipGroup[];
  /** What is counted in `calls` and in no group. */
  readonly unlisted: { readonly groups: number; readonly calls: number };
}

export interface FlipGroup {
  readonly source: string;
  readonly destination: string;
  readonly operation: {
    readonly protocol: 'http' | 'grpc' | 'tcp';
    readonly method: string;
    /** Of several paths that differ in numbers and ids alone, with `{*}` in their places. */
    readonly path: string;
    readonly port: number;
  };
  readonly calls: number;
  /** Of the last call: milliseconds since the epoch. */
  readonly last: number;
  /** Ids of some of them; at most `MAX_EXAMPLES`. */
  readonly examples: readonly string[];
  readonly before: Pick<Verdict, 'decision' | 'rule'>;
  readonly after: Pick<Verdict, 'decision' | 'rule'>;
  /** What was not recorded and decides. Empty where it is known. */
  readonly because: readonly string[];
}

export const MAX_EXAMPLES = 3;
export const MAX_LISTED = 500;
/** What is kept until the end: callers choose paths, and so how many groups there are. */
export const MAX_GROUPS = 10_000;

interface Growing {
  readonly first: Omit<FlipGroup, 'calls' | 'last' | 'examples'>;
  path: string;
  calls: number;
  last: number;
  readonly examples: string[];
}

/** Counts calls by who called whom for what, and by the rules that decide. */
export class Flips {
  readonly #groups = new Map<string, Growing>();
  #calls = 0;

  add(call: RecordedCalls, before: Verdict, after: Verdict, because: readonly string[]): void {
    this.#calls += call.calls;
    const { source, destination, protocol, method, port } = call;
    const shape = pathShape(call.path);
    const words = [source, destination, protocol, method, port, shape];
    const key = JSON.stringify([...words, before.decision, before.rule, after.decision, after.rule, because]);
    const known = this.#groups.get(key);
    if (known === undefined) {
      // It is counted, and nothing else.
      if (this.#groups.size >= MAX_GROUPS) return;
      const verdicts = { before: briefly(before), after: briefly(after), because };
      this.#groups.set(key, {
        first: { source, destination, operation: { protocol, method, path: shape, port }, ...verdicts },
        path: call.path,
        calls: call.calls,
        last: call.last,
        examples: [call.example],
      });
      return;
    }
    known.calls += call.calls;
    known.last = Math.max(known.last, call.last);
    if (known.path !== call.path) known.path = shape;
    if (known.examples.length < MAX_EXAMPLES) known.examples.push(call.example);
  }

  result(): Flip {
    const all = [...this.#groups.values()].sort((a, b) => b.calls - a.calls);
    const groups = all.slice(0, MAX_LISTED).map(({ first, path, calls, last, examples }) =>
      Object.freeze({
        ...first,
        operation: Object.freeze({ ...first.operation, path }),
        calls,
        last,
        examples: Object.freeze([...examples]),
      }),
    );
    const listed = groups.reduce((sum, each) => sum + each.calls, 0);
    return Object.freeze({
      calls: this.#calls,
      groups: Object.freeze(groups),
      unlisted: Object.freeze({ groups: all.length - groups.length, calls: this.#calls - listed }),
    });
  }
}

function briefly({ decision, rule }: Verdict): Pick<Verdict, 'decision' | 'rule'> {
  return Object.freeze({ decision, rule });
}
