import { nearest, shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Policy, Target } from './model.ts';
import { readSelector } from './read-selector.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readItems, readText, requireField } from './yaml-reader.ts';

/** For which workloads a policy is: those with all labels of a selector, or those that targets name. Never both. */

/** Istio's limit. */
const MAX_TARGETS = 16;

/** The API groups of what a target may name. */
const groups: Readonly<Record<Target['kind'], readonly string[]>> = {
  Service: ['', 'core'],
  ServiceEntry: ['networking.istio.io'],
  Gateway: ['gateway.networking.k8s.io'],
  GatewayClass: ['gateway.networking.k8s.io'],
};
const targetKinds = Object.keys(groups) as readonly Target['kind'][];

export type Scope = Pick<Policy, 'selector' | 'targets'>;

/** Of the fields of a spec (reference: rules 28, 29 and 44). Undefined after reporting why not. */
export function readScope(spec: ReadonlyMap<string, Field>, findings: Findings): Scope | undefined {
  const selectorField = spec.get('selector');
  const selector = selectorField === undefined ? Object.freeze({}) : readSelector(selectorField, findings);
  const list = spec.get('targetRefs');
  const one = spec.get('targetRef');
  const second = list !== undefined && one !== undefined ? one : selectorField && (list ?? one);
  if (second !== undefined) {
    const message =
      'A policy is for the workloads of its selector, of its "targetRefs" or of its "targetRef". Keep one of the three.';
    findings.add('conflicting-fields', second.key, message);
  }
  const targets = list !== undefined ? readTargets(list, findings) : one && readOnly(one, findings);
  if (selector === undefined || ((list ?? one) !== undefined && targets === undefined)) return undefined;
  return { selector, ...(targets !== undefined && targets.length > 0 && { targets }) };
}

/** As Istio has it, an empty list is none, and so every workload. */
function readTargets(value: Field, findings: Findings): readonly Target[] | undefined {
  const items = readItems(value, findings, { max: MAX_TARGETS, mayBeEmpty: true });
  if (items?.length === 0) {
    const message = 'A list without targets is for every workload. Give it a target, or leave it out.';
    findings.warn('selects-everything', value.key, message);
  }
  const targets = items?.map((item) => readTarget(item, findings));
  return targets?.every((target) => target !== undefined) === true ? Object.freeze(targets) : undefined;
}

function readOnly(value: Field, findings: Findings): readonly Target[] | undefined {
  const target = readTarget(value, findings);
  return target === undefined ? undefined : Object.freeze([target]);
}

function readTarget(value: Value, findings: Findings): Target | undefined {
  const fields = readFields(value, shapes.target, findings);
  if (fields === undefined) return undefined;
  const elsewhere = fields.get('namespace') ?? fields.get('sectionName');
  if (elsewhere !== undefined && readEmpty(elsewhere) !== '') {
    const what =
      elsewhere === fields.get('namespace') ? 'A target is in the namespace of the policy' : 'A target is whole';
    findings.add('invalid-target', elsewhere.key, `${what}. Leave ${quoted(lastOf(elsewhere.pointer))} out.`);
  }
  const kind = readKind(fields, value, findings);
  const nameField = requireField(fields, 'name', value, findings);
  const name = nameField === undefined ? undefined : readText(nameField, findings);
  if (kind === undefined || name === undefined) return undefined;
  if (kind === 'ServiceEntry') {
    const message = `The target ${quoted(name)} is outside of the mesh, where no sidecar of Writ enforces anything. For the calls to it, write a policy with "direction: Egress".`;
    findings.warn('selects-nothing', value, message);
  }
  return Object.freeze({ kind, name });
}

function readKind(fields: ReadonlyMap<string, Field>, owner: Value, findings: Findings): Target['kind'] | undefined {
  const field = requireField(fields, 'kind', owner, findings);
  const text = field === undefined ? undefined : readText(field, findings);
  if (field === undefined || text === undefined) return undefined;
  const kind = targetKinds.find((one) => one === text);
  if (kind === undefined) {
    const near = nearest(text, targetKinds);
    const advice =
      near === undefined ? ` Write one of ${targetKinds.map(quoted).join(', ')}.` : ` Did you mean ${quoted(near)}?`;
    findings.add('invalid-target', field, `A policy cannot be for a ${quoted(text)}.${advice}`);
    return undefined;
  }
  const groupField = fields.get('group');
  const group = groupField === undefined ? '' : (readEmpty(groupField) ?? readText(groupField, findings));
  if (group === undefined) return undefined;
  if (groups[kind].includes(group)) return kind;
  const message = `A ${kind} is of the group ${quoted(groups[kind][0] ?? '')}, not ${quoted(group)}. Write it so.`;
  findings.add('invalid-target', groupField ?? owner, message);
  return undefined;
}

/** '' for a text that is empty, which `readText` would report; undefined for anything else. */
function readEmpty({ node }: Value): '' | undefined {
  return node !== null && 'value' in node && node.value === '' ? '' : undefined;
}

function lastOf(pointer: string): string {
  return pointer.slice(pointer.lastIndexOf('/') + 1);
}
