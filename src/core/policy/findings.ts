import type { Finding } from '../../base/errors.ts';

/**
 * Every finding that a policy document can get, and what it says in one line. Each has its paragraph in
 * `docs/policy-findings.md`.
 */
export const policyFindings = {
  'too-large': 'The text is longer than 1 MiB.',
  'too-deep': 'Mappings and lists are nested too deeply.',
  'too-many-findings': 'There are more findings than are listed.',
  'yaml-syntax': 'The text is not YAML or JSON.',
  'yaml-alias': 'An alias or merge key stands for text elsewhere.',
  'yaml-tag': 'An explicit tag or YAML version changes how values are read.',
  'yaml-key': 'A key of a mapping is not a string.',
  'duplicate-key': 'A key stands twice in one mapping.',
  'no-policy': 'The text holds no policy.',
  'duplicate-policy': 'Two policies of the text have the same namespace and name.',
  'unknown-api-version': 'The apiVersion is none that Writ reads.',
  'unknown-kind': 'The kind is not AuthorizationPolicy.',
  'missing-field': 'A required field is not there.',
  'unknown-field': 'A field is part of no version of the language.',
  'unsupported-field': 'A field or value is part of the language but not enforced yet.',
  'empty-field': 'A field is there but empty.',
  'wrong-type': 'A value has another type than its field.',
  'too-many-items': 'A list is longer than its limit.',
  'invalid-name': 'The name or namespace of the policy is not a DNS name.',
  'invalid-label': 'A label of the selector cannot be carried by any workload.',
  'invalid-action': 'The action is neither ALLOW nor DENY.',
  'deny-without-rules': 'A DENY without rules denies nothing.',
  'wildcard-in-middle': 'A * stands neither alone, nor first, nor last, or there are two.',
  'spiffe-scheme': 'A principal is written with spiffe://.',
  'invalid-principal': 'A principal can match no SPIFFE ID of a workload.',
  'invalid-namespace': 'A namespace can match none of a workload.',
  'invalid-method': 'A method is not an upper-case HTTP token.',
  'invalid-path': 'A path is not the path of a URL.',
  'path-not-normalized': 'A path is spelled as no normalised path is.',
  'invalid-port': 'A port is not a number from 1 to 65535.',
} as const;

export type PolicyFindingCode = keyof typeof policyFindings;

/** Where something stands in the text. */
export interface Place {
  readonly offset: number;
  /** RFC 6901. */
  readonly pointer: string;
}

/** How many findings one text gets; the number of those left out is said. */
export const MAX_FINDINGS = 200;

/** Collects the findings of one text. */
export class Findings {
  readonly #found: Finding[] = [];
  readonly #file: string | undefined;
  readonly #position: (offset: number) => { readonly line: number; readonly col: number };
  #leftOut = 0;

  constructor(file: string | undefined, position: (offset: number) => { readonly line: number; readonly col: number }) {
    this.#file = file;
    this.#position = position;
  }

  add(code: PolicyFindingCode, place: Place, message: string): void {
    if (this.#found.length >= MAX_FINDINGS) {
      this.#leftOut += 1;
      return;
    }
    const { line, col } = this.#position(place.offset);
    this.#found.push(this.#finding(code, place.pointer, message, line, col));
  }

  /** In the order of the text; empty when nothing was found. */
  list(): readonly Finding[] {
    const sorted = this.#found.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
    if (this.#leftOut === 0) return Object.freeze(sorted);
    const last = sorted.at(-1);
    const message = `${this.#leftOut} more findings are not listed. Mend these first.`;
    return Object.freeze([
      ...sorted,
      this.#finding('too-many-findings', '', message, last?.line ?? 1, last?.column ?? 1),
    ]);
  }

  #finding(code: PolicyFindingCode, pointer: string, message: string, line: number, column: number): Finding {
    return Object.freeze({
      code,
      message,
      pointer,
      ...(this.#file !== undefined && { file: this.#file }),
      line,
      column,
    });
  }
}

/** A text from the document for a message: in quotes, and not longer than a line. */
export function quoted(text: string): string {
  return JSON.stringify(shortened(text));
}

export function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
