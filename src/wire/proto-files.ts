import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AppError } from '../base/errors.ts';

/** What we speak, relative to `protoDirectory`. */
export const protoFiles = [
  'writ/v1/enrollment.proto',
  'writ/v1/identity.proto',
  'writ/v1/policy.proto',
  'writ/v1/audit.proto',
  'grpc/health/v1/health.proto',
] as const;

/** What agents serve to workloads beside it; loaded by whoever speaks it. */
export const workloadApiFiles = ['spiffe/workloadapi.proto'] as const;

/** What agents serve to Envoy there, and what its secrets are made of. */
export const secretDiscoveryFiles = [
  'envoy/service/secret/v3/sds.proto',
  'envoy/extensions/transport_sockets/tls/v3/secret.proto',
  'envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto',
] as const;

/** How sidecars ask external authorizers. */
export const externalAuthorizationFiles = ['envoy/service/auth/v3/external_auth.proto'] as const;

/** Everything that types are generated for. */
export const allProtoFiles = [
  ...protoFiles,
  ...workloadApiFiles,
  ...secretDiscoveryFiles,
  ...externalAuthorizationFiles,
] as const;

/**
 * Where the .proto files are: in `proto/` of the nearest directory above this file that has them, so that it is found from
 * a clone (`src/wire`) as from the published package (`dist/wire` or `dist/src/wire`).
 */
export const protoDirectory: string = findProtoDirectory(import.meta.dirname);

function findProtoDirectory(from: string): string {
  for (let directory = from; ; directory = dirname(directory)) {
    const candidate = join(directory, 'proto');
    if (existsSync(join(candidate, protoFiles[0]))) return candidate;
    if (dirname(directory) === directory) {
      throw new AppError(
        'incompatible-data',
        `No proto/${protoFiles[0]} above ${from}: the installation is incomplete.`,
      );
    }
  }
}
