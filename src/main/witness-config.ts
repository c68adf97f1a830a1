import { resolve } from 'node:path';
import type { Rule, Schema, Sources } from '../base/config.ts';
import { optional, readConfig, required, withDefault } from '../base/config.ts';
import type { Listen } from '../base/config-types.ts';
import { address, formatAddress, path, text } from '../base/config-types.ts';
import type { LogLevel } from './config.ts';
import { cliVariables, isLoopback, logLevel } from './config.ts';
import type { TlsFiles } from './tls-files.ts';

/** Everything that `writ witness` can be told. */
export const witnessSchema = {
  name: required(
    text({ form: 'name', pattern: /^[A-Za-z0-9._~:/-]{1,255}$/, hint: 'a URL without its scheme' }),
    'Name of its key, such as witness.example.org/writ',
  ),
  policyFile: required(path, 'Which logs it follows: the log lines of this file (c2sp.org/tlog-policy)'),
  stateDir: required(path, 'Directory of its key and of what it has cosigned; created, for its owner only'),
  listen: withDefault(address({ anyPort: true }), '127.0.0.1:8446', 'Where logs ask it, and anybody may look'),
  'tls.certificateFile': optional(path, 'Certificate chain, PEM; read again when it changes. Plain HTTP if not given'),
  'tls.keyFile': optional(path, 'Its private key, PEM'),
  'log.level': logLevel,
} as const satisfies Schema;

export interface WitnessConfig {
  readonly name: string;
  readonly policyFile: string;
  readonly stateDirectory: string;
  readonly listen: Listen;
  readonly tls: TlsFiles | undefined;
  readonly logLevel: LogLevel;
}

const rules: readonly Rule<typeof witnessSchema>[] = [
  (values, report) => {
    const files = [values['tls.certificateFile'], values['tls.keyFile']].filter((file) => file !== undefined).length;
    if (files === 1) report('tls.keyFile', 'and tls.certificateFile belong together; one of them is missing.');
    const { listen } = values;
    if (listen !== undefined && files === 0 && !isLoopback(listen.host))
      report(
        'listen',
        `is ${formatAddress(listen)} without a certificate: plain HTTP is only for a proxy on this machine.`,
      );
  },
];

export function witnessConfig(sources: Sources): WitnessConfig {
  const values = readConfig(witnessSchema, sources, { reservedVariables: cliVariables, rules });
  const { 'tls.certificateFile': certificateFile, 'tls.keyFile': keyFile } = values;
  return Object.freeze({
    name: values.name,
    policyFile: resolve(values.policyFile),
    stateDirectory: resolve(values.stateDir),
    listen: values.listen,
    tls:
      certificateFile === undefined || keyFile === undefined
        ? undefined
        : Object.freeze({ certificateFile: resolve(certificateFile), keyFile: resolve(keyFile) }),
    logLevel: values['log.level'],
  });
}
