import { shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import { isDnsSubdomain } from './read-metadata.ts';
import type { Field } from './yaml-reader.ts';
import { readFields, readMap, readText } from './yaml-reader.ts';

/** An empty selector selects every workload, as everywhere in Kubernetes. */
export function readSelector(value: Field, findings: Findings): Readonly<Record<string, string>> | undefined {
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

function isLabelName(text: string): boolean {
  return text.length <= 63 && /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(text);
}

function isLabelKey(text: string): boolean {
  const slash = text.indexOf('/');
  if (slash === -1) return isLabelName(text);
  return isDnsSubdomain(text.slice(0, slash)) && isLabelName(text.slice(slash + 1));
}
