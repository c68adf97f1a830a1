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
  'unknown-kind': 'The kind is none that Writ reads.',
  'missing-field': 'A required field is not there.',
  'unknown-field': 'A field is part of no version of the language.',
  'unsupported-field': 'A field or value is part of the language but not enforced yet.',
  'empty-field': 'A field is there but empty.',
  'wrong-type': 'A value has another type than its field.',
  'too-many-items': 'A list is longer than its limit.',
  'invalid-name': 'The name or namespace of the policy is not a DNS name.',
  'invalid-label': 'A label of the selector cannot be carried by any workload.',
  'invalid-target': 'A target is nothing that a policy can be for.',
  'invalid-action': 'The action is none of ALLOW, DENY, AUDIT and CUSTOM.',
  'invalid-provider': 'A CUSTOM names no provider, or another action names one.',
  'custom-caller': 'A CUSTOM asks who calls, which is for its authorizer to judge.',
  'invalid-direction': 'A direction is none, or a rule says what does not go with it.',
  'invalid-mode': 'The mode is neither Enforce nor Shadow, or an AUDIT or CUSTOM has one.',
  'invalid-validity': 'A validity is not a time, or ends before it begins.',
  'invalid-dry-run': 'The dry-run annotation is not a boolean, or stands where it means nothing.',
  'conflicting-fields': 'Two fields say what only one of them may say.',
  'deny-without-rules': 'A DENY, AUDIT or CUSTOM without rules does nothing.',
  'wildcard-in-middle': 'A * stands neither alone, nor first, nor last, or there are two.',
  'spiffe-scheme': 'A principal is written with spiffe://.',
  'invalid-principal': 'A principal can match no SPIFFE ID of a workload.',
  'invalid-namespace': 'A namespace can match none of a workload.',
  'invalid-method': 'A method is not an upper-case HTTP token.',
  'invalid-path': 'A path is not the path of a URL.',
  'path-not-normalized': 'A path is spelled as no normalised path is.',
  'invalid-port': 'A port is not a number from 1 to 65535.',
  'invalid-template': 'A path template is written wrongly.',
  'invalid-host': 'A host can match no request.',
  'invalid-service-account': 'A service account is neither a name nor namespace/name.',
  'invalid-trust-domain': 'A trust domain can match none.',
  'invalid-request-principal': 'A request principal is not issuer/subject.',
  'invalid-ip-block': 'An IP address or block is none.',
  'invalid-server-name': 'A server name can match none.',
  'unknown-condition-key': 'The key of a condition is none.',
  'invalid-condition-key': 'The key of a condition names something that rules cannot look at.',
  'invalid-issuer': 'An issuer of tokens is none, or nobody knows where its keys are.',
  'invalid-jwks': 'The keys of an issuer are no JSON Web Key Set of public keys.',
  'invalid-jwks-uri': 'The keys of an issuer are at no URL that they may be fetched from.',
  'invalid-token-place': 'A token or a claim cannot stand in that header, parameter or cookie.',
  'invalid-claim': 'A claim can stand in no token.',
  'invalid-mtls-mode': 'The mode of mutual TLS is none.',
  'ports-without-selector': 'Ports are named, and no workload whose ports they are.',
  'invalid-rate': 'A number of calls is not a whole number from 1 on.',
  'invalid-duration': 'A duration is not a number with its unit, or outside its limits.',
} as const;

/** What `analyze` and the parser say about policies that are accepted all the same. */
export const policyWarnings = {
  'selects-everything': 'A selector without labels selects every workload.',
  'matches-absent': 'An ALLOW excludes values, and lets in who has none.',
  'host-without-port': 'A host is matched without the ports that callers may add.',
  'never-matches': 'A rule can match no call.',
  'shadowed-rule': 'A wider rule matches whatever this one does.',
  'allow-behind-deny': 'A DENY matches whatever this ALLOW or CUSTOM does.',
  'unknown-identity': 'No workload has this identity.',
  'unknown-namespace': 'No workload is in this namespace.',
  'unknown-trust-domain': 'Nobody of this trust domain is let in.',
  'unknown-provider': 'The control plane knows no authorizer of this name.',
  'http-rule-on-tcp': 'A rule names what only HTTP has, for ports that speak TCP.',
  'selects-nothing': 'No workload is one that this is for.',
  'validity-over': 'The policy no longer holds.',
  'plain-text': 'Callers without a certificate are let in.',
  'mtls-not-disabled': 'DISABLE is read as PERMISSIVE.',
  'audiences-unchecked': 'Tokens are accepted that were meant for somebody else.',
  'no-jwt-rules': 'A RequestAuthentication accepts no token and refuses none.',
  'too-many-rules': 'There are more rules than are compared with one another.',
} as const;

export type Severity = 'error' | 'warning';

/** What is said about a policy. With an error it is not accepted, with a warning it is. */
export interface PolicyFinding extends Finding {
  readonly code: PolicyFindingCode | PolicyWarningCode;
  readonly severity: Severity;
}

/** What documents of expectations can get besides; see `docs/policy-tests.md`. */
export const caseFindings = { 'invalid-case': 'A case asks what has no answer.' } as const;

export type PolicyFindingCode = keyof typeof policyFindings | keyof typeof caseFindings;
export type PolicyWarningCode = keyof typeof policyWarnings;

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
  readonly #errors: PolicyFinding[] = [];
  readonly #warnings: PolicyFinding[] = [];
  readonly #file: string | undefined;
  readonly #position: (offset: number) => { readonly line: number; readonly col: number };
  #leftOut = 0;

  constructor(file: string | undefined, position: (offset: number) => { readonly line: number; readonly col: number }) {
    this.#file = file;
    this.#position = position;
  }

  add(code: PolicyFindingCode, place: Place, message: string): void {
    this.#put(this.#errors, code, 'error', place, message);
  }

  warn(code: PolicyWarningCode, place: Place, message: string): void {
    this.#put(this.#warnings, code, 'warning', place, message);
  }

  /** What keeps the text from being accepted, in its order; empty when nothing does. */
  list(): readonly PolicyFinding[] {
    const sorted = this.#errors.toSorted(byPlace);
    if (this.#leftOut === 0) return Object.freeze(sorted);
    const last = sorted.at(-1);
    const message = `${this.#leftOut} more findings are not listed. Mend these first.`;
    return Object.freeze([
      ...sorted,
      this.#finding('too-many-findings', 'error', '', message, last?.line ?? 1, last?.column ?? 1),
    ]);
  }

  /** In the order of the text. */
  warnings(): readonly PolicyFinding[] {
    return Object.freeze(this.#warnings.toSorted(byPlace));
  }

  #put(list: PolicyFinding[], code: PolicyFinding['code'], severity: Severity, place: Place, message: string): void {
    if (list.length >= MAX_FINDINGS) {
      // A warning is less than what is wrong.
      if (severity === 'error') this.#leftOut += 1;
      return;
    }
    const { line, col } = this.#position(place.offset);
    list.push(this.#finding(code, severity, place.pointer, message, line, col));
  }

  #finding(
    code: PolicyFinding['code'],
    severity: Severity,
    pointer: string,
    message: string,
    line: number,
    column: number,
  ): PolicyFinding {
    return Object.freeze({
      code,
      severity,
      message,
      pointer,
      ...(this.#file !== undefined && { file: this.#file }),
      line,
      column,
    });
  }
}

/** By line and column. */
export function byPlace(a: PolicyFinding, b: PolicyFinding): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}

/** A text from the document for a message: in quotes, and not longer than a line. */
export function quoted(text: string): string {
  return JSON.stringify(shortened(text));
}

export function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
