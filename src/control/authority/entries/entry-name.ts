import { AppError } from '../../../base/errors.ts';
import type { SpiffeId } from '../../../core/identity/spiffe-id.ts';
import { controlPlaneId, isReserved, parseSpiffeId, workloadOf } from '../../../core/identity/spiffe-id.ts';
import type { Template } from '../../../core/identity/template.ts';
import { dnsLabel, isTemplate, parseTemplate } from '../../../core/identity/template.ts';

/** Notes what is wrong: a pointer into the entry (RFC 6901), and a message that reads on after it. */
export type Refuse = (pointer: string, message: string) => void;

/** The SPIFFE ID of an entry, or the template of many. */
export interface CheckedName {
  readonly text: string;
  readonly template: Template | undefined;
  /** Literal namespace, or empty. */
  readonly namespace: string;
}

const MAX_NAMESPACES = 256;
const agentPath = /^\/writ\/agent\/[^/]+\/./;

/** S16: an ID of the own trust domain that a workload may have. undefined once it has been refused. */
export function checkName(text: string, trustDomain: string, refuse: Refuse): CheckedName | undefined {
  const no = (message: string) => {
    refuse('/spiffeId', message);
    return undefined;
  };
  const parsed = parse(text);
  if (typeof parsed === 'string') return no(parsed);
  const { id, template } = parsed;
  if (id.trustDomain !== trustDomain) return no(`must be in the trust domain ${trustDomain}`);
  if (id.path === '') return no('must have a path: without one it is the ID of the trust domain itself');
  if (isReserved(id)) return no('must not be below /writ, which is reserved for Writ itself');
  const workload = workloadOf(id);
  const isLabel = (name: string) => (template !== undefined && name.includes('{{')) || dnsLabel.test(name);
  if (workload !== undefined && !(isLabel(workload.namespace) && isLabel(workload.service))) {
    return no(
      `must, where it reads /ns/<namespace>/sa/<service>, have names of at most 63 lower-case letters, digits and inner dashes`,
    );
  }
  const namespace = workload === undefined || isTemplate(workload.namespace) ? '' : workload.namespace;
  return { text, template, namespace };
}

/** S9, S16. */
export function checkParent(
  input: { readonly parentId?: string | null | undefined; readonly spiffeId: string },
  name: CheckedName | undefined,
  trustDomain: string,
  refuse: Refuse,
): void {
  const { parentId } = input;
  if (parentId === null || parentId === undefined) {
    if (name?.template !== undefined) refuse('/parentId', 'is missing: a template needs somebody who fills it in');
    return;
  }
  let parent: SpiffeId;
  try {
    parent = parseSpiffeId(parentId);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    refuse('/parentId', error.message);
    return;
  }
  const controlPlane = controlPlaneId(trustDomain).uri;
  if (parent.trustDomain !== trustDomain) refuse('/parentId', `must be in the trust domain ${trustDomain}`);
  else if (parent.path === '') refuse('/parentId', `must have a path; the control plane itself is ${controlPlane}`);
  else if (isReserved(parent) && parent.uri !== controlPlane && !agentPath.test(parent.path)) {
    refuse('/parentId', `must, below /writ, be ${controlPlane} or an agent: /writ/agent/<method>/<id>`);
  } else if (parent.uri === input.spiffeId) refuse('/parentId', "must not be the entry's own SPIFFE ID");
}

/** What bounds a template that takes its namespace from a variable; nothing else has them. */
export function checkNamespaces(namespaces: readonly string[], name: CheckedName | undefined, refuse: Refuse): void {
  if (name === undefined) return;
  const variable = name.template?.namespaceVariable;
  if (variable === undefined) {
    if (namespaces.length > 0) {
      refuse('/namespaces', 'must be left out: only a template with a variable for its namespace has them');
    }
    return;
  }
  if (namespaces.length < 1 || namespaces.length > MAX_NAMESPACES) {
    refuse('/namespaces', `must have 1 to ${MAX_NAMESPACES} names, which bound {{${variable}}}`);
    return;
  }
  for (const [index, namespace] of namespaces.entries()) {
    if (!dnsLabel.test(namespace))
      refuse(`/namespaces/${index}`, 'must be a name as Kubernetes has them, such as shop');
    else if (namespaces.indexOf(namespace) !== index) refuse(`/namespaces/${index}`, 'must not repeat another name');
  }
}

/** A message where it is neither. Of a template, the ID has its variables in it. */
function parse(text: string): { readonly id: SpiffeId; readonly template: Template | undefined } | string {
  try {
    if (!isTemplate(text)) return { id: parseSpiffeId(text), template: undefined };
    const template = parseTemplate(text);
    // Variables may hold slashes, and are told apart from literal names by their braces alone.
    const path = template.segments
      .map(({ prefix, variable, suffix }) => `/${prefix}${variable === undefined ? '' : '{{}}'}${suffix}`)
      .join('');
    return { id: { trustDomain: template.trustDomain, path, uri: text }, template };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.message;
  }
}
