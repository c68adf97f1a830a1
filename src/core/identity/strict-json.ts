import { AppError } from '../../base/errors.ts';

/**
 * JSON (RFC 8259) whose every value means one thing. `JSON.parse` takes the last of several equal keys, and rounds integers
 * above 2^53: two readers of one document would disagree. Here a key that comes twice is an error, and an integer that a
 * number can't hold is a bigint.
 */
export type StrictJson = null | boolean | number | bigint | string | readonly StrictJson[] | StrictJsonObject;
export type StrictJsonObject = ReadonlyMap<string, StrictJson>;

/** Deeper values are refused: each level is a level of our own stack. */
const MAX_DEPTH = 32;
/** Digits of an integer: 2^64 has 20, and a bigint of any length would be work for whoever compares it. */
const MAX_INTEGER_DIGITS = 40;

/**
 * @param text of a size that the caller has limited
 * @throws AppError `invalid`, saying at which character
 */
export function parseStrictJson(text: string): StrictJson {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

export function isJsonObject(value: StrictJson | undefined): value is StrictJsonObject {
  return value instanceof Map;
}

const whitespace = /[ \t\n\r]*/y;
const numberToken = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const literals: readonly (readonly [string, null | boolean])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
];

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): StrictJson {
    if (depth > MAX_DEPTH) throw this.#refuse(`it is nested deeper than ${MAX_DEPTH} levels`);
    this.#skip();
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case '"':
        return this.#string();
      default:
        return this.#literalOrNumber();
    }
  }

  end(): void {
    this.#skip();
    if (this.#at < this.#text.length) throw this.#refuse('something follows the value');
  }

  #object(depth: number): StrictJsonObject {
    const members = new Map<string, StrictJson>();
    this.#at += 1;
    if (this.#takes('}')) return members;
    do {
      this.#skip();
      const key = this.#string();
      if (members.has(key)) throw this.#refuse('a key comes twice in one object');
      if (!this.#takes(':')) throw this.#refuse('a colon is missing');
      members.set(key, this.value(depth + 1));
    } while (this.#takes(','));
    if (!this.#takes('}')) throw this.#refuse('an object does not end');
    return members;
  }

  #array(depth: number): readonly StrictJson[] {
    const items: StrictJson[] = [];
    this.#at += 1;
    if (this.#takes(']')) return items;
    do items.push(this.value(depth + 1));
    while (this.#takes(','));
    if (!this.#takes(']')) throw this.#refuse('an array does not end');
    return items;
  }

  /** Looks for the end; what is between the quotes is left to `JSON.parse`. */
  #string(): string {
    if (this.#text[this.#at] !== '"') throw this.#refuse('there is no value where one belongs');
    let end = this.#at + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1;
    const token = this.#text.slice(this.#at, end + 1);
    try {
      const value = JSON.parse(token) as string;
      this.#at = end + 1;
      return value;
    } catch {
      throw this.#refuse('a string is not well formed');
    }
  }

  #literalOrNumber(): null | boolean | number | bigint {
    for (const [word, value] of literals) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    return this.#number();
  }

  #number(): number | bigint {
    const token = this.#token(numberToken);
    if (token === undefined) throw this.#refuse('there is no value where one belongs');
    const [text, fraction, exponent] = token;
    const value = Number(text);
    if (fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)) return value;
    if (text.length > MAX_INTEGER_DIGITS) throw this.#refuse(`a number has more than ${MAX_INTEGER_DIGITS} digits`);
    return BigInt(text);
  }

  #token(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text);
    if (token === null) return undefined;
    this.#at = pattern.lastIndex;
    return token;
  }

  /** Whether this sign comes next, beyond white space; then it is taken. */
  #takes(sign: string): boolean {
    this.#skip();
    if (this.#text[this.#at] !== sign) return false;
    this.#at += 1;
    return true;
  }

  #skip(): void {
    whitespace.lastIndex = this.#at;
    whitespace.exec(this.#text);
    this.#at = Math.max(this.#at, whitespace.lastIndex);
  }

  #refuse(why: string): AppError {
    return new AppError('invalid', `This is not JSON that means one thing: at character ${this.#at + 1}, ${why}.`);
  }
}
