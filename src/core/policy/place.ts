import type { Shape } from './cover.ts';
import type { PolicyFinding, PolicyWarningCode, Severity } from './findings.ts';
import type { Rule } from './model.ts';
import type { PolicyDocument } from './parse.ts';

/** A policy and where it stands. */
export type AnalyzedPolicy = Pick<PolicyDocument, 'policy' | 'ruleLines' | 'ruleColumns' | 'line' | 'pointer'> & {
  readonly file?: string;
};

/** One rule of it. */
export interface PlacedRule {
  readonly at: AnalyzedPolicy;
  readonly rule: Rule;
  readonly index: number;
  readonly shape: Shape;
}

/** @param index Of the rule; undefined for the policy as a whole. */
export function finding(
  code: PolicyWarningCode,
  at: AnalyzedPolicy,
  index: number | undefined,
  message: string,
  severity: Severity = 'warning',
): PolicyFinding {
  const line = index === undefined ? 1 : (at.ruleLines[index] ?? 1);
  return Object.freeze({
    code,
    severity,
    message,
    pointer: index === undefined ? at.pointer : `${at.pointer}/spec/rules/${index}`,
    ...(at.file !== undefined && { file: at.file }),
    line: at.line + line - 1,
    column: index === undefined ? 1 : (at.ruleColumns[index] ?? 1),
  });
}
