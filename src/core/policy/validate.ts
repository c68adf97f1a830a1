import type { Shape } from './fields.ts';
import { nearest, shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Action, Operation, Policy, Rule, Source } from './model.ts';
import type { ValueReader } from './values.ts';
import { readMethod, readNamespace, readPath, readPort, readPrincipal } from './values.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readItems, readMap, readText, requireField, unsupported } from './yaml-reader.ts';

/** Reads one policy. Istio's validation (reference: rules 44 and 45) and what Istio leaves unsaid. */

export const policyApiVersions: readonly string[] = [
  'security.istio.io/v1',
  'security.istio.io/v1beta1',
  'writ.dev/v1',
];

/** Rules in a policy, sources in a rule, operations in a rule (Istio's limit for the first two). */
const MAX_ALTERNATIVES = 512;
/** Values in one field. */
const MAX_VALUES = 10_000;

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
  const rest = spec === undefined ? undefined : readSpec(spec, findings);
  if (name === undefined || rest === undefined) return undefined;
  return { policy: Object.freeze({ ...name, revision: 0, ...rest.spec }), ruleOffsets: rest.ruleOffsets };
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

function readMetadata(value: Value, findings: Findings): Pick<Policy, 'name' | 'namespace'> | undefined {
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
  refuseDryRun(fields.get('annotations'), findings);
  if (name === undefined || namespace === undefined) return undefined;
  return { name: name.text, namespace: namespace.text };
}

/** Istio does not enforce a policy that carries it (reference: rule 42). To ignore it would enforce what was only to be tried. */
function refuseDryRun(annotations: Field | undefined, findings: Findings): void {
  if (annotations === undefined) return;
  const dryRun = readMap(annotations, findings)?.get('istio.io/dry-run');
  if (dryRun === undefined) return;
  findings.add('unsupported-field', dryRun.key, unsupported('The annotation "istio.io/dry-run"'));
}

type Spec = Pick<Policy, 'selector' | 'action' | 'rules'>;

function readSpec(value: Value, findings: Findings): { spec: Spec; ruleOffsets: readonly number[] } | undefined {
  const fields = readFields(value, shapes.spec, findings);
  if (fields === undefined) return undefined;
  const selectorField = fields.get('selector');
  const selector = selectorField === undefined ? Object.freeze({}) : readSelector(selectorField, findings);
  const actionField = fields.get('action');
  const action = actionField === undefined ? 'ALLOW' : readAction(actionField, findings);
  const rulesField = fields.get('rules');
  const items =
    rulesField === undefined ? [] : readItems(rulesField, findings, { max: MAX_ALTERNATIVES, mayBeEmpty: true });
  if (action === 'DENY' && items?.length === 0) {
    const message = 'A DENY without rules denies nothing. To deny every call, write "rules: [{}]".';
    findings.add('deny-without-rules', rulesField?.key ?? actionField ?? value, message);
  }
  const rules = items?.map((item) => readRule(item, findings));
  if (selector === undefined || action === undefined || items === undefined || !isComplete(rules)) return undefined;
  return { spec: { selector, action, rules: Object.freeze(rules) }, ruleOffsets: items.map((item) => item.offset) };
}

function readAction(value: Value, findings: Findings): Action | undefined {
  const text = readText(value, findings);
  if (text === undefined || text === 'ALLOW' || text === 'DENY') return text;
  if (text === 'AUDIT' || text === 'CUSTOM') {
    findings.add('unsupported-field', value, unsupported(`The action ${quoted(text)}`));
    return undefined;
  }
  const near = nearest(text, ['ALLOW', 'DENY']);
  const advice = near === undefined ? ' Write "ALLOW" or "DENY".' : ` Did you mean ${quoted(near)}?`;
  findings.add('invalid-action', value, `The action ${quoted(text)} is neither ALLOW nor DENY.${advice}`);
  return undefined;
}

/** An empty selector selects every workload, as everywhere in Kubernetes. */
function readSelector(value: Value, findings: Findings): Policy['selector'] | undefined {
  const fields = readFields(value, shapes.selector, findings);
  if (fields === undefined) return undefined;
  const labelsField = fields.get('matchLabels');
  const labels = labelsField === undefined ? new Map<string, Field>() : readMap(labelsField, findings);
  if (labels === undefined) return undefined;
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

function readRule(value: Value, findings: Findings): Rule | undefined {
  const fields = readFields(value, shapes.rule, findings);
  if (fields === undefined) return undefined;
  const from = readAlternatives(fields.get('from'), shapes.from, 'source', readSource, findings);
  const to = readAlternatives(fields.get('to'), shapes.to, 'operation', readOperation, findings);
  return from === undefined || to === undefined ? undefined : Object.freeze({ from, to });
}

/** `from` and `to`: lists of mappings with the one field `inner`. None when the field is not there. */
function readAlternatives<T>(
  value: Value | undefined,
  shape: Shape,
  inner: string,
  read: (value: Value, findings: Findings) => T | undefined,
  findings: Findings,
): readonly T[] | undefined {
  if (value === undefined) return Object.freeze([]);
  const items = readItems(value, findings, { max: MAX_ALTERNATIVES })?.map((item) => {
    const fields = readFields(item, shape, findings);
    const field = fields === undefined ? undefined : requireField(fields, inner, item, findings);
    return field === undefined ? undefined : read(field, findings);
  });
  return isComplete(items) ? Object.freeze(items) : undefined;
}

function readSource(value: Value, findings: Findings): Source | undefined {
  const fields = readConstraints(value, shapes.source, findings);
  if (fields === undefined) return undefined;
  const principals = readValues(fields.get('principals'), readPrincipal, findings);
  const namespaces = readValues(fields.get('namespaces'), readNamespace, findings);
  if (principals === undefined || namespaces === undefined) return undefined;
  return Object.freeze({ principals, namespaces });
}

function readOperation(value: Value, findings: Findings): Operation | undefined {
  const fields = readConstraints(value, shapes.operation, findings);
  if (fields === undefined) return undefined;
  const methods = readValues(fields.get('methods'), readMethod, findings);
  const paths = readValues(fields.get('paths'), readPath, findings);
  const ports = readValues(fields.get('ports'), readPort, findings);
  if (methods === undefined || paths === undefined || ports === undefined) return undefined;
  return Object.freeze({ methods, paths, ports });
}

/** The fields of a source or operation. One without any would match everything, which is never what its author meant. */
function readConstraints(value: Value, shape: Shape, findings: Findings): ReadonlyMap<string, Field> | undefined {
  const fields = readFields(value, shape, findings);
  if (fields?.size !== 0) return fields;
  const message = `The ${shape.name} names nothing. Give it ${shape.fields.map(quoted).join(' or ')}, or leave it out.`;
  findings.add('empty-field', value, message);
  return undefined;
}

function readValues<T>(value: Value | undefined, read: ValueReader<T>, findings: Findings): readonly T[] | undefined {
  if (value === undefined) return Object.freeze([]);
  const items = readItems(value, findings, { max: MAX_VALUES })?.map((item) => read(item, findings));
  return isComplete(items) ? Object.freeze(items) : undefined;
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
