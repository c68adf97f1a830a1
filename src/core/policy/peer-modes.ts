import type { Workload } from './model.ts';
import type { PeerAuthentication, PeerMode, PeerModes } from './peer-authentication.ts';

/** Where nobody says anything else. */
export const strictModes: PeerModes = Object.freeze({ mode: 'STRICT', ports: new Map() });

/**
 * What holds for one workload (reference: rule 51): of the mesh (root namespace, no selector), its namespace (no selector) and
 * itself (a selector), the narrowest that says something. Of several in one scope the oldest counts: the one that was made first,
 * so that to write one again opens nothing. One with a selector in the root namespace counts for nobody, as in Istio.
 */
export function peerModesFor(workload: Workload, all: readonly PeerAuthentication[], rootNamespace: string): PeerModes {
  let mesh: PeerAuthentication | undefined;
  let namespace: PeerAuthentication | undefined;
  let own: PeerAuthentication | undefined;
  for (const one of all) {
    const labels = Object.entries(one.selector);
    if (labels.length === 0) {
      if (one.namespace === rootNamespace) mesh = older(mesh, one);
      else if (one.namespace === workload.namespace) namespace = older(namespace, one);
    } else if (one.namespace === workload.namespace && one.namespace !== rootNamespace) {
      if (labels.every(([key, value]) => workload.labels[key] === value)) own = older(own, one);
    }
  }
  const mode = own?.mode ?? namespace?.mode ?? mesh?.mode ?? 'STRICT';
  const ports = [...(own?.ports ?? [])].filter(([, each]) => each !== mode).sort(([a], [b]) => a - b);
  return mode === 'STRICT' && ports.length === 0 ? strictModes : Object.freeze({ mode, ports: new Map(ports) });
}

export function modeOfPort(modes: PeerModes, port: number): PeerMode {
  return modes.ports.get(port) ?? modes.mode;
}

function older(a: PeerAuthentication | undefined, b: PeerAuthentication): PeerAuthentication {
  if (a === undefined) return b;
  return (b.made ?? b.revision) < (a.made ?? a.revision) ? b : a;
}
