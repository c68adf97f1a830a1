import type { Attribute } from './attributes.ts';
import { attributeOf, parseValue } from './attributes.ts';
import { matches } from './match.ts';
import type { Condition, Policy, Rule, StringMatch, Target } from './model.ts';
import { accountOf, namespaceOf } from './principal.ts';

/**
 * Whether one rule matches everything that another one does. Says no where it cannot tell, so that what it says yes to is so.
 */

/** What a rule needs of one attribute: one of `values` (any, if undefined), and none of `not`. */
interface Need {
  readonly values: readonly StringMatch[] | undefined;
  readonly not: readonly StringMatch[];
}

/** By key of the attribute; ANDed. */
type Needs = ReadonlyMap<string, readonly Need[]>;

/** The alternatives of a rule: every source with every operation. */
export interface Shape {
  readonly from: readonly Needs[];
  readonly to: readonly Needs[];
  readonly when: Needs;
}

export function shapeOf(rule: Rule): Shape {
  return {
    from: rule.from.map((source) =>
      needsOf(
        [
          ['source.principal', source.principals],
          ['source.namespace', source.namespaces],
        ],
        source.where,
      ),
    ),
    to: rule.to.map((operation) =>
      needsOf(
        [
          ['operation.method', operation.methods],
          ['operation.path', operation.paths],
          ['destination.port', operation.ports.map((port): StringMatch => ({ kind: 'exact', value: String(port) }))],
        ],
        operation.where,
      ),
    ),
    when: needsOf([], rule.when),
  };
}

function needsOf(
  fields: readonly (readonly [string, readonly StringMatch[]])[],
  conditions: readonly Condition[] | undefined,
): Needs {
  const needs = new Map<string, Need[]>();
  const add = (key: string, need: Need) => needs.set(key, [...(needs.get(key) ?? []), need]);
  for (const [key, values] of fields) if (values.length > 0) add(key, { values, not: [] });
  for (const { key, values, notValues } of conditions ?? []) {
    const attribute = attributeOf(key);
    if (attribute === undefined) continue;
    const parsed = parseAll(attribute, values);
    add(canonical(attribute), {
      values: parsed.length === 0 ? undefined : parsed,
      not: parseAll(attribute, notValues),
    });
  }
  return needs;
}

function canonical({ key, header }: Attribute): string {
  return header === undefined ? key : `request.headers[${header}]`;
}

function parseAll(attribute: Attribute, values: readonly string[]): StringMatch[] {
  return values.flatMap((value) => parseValue(attribute, value) ?? []);
}

/** @param a The wider one. */
export function covers(a: Shape, b: Shape): boolean {
  return (
    (a.from.length === 0 || coversAll(a.from, b.from, b.when)) &&
    (a.to.length === 0 || coversAll(a.to, b.to, b.when)) &&
    isImplied(a.when, [b.when, ...(b.from.length === 1 ? b.from : []), ...(b.to.length === 1 ? b.to : [])])
  );
}

/** Each alternative of the narrower one lies within one of the wider one. */
function coversAll(wide: readonly Needs[], narrow: readonly Needs[], when: Needs): boolean {
  const alternatives = narrow.length === 0 ? [new Map()] : narrow;
  return alternatives.every((one) => wide.some((other) => isImplied(other, [one, when])));
}

/** Whether everything that is needed follows from what is given. */
function isImplied(needed: Needs, given: readonly Needs[]): boolean {
  for (const [key, needs] of needed) {
    const known = given.flatMap((one) => one.get(key) ?? []);
    for (const need of needs) if (!known.some((one) => follows(need, one))) return false;
  }
  return true;
}

function follows(need: Need, given: Need): boolean {
  const { values } = given;
  if (need.values !== undefined) {
    const wanted = need.values;
    if (values === undefined || !values.every((value) => wanted.some((wide) => matchCovers(wide, value)))) return false;
  }
  return need.not.every(
    (excluded) =>
      given.not.some((wide) => matchCovers(wide, excluded)) ||
      (values?.every((value) => value.kind === 'exact' && !matches(excluded, value.value)) ?? false),
  );
}

/** Whether everything that `b` matches, `a` matches too. */
export function matchCovers(a: StringMatch, b: StringMatch): boolean {
  if (b.kind === 'exact') return matches(a, b.value);
  if (a.kind === 'present') return b.kind === 'present' || b.value !== '';
  if (a.kind === 'template') return b.kind === 'template' && a.value === b.value;
  if (a.kind === 'prefix') {
    const start =
      b.kind === 'prefix' ? b.value : b.kind === 'template' ? b.value.slice(0, b.value.indexOf('{')) : undefined;
    return start?.startsWith(a.value) === true;
  }
  return a.kind === 'suffix' && b.kind === 'suffix' && b.value.endsWith(a.value);
}

/** Why no call can match the rule, in words; undefined where one might. */
export function whyNever(rule: Rule): string | undefined {
  const { from, to, when } = shapeOf(rule);
  const alone = contradiction([when]);
  if (alone !== undefined) return alone;
  for (const alternatives of [from, to]) {
    const reasons = alternatives.map((one) => contradiction([one, when]));
    if (reasons.length > 0 && reasons.every((reason) => reason !== undefined)) return reasons[0];
  }
  return undefined;
}

function contradiction(given: readonly Needs[]): string | undefined {
  const keys = new Set(given.flatMap((needs) => [...needs.keys()]));
  for (const key of keys) {
    const needs = given.flatMap((one) => one.get(key) ?? []);
    const not = needs.flatMap((need) => need.not);
    const name = key.replace(/^operation\./, '');
    for (const { values } of needs) {
      if (values?.every((value) => not.some((excluded) => matchCovers(excluded, value)))) {
        return `every ${name} that it asks for is excluded again`;
      }
    }
    if (severalValued(key)) continue;
    const exact = needs.find((need) => need.values?.every((value) => value.kind === 'exact'))?.values;
    const possible = exact?.filter(
      (value) => value.kind === 'exact' && needs.every((need) => allowsText(need, value.value)),
    );
    if (possible?.length === 0) return `no ${name} satisfies all that it asks of it`;
  }
  return contradictionInCaller(given);
}

/**
 * What follows from a principal, and from a service account; '' for a part that it does not have, which no value matches. Not the trust domain:
 * one name of it may stand for others (aliases).
 */
const parts: readonly (readonly [whole: string, part: string, of: (text: string) => string])[] = [
  ['source.principal', 'source.namespace', namespaceOf],
  ['source.principal', 'source.serviceAccount', accountOf],
  ['source.serviceAccount', 'source.namespace', (account) => account.slice(0, account.indexOf('/'))],
];

/** A caller is written out whole, and elsewhere in the rule something else is asked of a part of it. */
function contradictionInCaller(given: readonly Needs[]): string | undefined {
  for (const [whole, part, of] of parts) {
    const needs = given.flatMap((one) => one.get(part) ?? []);
    for (const { values } of given.flatMap((one) => one.get(whole) ?? [])) {
      if (needs.length === 0 || values?.every((value) => value.kind === 'exact') !== true) continue;
      const isPossible = values.some(
        (value) => value.kind === 'exact' && needs.every((need) => allowsText(need, of(value.value))),
      );
      if (!isPossible) return `no ${whole} that it asks for has a ${part} that it asks for`;
    }
  }
  return undefined;
}

/** A call can have several of it at once, so that two conditions can hold by different ones. */
function severalValued(key: string): boolean {
  return key.startsWith('request.auth.') || key.startsWith('request.headers');
}

function allowsText({ values, not }: Need, text: string): boolean {
  return (
    (values === undefined || values.some((value) => matches(value, text))) && !not.some((each) => matches(each, text))
  );
}

/** Whether `a` is for every workload that `b` is for, and for calls in the same direction. */
export function selectsAll(a: Policy, b: Policy, rootNamespace: string): boolean {
  if (a.direction !== b.direction) return false;
  if (a.targets !== undefined) return a.namespace === b.namespace && targetsAll(a.targets, b.targets);
  if (a.namespace !== b.namespace && a.namespace !== rootNamespace) return false;
  // What labels the workloads of a target carry is not known.
  return Object.entries(a.selector).every(([key, value]) => b.targets === undefined && b.selector[key] === value);
}

function targetsAll(wide: readonly Target[], narrow: readonly Target[] | undefined): boolean {
  return narrow?.every((one) => wide.some(({ kind, name }) => one.kind === kind && one.name === name)) === true;
}
