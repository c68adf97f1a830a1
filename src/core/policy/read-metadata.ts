import { shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readMap, readText, requireField } from './yaml-reader.ts';

/** What documents of every kind begin with: `apiVersion`, `kind` and `metadata`. */

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

export function readMetadata(value: Value, findings: Findings): Name | undefined {
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

export interface Name {
  readonly name: string;
  readonly namespace: string;
  /** The annotation, which means something only together with the action. */
  readonly dryRun?: Field;
}

export function requireText(
  fields: ReadonlyMap<string, Field>,
  name: string,
  owner: Value,
  findings: Findings,
): { readonly text: string; readonly at: Value } | undefined {
  const at = requireField(fields, name, owner, findings);
  const text = at === undefined ? undefined : readText(at, findings);
  return at === undefined || text === undefined ? undefined : { text, at };
}

/** RFC 1123 label, as Kubernetes takes namespaces. */
export function isDnsLabel(text: string): boolean {
  return text.length <= 63 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(text);
}

/** RFC 1123 subdomain, as Kubernetes takes names of objects. */
export function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && text.split('.').every((part) => /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(part));
}
