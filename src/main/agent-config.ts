import { resolve } from 'node:path';
import type { Rule, Schema, Sources } from '../base/config.ts';
import { optional, readConfig, required, withDefault } from '../base/config.ts';
import { address, choice, flag, formatAddress, list, path, text } from '../base/config-types.ts';
import { AppError } from '../base/errors.ts';
import type { AttestationProof } from '../node/agent/attest-node/proof.ts';
import type { Trust } from '../node/agent/bootstrap.ts';
import type { SecretNames } from '../node/agent/sds/secret-names.ts';
import { checkSecretNames } from '../node/agent/sds/secret-names.ts';
import { adminSocketBeside, DEFAULT_SOCKET_PATH, workloadEndpointOf } from '../wire/workload-endpoint.ts';
import type { LogLevel } from './config.ts';
import { cliVariables, logLevel } from './config.ts';
import { proofOf, proofRule, proofSchema } from './proof-config.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

const secretName = text({ form: 'name', maxLength: 256 });

/** Everything that `writ agent` can be told. */
export const agentSchema = {
  server: required(address(), 'gRPC address of the control plane'),
  'trust.bundleFile': optional(path, "PEM file with the trust domain's roots"),
  'trust.fingerprint': optional(text({ form: 'sha256:hex' }), 'SHA-256 fingerprint of the root, instead of a bundle'),
  trustDomain: optional(
    text({ form: 'name', pattern: /^[a-z0-9._-]{1,255}$/, hint: 'lower-case letters, digits, ".", "-" and "_"' }),
    'Trust domain that the control plane must be of; if not given, the one that it proves below the pinned root',
  ),
  stateDir: withDefault(path, '/var/lib/writ-agent', 'Directory of key and certificate; created, for its owner only'),
  socket: withDefault(
    path,
    DEFAULT_SOCKET_PATH,
    'Unix socket of the Workload API and of Envoy SDS; a path, or unix:// and a path',
  ),
  socketMode: withDefault(
    choice(['0777', '0770', '0700', '0666', '0660', '0600']),
    '0777',
    'Permissions of that socket: who may ask; who gets an identity is told by attestation',
  ),
  adminSocket: optional(
    path,
    'Unix socket for `writ identity why`, for the user of the agent and root; beside the other, with -admin in its name, if not given',
  ),
  ...proofSchema,
  attestors: withDefault(
    list(choice(['unix', 'systemd', 'docker', 'k8s']), { max: 4 }),
    'unix,systemd',
    'What is found out about workloads',
  ),
  'sds.svidName': withDefault(secretName, 'default', "Name by which Envoy asks for a workload's default identity"),
  'sds.bundleName': withDefault(secretName, 'ROOTCA', 'Name by which it asks for the roots of its own trust domain'),
  'sds.allBundlesName': withDefault(
    secretName,
    'ALL',
    'Name by which it asks for these and those of the trust domains that the workload federates with',
  ),
  'docker.socket': withDefault(path, '/var/run/docker.sock', 'Unix socket of the Docker daemon'),
  'k8s.kubelet': withDefault(
    text({ form: 'url', maxLength: 512 }),
    'https://127.0.0.1:10250',
    'Address of the kubelet of this node',
  ),
  'k8s.tokenFile': withDefault(path, `${SERVICE_ACCOUNT}/token`, 'File with the token for the kubelet'),
  'k8s.caFile': withDefault(
    path,
    `${SERVICE_ACCOUNT}/ca.crt`,
    "PEM file that the kubelet's certificate is verified by",
  ),
  'k8s.skipVerification': withDefault(
    flag,
    'false',
    "Do not verify the kubelet's certificate; only for a kubelet on loopback that signed its own",
  ),
  'k8s.nodeName': optional(text({ form: 'name' }), "Name in the kubelet's certificate, if not its address"),
  'log.level': logLevel,
} as const satisfies Schema;

export type AttestorName = 'unix' | 'systemd' | 'docker' | 'k8s';

export interface AgentConfig {
  /** host:port */
  readonly server: string;
  readonly trust: Trust;
  /** undefined for whichever the control plane proves. */
  readonly trustDomain: string | undefined;
  readonly stateDirectory: string;
  readonly socketPath: string;
  readonly socketMode: number;
  readonly adminSocketPath: string;
  /** undefined for an agent that has its certificate already. */
  readonly proof: AttestationProof | undefined;
  readonly attestors: readonly AttestorName[];
  readonly secretNames: SecretNames;
  readonly dockerSocketPath: string;
  readonly kubelet: {
    readonly url: string;
    readonly tokenFile: string;
    readonly caFile: string | undefined;
    readonly serverName: string | undefined;
  };
  readonly logLevel: LogLevel;
}

const agentRules: readonly Rule<typeof agentSchema>[] = [
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
  proofRule,
  (values, report) => {
    for (const name of ['socket', 'adminSocket'] as const) {
      const value = values[name];
      if (value === undefined) continue;
      try {
        socketPathOf(value);
      } catch (error) {
        const why = error instanceof AppError ? error.message : 'cannot be used.';
        report(name, why.replace(/^The address of a Workload API /, ''));
      }
    }
    if (values.socket !== undefined && values.socket === values.adminSocket) {
      report('adminSocket', 'is the same as socket. Give each its own.');
    }
  },
  (values, report) => {
    try {
      secretNamesOf(values);
    } catch (error) {
      report('sds.svidName', `and the other two: ${error instanceof AppError ? error.message : 'cannot be used.'}`);
    }
  },
  (values, report) => {
    if (values.attestors?.length === 0) report('attestors', 'is empty: nobody could be told from anybody else.');
  },
];

/** Reads and checks what `writ agent` is told. Throws every problem at once, see base/config.ts. */
export function agentConfig(sources: Sources): AgentConfig {
  const values = readConfig(agentSchema, sources, {
    reservedVariables: cliVariables,
    rules: agentRules,
  });
  const fingerprint = values['trust.fingerprint'];
  return Object.freeze({
    server: formatAddress(values.server),
    trust: Object.freeze(
      fingerprint === undefined ? { bundleFile: resolve(values['trust.bundleFile'] ?? '') } : { fingerprint },
    ),
    trustDomain: values.trustDomain,
    stateDirectory: resolve(values.stateDir),
    socketPath: socketPathOf(values.socket),
    socketMode: Number.parseInt(values.socketMode, 8),
    adminSocketPath:
      values.adminSocket === undefined
        ? adminSocketBeside(socketPathOf(values.socket))
        : socketPathOf(values.adminSocket),
    proof: proofOf(values),
    attestors: values.attestors,
    secretNames: secretNamesOf(values),
    dockerSocketPath: resolve(values['docker.socket']),
    kubelet: Object.freeze({
      url: values['k8s.kubelet'],
      tokenFile: resolve(values['k8s.tokenFile']),
      caFile: values['k8s.skipVerification'] ? undefined : resolve(values['k8s.caFile']),
      serverName: values['k8s.nodeName'],
    }),
    logLevel: values['log.level'],
  });
}

/** What was not read has been reported already. Throws `usage`. */
function secretNamesOf(values: {
  readonly 'sds.svidName'?: string | undefined;
  readonly 'sds.bundleName'?: string | undefined;
  readonly 'sds.allBundlesName'?: string | undefined;
}): SecretNames {
  return checkSecretNames({
    svid: values['sds.svidName'] ?? 'default',
    bundle: values['sds.bundleName'] ?? 'ROOTCA',
    allBundles: values['sds.allBundlesName'] ?? 'ALL',
  });
}

/** A URI, or a path from where the agent was started. Throws `usage` for a URI that is none of a Unix socket. */
function socketPathOf(value: string): string {
  if (!/^[a-z]+:/.test(value)) return resolve(value);
  const endpoint = workloadEndpointOf(value);
  if (endpoint.kind === 'unix') return endpoint.path;
  throw new AppError('usage', 'must be a Unix socket: callers on TCP cannot be told from one another.');
}
