import { nearest, shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { Action } from './model.ts';
import { requireText } from './read-metadata.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readText } from './yaml-reader.ts';

/** What a policy does with the calls that its rules match, whom it asks, and in which direction those calls go. */

/** The version in which a policy can be more than Istio knows. */
export const WRIT_VERSION = 'writ.dev/v1';

const actions: readonly Action[] = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'];

export function readAction(value: Value, findings: Findings): Action | undefined {
  const text = readText(value, findings);
  const action = actions.find((one) => one === text);
  if (text === undefined || action !== undefined) return action;
  const near = nearest(text, actions);
  const advice = near === undefined ? ' Write one of them.' : ` Did you mean ${quoted(near)}?`;
  findings.add(
    'invalid-action',
    value,
    `The action ${quoted(text)} is none of ALLOW, DENY, AUDIT and CUSTOM.${advice}`,
  );
  return undefined;
}

/** What each action comes to without rules; an ALLOW allows nothing, and that is a use. */
export const withoutRules: Readonly<Record<Exclude<Action, 'ALLOW'>, string>> = {
  DENY: 'A DENY without rules denies nothing. To deny every call, write "rules: [{}]".',
  AUDIT: 'An AUDIT without rules marks nothing. To mark every call, write "rules: [{}]".',
  CUSTOM: 'A CUSTOM without rules asks about nothing. To ask about every call, write "rules: [{}]".',
};

/** Who is asked (reference: rule 44). */
export function readProvider(
  value: Field | undefined,
  action: Action | undefined,
  owner: Value,
  findings: Findings,
): string | undefined {
  if (value === undefined) {
    if (action !== 'CUSTOM') return undefined;
    const message =
      'A CUSTOM must say who is asked. Give it "provider: {name: NAME}", the name of an authorizer of the control plane.';
    findings.add('invalid-provider', owner, message);
    return undefined;
  }
  const fields = readFields(value, shapes.provider, findings);
  const name = fields === undefined ? undefined : requireText(fields, 'name', value, findings);
  if (action !== undefined && action !== 'CUSTOM') {
    const message = `Only a CUSTOM asks a provider, and the action here is ${action}. Leave the provider out, or write "action: CUSTOM".`;
    findings.add('invalid-provider', value.key, message);
  }
  if (name !== undefined && name.text.length > MAX_PROVIDER) {
    const message = `The name of the provider has ${name.text.length} characters, the limit is ${MAX_PROVIDER}. Shorten it.`;
    findings.add('too-large', name.at, message);
  }
  return name?.text;
}

/** In UTF-16 units. */
const MAX_PROVIDER = 253;

/**
 * True for a policy about the calls that its workloads make. Istio knows no such policy, and would take it for one about those
 * that reach them: it must not be of Istio's version.
 */
export function readEgress(
  value: Field | undefined,
  apiVersion: string | undefined,
  action: Action | undefined,
  findings: Findings,
): boolean {
  const text = value === undefined ? undefined : readText(value, findings);
  if (value === undefined || text === undefined || text === 'Ingress') return false;
  if (text !== 'Egress') {
    const near = nearest(text, ['Ingress', 'Egress']);
    const advice = near === undefined ? '' : ` Did you mean ${quoted(near)}?`;
    const message = `The direction ${quoted(text)} is neither "Ingress" nor "Egress".${advice}`;
    findings.add('invalid-direction', value, message);
    return false;
  }
  if (apiVersion !== undefined && apiVersion !== WRIT_VERSION) {
    const message = `In ${quoted(apiVersion)} a policy is about the calls that reach its workloads. For one about those that they make, write "apiVersion: ${WRIT_VERSION}".`;
    findings.add('invalid-direction', value, message);
  }
  if (action === 'CUSTOM') {
    const message =
      'No authorizer is asked about calls that go out. Write the CUSTOM for the workloads that they reach.';
    findings.add('invalid-direction', value, message);
  }
  return true;
}
