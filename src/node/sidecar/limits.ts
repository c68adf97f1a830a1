/** What one sidecar spends at most. Every number can be hit by a caller, so every number is finite. */
export interface Limits {
  /** Request line and headers, in bytes. Default 32 KiB; beyond it 431. */
  readonly maxHeaderBytes: number;
  /** Header fields of one request. Default 256; beyond it the request is refused as malformed. */
  readonly maxHeaders: number;
  /** Open connections per listener. Default 4096; further ones are closed at once. */
  readonly maxConnections: number;
  /** Concurrent streams per HTTP/2 connection. Default 256. */
  readonly maxConcurrentStreams: number;
  /** From accepting a connection to the end of its TLS handshake. Default 10 s. */
  readonly handshakeTimeoutMs: number;
  /** From the first byte of a request to the end of its headers. Default 10 s; bodies may take as long as they need. */
  readonly headersTimeoutMs: number;
  /** A connection without a request is closed after this. Default 75 s: longer than `meshIdleMs`, so that the side that
   *  sends requests is the one that closes. */
  readonly keepAliveMs: number;
  /** Idle connections to other sidecars are closed after this. Default 60 s. */
  readonly meshIdleMs: number;
  /** Idle connections to the local application are closed after this, or earlier when it says so by `Keep-Alive`. Default
   *  4 s: below the 5 s after which common servers close, which would race with the next request. */
  readonly applicationIdleMs: number;
  /** To connect, and to finish the handshake. Default 5 s. */
  readonly connectTimeoutMs: number;
  /** TCP and upgraded connections without a byte in either direction are closed after this. Default 1 h. */
  readonly tunnelIdleMs: number;
  /** How old an HTTP call must be for a change of policy to cut it off in the middle; TCP is cut at any age. Default 2 s: a
   *  call that is shorter was decided at its beginning, and one that is longer is a stream. */
  readonly streamAgeMs: number;
  /** Connections to one endpoint over HTTP/1.1. Default 512; further requests wait for one. */
  readonly maxConnectionsPerEndpoint: number;
  /** How long a stopping sidecar waits for calls in flight. Default 10 s. */
  readonly drainMs: number;
}

export const defaultLimits: Limits = Object.freeze({
  maxHeaderBytes: 32 * 1024,
  maxHeaders: 256,
  maxConnections: 4096,
  maxConcurrentStreams: 256,
  handshakeTimeoutMs: 10_000,
  headersTimeoutMs: 10_000,
  keepAliveMs: 75_000,
  meshIdleMs: 60_000,
  applicationIdleMs: 4_000,
  connectTimeoutMs: 5_000,
  tunnelIdleMs: 3_600_000,
  streamAgeMs: 2_000,
  maxConnectionsPerEndpoint: 512,
  drainMs: 10_000,
});
