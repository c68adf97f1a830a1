import { parseSpiffeId, workloadOf } from '../../core/identity/spiffe-id.ts';
import type { PeerAuthentication } from '../../core/policy/peer-authentication.ts';
import { modeOfPort, peerModesFor } from '../../core/policy/peer-modes.ts';

/** Ports of a workload's application at which callers without a certificate are let in, ascending; mostly none. */
export function plainTextPortsOf(
  workload: {
    readonly spiffeId: string;
    /** Undefined for one without an entry: it is sent no policy. */
    readonly labels: Readonly<Record<string, string>> | undefined;
    readonly ports: readonly number[];
  },
  all: readonly PeerAuthentication[],
  rootNamespace: string,
): readonly number[] {
  const { spiffeId, labels, ports } = workload;
  if (all.length === 0 || labels === undefined) return [];
  const namespace = workloadOf(parseSpiffeId(spiffeId))?.namespace ?? '';
  const modes = peerModesFor({ namespace, labels }, all, rootNamespace);
  return [...new Set(ports)].filter((port) => modeOfPort(modes, port) === 'PERMISSIVE').sort((a, b) => a - b);
}
