import { createServer, type Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { Trust } from '../../core/identity/trust.ts';
import type { Svid } from '../agent/svid.ts';
import type { Recorder } from './enforce.ts';
import type { Limits } from './limits.ts';
import type { Listener } from './listener.ts';
import { Connections, listen } from './listener.ts';
import { MeshPool, Quarantined } from './mesh-pool.ts';
import { OutboundEnforcer } from './outbound-enforce.ts';
import { outboundHttp1 } from './outbound-http1.ts';
import { outboundHttp2 } from './outbound-http2.ts';
import type { PolicyState } from './policy-state.ts';
import type { Problem } from './problem.ts';
import type { QuarantineList } from './quarantine/list.ts';
import { nobody } from './quarantine/list.ts';
import { Router } from './route.ts';

export interface OutboundDeps {
  readonly identity: Watch<Svid>;
  readonly trust: Watch<Trust>;
  readonly policy: Watch<PolicyState | undefined>;
  /** Who is not called, and who may not call. Default: nobody. */
  readonly quarantine?: Watch<QuarantineList>;
  /** Of what is decided here. */
  readonly recorder: Recorder;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

/** What the protocols of the outbound port share. */
export interface Outbound {
  readonly router: Router;
  readonly enforcer: OutboundEnforcer;
  readonly pool: MeshPool;
  readonly limits: Limits;
  readonly random: RandomBytes;
  /** What to tell the application when no endpoint gave an answer. */
  readonly onFailure: (error: unknown) => Problem;
}

/** First bytes of HTTP/2 with prior knowledge (RFC 9113 §3.4). HTTP/1.1 has no method `PRI`. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/**
 * The port through which the application beside us calls others: HTTP/1.1, HTTP/2 and CONNECT, told apart by their first
 * bytes. Whoever can reach this port speaks as the application, so it belongs on loopback.
 */
export async function startOutbound(
  options: { readonly host: string; readonly port: number },
  deps: OutboundDeps,
): Promise<Listener> {
  const { policy, limits, logger } = deps;
  const pool = new MeshPool(deps);
  const random = deps.random ?? secureRandom;
  const { streamAgeMs } = limits;
  const quarantine = deps.quarantine ?? new WatchSource(nobody);
  const enforcer = new OutboundEnforcer({ ...deps, quarantine, streamAgeMs, random });
  const outbound: Outbound = {
    router: new Router(() => policy.current),
    enforcer,
    pool,
    limits,
    random,
    onFailure: (error) => {
      logger.warn({ err: error }, 'a call could not be sent');
      return problemOf(error);
    },
  };
  const http1 = outboundHttp1(outbound, logger);
  const http2 = outboundHttp2(outbound, logger);
  const unsubscribe = policy.subscribe((state) => pool.retain(state?.services.values() ?? []));
  const connections = new Connections();
  /** Those that have not said anything yet. */
  const silent = new Set<Socket>();

  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false }, (socket) => {
    connections.add(socket);
    socket.on('error', (error) => logger.debug({ err: error }, 'an outbound connection failed'));
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
    sniff(socket, limits.headersTimeoutMs, (isHttp2) => {
      silent.delete(socket);
      (isHttp2 ? http2 : http1).serve(socket);
    });
  });
  server.maxConnections = limits.maxConnections;
  const port = await listen(server, options);
  return {
    host: options.host,
    port,
    async drain(ms) {
      unsubscribe();
      http1.drain();
      http2.drain();
      for (const socket of silent) socket.destroy();
      await connections.end(server, ms);
      pool.close();
      enforcer.close();
    },
  };
}

/** Reads until it is clear which protocol this is, puts the bytes back, and says so. */
function sniff(socket: Socket, timeoutMs: number, decided: (isHttp2: boolean) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  socket.setTimeout(timeoutMs, () => socket.destroy());
  const onEnd = () => socket.destroy();
  const onReadable = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const compared = Math.min(seen.length, PREFACE.length);
    const isHttp2 = seen.subarray(0, compared).equals(PREFACE.subarray(0, compared));
    if (isHttp2 && compared < PREFACE.length) return;
    socket.off('readable', onReadable);
    socket.off('end', onEnd);
    socket.setTimeout(0);
    socket.removeAllListeners('timeout');
    socket.unshift(seen);
    decided(isHttp2);
  };
  socket.on('readable', onReadable);
  socket.once('end', onEnd);
}

function problemOf(error: unknown): Problem {
  if (error instanceof Quarantined) return error.problem;
  if (error instanceof AppError) {
    if (error.code === 'peer-refused') return { status: 502, code: 'peer-refused', detail: error.message };
    if (error.code === 'unauthenticated') {
      return { status: 503, code: 'unavailable', reason: 'no-identity', detail: error.message };
    }
    return { status: 502, code: 'unavailable', detail: error.message };
  }
  return {
    status: 502,
    code: 'unavailable',
    detail: 'The sidecar of the called service broke off before it answered.',
  };
}
