import { authenticationShapes as shapes } from './authentication-fields.ts';
import type { Findings } from './findings.ts';
import { readAuthenticationDocument } from './read-authentication-document.ts';
import { readJwtRule } from './read-jwt-rule.ts';
import { readScope } from './read-target.ts';
import type { JwtRule, RequestAuthentication } from './request-authentication.ts';
import type { Value } from './yaml-reader.ts';
import { readFields, readItems } from './yaml-reader.ts';

/** Issuers in one document. A sidecar may look at all of them for one call. */
const MAX_JWT_RULES = 128;

/**
 * Reads a RequestAuthentication (reference: rule 49). Its revision is 0 until it is stored. Reports everything that is
 * wrong; what it returns is only good if nothing was reported.
 */
export function readRequestAuthentication(at: Value, findings: Findings): RequestAuthentication | undefined {
  const document = readAuthenticationDocument(at, shapes.requestDocument, findings);
  const fields = document?.spec === undefined ? undefined : readFields(document.spec, shapes.requestSpec, findings);
  if (document === undefined || document.spec === undefined || fields === undefined) return undefined;
  const scope = readScope(fields, findings);
  const rulesField = fields.get('jwtRules');
  const items =
    rulesField === undefined ? [] : readItems(rulesField, findings, { max: MAX_JWT_RULES, mayBeEmpty: true });
  if (items?.length === 0) {
    const message = 'Without "jwtRules" no token is accepted and none refused. Name an issuer, or delete it.';
    findings.warn('no-jwt-rules', rulesField?.key ?? document.spec.key, message);
  }
  const rules = items?.map((item) => readJwtRule(item, findings));
  if (document.name === undefined || scope === undefined || !isComplete(rules)) return undefined;
  return Object.freeze({ ...document.name, revision: 0, ...scope, rules: Object.freeze(rules) });
}

function isComplete(rules: readonly (JwtRule | undefined)[] | undefined): rules is JwtRule[] {
  return rules?.every((rule) => rule !== undefined) === true;
}
