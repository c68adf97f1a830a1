import { resolve } from 'node:path';
import type { Rule, Schema, Sources } from '../base/config.ts';
import { optional, readConfig, required, withDefault } from '../base/config.ts';
import { address, choice, flag, formatAddress, list, path, record, text } from '../base/config-types.ts';
import type { SidecarConfig } from '../node/sidecar/config.ts';
import type { LogLevel } from './config.ts';
import { cliVariables, isLoopback, logLevel } from './config.ts';
import { proofOf, proofRule, proofSchema } from './proof-config.ts';

/** Everything that `writ sidecar` can be told. */
export const sidecarSchema = {
  server: required(address(), 'gRPC address of the control plane'),
  'trust.bundleFile': optional(path, "PEM file with the trust domain's roots"),
  'trust.fingerprint': optional(text({ form: 'sha256:hex' }), 'SHA-256 fingerprint of the root, instead of a bundle'),
  stateDir: required(path, 'Directory of key, certificate and audit spool; created, for its owner only'),
  ...proofSchema,
  inbound: withDefault(
    list(
      record({
        listen: { type: address({ anyPort: true }), required: true },
        application: { type: address(), required: true },
        protocol: { type: choice(['http', 'tcp']), required: false },
        advertise: { type: address(), required: false },
        record: { type: choice(['strict', 'spool']), required: false },
        whenFull: { type: choice(['refuse', 'degrade']), required: false },
      }),
      { max: 32 },
    ),
    '',
    'A port that takes mutual TLS for a local application; http (default; HTTP/1.1, HTTP/2, gRPC) or tcp. record: strict ' +
      '(default) or spool; whenFull: refuse (default) or degrade (docs/audit-cases.md)',
  ),
  'outbound.listen': withDefault(
    address({ anyPort: true }),
    '127.0.0.1:15001',
    'Where the application calls other services',
  ),
  'admin.listen': withDefault(
    address({ anyPort: true }),
    '127.0.0.1:15000',
    'Where the application fetches tokens, and status',
  ),
  'outbound.remote': withDefault(
    flag,
    'false',
    'Allow outbound and admin on an address that is not loopback; who reaches them speaks with the identity of the workload',
  ),
  jwtAudiences: withDefault(
    list(text({ form: 'audience' }), { max: 16 }),
    '',
    "Audiences that are accepted in callers' JWT-SVIDs, besides the workload's SPIFFE ID, mesh name and URLs",
  ),
  'log.level': logLevel,
} as const satisfies Schema;

/** What `writ accept-rollback` can be told. */
export const acceptRollbackSchema = {
  stateDir: required(path, 'State directory of the sidecar that is to go on'),
} as const satisfies Schema;

export function acceptRollbackConfig(sources: Sources): { readonly stateDirectory: string } {
  const values = readConfig(acceptRollbackSchema, sources, { reservedVariables: cliVariables });
  return Object.freeze({ stateDirectory: resolve(values.stateDir) });
}

/** What the sidecar itself takes, and how it logs. */
export type SidecarSettings = SidecarConfig & { readonly logLevel: LogLevel };

const sidecarRules: readonly Rule<typeof sidecarSchema>[] = [
  proofRule,
  (values, report) => {
    const bundle = values['trust.bundleFile'];
    const fingerprint = values['trust.fingerprint'];
    if (bundle === undefined && fingerprint === undefined) {
      report('trust.bundleFile', 'or trust.fingerprint is missing: the control plane is never trusted on first use.');
    }
    if (bundle !== undefined && fingerprint !== undefined) {
      report('trust.fingerprint', 'and trust.bundleFile are both given. Give one.');
    }
  },
  (values, report) => {
    for (const name of ['outbound.listen', 'admin.listen'] as const) {
      const listen = values[name];
      if (listen === undefined || isLoopback(listen.host) || values['outbound.remote'] !== false) continue;
      report(
        name,
        `is ${formatAddress(listen)}: whoever reaches it calls as this workload. Use loopback, or set outbound.remote.`,
      );
    }
  },
  (values, report) => {
    for (const inbound of values.inbound ?? []) {
      if (inbound.advertise === undefined && isWildcard(inbound.listen.host)) {
        report(
          'inbound',
          `listens on ${formatAddress(inbound.listen)}, where nobody can call it. Add advertise=host:port.`,
        );
      }
    }
  },
];

/** Reads and checks what `writ sidecar` is told. Throws every problem at once, see base/config.ts. */
export function sidecarConfig(sources: Sources): SidecarSettings {
  const values = readConfig(sidecarSchema, sources, { reservedVariables: cliVariables, rules: sidecarRules });
  const fingerprint = values['trust.fingerprint'];
  const proof = proofOf(values);
  return Object.freeze({
    server: formatAddress(values.server),
    trust: Object.freeze(
      fingerprint === undefined ? { bundleFile: resolve(values['trust.bundleFile'] ?? '') } : { fingerprint },
    ),
    stateDirectory: resolve(values.stateDir),
    ...(proof === undefined ? {} : { proof }),
    inbound: Object.freeze(
      values.inbound.map((each) =>
        Object.freeze({
          ...each.listen,
          ...(each.advertise === undefined ? {} : { advertise: formatAddress(each.advertise) }),
          protocol: each.protocol ?? 'http',
          application: each.application,
          ...(each.record === undefined ? {} : { record: each.record }),
          ...(each.whenFull === undefined ? {} : { whenFull: each.whenFull }),
        }),
      ),
    ),
    outbound: values['outbound.listen'],
    admin: values['admin.listen'],
    jwtAudiences: values.jwtAudiences,
    logLevel: values['log.level'],
  });
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}
