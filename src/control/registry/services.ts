import { parseSpiffeId, workloadOf } from '../../core/identity/spiffe-id.ts';
import type { Service, ServiceEndpoint } from '../../core/policy/snapshot.ts';
import { compareText } from '../store/compare.ts';
import type { InboundEndpoint } from './hello.ts';

/** A sidecar that is part of the mesh. */
export interface Serving {
  readonly spiffeId: string;
  readonly inbound: readonly InboundEndpoint[];
}

/**
 * The services that these sidecars make up, one for each identity of the form /ns/<namespace>/sa/<service>; other identities
 * can call but not be called. Sorted throughout, so that the same mesh always gives the same value.
 */
export function servicesOf(serving: Iterable<Serving>): readonly Service[] {
  const endpoints = new Map<string, Map<string, ServiceEndpoint>>();
  for (const { spiffeId, inbound } of serving) {
    const known = endpoints.get(spiffeId) ?? new Map<string, ServiceEndpoint>();
    endpoints.set(spiffeId, known);
    // Two instances may claim one address: the one before a restart has not been missed yet.
    for (const { address, protocol, applicationPort } of inbound) {
      known.set(address, Object.freeze({ address, protocol, applicationPort }));
    }
  }
  const services = [...endpoints].flatMap(([spiffeId, byAddress]) => {
    const workload = workloadOf(parseSpiffeId(spiffeId));
    if (workload === undefined || byAddress.size === 0) return [];
    const sorted = [...byAddress.values()].sort((a, b) => compareText(a.address, b.address));
    const { namespace, service: name } = workload;
    return [Object.freeze({ name, namespace, spiffeId, endpoints: Object.freeze(sorted) })];
  });
  return Object.freeze(services.sort((a, b) => compareText(a.spiffeId, b.spiffeId)));
}
