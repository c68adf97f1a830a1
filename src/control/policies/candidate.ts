import { AppError } from '../../base/errors.ts';
import type { PolicyKey } from '../../core/policy/kinds.ts';
import { keyText, titleOf } from '../../core/policy/kinds.ts';
import type { Policy } from '../../core/policy/model.ts';
import type { TrustDomains } from '../../core/policy/trust-domain-aliases.ts';
import { expandAliases } from '../../core/policy/trust-domain-aliases.ts';
import type { WantedDocument } from './changes/documents.ts';
import { wantedDocuments } from './changes/documents.ts';
import type { PolicySet } from './current.ts';
import { parseOne } from './source.ts';

/** What is to be tried: documents to put, and objects to delete. */
export interface CandidateInput {
  /** Each text may hold several documents, of any kind. */
  readonly put: readonly string[];
  readonly delete?: readonly PolicyKey[];
}

export interface CandidateChange extends PolicyKey {
  /** `same`: its text may be another, but it means what it meant. */
  readonly operation: 'create' | 'replace' | 'delete' | 'same';
}

/** The policies as they would be. */
export interface Candidate {
  readonly documents: readonly WantedDocument[];
  readonly changes: readonly CandidateChange[];
  /** Those that stay are the same values as in force; those that come have the revision 0. */
  readonly after: readonly Policy[];
  /** Whether any text, in force or to be put, has the sidecars accept tokens of others than workloads. */
  readonly acceptsForeignTokens: boolean;
}

/**
 * Throws `invalid-document` with the findings, `invalid` for what is named twice, and `not-found` for a deletion of a policy
 * that is not there.
 */
export function candidateOf(current: PolicySet, input: CandidateInput, trustDomains?: TrustDomains): Candidate {
  const documents =
    input.put.length + (input.delete?.length ?? 0) === 0 ? [] : wantedDocuments(input.put, input.delete ?? []);
  const objects = new Map<string, PolicyKey>(keysOf(current).map((key) => [keyText(key), key]));
  const policies = new Map(current.policies.map((policy) => [nameOf(policy), policy]));
  const changes = documents.map((document): CandidateChange => {
    const { kind, namespace, name, source } = document;
    const isThere = objects.has(keyText(document));
    if (source === null) {
      if (!isThere) throw new AppError('not-found', `There is no ${titleOf(document)} to delete.`);
      if (kind === 'AuthorizationPolicy') policies.delete(nameOf(document));
      return { kind, namespace, name, operation: 'delete' };
    }
    const operation = isThere ? 'replace' : 'create';
    const parsed = parseOne(source);
    if (parsed.kind !== 'AuthorizationPolicy') return { kind, namespace, name, operation };
    const policy = trustDomains === undefined ? parsed.object : expandAliases(parsed.object, trustDomains);
    const before = policies.get(nameOf(policy));
    if (before !== undefined && meansTheSame(before, policy)) return { kind, namespace, name, operation: 'same' };
    policies.set(nameOf(policy), Object.freeze({ ...policy, revision: 0 }));
    return { kind, namespace, name, operation };
  });
  return Object.freeze({
    documents,
    changes: Object.freeze(changes),
    after: Object.freeze([...policies.values()]),
    acceptsForeignTokens:
      current.requestAuthentications.length > 0 ||
      documents.some((each) => each.kind === 'RequestAuthentication' && each.source !== null),
  });
}

function keysOf(set: PolicySet): readonly PolicyKey[] {
  const of = (kind: PolicyKey['kind'], objects: readonly Omit<PolicyKey, 'kind'>[]) =>
    objects.map(({ namespace, name }) => ({ kind, namespace, name }));
  return [
    ...of('AuthorizationPolicy', set.policies),
    ...of('RequestAuthentication', set.requestAuthentications),
    ...of('PeerAuthentication', set.peerAuthentications),
    ...of('RateLimit', set.rateLimits),
  ];
}

function meansTheSame(a: Policy, b: Policy): boolean {
  return JSON.stringify({ ...a, revision: 0, reason: '' }) === JSON.stringify({ ...b, revision: 0, reason: '' });
}

function nameOf({ namespace, name }: Pick<Policy, 'namespace' | 'name'>): string {
  return `${namespace}/${name}`;
}
