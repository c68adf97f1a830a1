import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Rule, Schema, Sources, Values } from '../base/config.ts';
import { optional, readConfig, required, withDefault } from '../base/config.ts';
import type { Listen } from '../base/config-types.ts';
import { address, choice, duration, flag, formatAddress, list, path, text } from '../base/config-types.ts';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { AttestationConfig } from './attestation-config.ts';
import { attestationOf, attestationRules, attestationSchema } from './attestation-config.ts';
import type { AuditConfig } from './audit-config.ts';
import { auditConfig, auditSchema } from './audit-config.ts';
import type { AuthorizersConfig } from './authorizers-config.ts';
import { authorizersConfig, authorizersRules, authorizersSchema } from './authorizers-config.ts';

import { isLoopback } from './loopback.ts';
import type { PolicyConfig } from './policy-config.ts';
import { policyConfig, policySchema } from './policy-config.ts';
import type { PublicConfig } from './public-config.ts';
import { publicConfig, publicRules, publicSchema } from './public-config.ts';
import type { SinkConfig } from './sinks-config.ts';
import { sinksConfig, sinksRules, sinksSchema } from './sinks-config.ts';
import type { TokenKeysConfig } from './token-keys-config.ts';
import { tokenKeysConfig, tokenKeysSchema } from './token-keys-config.ts';

export type { SidecarConfig } from '../node/sidecar/config.ts';
export { isLoopback } from './loopback.ts';

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export const logLevel = withDefault(
  choice(logLevels),
  'info',
  'Least severe line that is logged, on standard error as JSON',
);

/** Everything that `writ server` can be told. */
export const serverSchema = {
  trustDomain: required(
    text({ form: 'name', pattern: /^[a-z0-9._-]{1,255}$/, hint: 'lower-case letters, digits, ".", "-" and "_"' }),
    'Trust domain of every identity that is issued; it cannot change later',
  ),
  dataDir: withDefault(path, '/var/lib/writ', 'Directory of keys, store and audit log; created, for its owner only'),
  'rest.listen': withDefault(
    address({ anyPort: true }),
    '127.0.0.1:8443',
    'Where REST and the console listen, plain HTTP',
  ),
  'rest.remotePlaintext': withDefault(
    flag,
    'false',
    'Allow REST on an address that is not loopback; for a container behind a proxy that speaks TLS',
  ),
  'grpc.listen': withDefault(address({ anyPort: true }), '0.0.0.0:8444', 'Where sidecars connect, mutual TLS'),
  'health.listen': withDefault(address({ anyPort: true }), '0.0.0.0:9090', 'Where health is served, plain HTTP'),
  'store.kind': withDefault(
    choice(['sqlite', 'postgres']),
    'sqlite',
    'Where entries, policies and the audit index are kept',
  ),
  'store.path': optional(path, 'File of the SQLite store; writ.db in the data directory if not given'),
  'store.urlFile': optional(path, 'File (0600) that holds the PostgreSQL URL, so that its password is in no argument'),
  passphraseFile: optional(
    path,
    'File (0600) whose content seals the keys; if not given, the systemd credential writ-passphrase',
  ),
  rootNamespace: withDefault(
    text({ form: 'namespace' }),
    'writ-system',
    'Policies of this namespace hold in every namespace',
  ),
  trustDomainAliases: optional(
    list(
      text({ form: 'name', pattern: /^[a-z0-9._-]{1,255}$/, hint: 'lower-case letters, digits, ".", "-" and "_"' }),
      {
        max: 32,
      },
    ),
    'Other names of the trust domain in policies: a principal with one of them is meant with all',
  ),
  'lifetime.x509': withDefault(duration({ min: '1m', max: '24h' }), '1h', 'Lifetime of an X.509-SVID'),
  'lifetime.jwt': withDefault(duration({ min: '30s', max: '1h' }), '5m', 'Lifetime of a JWT-SVID'),
  'lifetime.intermediate': withDefault(
    duration({ min: '1h', max: '30d' }),
    '24h',
    'Lifetime of the issuing certificate',
  ),
  'lifetime.jwtKey': withDefault(
    duration({ min: '2h', max: '90d' }),
    '7d',
    'Lifetime of a key that signs JWT-SVIDs, or WIT-SVIDs; the next one takes over in time',
  ),
  'lifetime.root': withDefault(duration({ min: '1d', max: '3650d' }), '365d', 'Lifetime of the root, from first start'),
  'upstream.certificateFile': optional(
    path,
    'PEM file of an authority that certifies Writ’s intermediates, with those above it; without one, Writ makes a root',
  ),
  'upstream.keyFile': optional(path, 'PEM file (0600) with the key of the upstream authority'),
  'upstream.rootFile': optional(path, 'PEM file with its root, where upstream.certificateFile does not hold that'),
  ...attestationSchema,
  ...publicSchema,
  ...auditSchema,
  ...sinksSchema,
  ...policySchema,
  ...tokenKeysSchema,
  ...authorizersSchema,
  'log.level': logLevel,
} as const satisfies Schema;

export interface ServerConfig {
  readonly trustDomain: string;
  readonly dataDir: string;
  readonly rest: Listen;
  readonly grpc: Listen;
  readonly health: Listen;
  /** Holds no secret: `resolveStore` reads the URL. */
  readonly store:
    | { readonly kind: 'sqlite'; readonly path: string }
    | { readonly kind: 'postgres'; readonly urlFile: string };
  /** `readPassphrase` reads it. */
  readonly passphraseFile: string;
  readonly rootNamespace: string;
  readonly trustDomainAliases: readonly string[];
  /** The authority above ours; undefined for a root of our own. */
  readonly upstream:
    | { readonly certificateFile: string; readonly keyFile: string; readonly rootFile: string | undefined }
    | undefined;
  /** In seconds. */
  readonly lifetimes: {
    readonly x509: number;
    readonly jwt: number;
    readonly intermediate: number;
    readonly jwtKey: number;
    readonly root: number;
  };
  /** How nodes prove what they are. */
  readonly attestation: AttestationConfig;
  /** What is served to anybody. */
  readonly public: PublicConfig;
  readonly audit: AuditConfig;
  /** Where copies of the audit record go. */
  readonly sinks: readonly SinkConfig[];
  /** Where keys of issuers may be fetched from. */
  readonly tokenKeys: TokenKeysConfig;
  /** Whom sidecars ask and believe. */
  readonly authorizers: AuthorizersConfig;
  /** Who may change policies, and how. */
  readonly policy: PolicyConfig;
  readonly logLevel: LogLevel;
}

type StoreSettings = Pick<typeof serverSchema, 'store.kind' | 'store.path' | 'store.urlFile'>;

const storeRules: readonly Rule<StoreSettings>[] = [
  (values, report) => {
    if (values['store.kind'] === 'postgres' && values['store.urlFile'] === undefined) {
      report('store.urlFile', 'is missing: a postgres store needs the file that holds its URL.');
    }
    if (values['store.kind'] === 'sqlite' && values['store.urlFile'] !== undefined) {
      report('store.urlFile', 'is for store.kind postgres; the store is sqlite.');
    }
    if (values['store.kind'] === 'postgres' && values['store.path'] !== undefined) {
      report('store.path', 'is for store.kind sqlite; the store is postgres.');
    }
  },
];

const upstreamRule: Rule<typeof serverSchema> = (values, report) => {
  const { 'upstream.certificateFile': certificate, 'upstream.keyFile': key, 'upstream.rootFile': root } = values;
  if (certificate !== undefined && key === undefined) {
    report('upstream.keyFile', 'is missing: the upstream authority signs with it.');
  }
  if (certificate === undefined && (key !== undefined || root !== undefined)) {
    report('upstream.certificateFile', 'is missing: the other upstream files are of no use without it.');
  }
};

const serverRules: readonly Rule<typeof serverSchema>[] = [
  (values, report) => {
    const rest = values['rest.listen'];
    if (rest !== undefined && !isLoopback(rest.host) && values['rest.remotePlaintext'] === false) {
      report(
        'rest.listen',
        `is ${formatAddress(rest)}, and REST speaks plain HTTP: tokens would cross the network unencrypted. ` +
          'Listen on loopback behind a proxy that speaks TLS, or set rest.remotePlaintext.',
      );
    }
  },
];

/** `writ migrate` takes the configuration of the server, and needs only the store in it. */
export const migrateSchema = {
  ...serverSchema,
  trustDomain: optional(serverSchema.trustDomain.type, serverSchema.trustDomain.meaning),
} as const satisfies Schema;

export function migrateConfig(sources: Sources): Pick<ServerConfig, 'store' | 'logLevel'> {
  const values = readConfig(migrateSchema, sources, { reservedVariables: cliVariables, rules: storeRules });
  return { store: storeOf(values, resolve(values.dataDir)), logLevel: values['log.level'] };
}

/** Reads and checks what `writ server` is told. Throws every problem at once, see base/config.ts. */
export function serverConfig(sources: Sources): ServerConfig {
  const credentials = sources.env.CREDENTIALS_DIRECTORY;
  const values = readConfig(serverSchema, sources, {
    reservedVariables: cliVariables,
    rules: [
      ...storeRules,
      ...publicRules,
      ...serverRules,
      upstreamRule,
      ...attestationRules,
      ...authorizersRules,
      ...sinksRules,
      (read, report) => {
        if (read.passphraseFile === undefined && credentials === undefined) {
          report(
            'passphraseFile',
            'is missing: keys are never stored unsealed. Make one: openssl rand -hex 32 > FILE, mode 600.',
          );
        }
      },
    ],
  });
  const dataDir = resolve(values.dataDir);
  return Object.freeze({
    trustDomain: values.trustDomain,
    dataDir,
    rest: values['rest.listen'],
    grpc: values['grpc.listen'],
    health: values['health.listen'],
    store: storeOf(values, dataDir),
    passphraseFile: resolve(values.passphraseFile ?? join(credentials ?? '', 'writ-passphrase')),
    rootNamespace: values.rootNamespace,
    trustDomainAliases: Object.freeze(values.trustDomainAliases ?? []),
    upstream: upstreamOf(values),
    lifetimes: Object.freeze({
      x509: values['lifetime.x509'],
      jwt: values['lifetime.jwt'],
      intermediate: values['lifetime.intermediate'],
      jwtKey: values['lifetime.jwtKey'],
      root: values['lifetime.root'],
    }),
    attestation: attestationOf(values),
    public: publicConfig(values),
    audit: auditConfig(values, values.trustDomain),
    sinks: sinksConfig(values),
    tokenKeys: tokenKeysConfig(values),
    authorizers: authorizersConfig(values),
    policy: policyConfig(values),
    logLevel: values['log.level'],
  });
}

function upstreamOf(
  values: Pick<Values<typeof serverSchema>, 'upstream.certificateFile' | 'upstream.keyFile' | 'upstream.rootFile'>,
): ServerConfig['upstream'] {
  const { 'upstream.certificateFile': certificate, 'upstream.keyFile': key, 'upstream.rootFile': root } = values;
  if (certificate === undefined || key === undefined) return undefined;
  return Object.freeze({
    certificateFile: resolve(certificate),
    keyFile: resolve(key),
    rootFile: root === undefined ? undefined : resolve(root),
  });
}

function storeOf(values: Values<StoreSettings>, dataDir: string): ServerConfig['store'] {
  const urlFile = values['store.urlFile'];
  if (values['store.kind'] === 'postgres' && urlFile !== undefined) {
    return Object.freeze({ kind: 'postgres', urlFile: resolve(urlFile) });
  }
  return Object.freeze({ kind: 'sqlite', path: resolve(values['store.path'] ?? join(dataDir, 'writ.db')) });
}

/** Variables that the CLI reads; in the environment of a server they are somebody's habit, not a mistake. */
export const cliVariables: readonly string[] = ['WRIT_ADDR', 'WRIT_TOKEN_FILE', 'WRIT_CONTEXT', 'WRIT_CONFIG'];

/** The file that `--config` or WRIT_CONFIG names. There is no default one: a file that is read is a file that was named. */
export async function configFile(
  flagValue: string | undefined,
  env: Sources['env'],
): Promise<NonNullable<Sources['file']> | undefined> {
  const name = flagValue ?? env.WRIT_CONFIG;
  if (name === undefined || name === '') return undefined;
  try {
    return { name, text: await readFile(name, 'utf8') };
  } catch (cause) {
    throw new AppError('usage', `Cannot read the configuration ${name}: ${reason(cause)}.`, { cause });
  }
}
