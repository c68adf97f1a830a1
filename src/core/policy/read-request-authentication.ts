import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { RequestAuthentication } from './request-authentication.ts';
import type { Value } from './yaml-reader.ts';
import { unsupported } from './yaml-reader.ts';

/** Reports everything that is wrong; what it returns is only good if nothing was reported. */
export function readRequestAuthentication(value: Value, findings: Findings): RequestAuthentication | undefined {
  findings.add('unsupported-field', value, unsupported(`The kind ${quoted('RequestAuthentication')}`));
  return undefined;
}
