import { createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import type { Server, TLSSocket } from 'node:tls';
import { connect, createServer } from 'node:tls';
import { credentials } from '@grpc/grpc-js';
import type { TrustBundle } from '../../src/core/identity/bundle.ts';
import { parseSpiffeId } from '../../src/core/identity/spiffe-id.ts';
import { trustOf } from '../../src/core/identity/trust.ts';
import type { Svid } from '../../src/node/agent/svid.ts';
import { calleeIdentity, callerIdentity, clientTls, serverTls } from '../../src/node/sidecar/mesh-tls.ts';
import type { X509SVIDResponse__Output } from '../../src/wire/gen/X509SVIDResponse.ts';
import { WorkloadApiClient, workloadMetadata } from './workload-client.ts';

/**
 * Workloads that take their identities from the Workload API of agents, half of them servers and half of them clients, and open
 * a new mTLS connection to each other all the time. A process of its own, which ends when its parent does.
 */
export type RotationPairRequest =
  | { readonly kind: 'start'; readonly sockets: readonly string[]; readonly trustDomain: string }
  /** Answered with what was done since the last answer. */
  | { readonly kind: 'count' };

export interface RotationPairDone {
  readonly kind: 'done';
  readonly made: number;
  readonly failed: number;
  /** Why the first one failed; empty for none. */
  readonly why: string;
  /** Milliseconds each took. */
  readonly samples: readonly number[];
}

/** What a workload holds: the latest that was pushed to it. */
interface Workload {
  svid: Svid;
  bundle: TrustBundle;
}

const PAUSE_MS = 20;
const TIMEOUT_MS = 5_000;

let made = 0;
let failed = 0;
let why = '';
let samples: number[] = [];

process.on('disconnect', () => process.exit(0));
process.on('message', (request: RotationPairRequest) => {
  handle(request).then(
    () => {
      process.send?.({ kind: 'done', made, failed, why, samples } satisfies RotationPairDone);
      made = 0;
      failed = 0;
      why = '';
      samples = [];
    },
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    },
  );
});

async function handle(request: RotationPairRequest): Promise<void> {
  if (request.kind === 'count') return;
  const workloads: Workload[] = [];
  for (const socket of request.sockets) workloads.push(await openWorkload(socket, request.trustDomain));
  const half = workloads.length / 2;
  const servers = await Promise.all(workloads.slice(0, half).map(serve));
  void callAll(workloads.slice(half), servers);
}

/** Follows one X.509 stream. */
async function openWorkload(socket: string, trustDomain: string): Promise<Workload> {
  const client = new WorkloadApiClient(`unix://${socket}`, credentials.createInsecure());
  const stream = client.FetchX509SVID({}, workloadMetadata());
  const held: Partial<Workload> = {};
  stream.on('error', (error) => {
    failed += 1;
    why ||= `the Workload API: ${error.message}`;
  });
  stream.on('data', (response: X509SVIDResponse__Output) => {
    const [svid] = response.svids;
    if (svid === undefined) return;
    held.svid = {
      id: parseSpiffeId(svid.spiffeId),
      instanceId: '',
      chain: derElements(svid.x509Svid),
      privateKey: createPrivateKey({ key: svid.x509SvidKey, format: 'der', type: 'pkcs8' }),
      notBefore: 0,
      notAfter: 0,
    };
    held.bundle = { trustDomain, roots: derElements(svid.bundle), jwks: { keys: [] }, sequence: 0 };
  });
  while (held.svid === undefined || held.bundle === undefined) await once(stream, 'data');
  return held as Workload;
}

interface Serving {
  readonly port: number;
  readonly id: string;
}

/** Answers callers of the own trust domain with one byte. */
async function serve(workload: Workload): Promise<Serving> {
  let shown = workload.svid;
  const server: Server = createServer(serverTls(shown), (socket) => {
    socket.on('error', () => undefined);
    try {
      callerIdentity(socket, trustOf(workload.bundle, []), Date.now());
      socket.end('x');
    } catch (error) {
      why ||= `a server: ${error instanceof Error ? error.message : String(error)}`;
      socket.destroy();
    }
  });
  // Before a caller says hello, so that what was pushed last is what is shown.
  server.prependListener('connection', () => {
    if (shown === workload.svid) return;
    shown = workload.svid;
    server.setSecureContext(serverTls(shown));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { port: address.port, id: workload.svid.id.uri };
}

async function callAll(callers: readonly Workload[], servers: readonly Serving[]): Promise<never> {
  for (let i = 0; ; i++) {
    const caller = callers[i % callers.length];
    const server = servers[Math.floor(i / callers.length) % servers.length];
    if (caller === undefined || server === undefined) throw new Error('nobody to call');
    const start = performance.now();
    try {
      await call(caller, server);
      made += 1;
      samples.push(performance.now() - start);
    } catch (error) {
      failed += 1;
      why ||= `a client: ${error instanceof Error ? error.message : String(error)}`;
    }
    await pause(PAUSE_MS);
  }
}

/** A connection of its own, until the server has said that it takes the caller. */
async function call(caller: Workload, { port, id }: Serving): Promise<void> {
  const { svid, bundle } = caller;
  const socket: TLSSocket = connect({
    ...clientTls(svid, bundle),
    host: '127.0.0.1',
    port,
    checkServerIdentity: () => undefined,
  });
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
  try {
    await once(socket, 'secureConnect');
    calleeIdentity(socket, bundle, id, Date.now());
    await once(socket, 'data', { signal: AbortSignal.timeout(TIMEOUT_MS) });
  } finally {
    socket.on('error', () => undefined);
    socket.destroy();
  }
}

/** DER values one behind the other, as the Workload API has certificates. */
function derElements(bytes: Buffer): Buffer[] {
  const elements: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at + 1] ?? 0;
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes);
    const end = at + 2 + lengthBytes + length;
    elements.push(bytes.subarray(at, end));
    at = end;
  }
  return elements;
}
