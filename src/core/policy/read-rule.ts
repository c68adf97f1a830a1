import type { Attribute } from './attributes.ts';
import { attributeOf } from './attributes.ts';
import { readerOf, readKey } from './condition-values.ts';
import type { Shape } from './fields.ts';
import { shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Action, Condition, Operation, Rule, Source } from './model.ts';
import type { ValueReader } from './values.ts';
import { readMethod, readNamespace, readPath, readPort, readPrincipal } from './values.ts';
import { warnOfAbsent, warnOfHosts } from './warn-rule.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readItems, requireField } from './yaml-reader.ts';

/** Rules in a policy, sources in a rule, operations in a rule (Istio's limit for the first two), conditions in a rule. */
export const MAX_ALTERNATIVES = 512;
/** Values in one field. */
const MAX_VALUES = 10_000;
/** Service accounts in one field; Istio's limit. */
const MAX_SERVICE_ACCOUNTS = 16;

/** What of its policy a rule is read with. */
export interface RuleOwner {
  readonly namespace: string;
  /** Undefined where it could not be read. */
  readonly action: Action | undefined;
  /** Whether it is about calls that go out: then an operation also says whom they reach. */
  readonly egress: boolean;
}

/** The fields of a source that are conditions: the positive one, its twin, and what they look at. */
const sourceFields = [
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
  ['trustDomains', 'notTrustDomains', 'source.trustDomain'],
  ['requestPrincipals', 'notRequestPrincipals', 'request.auth.principal'],
  ['ipBlocks', 'notIpBlocks', 'source.ip'],
  ['remoteIpBlocks', 'notRemoteIpBlocks', 'remote.ip'],
  [undefined, 'notPrincipals', 'source.principal'],
  [undefined, 'notNamespaces', 'source.namespace'],
] as const;

/** Of an operation of egress, whom it reaches. */
const calledFields = [
  ['principals', 'notPrincipals', 'source.principal'],
  ['namespaces', 'notNamespaces', 'source.namespace'],
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
  ['trustDomains', 'notTrustDomains', 'source.trustDomain'],
] as const;

/** The same of an operation. */
const operationFields = [
  ['hosts', 'notHosts', 'operation.host'],
  [undefined, 'notMethods', 'operation.method'],
  [undefined, 'notPaths', 'operation.path'],
  [undefined, 'notPorts', 'destination.port'],
] as const;

export function readRule(value: Value, owner: RuleOwner, findings: Findings): Rule | undefined {
  const fields = readFields(value, shapes.rule, findings);
  if (fields === undefined) return undefined;
  const caller = owner.egress ? fields.get('from') : undefined;
  if (caller !== undefined) {
    const message =
      'Of a call that goes out, the caller is a workload that the policy selects. Remove "from", and say in "to" whom it calls.';
    findings.add('invalid-direction', caller.key, message);
  }
  const from = readAlternatives(
    fields.get('from'),
    shapes.from,
    'source',
    (source) => readSource(source, owner, findings),
    findings,
  );
  const to = readAlternatives(
    fields.get('to'),
    shapes.to,
    'operation',
    (operation) => readOperation(operation, owner, findings),
    findings,
  );
  const whenField = fields.get('when');
  const when = whenField === undefined ? Object.freeze([]) : readWhen(whenField, owner, findings);
  if (from === undefined || to === undefined || when === undefined) return undefined;
  return Object.freeze({ from, to, ...(when.length > 0 && { when }) });
}

/** `from` and `to`: lists of mappings with the one field `inner`. None when the field is not there. */
function readAlternatives<T>(
  value: Value | undefined,
  shape: Shape,
  inner: string,
  read: (value: Value) => T | undefined,
  findings: Findings,
): readonly T[] | undefined {
  if (value === undefined) return Object.freeze([]);
  const items = readItems(value, findings, { max: MAX_ALTERNATIVES })?.map((item) => {
    const fields = readFields(item, shape, findings);
    const field = fields === undefined ? undefined : requireField(fields, inner, item, findings);
    return field === undefined ? undefined : read(field);
  });
  return isComplete(items) ? Object.freeze(items) : undefined;
}

function readSource(value: Value, owner: RuleOwner, findings: Findings): Source | undefined {
  const fields = readConstraints(value, shapes.source, findings);
  if (fields === undefined) return undefined;
  if (owner.action === 'CUSTOM') reportCallers(fields, findings);
  const principals = readValues(fields.get('principals'), readPrincipal, findings);
  const namespaces = readValues(fields.get('namespaces'), readNamespace, findings);
  const where = readTwins(fields, sourceFields, owner, findings);
  reportAccounts(fields, 'source', findings);
  if (principals === undefined || namespaces === undefined || where === undefined) return undefined;
  return Object.freeze({ principals, namespaces, ...(where.length > 0 && { where }) });
}

/** Reference: rules 12 and 45. */
function reportAccounts(fields: ReadonlyMap<string, Field>, where: string, findings: Findings): void {
  const accounts = fields.get('serviceAccounts') ?? fields.get('notServiceAccounts');
  const besides = ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'].find((name) => fields.has(name));
  if (accounts === undefined || besides === undefined) return;
  const message = `Service accounts and ${quoted(besides)} stand in one ${where}; a service account says both already. Use one of the two, or two ${where}s.`;
  findings.add('conflicting-fields', accounts.key, message);
}

/** Reference: rules 23 and 44. What is left to a source is where it is. */
function reportCallers(fields: ReadonlyMap<string, Field>, findings: Findings): void {
  for (const [name, field] of fields) {
    if (!/ipBlocks$/i.test(name) && shapes.source.fields.some((known) => known === name)) {
      findings.add('custom-caller', field.key, customCaller(name));
    }
  }
}

function customCaller(name: string): string {
  return `A CUSTOM does not choose by ${quoted(name)}: who calls is for its authorizer to judge. Remove it, and write a DENY or ALLOW for what does not need the authorizer.`;
}

function readOperation(value: Value, owner: RuleOwner, findings: Findings): Operation | undefined {
  const fields = readConstraints(value, owner.egress ? shapes.egressOperation : shapes.operation, findings);
  if (fields === undefined) return undefined;
  if (owner.egress) reportAccounts(fields, 'operation', findings);
  const methods = readValues(fields.get('methods'), readMethod, findings);
  const paths = readValues(fields.get('paths'), readPath, findings);
  const ports = readValues(fields.get('ports'), readPort, findings);
  const twins = owner.egress ? [...calledFields, ...operationFields] : operationFields;
  const where = readTwins(fields, twins, owner, findings);
  if (methods === undefined || paths === undefined || ports === undefined || where === undefined) return undefined;
  return Object.freeze({ methods, paths, ports, ...(where.length > 0 && { where }) });
}

/** The fields of a source or operation. One without any would match everything, which is never what its author meant. */
function readConstraints(value: Value, shape: Shape, findings: Findings): ReadonlyMap<string, Field> | undefined {
  const fields = readFields(value, shape, findings);
  if (fields?.size !== 0) return fields;
  const message = `The ${shape.name} names nothing. Give it ${shape.fields.map(quoted).join(' or ')}, or leave it out.`;
  findings.add('empty-field', value, message);
  return undefined;
}

/** Pairs of fields, each of which becomes a condition where one of the two is there. */
function readTwins(
  fields: ReadonlyMap<string, Field>,
  twins: readonly (readonly [string | undefined, string, string])[],
  owner: RuleOwner,
  findings: Findings,
): readonly Condition[] | undefined {
  const conditions = twins.flatMap(([name, not, key]) => {
    const positive = name === undefined ? undefined : fields.get(name);
    const negative = fields.get(not);
    const attribute = attributeOf(key);
    if (attribute === undefined || (positive === undefined && negative === undefined)) return [];
    // Of principals and the like, the positive twin is read elsewhere; who has any of it has an identity.
    const named = fields.has(plain(not)) || (isIdentity(attribute) && identityFields.some((each) => fields.has(each)));
    const alone = positive === undefined && !named;
    return [readCondition(attribute, { positive, negative, alone }, owner, findings)];
  });
  return isComplete(conditions) ? Object.freeze(conditions) : undefined;
}

const identityFields = ['principals', 'namespaces', 'serviceAccounts', 'trustDomains'];

/** What everybody has who has an identity. */
function isIdentity({ type }: Attribute): boolean {
  return type === 'principal' || type === 'trustDomain';
}

/** `notMethods` → `methods`. */
function plain(not: string): string {
  return not.charAt(3).toLowerCase() + not.slice(4);
}

function readWhen(value: Value, owner: RuleOwner, findings: Findings): readonly Condition[] | undefined {
  const items = readItems(value, findings, { max: MAX_ALTERNATIVES })?.map((item) => {
    const fields = readFields(item, shapes.when, findings);
    const key = fields === undefined ? undefined : requireField(fields, 'key', item, findings);
    if (fields === undefined || key === undefined) return undefined;
    const positive = fields.get('values');
    const negative = fields.get('notValues');
    if (positive === undefined && negative === undefined) {
      findings.add('missing-field', item, 'A condition needs "values" or "notValues".');
    }
    const attribute = readKey(key, findings);
    if (attribute === undefined || (positive === undefined && negative === undefined)) return undefined;
    reportKey(attribute, key, owner, findings);
    return readCondition(attribute, { positive, negative, alone: positive === undefined }, owner, findings);
  });
  return isComplete(items) ? Object.freeze(items) : undefined;
}

/** Keys that there are, but not for this policy. */
function reportKey({ key, type, httpOnly }: Attribute, at: Value, owner: RuleOwner, findings: Findings): void {
  const isCaller = key.startsWith('request.auth.') || (key.startsWith('source.') && type !== 'ip');
  if (owner.action === 'CUSTOM' && isCaller) findings.add('custom-caller', at, customCaller(key));
  if (owner.egress && (key.startsWith('request.auth.') || !(httpOnly || key === 'destination.port'))) {
    const message = `Of a call that goes out, ${quoted(key)} is not known yet. Say in "to" whom it reaches.`;
    findings.add('invalid-direction', at, message);
  }
}

interface Twins {
  readonly positive: Field | undefined;
  readonly negative: Field | undefined;
  /** Whether nothing says which values are wanted. */
  readonly alone: boolean;
}

function readCondition(
  attribute: Attribute,
  { positive, negative, alone }: Twins,
  owner: RuleOwner,
  findings: Findings,
): Condition | undefined {
  const read = readerOf(attribute, owner.namespace);
  const max = attribute.type === 'serviceAccount' ? MAX_SERVICE_ACCOUNTS : MAX_VALUES;
  const values = readValues(positive, read, findings, max);
  const notValues = readValues(negative, read, findings, max);
  if (alone && negative !== undefined) warnOfAbsent(attribute, owner, negative.key, findings);
  if (values === undefined || notValues === undefined) return undefined;
  const condition = Object.freeze({ key: attribute.key, values, notValues });
  warnOfHosts(condition, owner.action, (positive ?? negative)?.key, findings);
  return condition;
}

function readValues<T>(
  value: Value | undefined,
  read: ValueReader<T>,
  findings: Findings,
  max = MAX_VALUES,
): readonly T[] | undefined {
  if (value === undefined) return Object.freeze([]);
  const items = readItems(value, findings, { max })?.map((item) => read(item, findings));
  return isComplete(items) ? Object.freeze(items) : undefined;
}

function isComplete<T>(items: readonly (T | undefined)[] | undefined): items is T[] {
  return items?.every((item) => item !== undefined) === true;
}
