import { nearest, shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Action, Policy } from './model.ts';
import { MAX_ALTERNATIVES, readRule } from './read-rule.ts';
import { readDryRun, readMode, readValidity } from './read-terms.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readItems, readMap, readText, requireField, unsupported } from './yaml-reader.ts';

/** Reads one policy. Istio's validation (reference: rules 44 and 45) and what Istio leaves unsaid. */

export const policyApiVersions: readonly string[] = [
  'security.istio.io/v1',
  'security.istio.io/v1beta1',
  'writ.dev/v1',
];

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
    const message = `The kind ${quoted(kind.text)} is not read. Only "AuthorizationPolicy" and lists of it are.`;
    findings.add('unknown-kind', kind.at, message);
    return undefined;
  }
  const fields = all === undefined ? undefined : readFields(value, shapes.document, findings);
  if (fields === undefined) return undefined;
  readApiVersion(fields, policyApiVersions, value, findings);
  const metadata = requireField(fields, 'metadata', value, findings);
  const name = metadata === undefined ? undefined : readMetadata(metadata, findings);
  const spec = requireField(fields, 'spec', value, findings);
  const rest = spec === undefined ? undefined : readSpec(spec, name, findings);
  if (name === undefined || rest === undefined) return undefined;
  const policy = { namespace: name.namespace, name: name.name, revision: 0, ...rest.spec };
  return { policy: Object.freeze(policy), ruleOffsets: rest.ruleOffsets };
}

export function readApiVersion(
  fields: ReadonlyMap<string, Field>,
  known: readonly string[],
  owner: Value,
  findings: Findings,
): void {
  const found = requireText(fields, 'apiVersion', owner, findings);
  if (found === undefined || known.includes(found.text)) return;
  const message = `The apiVersion ${quoted(found.text)} is not read. Write one of ${known.map(quoted).join(', ')}.`;
  findings.add('unknown-api-version', found.at, message);
}

function readMetadata(value: Value, findings: Findings): Name | undefined {
  const fields = readFields(value, shapes.metadata, findings);
  if (fields === undefined) return undefined;
  const name = requireText(fields, 'name', value, findings);
  if (name !== undefined && !isDnsSubdomain(name.text)) {
    const message = `The name ${quoted(name.text)} is not a DNS name: lower-case letters, digits, "-" and ".", at most 253, beginning and ending with a letter or digit.`;
    findings.add('invalid-name', name.at, message);
  }
  const namespace = requireText(fields, 'namespace', value, findings);
  if (namespace !== undefined && !isDnsLabel(namespace.text)) {
    const message = `The namespace ${quoted(namespace.text)} is not a DNS label: lower-case letters, digits and "-", at most 63, beginning and ending with a letter or digit.`;
    findings.add('invalid-name', namespace.at, message);
  }
  if (name === undefined || namespace === undefined) return undefined;
  const annotations = fields.get('annotations');
  const dryRun = annotations === undefined ? undefined : readMap(annotations, findings)?.get('istio.io/dry-run');
  return { name: name.text, namespace: namespace.text, ...(dryRun !== undefined && { dryRun }) };
}

interface Name {
  readonly name: string;
  readonly namespace: string;
  /** The annotation, which means something only together with the action. */
  readonly dryRun?: Field;
}

type Spec = Omit<Policy, 'namespace' | 'name' | 'revision'>;

function readSpec(
  value: Value,
  name: Name | undefined,
  findings: Findings,
): { spec: Spec; ruleOffsets: readonly number[] } | undefined {
  const fields = readFields(value, shapes.spec, findings);
  if (fields === undefined) return undefined;
  const selectorField = fields.get('selector');
  const selector = selectorField === undefined ? Object.freeze({}) : readSelector(selectorField, findings);
  const actionField = fields.get('action');
  const action = actionField === undefined ? 'ALLOW' : readAction(actionField, findings);
  const rulesField = fields.get('rules');
  const items =
    rulesField === undefined ? [] : readItems(rulesField, findings, { max: MAX_ALTERNATIVES, mayBeEmpty: true });
  if ((action === 'DENY' || action === 'AUDIT') && items?.length === 0) {
    const message =
      action === 'DENY'
        ? 'A DENY without rules denies nothing. To deny every call, write "rules: [{}]".'
        : 'An AUDIT without rules marks nothing. To mark every call, write "rules: [{}]".';
    findings.add('deny-without-rules', rulesField?.key ?? actionField ?? value, message);
  }
  const owner = { namespace: name?.namespace ?? '', action };
  const rules = items?.map((item) => readRule(item, owner, findings));
  const dryRun = name?.dryRun === undefined ? false : readDryRun(name.dryRun, action, findings);
  const shadow = readMode(fields.get('mode'), action, dryRun, findings);
  const validity = readValidity(fields.get('validity'), findings);
  const reason = readReason(fields.get('reason'), findings);
  if (selector === undefined || action === undefined || items === undefined || !isComplete(rules)) return undefined;
  const spec = {
    selector,
    action,
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

function readAction(value: Value, findings: Findings): Action | undefined {
  const text = readText(value, findings);
  if (text === undefined || text === 'ALLOW' || text === 'DENY' || text === 'AUDIT') return text;
  if (text === 'CUSTOM') {
    findings.add('unsupported-field', value, unsupported(`The action ${quoted(text)}`));
    return undefined;
  }
  const near = nearest(text, ['ALLOW', 'DENY', 'AUDIT']);
  const advice = near === undefined ? ' Write one of them.' : ` Did you mean ${quoted(near)}?`;
  findings.add('invalid-action', value, `The action ${quoted(text)} is none of ALLOW, DENY and AUDIT.${advice}`);
  return undefined;
}

/** An empty selector selects every workload, as everywhere in Kubernetes. */
function readSelector(value: Field, findings: Findings): Policy['selector'] | undefined {
  const fields = readFields(value, shapes.selector, findings);
  if (fields === undefined) return undefined;
  const labelsField = fields.get('matchLabels');
  const labels = labelsField === undefined ? new Map<string, Field>() : readMap(labelsField, findings);
  if (labels === undefined) return undefined;
  if (labels.size === 0) {
    const message = 'A selector without labels selects every workload. Give it a label, or leave it out.';
    findings.warn('selects-everything', value.key, message);
  }
  const selector: [string, string][] = [];
  for (const [key, field] of labels) {
    const label = readLabel(key, field, findings);
    if (label !== undefined) selector.push([key, label]);
  }
  return Object.freeze(Object.fromEntries(selector));
}

function readLabel(key: string, field: Field, findings: Findings): string | undefined {
  const { node } = field;
  // A label may have the empty value, which `readText` would refuse.
  const empty = node !== null && 'value' in node && node.value === '';
  const text = empty ? '' : readText(field, findings);
  if (!isLabelKey(key)) {
    const message = `The label key ${quoted(key)} can be carried by no workload: a name of letters, digits, "-", "_" and ".", at most 63, may follow a DNS name and "/".`;
    findings.add('invalid-label', field.key, message);
  }
  if (text !== undefined && text !== '' && !isLabelName(text)) {
    const message = `The label value ${quoted(text)} can be carried by no workload: letters, digits, "-", "_" and ".", at most 63. Labels have no wildcards.`;
    findings.add('invalid-label', field, message);
  }
  return text;
}

function requireText(
  fields: ReadonlyMap<string, Field>,
  name: string,
  owner: Value,
  findings: Findings,
): { readonly text: string; readonly at: Value } | undefined {
  const at = requireField(fields, name, owner, findings);
  const text = at === undefined ? undefined : readText(at, findings);
  return at === undefined || text === undefined ? undefined : { text, at };
}

function isComplete<T>(items: readonly (T | undefined)[] | undefined): items is T[] {
  return items?.every((item) => item !== undefined) === true;
}

/** RFC 1123 label, as Kubernetes takes namespaces. */
function isDnsLabel(text: string): boolean {
  return text.length <= 63 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(text);
}

/** RFC 1123 subdomain, as Kubernetes takes names of objects. */
function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && text.split('.').every((part) => /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(part));
}

function isLabelName(text: string): boolean {
  return text.length <= 63 && /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(text);
}

function isLabelKey(text: string): boolean {
  const slash = text.indexOf('/');
  if (slash === -1) return isLabelName(text);
  return isDnsSubdomain(text.slice(0, slash)) && isLabelName(text.slice(slash + 1));
}
