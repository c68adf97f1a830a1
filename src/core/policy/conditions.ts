import { AppError } from '../../base/errors.ts';
import type { Attribute } from './attributes.ts';
import { attributeOf, parseValue, textsOf } from './attributes.ts';
import type { Action, Condition, Request, StringMatch } from './model.ts';
import type { StringSet } from './string-set.ts';
import { compileStrings, includes } from './string-set.ts';

/** A condition, made ready to be tested. */
export interface CompiledCondition {
  readonly attribute: Attribute;
  /** Of `values`, for the index. */
  readonly matches: readonly StringMatch[];
  readonly any: StringSet | undefined;
  readonly none: StringSet | undefined;
  /**
   * Of a header that stands several times, which text the application will read nobody knows: all of them joined, as RFC 9110
   * §5.3 has it, the first or the last. An ALLOW therefore needs every reading to satisfy it, and to a DENY one is enough
   * (CVE-2026-26308).
   */
  readonly everyReading: boolean;
}

/**
 * @throws AppError `invalid` for a key or value that means nothing here: a condition must not be half understood. Documents
 *   have been checked with better words, so this is for policies from elsewhere.
 */
export function compileCondition(condition: Condition, action: Action): CompiledCondition {
  const attribute = attributeOf(condition.key);
  if (attribute === undefined) throw invalid(`the condition key ${JSON.stringify(condition.key.slice(0, 80))}`);
  const parse = (value: string): StringMatch => {
    const match = parseValue(attribute, value);
    if (match === undefined) throw invalid(`a value of ${JSON.stringify(attribute.key.slice(0, 80))}`);
    return match;
  };
  const matches = condition.values.map(parse);
  const none = condition.notValues.map(parse);
  if (matches.length + none.length === 0) throw invalid('a condition without values');
  return Object.freeze({
    attribute,
    matches: Object.freeze(matches),
    any: compileStrings(matches),
    none: compileStrings(none),
    everyReading: action === 'ALLOW',
  });
}

export function holds(condition: CompiledCondition, request: Request): boolean {
  const { attribute, any, none } = condition;
  if (attribute.httpOnly && request.http === undefined) return false;
  const texts = textsOf(attribute, request);
  // What is absent matches nothing (reference: rule 6).
  if (texts === undefined) return any === undefined;
  if (typeof texts === 'string') return satisfies(condition, texts);
  if (attribute.type === 'header') {
    return condition.everyReading
      ? texts.every((text) => satisfies(condition, text))
      : texts.some((text) => satisfies(condition, text));
  }
  return (
    (any === undefined || texts.some((text) => includes(any, text))) &&
    (none === undefined || !texts.some((text) => includes(none, text)))
  );
}

export function allHold(conditions: readonly CompiledCondition[], request: Request): boolean {
  for (const condition of conditions) if (!holds(condition, request)) return false;
  return true;
}

function satisfies({ any, none }: CompiledCondition, text: string): boolean {
  return (any === undefined || includes(any, text)) && (none === undefined || !includes(none, text));
}

function invalid(what: string): AppError {
  return new AppError('invalid', `A policy holds ${what}, which this version of Writ does not understand.`);
}
