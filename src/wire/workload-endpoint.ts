import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { AppError } from '../base/errors.ts';

/** Where a Workload API is served. */
export type WorkloadEndpoint =
  | { readonly kind: 'unix'; readonly path: string }
  /** `host` is an IP address. */
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** The variable that names it to workloads (SPIFFE_Workload_Endpoint.md §4). */
export const ENDPOINT_VARIABLE = 'SPIFFE_ENDPOINT_SOCKET';

/** Where `writ agent` serves it, unless it was told otherwise. */
export const DEFAULT_SOCKET_PATH = '/run/writ/agent.sock';

/** Longest that is looked at. */
const MAX_LENGTH = 4096;

/**
 * A URI as SPIFFE_ENDPOINT_SOCKET has it (SPIFFE_Workload_Endpoint.md §4): `unix:///path/agent.sock`, with an absolute path and
 * nothing else, or `tcp://127.0.0.1:8000`, with an IP address and a port and nothing else.
 *
 * @throws AppError `usage`
 */
export function parseWorkloadEndpoint(uri: string): WorkloadEndpoint {
  if (uri.length > MAX_LENGTH) throw refuse('is too long');
  const unix = /^unix:(\/.*)?$/s.exec(uri);
  if (unix !== null) return Object.freeze({ kind: 'unix', path: socketPath(unix[1] ?? '') });
  const tcp = /^tcp:\/\/(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(uri);
  const host = tcp?.[1] ?? tcp?.[2] ?? '';
  const port = Number(tcp?.[3]);
  const version = tcp?.[1] === undefined ? 4 : 6;
  if (isIP(host) === version && port >= 1 && port <= 65_535) return Object.freeze({ kind: 'tcp', host, port });
  throw refuse('must read unix:///path/of/the/socket, or tcp:// with an IP address and a port');
}

/** The same as a command line has it: a URI, or a bare path. */
export function workloadEndpointOf(text: string): WorkloadEndpoint {
  if (isAbsolute(text) && !text.includes('\0')) return Object.freeze({ kind: 'unix', path: text });
  return parseWorkloadEndpoint(text);
}

/** As gRPC names it. */
export function grpcTarget(endpoint: WorkloadEndpoint): string {
  if (endpoint.kind === 'unix') return `unix://${endpoint.path}`;
  return endpoint.host.includes(':')
    ? `ipv6:[${endpoint.host}]:${endpoint.port}`
    : `ipv4:${endpoint.host}:${endpoint.port}`;
}

/** Where an agent answers whoever runs its machine, unless it was told otherwise: beside the socket of its Workload API. */
export function adminSocketBeside(socketPath: string): string {
  return `${socketPath.replace(/\.sock$/, '')}-admin.sock`;
}

/** `unix:/path` and `unix:///path` are the same URI (RFC 3986 §3); an authority is not allowed. */
function socketPath(rest: string): string {
  const path = rest.startsWith('///') ? rest.slice(2) : rest;
  if (path.startsWith('//')) throw refuse('must not have a host: write unix:///path, with three slashes');
  if (!path.startsWith('/') || path === '/') throw refuse('must have the absolute path of a socket');
  if (/[?#\0]/.test(path)) throw refuse('must not have a query or a fragment');
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    throw refuse('has a percent sign that is no escape');
  }
  if (decoded.includes('\0')) throw refuse('must not have a zero byte');
  return decoded;
}

function refuse(why: string): AppError {
  return new AppError('usage', `The address of a Workload API ${why}.`);
}
