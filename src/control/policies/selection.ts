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

/**
 * What sidecars get of the objects that were selected. Selectors and targets have done their work; a sidecar has no use for
 * them. Of one object it is always the same value, so that it is encoded once.
 */
export class Contents {
  readonly #unscoped = new WeakMap<object, object>();

  of(
    selection: Selection,
  ): Omit<SnapshotContent, 'services' | 'bundle' | 'federated' | 'authorizers' | 'trustedProxies'> {
    const { policies, requestAuthentications, peerModes, rateLimits } = selection;
    const unscoped = policies.map((policy) => this.#withoutScope(policy));
    const egress = unscoped.filter((policy) => policy.direction === 'egress');
    return {
      policies: unscoped.filter((policy) => policy.direction === undefined),
      ...(egress.length > 0 && { egress }),
      ...(requestAuthentications.length > 0 && {
        requestAuthentications: requestAuthentications.map((each) => this.#withoutScope(each)),
      }),
      ...(peerModes !== strictModes && { peerAuthentication: peerModes }),
      ...(rateLimits.length > 0 && { rateLimits: rateLimits.map((limit) => this.#withoutScope(limit)) }),
    };
  }

  #withoutScope<T extends Scoped>(object: T): T {
    const known = this.#unscoped.get(object);
    if (known !== undefined) return known as T;
    const { targets: _, ...rest } = object;
    const unscoped = Object.freeze({ ...rest, selector: {} }) as T;
    this.#unscoped.set(object, unscoped);
    return unscoped;
  }
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
