import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { AgentIdentities } from '../identities/agent-identities.ts';

/** The process at the other end of a connection, as attested for one call. Frozen. */
export interface AttestedCaller {
  readonly pid: number;
  /** Effective ones, as the kernel noted them when the process connected. */
  readonly uid: number;
  readonly gid: number;
  /** Everything that was found out about it. */
  readonly selectors: readonly string[];
  /**
   * Throws `forbidden` when the process has ended: what lives on at the other end is somebody who inherited the connection.
   * Cheap; to be asked before each message of a stream.
   */
  checkAlive(): void;
}

/** What a service on the agent's socket knows about whoever calls it. */
export interface Callers {
  /**
   * Finds out who calls, anew for each call: processes change. Throws `forbidden` when the process is gone or has become
   * somebody else since it connected, `exhausted` when it calls too often, `unavailable` when nothing could be found out.
   */
  attest(call: { getPeer(): string }): Promise<AttestedCaller>;
}

/** What every service on the agent's socket stands on. */
export interface AgentServiceContext {
  readonly identities: AgentIdentities;
  readonly callers: Callers;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborts when the agent stops: streams then end with `unavailable`. */
  readonly stopping: AbortSignal;
  /** Streams that a caller may have open at once are counted here: take one, release it when the stream ends. Throws `exhausted`. */
  openStream(caller: AttestedCaller): () => void;
}

/** A gRPC service on the agent's socket: the Workload API, Envoy's SDS. */
export interface AgentService {
  readonly definition: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
}

export type AgentServiceFactory = (context: AgentServiceContext) => AgentService;
