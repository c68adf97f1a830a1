import { shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import { policyKindNames } from './kinds.ts';
import type { Policy } from './model.ts';
import { readAction, readEgress, readProvider, WRIT_VERSION, withoutRules } from './read-action.ts';
import type { Name } from './read-metadata.ts';
import { readApiVersion, readMetadata, requireText } from './read-metadata.ts';
import { MAX_ALTERNATIVES, readRule } from './read-rule.ts';
import { readScope } from './read-target.ts';
import { readDryRun, readMode, readValidity } from './read-terms.ts';
import type { Field, Value } from './yaml-reader.ts';
import { peekText, readFields, readItems, readMap, readText, requireField } from './yaml-reader.ts';

/** Reads one policy. Istio's validation (reference: rules 44 and 45) and what Istio leaves unsaid. */

export const policyApiVersions: readonly string[] = ['security.istio.io/v1', 'security.istio.io/v1beta1', WRIT_VERSION];

/** Of `spec.reason`, in UTF-16 units. */
const MAX_REASON = 1024;

export interface ReadPolicy {
  readonly policy: Policy;
  /** Where each rule begins in the text. */
  readonly ruleOffsets: readonly number[];
}

/** Reports everything that is wrong; what it returns is only good if nothing was reported. */
export function readPolicy(value: Value, findings: Findings): ReadPolicy | undefined {
  const all = readMap(value, findings);
  const kind = all === undefined ? undefined : requireText(all, 'kind', value, findings);
  if (kind !== undefined && kind.text !== 'AuthorizationPolicy') {
    // What its fields should be nobody knows.
    const message = `The kind ${quoted(kind.text)} is not read. Only ${policyKindNames.map(quoted).join(', ')} and lists of them are.`;
    findings.add('unknown-kind', kind.at, message);
    return undefined;
  }
  const fields = all === undefined ? undefined : readFields(value, shapes.document, findings);
  if (fields === undefined) return undefined;
  readApiVersion(fields, policyApiVersions, value, findings);
  const metadata = requireField(fields, 'metadata', value, findings);
  const name = metadata === undefined ? undefined : readMetadata(metadata, findings);
  const spec = requireField(fields, 'spec', value, findings);
  const rest = spec === undefined ? undefined : readSpec(spec, name, peekText(value, 'apiVersion'), findings);
  if (name === undefined || rest === undefined) return undefined;
  const policy = { namespace: name.namespace, name: name.name, revision: 0, ...rest.spec };
  return { policy: Object.freeze(policy), ruleOffsets: rest.ruleOffsets };
}

type Spec = Omit<Policy, 'namespace' | 'name' | 'revision'>;

function readSpec(
  value: Value,
  name: Name | undefined,
  apiVersion: string | undefined,
  findings: Findings,
): { spec: Spec; ruleOffsets: readonly number[] } | undefined {
  const fields = readFields(value, shapes.spec, findings);
  if (fields === undefined) return undefined;
  const scope = readScope(fields, findings);
  const actionField = fields.get('action');
  const action = actionField === undefined ? 'ALLOW' : readAction(actionField, findings);
  const provider = readProvider(fields.get('provider'), action, actionField ?? value, findings);
  const egress = readEgress(fields.get('direction'), apiVersion, action, findings);
  const rulesField = fields.get('rules');
  const items =
    rulesField === undefined ? [] : readItems(rulesField, findings, { max: MAX_ALTERNATIVES, mayBeEmpty: true });
  if (action !== undefined && action !== 'ALLOW' && items?.length === 0) {
    findings.add('deny-without-rules', rulesField?.key ?? actionField ?? value, withoutRules[action]);
  }
  const owner = { namespace: name?.namespace ?? '', action, egress };
  const rules = items?.map((item) => readRule(item, owner, findings));
  const dryRun = name?.dryRun === undefined ? false : readDryRun(name.dryRun, action, findings);
  const shadow = readMode(fields.get('mode'), action, dryRun, findings);
  const validity = readValidity(fields.get('validity'), findings);
  const reason = readReason(fields.get('reason'), findings);
  if (scope === undefined || action === undefined || items === undefined || !isComplete(rules)) return undefined;
  const spec = {
    ...scope,
    ...(egress && { direction: 'egress' as const }),
    action,
    ...(provider !== undefined && { provider }),
    rules: Object.freeze(rules),
    ...(shadow && { shadow }),
    ...(validity !== undefined && { validity }),
    ...(reason !== undefined && { reason }),
  };
  return { spec, ruleOffsets: items.map((item) => item.offset) };
}

function readReason(value: Field | undefined, findings: Findings): string | undefined {
  const text = value === undefined ? undefined : readText(value, findings);
  if (value === undefined || text === undefined || text.length <= MAX_REASON) return text;
  findings.add('too-large', value, `The reason has ${text.length} characters, the limit is ${MAX_REASON}. Shorten it.`);
  return undefined;
}

function isComplete<T>(items: readonly (T | undefined)[] | undefined): items is T[] {
  return items?.every((item) => item !== undefined) === true;
}
