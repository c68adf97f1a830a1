import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { createServer as createTlsServer } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import type { Trust } from '../../core/identity/trust.ts';
import type { Svid } from '../agent/svid.ts';
import { Application } from './application.ts';
import type { Caller } from './caller.ts';
import { describeCaller, describeNobody } from './caller.ts';
import type { Enforcer } from './enforce.ts';
import { inboundHttp1 } from './inbound-http1.ts';
import { inboundHttp2 } from './inbound-http2.ts';
import { inboundTcp } from './inbound-tcp.ts';
import type { Limits } from './limits.ts';
import type { Listener } from './listener.ts';
import { Connections, listen } from './listener.ts';
import { ALPN_TCP, callerIdentity, isStillTrusted, serverTls } from './mesh-tls.ts';
import type { Spoken } from './plain-text.ts';
import { isPlainTextAllowed, sniff } from './plain-text.ts';
import type { PolicyState } from './policy-state.ts';
import type { QuarantineList } from './quarantine/list.ts';

export interface InboundOptions {
  readonly host: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** `http`: HTTP/1.1 and HTTP/2 by ALPN, gRPC included. `tcp`: bytes. */
  readonly protocol: 'http' | 'tcp';
  readonly application: { readonly host: string; readonly port: number };
}

export interface InboundDeps {
  readonly identity: Watch<Svid>;
  readonly trust: Watch<Trust>;
  readonly enforcer: Enforcer;
  /** Whose connections are cut, idle ones too. Default: nobody's. */
  readonly quarantine?: Watch<QuarantineList>;
  /** Says where plain text is let in. Default: nowhere. */
  readonly policy?: Watch<PolicyState | undefined>;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

/** What serves the connections of one protocol, once their caller is known. */
export interface Protocol {
  serve(caller: Caller): void;
  /** Trust was withdrawn: connections whose caller is no longer valid end, those in the middle of a call after it. */
  recheck(): void;
  /** From now on, connections end as soon as nothing is in flight on them. */
  drain(): void;
}

/** What the protocols of one listener share. */
export interface Inbound {
  readonly application: Application;
  readonly enforcer: Enforcer;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: RandomBytes;
}

/**
 * Opens one port to the mesh. Whoever connects must hold a certificate of a trust domain that is trusted before a byte of
 * theirs is read; then the protocol that ALPN chose takes over. A new certificate applies to the next connection; trust that
 * is withdrawn, to the next call.
 *
 * Only where a policy lets plain text in are the first bytes of a connection looked at. What is no TLS then is served as the
 * call of nobody.
 */
export async function startInbound(options: InboundOptions, deps: InboundDeps): Promise<Listener> {
  const { identity, trust, limits, clock, logger } = deps;
  const application = new Application(options.application, limits);
  const inbound: Inbound = {
    application,
    enforcer: deps.enforcer,
    limits,
    clock,
    logger,
    random: deps.random ?? secureRandom,
  };
  const protocols =
    options.protocol === 'http'
      ? { h2: inboundHttp2(inbound), http1: inboundHttp1(inbound) }
      : { tcp: inboundTcp(inbound) };
  const connections = new Connections();
  const callers = new Map<Socket, string>();
  const plain = new Set<Socket>();

  // It never listens: `server` hands it connections.
  const tls = createTlsServer({
    ...serverTls(identity.current),
    handshakeTimeout: limits.handshakeTimeoutMs,
    // A caller that offers only other protocols fails in the handshake; one that offers none speaks HTTP/1.1.
    ...('tcp' in protocols
      ? {
          ALPNCallback: ({ protocols: offered }: { protocols: string[] }) =>
            offered.includes(ALPN_TCP) ? ALPN_TCP : offered[0],
        }
      : { ALPNProtocols: ['h2', 'http/1.1'] }),
  });
  tls.on('secureConnection', (socket) => {
    connections.add(socket);
    socket.on('error', (error) => logger.debug({ err: error }, 'an inbound connection failed'));
    const caller = identify(socket);
    if (caller !== undefined) remember(caller);
    if (caller === undefined) socket.destroy();
    else if ('tcp' in protocols) protocols.tcp.serve(caller);
    else if (socket.alpnProtocol === 'h2') protocols.h2.serve(caller);
    else protocols.http1.serve(caller);
  });
  tls.on('tlsClientError', (error: Error & { code?: string }, socket) => {
    logger.warn({ code: error.code, peer: socket.remoteAddress }, 'a TLS handshake was refused');
    socket.destroy();
  });

  const server = createServer({ allowHalfOpen: options.protocol === 'tcp', noDelay: true }, (socket) => {
    connections.add(socket);
    socket.on('error', (error) => logger.debug({ err: error }, 'an inbound connection failed'));
    if (!letsPlainTextIn()) return void tls.emit('connection', socket);
    const timeoutMs = limits.handshakeTimeoutMs;
    sniff(socket, { protocol: options.protocol, timeoutMs }, (spoken) => {
      if (spoken === 'tls') tls.emit('connection', socket);
      else servePlain(socket, spoken);
    });
  });
  server.maxConnections = limits.maxConnections;

  const unsubscribe = [
    // Node takes the whole of the options, not only what changed.
    identity.subscribe((svid) => tls.setSecureContext(serverTls(svid))),
    trust.subscribe(() => {
      for (const protocol of Object.values(protocols)) protocol.recheck();
    }),
    ...(deps.quarantine === undefined ? [] : [deps.quarantine.subscribe(cutQuarantined)]),
    ...(deps.policy === undefined ? [] : [deps.policy.subscribe(endPlainText)]),
  ];
  const port = await listen(server, options);
  return {
    host: options.host,
    port,
    async drain(ms) {
      for (const stop of unsubscribe) stop();
      for (const protocol of Object.values(protocols)) protocol.drain();
      await connections.end(server, ms);
      application.close();
    },
  };

  function letsPlainTextIn(): boolean {
    return isPlainTextAllowed(deps.policy?.current, options.application.port);
  }

  function servePlain(socket: Socket, spoken: Exclude<Spoken, 'tls'>): void {
    // It may have been taken back while we waited for the first bytes.
    if (!letsPlainTextIn()) return void socket.destroy();
    plain.add(socket);
    socket.once('close', () => plain.delete(socket));
    const caller = describeNobody(socket, { isValid: letsPlainTextIn });
    remember(caller);
    if ('tcp' in protocols) protocols.tcp.serve(caller);
    else if (spoken === 'h2') protocols.h2.serve(caller);
    else protocols.http1.serve(caller);
  }

  /** Those in the middle of a call end with it, or are cut as open calls are. */
  function endPlainText(): void {
    if (plain.size === 0 || letsPlainTextIn()) return;
    for (const protocol of Object.values(protocols)) protocol.recheck();
  }

  function remember({ socket, peer }: Caller): void {
    callers.set(socket, peer?.id.uri ?? '');
    socket.once('close', () => callers.delete(socket));
  }

  /** Also those that carry no call: what is open is not asked for a certificate again. A new one is let in to be refused on the record. */
  function cutQuarantined(list: QuarantineList): void {
    const isSelf = list.ids.has(identity.current.id.uri);
    for (const [socket, caller] of [...callers]) if (isSelf || list.ids.has(caller)) socket.destroy();
  }

  function identify(socket: TLSSocket): Caller | undefined {
    try {
      const caller = callerIdentity(socket, trust.current, clock.now());
      const { peer } = caller;
      const isValid = () => clock.now() <= peer.notAfter && isStillTrusted(caller, trust.current);
      return describeCaller(socket, peer, { self: identity.current.id.uri, isValid });
    } catch (error) {
      logger.warn({ err: error, peer: socket.remoteAddress }, 'a caller was refused');
      return undefined;
    }
  }
}
