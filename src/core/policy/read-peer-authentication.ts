import { authenticationShapes as shapes } from './authentication-fields.ts';
import { nearest } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { PeerAuthentication, PeerMode } from './peer-authentication.ts';
import { readAuthenticationDocument } from './read-authentication-document.ts';
import { readSelector } from './read-selector.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readMap, readText } from './yaml-reader.ts';

const modes: readonly string[] = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'];

/**
 * Reads a PeerAuthentication (reference: rule 51). Its revision is 0 until it is stored. Reports everything that is wrong;
 * what it returns is only good if nothing was reported.
 */
export function readPeerAuthentication(at: Value, findings: Findings): PeerAuthentication | undefined {
  const document = readAuthenticationDocument(at, shapes.peerDocument, findings);
  const fields = document?.spec === undefined ? undefined : readFields(document.spec, shapes.peerSpec, findings);
  if (document === undefined || fields === undefined) return undefined;
  const selectorField = fields.get('selector');
  const selector = selectorField === undefined ? Object.freeze({}) : readSelector(selectorField, findings);
  const mode = readMtls(fields.get('mtls'), findings);
  const ports = readPorts(fields.get('portLevelMtls'), findings);
  const portsField = fields.get('portLevelMtls');
  if (portsField !== undefined && selector !== undefined && Object.keys(selector).length === 0) {
    const message = 'Ports are those of a workload, and this has no selector that names one. Give it "matchLabels".';
    findings.add('ports-without-selector', portsField.key, message);
  }
  if (document.name === undefined || selector === undefined) return undefined;
  return Object.freeze({
    ...document.name,
    revision: 0,
    selector,
    ...(mode !== undefined && { mode }),
    ports,
  });
}

function readPorts(value: Field | undefined, findings: Findings): ReadonlyMap<number, PeerMode> {
  const ports = new Map<number, PeerMode>();
  const entries = value === undefined ? undefined : readMap(value, findings);
  for (const [key, field] of entries ?? []) {
    const port = /^[1-9][0-9]{0,4}$/.test(key) ? Number(key) : 0;
    if (port < 1 || port > 65_535) {
      findings.add('invalid-port', field.key, `The port ${quoted(key)} is not a number from 1 to 65535.`);
    }
    const mode = readMtls(field, findings);
    if (mode !== undefined) ports.set(port, mode);
  }
  return ports;
}

/** Undefined for one that is not there, and for `UNSET`: then that of the next wider scope holds. */
function readMtls(value: Field | undefined, findings: Findings): PeerMode | undefined {
  const field = value === undefined ? undefined : readFields(value, shapes.mtls, findings)?.get('mode');
  const text = field === undefined ? undefined : readText(field, findings);
  if (field === undefined || text === undefined) return undefined;
  switch (text) {
    case 'UNSET':
      return undefined;
    case 'STRICT':
      return 'STRICT';
    case 'PERMISSIVE':
      warnOfPlainText(field, findings);
      return 'PERMISSIVE';
    case 'DISABLE':
      findings.warn(
        'mtls-not-disabled',
        field,
        'Writ never turns mutual TLS off: DISABLE is read as PERMISSIVE, which takes plain text too.',
      );
      warnOfPlainText(field, findings);
      return 'PERMISSIVE';
    default: {
      const near = nearest(text, modes);
      const advice = near === undefined ? ' Write one of them.' : ` Did you mean ${quoted(near)}?`;
      const message = `The mode ${quoted(text)} is none of ${modes.join(', ')}.${advice}`;
      findings.add('invalid-mtls-mode', field, message);
      return undefined;
    }
  }
}

function warnOfPlainText(at: Value, findings: Findings): void {
  const message =
    'Whoever reaches the port is let in without a certificate, and what is said can be read and changed on its way. Write STRICT as soon as all callers are in the mesh.';
  findings.warn('plain-text', at, message);
}
