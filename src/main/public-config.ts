import { resolve } from 'node:path';
import type { Rule, Schema, Values } from '../base/config.ts';
import { optional, withDefault } from '../base/config.ts';
import type { Listen } from '../base/config-types.ts';
import { address, choice, formatAddress, path, text } from '../base/config-types.ts';
import { isLoopback } from './loopback.ts';
import type { TlsFiles } from './tls-files.ts';

/** What is served to anybody: our bundle for other trust domains, and our JWT keys for verifiers of tokens. */
export const publicSchema = {
  'federation.listen': optional(
    address({ anyPort: true }),
    'Where our bundle is served to other trust domains, https; not served if not given',
  ),
  'federation.profile': withDefault(
    choice(['https_spiffe', 'https_web']),
    'https_spiffe',
    'How the bundle endpoint proves what it is: by the SVID of the control plane, or by a certificate for its host name',
  ),
  'federation.certificateFile': optional(path, 'For https_web: certificate chain, PEM; read again when it changes'),
  'federation.keyFile': optional(path, 'For https_web: its private key, PEM; read again when it changes'),
  'oidc.listen': optional(
    address({ anyPort: true }),
    'Where OpenID Connect discovery is served, https; not served if not given',
  ),
  'oidc.issuer': optional(
    text({ form: 'url', pattern: /^https:\/\/[a-z0-9.-]+(:\d{1,5})?(\/[A-Za-z0-9._~/-]*)?$/, hint: 'https, no query' }),
    'The claim iss of JWT-SVIDs, under which verifiers find the discovery documents; no claim if not given',
  ),
  'oidc.certificateFile': optional(path, 'Certificate chain for oidc.issuer, PEM; plain HTTP on loopback if not given'),
  'oidc.keyFile': optional(path, 'Its private key, PEM'),
} as const satisfies Schema;

export interface PublicConfig {
  readonly federation: (Listen & { readonly tls: TlsFiles | 'svid' }) | undefined;
  readonly oidc: (Listen & { readonly tls: TlsFiles | undefined }) | undefined;
  readonly issuer: string | undefined;
}

export const publicRules: readonly Rule<typeof publicSchema>[] = [
  (values, report) => {
    const isWeb = values['federation.profile'] === 'https_web';
    for (const name of ['federation.certificateFile', 'federation.keyFile'] as const) {
      if (isWeb && values[name] === undefined) report(name, 'is missing: https_web needs a certificate and its key.');
      if (!isWeb && values[name] !== undefined) report(name, 'is for federation.profile https_web.');
    }
  },
  (values, report) => {
    const listen = values['oidc.listen'];
    if (listen !== undefined && values['oidc.issuer'] === undefined) {
      report('oidc.issuer', 'is missing: discovery is about an issuer.');
    }
    const given = [values['oidc.certificateFile'], values['oidc.keyFile']].filter((file) => file !== undefined).length;
    if (given === 1) report('oidc.keyFile', 'and oidc.certificateFile belong together; one of them is missing.');
    if (given === 0 && listen !== undefined && !isLoopback(listen.host)) {
      report(
        'oidc.listen',
        `is ${formatAddress(listen)} without a certificate: plain HTTP is only for a proxy on this machine.`,
      );
    }
  },
];

export function publicConfig(values: Values<typeof publicSchema>): PublicConfig {
  const { 'federation.listen': federation, 'oidc.listen': oidc } = values;
  return Object.freeze({
    federation:
      federation === undefined
        ? undefined
        : Object.freeze({
            ...federation,
            tls: filesOf(values['federation.certificateFile'], values['federation.keyFile']) ?? ('svid' as const),
          }),
    oidc:
      oidc === undefined
        ? undefined
        : Object.freeze({ ...oidc, tls: filesOf(values['oidc.certificateFile'], values['oidc.keyFile']) }),
    issuer: values['oidc.issuer'],
  });
}

function filesOf(certificateFile: string | undefined, keyFile: string | undefined): TlsFiles | undefined {
  if (certificateFile === undefined || keyFile === undefined) return undefined;
  return Object.freeze({ certificateFile: resolve(certificateFile), keyFile: resolve(keyFile) });
}
