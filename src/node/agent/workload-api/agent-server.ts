import type { ServerHttp2Stream } from 'node:http2';
import { ServerCredentials } from '@grpc/grpc-js';
import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import { hardenedServer } from '../../../wire/hardened-server.ts';
import { KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS } from '../../../wire/limits.ts';
import { tolerant } from '../../../wire/receive.ts';
import type { WorkloadAttestor } from '../attest-workload/attestor.ts';
import type { AgentIdentities } from '../identities/agent-identities.ts';
import type { AgentServiceFactory } from './caller.ts';
import type { CallerLimits } from './connections.ts';
import { Connections } from './connections.ts';
import { Interests } from './interests.ts';
import type { PeerCredentials } from './peer-credentials.ts';
import { checkPeerCredentialsSupport } from './peer-credentials.ts';
import type { RequestBudgetOptions } from './request-budget.ts';
import { RequestBudget } from './request-budget.ts';
import { listenOnUnixSocket, socketUri } from './socket.ts';

export interface AgentServerOptions {
  /** Absolute path of the Unix socket. */
  readonly socketPath: string;
  /** Its permissions. Default 0777: whoever may connect is told by attestation, not by the file system. */
  readonly socketMode?: number;
  readonly identities: AgentIdentities;
  readonly attestors: readonly WorkloadAttestor[];
  /** The Workload API, Envoy's SDS. */
  readonly services: readonly AgentServiceFactory[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<CallerLimits>;
  readonly requestBudget?: Partial<RequestBudgetOptions>;
  /** When the agent stops, calls that are under way may take this long, in milliseconds. Default 2 s. */
  readonly stopGraceMs?: number;
  /** Default the kernel's. */
  readonly credentialsOf?: (socket: import('node:net').Socket) => PeerCredentials;
  readonly procRoot?: string;
}

export interface AgentServer {
  /** `unix:///…`, as SPIFFE_ENDPOINT_SOCKET wants it. */
  readonly uri: string;
  /** Streams end with `unavailable`, the socket is removed, connections are closed, at last by force. Idempotent. */
  close(): Promise<void>;
}

/** One message of a caller. A JWT-SVID has at most 8 KiB; Envoy tells its whole configuration in the first message. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** One message to a caller: chains and bundles of everything that one workload may have. */
const MAX_SENT_BYTES = 16 * 1024 * 1024;
const MAX_STREAMS_PER_CONNECTION = 100;

/**
 * gRPC without TLS on a Unix socket (SPIFFE_Workload_Endpoint.md §3): callers prove nothing, the kernel says who they are.
 *
 * @throws AppError as `listenOnUnixSocket`, and `unavailable` where callers cannot be identified
 */
export async function startAgentServer(o: AgentServerOptions): Promise<AgentServer> {
  if (o.credentialsOf === undefined) checkPeerCredentialsSupport();
  const { identities, clock, logger } = o;
  const stopping = new AbortController();
  const interests = new Interests(identities.state);
  const connections = new Connections({ ...o, wants: (prefix) => interests.wants(prefix) });
  const context = {
    identities,
    callers: connections,
    clock,
    logger,
    stopping: stopping.signal,
    openStream: connections.openStream.bind(connections),
  };
  const budget = new RequestBudget(o.requestBudget);
  const onStream = (stream: ServerHttp2Stream) => {
    const uid = connections.userOf(stream.session?.socket.remoteAddress);
    if (uid !== undefined) budget.follow(stream, uid);
  };
  const options = {
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_SENT_BYTES,
    'grpc.max_concurrent_streams': MAX_STREAMS_PER_CONNECTION,
    'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  };
  const server = hardenedServer(options, onStream);
  for (const factory of o.services) {
    const { definition, handlers } = factory(context);
    server.addService(tolerant(definition, MAX_MESSAGE_BYTES), handlers);
  }
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = await listenOnUnixSocket({
    path: o.socketPath,
    mode: o.socketMode ?? 0o777,
    onConnection: (socket) => {
      if (connections.admit(socket)) injector.injectConnection(socket);
      else socket.destroy();
    },
  });
  logger.info({ socket: socketUri(o.socketPath) }, 'the Workload API is served');

  let closing: Promise<void> | undefined;
  const close = async () => {
    const ended = listener.stop();
    stopping.abort();
    server.tryShutdown(() => undefined);
    const cancel = clock.after(o.stopGraceMs ?? 2_000, () => listener.cut());
    await ended;
    cancel();
  };
  return {
    uri: socketUri(o.socketPath),
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
