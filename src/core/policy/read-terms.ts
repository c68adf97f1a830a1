import { isScalar } from 'yaml';
import { nearest, shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Action, Validity } from './model.ts';
import type { Field } from './yaml-reader.ts';
import { readFields, readText } from './yaml-reader.ts';

/** On what terms a policy holds: in earnest or to be tried, and from when until when. */

/** Istio's annotation (reference: rules 42 and 46); as lenient about booleans as Go, which Istio reads it with. */
export function readDryRun(value: Field, action: Action | undefined, findings: Findings): boolean {
  const text = readText(value, findings);
  if (text === undefined) return false;
  const on = /^(1|t|T|true|TRUE|True)$/.test(text);
  if (!on && !/^(0|f|F|false|FALSE|False)$/.test(text)) {
    const message = `The annotation "istio.io/dry-run" is ${quoted(text)}. Write "true" or "false".`;
    findings.add('invalid-dry-run', value, message);
  } else if (action === 'AUDIT' || action === 'CUSTOM') {
    findings.add('invalid-dry-run', value.key, `${untried[action]} Remove the annotation "istio.io/dry-run".`);
  }
  return on;
}

const untried = {
  AUDIT: 'An AUDIT decides nothing that could be tried.',
  CUSTOM: 'What an authorizer would say cannot be tried without asking it.',
} as const;

/** `Enforce`, the default, or `Shadow`, which is what the annotation says too. */
export function readMode(
  value: Field | undefined,
  action: Action | undefined,
  dryRun: boolean,
  findings: Findings,
): boolean {
  const text = value === undefined ? undefined : readText(value, findings);
  if (value === undefined || text === undefined) return dryRun;
  if (text !== 'Enforce' && text !== 'Shadow') {
    const near = nearest(text, ['Enforce', 'Shadow']);
    const advice = near === undefined ? '' : ` Did you mean ${quoted(near)}?`;
    findings.add('invalid-mode', value, `The mode ${quoted(text)} is neither "Enforce" nor "Shadow".${advice}`);
  } else if ((action === 'AUDIT' || action === 'CUSTOM') && text === 'Shadow') {
    findings.add('invalid-mode', value, `${untried[action]} Leave the mode out.`);
  } else if (dryRun && text === 'Enforce') {
    const message =
      'The annotation "istio.io/dry-run" says that the policy is only tried, and the mode that it is enforced. Keep one of the two.';
    findings.add('conflicting-fields', value.key, message);
  }
  return dryRun || text === 'Shadow';
}

export function readValidity(value: Field | undefined, findings: Findings): Validity | undefined {
  const fields = value === undefined ? undefined : readFields(value, shapes.validity, findings);
  if (value === undefined || fields === undefined) return undefined;
  if (fields.size === 0) {
    findings.add(
      'empty-field',
      value,
      'The validity names no time. Give it "notBefore" or "notAfter", or leave it out.',
    );
    return undefined;
  }
  const notBefore = readTime(fields.get('notBefore'), findings);
  const notAfter = readTime(fields.get('notAfter'), findings);
  if (notBefore !== undefined && notAfter !== undefined && notAfter <= notBefore) {
    findings.add('invalid-validity', fields.get('notAfter') ?? value, 'The validity ends before it begins.');
  }
  return Object.freeze({ ...(notBefore !== undefined && { notBefore }), ...(notAfter !== undefined && { notAfter }) });
}

/** RFC 3339, with a zone: a time without one is another moment on every machine. */
const timeForm = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(\.\d{1,3})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

function readTime(field: Field | undefined, findings: Findings): number | undefined {
  if (field === undefined) return undefined;
  const text =
    isScalar(field.node) && typeof field.node.value === 'string' ? field.node.value : readText(field, findings);
  if (text === undefined) return undefined;
  const ms = timeForm.test(text) ? Date.parse(text) : Number.NaN;
  // Date.parse takes 30 February for 2 March.
  if (Number.isFinite(ms) && isDay(text)) return ms;
  const message = `${quoted(text)} is not a time. Write it with date, time and zone, for example "2026-12-24T18:00:00Z".`;
  findings.add('invalid-validity', field, message);
  return undefined;
}

function isDay(text: string): boolean {
  const day = text.slice(0, 10);
  return new Date(`${day}T00:00:00Z`).toISOString().startsWith(day);
}
