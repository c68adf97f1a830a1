import type { ServerOptions } from '@grpc/grpc-js';
import { KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS, MAX_REQUEST_BYTES, MAX_SNAPSHOT_BYTES } from '../../wire/limits.ts';

export interface GrpcLimits {
  /** TCP connections at once; more are closed unanswered. Default 20,000. */
  readonly maxConnections: number;
  /** Calls at once on one connection. A sidecar needs four. Default 100. */
  readonly maxStreamsPerConnection: number;
  /** A TLS handshake that is not done by then is cut. Default 30 s: thousands of sidecars may come back at once. */
  readonly handshakeTimeoutMs: number;
  /** How long a stream may wait with its first message. Default 10 s. */
  readonly firstMessageTimeoutMs: number;
  /** How long a sidecar may take to acknowledge a snapshot before its stream is closed. Default 30 s. */
  readonly ackTimeoutMs: number;
  /**
   * A connection is told to go away at this age, ± 10 %, so that callers spread over replicas and present their renewed
   * certificates; its streams have the grace to end. Default 30 min, 1 min.
   */
  readonly maxConnectionAgeMs: number;
  readonly maxConnectionAgeGraceMs: number;
  /** A connection without a call is closed. Default 5 min. */
  readonly maxConnectionIdleMs: number;
  /** When the server stops, calls that are under way may take this long. Default 5 s. */
  readonly stopGraceMs: number;
  /** Attestations per second and source address, in the long run and at once. Default 10 and 20. */
  readonly attestationsPerSecond: number;
  readonly attestationBurst: number;
  /**
   * X.509-SVIDs, JWTs and WITs that are asked for, per second and caller, in the long run and at once. Default 500 and 2,000: an
   * agent with a thousand workloads may start over at any time.
   */
  readonly signaturesPerSecond: number;
  readonly signatureBurst: number;
  /**
   * Streams that are opened, per second and caller, in the long run and at once. Default 10 and 100: each is sent the whole
   * state of its caller, and writes down that it is there.
   */
  readonly streamsPerSecond: number;
  readonly streamBurst: number;
}

export const defaultLimits: GrpcLimits = {
  maxConnections: 20_000,
  maxStreamsPerConnection: 100,
  handshakeTimeoutMs: 30_000,
  firstMessageTimeoutMs: 10_000,
  ackTimeoutMs: 30_000,
  maxConnectionAgeMs: 30 * 60_000,
  maxConnectionAgeGraceMs: 60_000,
  maxConnectionIdleMs: 5 * 60_000,
  stopGraceMs: 5_000,
  attestationsPerSecond: 10,
  attestationBurst: 20,
  signaturesPerSecond: 500,
  signatureBurst: 2_000,
  streamsPerSecond: 10,
  streamBurst: 100,
};

/**
 * What of it the gRPC library enforces. Its own statistics, Channelz, are off: nobody asks for them, and they cost memory for
 * every connection and time for every call. (`Server.forceShutdown` cuts nothing without them; `listener.ts` does that.)
 */
export function serverOptions(limits: GrpcLimits): ServerOptions {
  return {
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_send_message_length': MAX_SNAPSHOT_BYTES,
    'grpc.max_concurrent_streams': limits.maxStreamsPerConnection,
    'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.max_connection_age_ms': limits.maxConnectionAgeMs,
    'grpc.max_connection_age_grace_ms': limits.maxConnectionAgeGraceMs,
    'grpc.max_connection_idle_ms': limits.maxConnectionIdleMs,
  };
}
