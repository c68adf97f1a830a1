import { quoted } from './findings.ts';

/** What the language knows of one kind of mapping. Every other key is an error: nothing is ignored in silence. */
export interface Shape {
  /** For messages: the field that holds it. */
  readonly name: string;
  /** Read. */
  readonly fields: readonly string[];
  /** Accepted and without a meaning for authorization. */
  readonly ignored?: readonly string[];
  /** Known to Istio, with a meaning that is not enforced here. */
  readonly unsupported?: readonly string[];
  /** Of another kind than AuthorizationPolicy: advice does not send its fields there. */
  readonly foreign?: true;
}

/** The one table of fields. */
export const shapes = {
  list: { name: 'List', fields: ['apiVersion', 'kind', 'items'], ignored: ['metadata'] },
  document: { name: 'AuthorizationPolicy', fields: ['apiVersion', 'kind', 'metadata', 'spec'], ignored: ['status'] },
  metadata: {
    name: 'metadata',
    fields: ['name', 'namespace', 'annotations'],
    ignored: [
      'labels',
      'uid',
      'resourceVersion',
      'generation',
      'generateName',
      'creationTimestamp',
      'deletionTimestamp',
      'deletionGracePeriodSeconds',
      'finalizers',
      'managedFields',
      'ownerReferences',
      'selfLink',
    ],
  },
  spec: {
    name: 'spec',
    fields: [
      'selector',
      'targetRefs',
      'targetRef',
      'action',
      'provider',
      'rules',
      'direction',
      'mode',
      'validity',
      'reason',
    ],
  },
  target: { name: 'targetRef', fields: ['group', 'kind', 'name', 'namespace', 'sectionName'] },
  provider: { name: 'provider', fields: ['name'] },
  validity: { name: 'validity', fields: ['notBefore', 'notAfter'] },
  selector: { name: 'selector', fields: ['matchLabels'], unsupported: ['matchExpressions'] },
  rule: { name: 'rule', fields: ['from', 'to', 'when'] },
  from: { name: 'from', fields: ['source'] },
  source: {
    name: 'source',
    fields: [
      'principals',
      'notPrincipals',
      'namespaces',
      'notNamespaces',
      'serviceAccounts',
      'notServiceAccounts',
      'trustDomains',
      'notTrustDomains',
      'requestPrincipals',
      'notRequestPrincipals',
      'ipBlocks',
      'notIpBlocks',
      'remoteIpBlocks',
      'notRemoteIpBlocks',
    ],
  },
  to: { name: 'to', fields: ['operation'] },
  operation: {
    name: 'operation',
    fields: ['methods', 'notMethods', 'paths', 'notPaths', 'hosts', 'notHosts', 'ports', 'notPorts'],
  },
  /** Of egress, where it also says whom the workload calls. */
  egressOperation: {
    name: 'operation',
    fields: [
      ...['methods', 'notMethods', 'paths', 'notPaths', 'hosts', 'notHosts', 'ports', 'notPorts'],
      ...['principals', 'notPrincipals', 'namespaces', 'notNamespaces'],
      ...['serviceAccounts', 'notServiceAccounts', 'trustDomains', 'notTrustDomains'],
    ],
  },
  when: { name: 'when', fields: ['key', 'values', 'notValues'] },
  rateLimit: { name: 'RateLimit', fields: ['apiVersion', 'kind', 'metadata', 'spec'], ignored: ['status'] },
  rateLimitSpec: { name: 'spec', fields: ['selector', 'total', 'perSource', 'overrides'] },
  rate: { name: 'rate', fields: ['requests', 'period'] },
  rateOverride: { name: 'override', fields: ['principals', 'serviceAccounts', 'requests', 'period'] },
} as const satisfies Record<string, Shape>;

/** What to do about a field that `shape` does not know: the end of a message, with a space before it. */
export function adviceOnField(field: string, shape: Shape): string {
  const near = nearest(field, known(shape));
  if (near !== undefined) return ` Did you mean "${near}"?`;
  const home = shape.foreign
    ? undefined
    : Object.values<Shape>(shapes).find((other) => known(other).includes(field) && other !== shapes.list);
  if (home !== undefined) return ` "${field}" belongs in "${home.name}".`;
  return ` The fields here are ${shape.fields.map(quoted).join(', ')}.`;
}

/** The one of `words` that `text` was probably meant to be: at most two typing errors away, letter case aside. */
export function nearest(text: string, words: readonly string[]): string | undefined {
  // The distance takes time in proportion to the length, which an attacker chooses.
  if (text.length > 64) return undefined;
  const lower = text.toLowerCase();
  const ranked = words
    .map((word) => ({ word, distance: editDistance(lower, word.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const [best] = ranked;
  return best !== undefined && best.distance <= Math.min(2, best.word.length / 3) ? best.word : undefined;
}

function known(shape: Shape): readonly string[] {
  return [...shape.fields, ...(shape.unsupported ?? []), ...(shape.ignored ?? [])];
}

/** Insertions, deletions, replacements, and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          (row[j - 1] ?? 0) + 1,
          (previous[j] ?? 0) + 1,
          (previous[j - 1] ?? 0) + (same ? 0 : 1),
          swapped ? (beforePrevious[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}
