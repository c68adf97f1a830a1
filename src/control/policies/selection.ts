import type { Policy, Target, Workload } from '../../core/policy/model.ts';
import type { PeerModes } from '../../core/policy/peer-authentication.ts';
import { peerModesFor, strictModes } from '../../core/policy/peer-modes.ts';
import type { RateLimit } from '../../core/policy/rate-limit.ts';
import type { RequestAuthentication } from '../../core/policy/request-authentication.ts';
import { requestAuthenticationsFor } from '../../core/policy/request-rules.ts';
import { selects } from '../../core/policy/selects.ts';
import type { SnapshotContent } from '../../core/policy/snapshot.ts';
import type { Candidates } from './candidates.ts';

/** What of the candidates concerns one workload. */
export interface Selection {
  readonly policies: readonly Policy[];
  readonly requestAuthentications: readonly RequestAuthentication[];
  readonly peerModes: PeerModes;
  readonly rateLimits: readonly RateLimit[];
}

/** @param withKeys puts the keys of its issuers into one; the same value for as long as they are the same. */
export function select(
  candidates: Candidates,
  workload: Workload,
  rootNamespace: string,
  withKeys: (one: RequestAuthentication) => RequestAuthentication,
): Selection {
  const authentications = requestAuthenticationsFor(workload, candidates.requestAuthentications, rootNamespace);
  return {
    policies: candidates.policies.filter((policy) => selects(policy, workload, rootNamespace)),
    requestAuthentications: authentications.map(withKeys),
    peerModes: peerModesFor(workload, candidates.peerAuthentications, rootNamespace),
    rateLimits: candidates.rateLimits.filter((limit) => selects(limit, workload, rootNamespace)),
  };
}

/** The part of a snapshot that selections make. Selectors and targets have done their work; a sidecar has no use for them. */
export function contentOf(
  selection: Selection,
): Omit<SnapshotContent, 'services' | 'bundle' | 'federated' | 'authorizers' | 'trustedProxies'> {
  const { policies, requestAuthentications, peerModes, rateLimits } = selection;
  const egress = policies.filter((policy) => policy.direction === 'egress').map(withoutScope);
  return {
    policies: policies.filter((policy) => policy.direction === undefined).map(withoutScope),
    ...(egress.length > 0 && { egress }),
    ...(requestAuthentications.length > 0 && { requestAuthentications: requestAuthentications.map(withoutScope) }),
    ...(peerModes !== strictModes && { peerAuthentication: peerModes }),
    ...(rateLimits.length > 0 && { rateLimits: rateLimits.map(withoutScope) }),
  };
}

function withoutScope<T extends Scoped>(object: T): T {
  const { targets: _, ...rest } = object;
  return { ...rest, selector: {} } as T;
}

interface Scoped {
  readonly selector: Readonly<Record<string, string>>;
  readonly targets?: readonly Target[];
}

/** Tells selections apart. An object is the same for as long as it is the same value, whatever its revision says. */
export class SelectionKeys {
  readonly #numbers = new WeakMap<object, number>();
  #next = 1;

  of({ policies, requestAuthentications, peerModes, rateLimits }: Selection): string {
    const lists = [policies, requestAuthentications, rateLimits].map((list) =>
      list.map((object: object) => this.#numberOf(object)).join(','),
    );
    return [...lists, peerModes.mode, ...[...peerModes.ports].map((port) => port.join('='))].join(' ');
  }

  #numberOf(object: object): number {
    const known = this.#numbers.get(object);
    if (known !== undefined) return known;
    const number = this.#next;
    this.#next += 1;
    this.#numbers.set(object, number);
    return number;
  }
}
