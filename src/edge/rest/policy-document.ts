import { parseAllDocuments } from 'yaml';
import { AppError } from '../../base/errors.ts';
import type { StoredPolicy } from '../../control/policies/store.ts';
import { toTime } from './time.ts';

export interface Envelope {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly revision: number;
    readonly createdAt: string;
    readonly updatedAt: string;
    readonly updatedBy: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly spec: object;
  readonly source: string;
}

/** The stored policy as REST shows it. `spec` is what the source says, not a rendering of what was understood. */
export function toEnvelope(stored: Omit<StoredPolicy, 'kind' | 'object' | 'ruleLines'>): Envelope {
  const { apiVersion, kind, spec } = readDocument(stored.source);
  return {
    apiVersion,
    kind,
    metadata: {
      name: stored.name,
      namespace: stored.namespace,
      revision: stored.revision,
      createdAt: toTime(stored.createdAt),
      updatedAt: toTime(stored.updatedAt),
      updatedBy: stored.updatedBy,
      labels: { ...stored.labels },
    },
    spec,
    source: stored.source,
  };
}

/** The source was accepted by the policy parser before it was stored: this only takes it apart. */
function readDocument(source: string): { apiVersion: string; kind: string; spec: object } {
  for (const document of parseAllDocuments(source)) {
    const value: unknown = 'toJS' in document ? document.toJS({ maxAliasCount: 0 }) : undefined;
    if (typeof value !== 'object' || value === null) continue;
    const { apiVersion, kind, spec } = value as Readonly<Record<string, unknown>>;
    return {
      apiVersion: String(apiVersion),
      kind: String(kind),
      spec: typeof spec === 'object' && spec !== null ? spec : {},
    };
  }
  throw new AppError('incompatible-data', 'A stored policy cannot be read.');
}
