import { AppError, unreachable } from '../../base/errors.ts';

/**
 * Label selectors as Kubernetes writes them: requirements with commas between them, all of which must hold.
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
 *
 * `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a` (is there), `!a` (is not there). `!=` and `notin` also hold where
 * the label is absent. Stricter than Kubernetes: nothing may be empty but a value behind `=` or `!=`, and there is no `>` or `<`.
 */
export type LabelSelector = readonly Requirement[];

export interface Requirement {
  readonly key: string;
  readonly operator: 'in' | 'not-in' | 'exists' | 'absent';
  /** Sorted, without repeats; empty for `exists` and `absent`. */
  readonly values: readonly string[];
}

/** All attacker-controlled: read in time proportional to the text. */
const MAX_CHARACTERS = 1024;
const MAX_REQUIREMENTS = 32;

const PREFIX = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;
const NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** Throws `invalid` that names the position, counting characters from 1. */
export function parseLabelSelector(text: string): LabelSelector {
  if (text.length > MAX_CHARACTERS) throw refuse(`is longer than ${MAX_CHARACTERS} characters`);
  const reader = new Reader(text);
  const requirements: Requirement[] = [];
  do {
    if (requirements.length === MAX_REQUIREMENTS) throw reader.refusal(`more than ${MAX_REQUIREMENTS} requirements`);
    requirements.push(readRequirement(reader));
  } while (reader.take(','));
  if (!reader.atEnd) throw reader.refusal('"," or the end was expected');
  return Object.freeze(requirements);
}

export function matchesLabels(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every((requirement) => holds(requirement, labels));
}

function holds({ key, operator, values }: Requirement, labels: Readonly<Record<string, string>>): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case 'in':
      return value !== undefined && values.includes(value);
    case 'not-in':
      return value === undefined || !values.includes(value);
    case 'exists':
      return value !== undefined;
    case 'absent':
      return value === undefined;
    default:
      return unreachable(operator);
  }
}

function readRequirement(reader: Reader): Requirement {
  if (reader.take('!')) return { key: readKey(reader), operator: 'absent', values: [] };
  const key = readKey(reader);
  if (reader.take('!=')) return { key, operator: 'not-in', values: [readValue(reader)] };
  if (reader.take('==') || reader.take('=')) return { key, operator: 'in', values: [readValue(reader)] };
  if (reader.atEnd || reader.sees(',')) return { key, operator: 'exists', values: [] };
  const word = reader.word();
  if (word.text !== 'in' && word.text !== 'notin')
    throw reader.refusal('one of =, ==, !=, in, notin or "," was expected', word.at);
  return { key, operator: word.text === 'in' ? 'in' : 'not-in', values: readSet(reader) };
}

function readSet(reader: Reader): readonly string[] {
  if (!reader.take('(')) throw reader.refusal('"(" was expected');
  const values = new Set<string>();
  do {
    const word = reader.word();
    if (word.text === '') throw reader.refusal('a value was expected', word.at);
    values.add(checkValue(reader, word));
  } while (reader.take(','));
  if (!reader.take(')')) throw reader.refusal('"," or ")" was expected');
  return [...values].sort();
}

function readKey(reader: Reader): string {
  const word = reader.word();
  if (word.text === '') throw reader.refusal('the name of a label was expected', word.at);
  const slash = word.text.indexOf('/');
  const name = word.text.slice(slash + 1);
  if (!NAME.test(name) || (slash !== -1 && !PREFIX.test(word.text.slice(0, slash))))
    throw reader.refusal(`"${shorten(word.text)}" is not the name of a label`, word.at);
  return word.text;
}

function readValue(reader: Reader): string {
  return checkValue(reader, reader.word());
}

function checkValue(reader: Reader, { text, at }: Word): string {
  if (text !== '' && !NAME.test(text)) throw reader.refusal(`"${shorten(text)}" is not the value of a label`, at);
  return text;
}

interface Word {
  readonly text: string;
  /** From 0. */
  readonly at: number;
}

/** Reads signs and words, and skips blanks before each. */
class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    this.#skip();
  }

  get atEnd(): boolean {
    return this.#at === this.#text.length;
  }

  sees(sign: string): boolean {
    return this.#text.startsWith(sign, this.#at);
  }

  take(sign: string): boolean {
    if (!this.sees(sign)) return false;
    this.#at += sign.length;
    this.#skip();
    return true;
  }

  /** Up to the next blank or sign; it may be empty. */
  word(): Word {
    const at = this.#at;
    while (this.#at < this.#text.length && !' ,=!()'.includes(this.#text.charAt(this.#at))) this.#at += 1;
    const text = this.#text.slice(at, this.#at);
    this.#skip();
    return { text, at };
  }

  refusal(what: string, at = this.#at): AppError {
    return refuse(`cannot be read at character ${at + 1}: ${what}`);
  }

  #skip(): void {
    while (this.#text.charAt(this.#at) === ' ') this.#at += 1;
  }
}

function refuse(problem: string): AppError {
  const message = `labelSelector ${problem}. Write it as in app=web,tier!=cache,owner,!legacy,stage in (test,live).`;
  return new AppError('invalid', message, { details: [{ code: 'malformed', message, pointer: '/labelSelector' }] });
}

/** What a caller sent comes back to that caller only, and not at length. */
function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
