import type { Socket } from 'node:net';
import type { Caller } from './caller.ts';
import type { Inbound, Protocol } from './inbound.ts';
import { tunnel } from './tunnel.ts';

/**
 * Plain TCP: one connection is one call. It is decided at its start, and cut when the policy does not allow it any more.
 * A refused caller sees its connection closed at once.
 */
export function inboundTcp(inbound: Inbound): Protocol {
  const { application, enforcer, limits, logger } = inbound;
  const open = new Set<Caller>();

  async function serve(caller: Caller): Promise<void> {
    const { socket, peer } = caller;
    if (!caller.isValid()) return void socket.destroy();
    const verdict = await enforcer.admit({
      peer,
      port: application.port,
      protocol: 'tcp',
      method: '',
      host: '',
      target: '',
      traceId: '',
      authorization: undefined,
      fields: [],
      connection: caller.connection,
      malformed: undefined,
    });
    const complete = (bytes: { bytesIn: number; bytesOut: number }) =>
      enforcer.complete(verdict, { status: 0, ...bytes });
    if (!verdict.admitted || socket.destroyed) {
      socket.destroy();
      return complete({ bytesIn: 0, bytesOut: 0 });
    }
    verdict.onCut(() => socket.destroy());
    const callee: Socket = application.tcp();
    callee.once('error', (error) => logger.warn({ err: error }, 'a TCP connection to the application failed'));
    tunnel(socket, callee, { idleMs: limits.tunnelIdleMs }, complete);
  }

  return {
    serve(caller) {
      open.add(caller);
      caller.socket.once('close', () => open.delete(caller));
      serve(caller).catch((error: unknown) => {
        logger.error({ err: error }, 'an inbound TCP call failed');
        caller.socket.destroy();
      });
    },
    recheck() {
      for (const caller of open) if (!caller.isValid()) caller.socket.destroy();
    },
    // A TCP connection does not tell when nothing is in flight: it runs until the sidecar's patience ends.
    drain() {},
  };
}
