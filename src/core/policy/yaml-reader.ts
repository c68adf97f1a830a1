import type { Node, Pair } from 'yaml';
import { isAlias, isMap, isScalar, isSeq } from 'yaml';
import type { Shape } from './fields.ts';
import { adviceOnField } from './fields.ts';
import type { Findings, Place } from './findings.ts';
import { quoted } from './findings.ts';

/**
 * Reads values out of a YAML tree. Each function reports what is wrong where it stands and then returns `undefined` or
 * what it could read, so that one pass finds everything. Aliases have been reported already (`yaml-form.ts`).
 */
export interface Value extends Place {
  readonly node: Node | null;
}

/** A field that was written, and the place of its key. */
export interface Field extends Value {
  readonly key: Place;
}

/** The fields of a mapping, after unknown and unsupported ones have been reported. */
export function readFields(value: Value, shape: Shape, findings: Findings): ReadonlyMap<string, Field> | undefined {
  const all = readMap(value, findings);
  if (all === undefined) return undefined;
  for (const [name, field] of all) {
    if (shape.fields.includes(name) || shape.ignored?.includes(name) === true) continue;
    if (shape.unsupported?.includes(name) === true) {
      findings.add('unsupported-field', field.key, unsupported(`The field ${quoted(name)}`));
    } else {
      const advice = adviceOnField(name, shape);
      findings.add('unknown-field', field.key, `Unknown field ${quoted(name)} in ${quoted(shape.name)}.${advice}`);
    }
  }
  return all;
}

/** Every entry of a mapping with string keys. Of a key that stands twice, which has been reported, the first. */
export function readMap(value: Value, findings: Findings): ReadonlyMap<string, Field> | undefined {
  const { node } = value;
  if (!isMap(node)) return wrong(value, 'a mapping', findings);
  const fields = new Map<string, Field>();
  for (const pair of node.items) {
    const name = keyName(pair, value.pointer);
    if (name === undefined || fields.has(name)) continue;
    const pointer = childPointer(value.pointer, name);
    const keyOffset = offsetOf(pair.key, value.offset);
    fields.set(name, {
      node: asNode(pair.value),
      pointer,
      offset: offsetOf(pair.value, keyOffset),
      key: { pointer, offset: keyOffset },
    });
  }
  return fields;
}

/** The items of a list that must not be empty unless `mayBeEmpty`, and must not be longer than `max`. */
export function readItems(
  value: Value,
  findings: Findings,
  limits: { readonly max: number; readonly mayBeEmpty?: boolean },
): readonly Value[] | undefined {
  const { node } = value;
  if (!isSeq(node)) return wrong(value, 'a list', findings);
  if (node.items.length === 0 && limits.mayBeEmpty !== true) {
    findings.add('empty-field', value, 'The list is empty. Give it an item, or leave the field out.');
    return undefined;
  }
  if (node.items.length > limits.max) {
    const message = `The list has ${node.items.length} items, the limit is ${limits.max}. Spread them over several policies.`;
    findings.add('too-many-items', value, message);
    return undefined;
  }
  return node.items.map((item, index) => ({
    node: asNode(item),
    pointer: childPointer(value.pointer, String(index)),
    offset: offsetOf(item, value.offset),
  }));
}

/** A string that is not empty. */
export function readText(value: Value, findings: Findings): string | undefined {
  const { node } = value;
  if (!isScalar(node) || typeof node.value !== 'string') return wrong(value, 'a string', findings);
  if (node.value === '') {
    findings.add('empty-field', value, 'The text is empty. Give it a value, or leave it out.');
    return undefined;
  }
  return node.value;
}

export function readBoolean(value: Value, findings: Findings): boolean | undefined {
  const { node } = value;
  if (!isScalar(node) || typeof node.value !== 'boolean') return wrong(value, 'true or false', findings);
  return node.value;
}

/** The string in a field of a mapping, if there is one; reports nothing. */
export function peekText(value: Value, name: string): string | undefined {
  const found = isMap(value.node) ? value.node.get(name) : undefined;
  return typeof found === 'string' ? found : undefined;
}

/** A required field; `undefined` after reporting that it is not there. */
export function requireField(
  fields: ReadonlyMap<string, Field>,
  name: string,
  owner: Place,
  findings: Findings,
): Field | undefined {
  const field = fields.get(name);
  if (field === undefined) findings.add('missing-field', owner, `The field ${quoted(name)} is missing.`);
  return field;
}

/** @param what Begins the sentence. */
export function unsupported(what: string): string {
  return `${what} is not enforced by Writ yet, and to ignore it would change what the policy means. Say it another way, or leave it out.`;
}

export function childPointer(parent: string, key: string): string {
  return `${parent}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/**
 * The key of an entry of the mapping at `owner`; undefined for one that is not a string. Ports are written as numbers by
 * people, and as strings by `kubectl`, where JSON made them so.
 */
export function keyName({ key }: Pair, owner: string): string | undefined {
  if (!isScalar(key)) return undefined;
  if (typeof key.value === 'string') return key.value;
  const isPort = typeof key.value === 'number' && /^[1-9][0-9]{0,4}$/.test(key.source ?? '');
  return isPort && owner.endsWith('/portLevelMtls') ? key.source : undefined;
}

/** Where a node begins; `otherwise` for one that has no text of its own. */
export function offsetOf(node: unknown, otherwise: number): number {
  return asNode(node)?.range?.[0] ?? otherwise;
}

export function asNode(node: unknown): Node | null {
  return isMap(node) || isSeq(node) || isScalar(node) || isAlias(node) ? node : null;
}

function wrong(value: Value, wanted: string, findings: Findings): undefined {
  const { node } = value;
  if (isAlias(node)) return undefined;
  if (node === null || (isScalar(node) && node.value === null)) {
    findings.add(
      'empty-field',
      value,
      `Nothing stands here, where ${wanted} must. Fill it in, or leave the field out.`,
    );
    return undefined;
  }
  findings.add('wrong-type', value, `Here must stand ${wanted}, not ${describe(node)}.`);
  return undefined;
}

function describe(node: Node): string {
  if (isMap(node)) return 'a mapping';
  if (isSeq(node)) return 'a list';
  if (!isScalar(node)) return 'an alias';
  const { value } = node;
  if (typeof value === 'string') return `the string ${quoted(value)}`;
  return `${typeof value === 'boolean' ? 'the boolean' : 'the number'} ${quoted(String(value)).slice(1, -1)} (quote it if it is meant as text)`;
}
