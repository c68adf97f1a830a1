import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { PeerAuthentication } from './peer-authentication.ts';
import type { Value } from './yaml-reader.ts';
import { unsupported } from './yaml-reader.ts';

/** Reports everything that is wrong; what it returns is only good if nothing was reported. */
export function readPeerAuthentication(value: Value, findings: Findings): PeerAuthentication | undefined {
  findings.add('unsupported-field', value, unsupported(`The kind ${quoted('PeerAuthentication')}`));
  return undefined;
}
