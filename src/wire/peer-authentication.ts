import type { PeerMode, PeerModes } from '../core/policy/peer-authentication.ts';
import * as field from './fields.ts';
import type { PeerAuthentication, PeerAuthentication__Output } from './gen/writ/v1/PeerAuthentication.ts';

const modes = field.enumMap<PeerMode, 'PEER_AUTHENTICATION_MODE_STRICT' | 'PEER_AUTHENTICATION_MODE_PERMISSIVE'>({
  STRICT: 'PEER_AUTHENTICATION_MODE_STRICT',
  PERMISSIVE: 'PEER_AUTHENTICATION_MODE_PERMISSIVE',
});

/** All that there are. */
const MAX_PORTS = 65_535;

/** Deterministic: ports in their order. */
export function toPeerModes({ mode, ports }: PeerModes): PeerAuthentication {
  const entries = [...ports].sort(([a], [b]) => a - b).map(([port, each]) => [port, modes.to(each)] as const);
  return { mode: modes.to(mode), ports: Object.fromEntries(entries) };
}

/** A mode that is not known here is `invalid`: it must not read as one that lets more callers in. */
export function fromPeerModes(message: PeerAuthentication__Output, path: string): PeerModes {
  const entries = Object.entries(message.ports);
  if (entries.length > MAX_PORTS) throw field.invalid(`${path}.ports`, `has more than ${MAX_PORTS} entries`);
  return Object.freeze({
    mode: modes.from(message.mode, `${path}.mode`),
    ports: new Map(
      entries.map(([port, mode]) => [
        field.port(Number(port), `${path}.ports`),
        modes.from(mode, `${path}.ports[${port}]`),
      ]),
    ),
  });
}
