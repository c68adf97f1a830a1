import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { CallOptions, ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import { AppError } from '../base/errors.ts';
import { certificatePem } from '../core/identity/bundle.ts';
import { fromServiceError, grpcStatus } from '../wire/errors.ts';
import type { SpiffeWorkloadAPIClient } from '../wire/gen/SpiffeWorkloadAPI.ts';
import type { WorkloadEndpoint } from '../wire/workload-endpoint.ts';
import {
  adminSocketBeside,
  DEFAULT_SOCKET_PATH,
  ENDPOINT_VARIABLE,
  grpcTarget,
  workloadEndpointOf,
} from '../wire/workload-endpoint.ts';
import { findDevFile } from './context.ts';
import type { World } from './world.ts';

/** How long a first answer may take, in milliseconds. */
const FIRST_ANSWER_MS = 10_000;

/**
 * The Workload API to speak to: --socket, else SPIFFE_ENDPOINT_SOCKET, else that of a `writ dev` of this directory or one
 * above, else where an agent serves it unless told otherwise.
 */
export async function findWorkloadEndpoint(flag: string | undefined, world: World): Promise<WorkloadEndpoint> {
  if (flag !== undefined) {
    return workloadEndpointOf(/^[a-z]+:/.test(flag) ? flag : resolve(world.cwd, flag));
  }
  const variable = world.env[ENDPOINT_VARIABLE];
  if (variable !== undefined && variable !== '') return workloadEndpointOf(variable);
  return workloadEndpointOf((await findDevFile(world))?.agentSocket ?? DEFAULT_SOCKET_PATH);
}

/** Where the agent answers whoever runs its machine: --admin-socket, else beside its Workload API. */
export async function findAdminSocket(
  flags: { readonly adminSocket?: string; readonly socket?: string },
  world: World,
): Promise<string> {
  if (flags.adminSocket !== undefined) return resolve(world.cwd, flags.adminSocket);
  const endpoint = await findWorkloadEndpoint(flags.socket, world);
  if (endpoint.kind === 'unix') return adminSocketBeside(endpoint.path);
  throw new AppError('usage', 'The Workload API is not on a Unix socket. Name the admin socket with --admin-socket.');
}

/** A client of the SPIFFE Workload API: of ours as of anybody's. */
export class WorkloadApi {
  readonly #endpoint: WorkloadEndpoint;
  readonly #client: SpiffeWorkloadAPIClient;
  readonly #metadata: import('@grpc/grpc-js').Metadata;
  readonly #world: World;

  /** The gRPC library is loaded here: other commands start without it. */
  static async open(endpoint: WorkloadEndpoint, world: World): Promise<WorkloadApi> {
    if (endpoint.kind === 'unix' && !existsSync(endpoint.path)) throw nobody(endpoint);
    const [{ credentials, Metadata }, { SECURITY_HEADER, WorkloadApiClient }] = await Promise.all([
      import('@grpc/grpc-js'),
      import('../wire/workload-api.ts'),
    ]);
    const client = new WorkloadApiClient(grpcTarget(endpoint), credentials.createInsecure(), {
      'grpc.enable_http_proxy': 0,
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
    });
    const metadata = new Metadata();
    metadata.set(SECURITY_HEADER, 'true');
    return new WorkloadApi({ endpoint, client, metadata, world });
  }

  private constructor(o: {
    readonly endpoint: WorkloadEndpoint;
    readonly client: SpiffeWorkloadAPIClient;
    readonly metadata: import('@grpc/grpc-js').Metadata;
    readonly world: World;
  }) {
    this.#endpoint = o.endpoint;
    this.#client = o.client;
    this.#metadata = o.metadata;
    this.#world = o.world;
  }

  close(): void {
    this.#client.close();
  }

  /** The first message of a stream. */
  async first<T>(method: StreamMethod<T>): Promise<T> {
    for await (const message of this.#messages(method, { deadline: Date.now() + FIRST_ANSWER_MS })) return message;
    throw new AppError('unavailable', 'The agent ended the answer without giving one.');
  }

  /** Every message of a stream, until Ctrl-C or the stream fails. */
  follow<T>(method: StreamMethod<T>): AsyncIterable<T> {
    return this.#messages(method, {});
  }

  unary<T>(method: UnaryMethod<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      method(this.#client, this.#metadata, { deadline: Date.now() + FIRST_ANSWER_MS }, (error, message) => {
        if (error !== null) reject(this.#failure(error));
        else if (message === undefined) reject(new AppError('unavailable', 'The agent gave no answer.'));
        else resolve(message);
      });
    });
  }

  async *#messages<T>(method: StreamMethod<T>, options: CallOptions): AsyncGenerator<T> {
    const call = method(this.#client, this.#metadata, options);
    const stop = () => call.cancel();
    this.#world.signal.addEventListener('abort', stop, { once: true });
    try {
      for await (const message of call) yield message as T;
    } catch (error) {
      throw this.#failure(error as ServiceError);
    } finally {
      this.#world.signal.removeEventListener('abort', stop);
      call.cancel();
    }
  }

  #failure(error: ServiceError): AppError {
    const { code, details } = error;
    if (code === grpcStatus.UNAVAILABLE && error.metadata?.get('writ-code').length !== 1)
      return nobody(this.#endpoint, error);
    if (code === grpcStatus.PERMISSION_DENIED) {
      return new AppError('forbidden', details || 'There is no identity for this process.', { cause: error });
    }
    if (code === grpcStatus.INVALID_ARGUMENT) return new AppError('invalid', details, { cause: error });
    if (code === grpcStatus.UNIMPLEMENTED) {
      return new AppError('invalid', 'The agent does not offer this.', { cause: error });
    }
    return fromServiceError(error);
  }
}

export type StreamMethod<T> = (
  client: SpiffeWorkloadAPIClient,
  metadata: import('@grpc/grpc-js').Metadata,
  options: CallOptions,
) => ClientReadableStream<T>;

export type UnaryMethod<T> = (
  client: SpiffeWorkloadAPIClient,
  metadata: import('@grpc/grpc-js').Metadata,
  options: CallOptions,
  callback: (error: ServiceError | null, message?: T) => void,
) => unknown;

/** DER certificates that stand one after the other, as PEM each. Throws `invalid` for what is none. */
export function certificatesOf(der: Buffer): readonly X509Certificate[] {
  const found: X509Certificate[] = [];
  try {
    for (let rest = der; rest.length > 0; ) {
      const certificate = new X509Certificate(rest);
      found.push(certificate);
      rest = rest.subarray(certificate.raw.length);
    }
  } catch (cause) {
    throw new AppError('invalid', 'The agent sent something that is no certificate.', { cause });
  }
  return found;
}

export function pemOf(certificates: readonly X509Certificate[]): string {
  return certificates.map(({ raw }) => certificatePem(raw)).join('');
}

function nobody(endpoint: WorkloadEndpoint, cause?: unknown): AppError {
  const where = endpoint.kind === 'unix' ? `unix://${endpoint.path}` : grpcTarget(endpoint);
  return new AppError(
    'unavailable',
    `Nobody serves the Workload API at ${where}. Start \`writ agent\`, or name its socket with --socket or ${ENDPOINT_VARIABLE}.`,
    { cause },
  );
}
