import { resolve } from 'node:path';
import type { Rule, Schema, Values } from '../base/config.ts';
import { optional, withDefault } from '../base/config.ts';
import { choice, path } from '../base/config-types.ts';
import { unreachable } from '../base/errors.ts';
import type { AttestationProof } from '../node/agent/attest-node/proof.ts';

/** The settings of agents and sidecars about how they prove what they are. */
export const proofSchema = {
  'attestation.method': withDefault(
    choice(['join_token', 'x509pop', 'k8s_psat', 'oidc']),
    'join_token',
    'How this process proves to the control plane what it is',
  ),
  joinTokenFile: optional(
    path,
    'File (0600) with a join token; needed until the first certificate is in the state directory',
  ),
  'attestation.certificateFile': optional(
    path,
    'x509pop: PEM file with the certificate of this machine, and those above it',
  ),
  'attestation.keyFile': optional(path, 'x509pop: PEM file (0600) with its key'),
  'attestation.tokenFile': optional(path, 'k8s_psat, oidc: file with the token, read anew each time'),
} as const satisfies Schema;

const files = ['attestation.certificateFile', 'attestation.keyFile', 'attestation.tokenFile'] as const;

const neededFor: Readonly<Record<AttestationProof['method'], readonly string[]>> = {
  join_token: [],
  x509pop: ['attestation.certificateFile', 'attestation.keyFile'],
  k8s_psat: ['attestation.tokenFile'],
  oidc: ['attestation.tokenFile'],
};

export const proofRule: Rule<typeof proofSchema> = (values, report) => {
  const method = values['attestation.method'];
  const needed = method === undefined ? [] : neededFor[method];
  for (const name of files) {
    const given = values[name] !== undefined;
    if (given && !needed.includes(name)) report(name, `is not for attestation.method ${method}.`);
    if (!given && needed.includes(name)) report(name, `is missing: attestation.method ${method} needs it.`);
  }
  if (values.joinTokenFile !== undefined && method !== 'join_token') {
    report('joinTokenFile', `is not for attestation.method ${method}.`);
  }
};

/** undefined: nothing, as for a process that has its certificate already. */
export function proofOf(values: Values<typeof proofSchema>): AttestationProof | undefined {
  const method = values['attestation.method'];
  switch (method) {
    case 'join_token':
      return values.joinTokenFile === undefined ? undefined : { method, tokenFile: resolve(values.joinTokenFile) };
    case 'x509pop':
      return {
        method,
        certificateFile: resolve(values['attestation.certificateFile'] ?? ''),
        keyFile: resolve(values['attestation.keyFile'] ?? ''),
      };
    case 'k8s_psat':
    case 'oidc':
      return { method, tokenFile: resolve(values['attestation.tokenFile'] ?? '') };
    default:
      return unreachable(method);
  }
}
