import type { Socket } from 'node:net';
import type { PeerModes } from '../../core/policy/peer-authentication.ts';
import { modeOfPort } from '../../core/policy/peer-modes.ts';
import type { PolicyState } from './policy-state.ts';

/** First byte of a TLS record that holds a handshake (RFC 8446 §5.1). No HTTP request begins with it. */
const TLS_HANDSHAKE = 0x16;
/** Begins every HTTP/2 connection (RFC 9113 §3.4), and no HTTP/1.1 request. */
const HTTP2_BEGINS = Buffer.from('PRI ', 'latin1');
/** A protocol in which the server speaks first is known by its silence. Sidecars speak at once. */
const SILENCE_MS = 1_000;

/** What a connection turned out to be. */
export type Spoken = 'tls' | 'http1' | 'h2' | 'tcp';

/** Whether callers without a certificate are let in to the application at this port. Without a policy nobody is. */
export function isPlainTextAllowed(
  state: { readonly peerModes?: PeerModes | undefined } | undefined,
  port: number,
): boolean {
  return state?.peerModes !== undefined && modeOfPort(state.peerModes, port) === 'PERMISSIVE';
}

/** Ports of the application at which plain text is let in, of those that are served. */
export function plainTextPorts(state: PolicyState | undefined, ports: readonly number[]): readonly number[] {
  return ports.filter((port) => isPlainTextAllowed(state, port));
}

/**
 * Finds out what a new connection speaks by its first bytes, which stay in it to be read again. Calls `then` once; never when
 * the caller goes away first, or sends nothing in time where it has to.
 */
export function sniff(
  socket: Socket,
  o: { readonly protocol: 'http' | 'tcp'; readonly timeoutMs: number },
  then: (spoken: Spoken) => void,
): void {
  let first: Buffer = Buffer.alloc(0);
  const done = (spoken: Spoken | undefined) => {
    clearTimeout(timer);
    socket.off('readable', look);
    socket.off('error', gone);
    socket.off('close', gone);
    if (spoken === undefined) return void socket.destroy();
    // Only now: what is put back is announced again at once, to whoever listens.
    if (first.length > 0) socket.unshift(first);
    then(spoken);
  };
  const gone = () => done(undefined);
  const look = () => {
    const read = socket.read() as Buffer | null;
    if (read === null) {
      if (socket.readableEnded || socket.destroyed) done(undefined);
      return;
    }
    first = first.length === 0 ? read : Buffer.concat([first, read]);
    const spoken = spokenIn(first, o.protocol);
    if (spoken !== undefined) done(spoken);
  };
  const silent = () => done(o.protocol === 'tcp' ? 'tcp' : undefined);
  const timer = setTimeout(silent, o.protocol === 'tcp' ? Math.min(SILENCE_MS, o.timeoutMs) : o.timeoutMs);
  timer.unref();
  socket.on('readable', look);
  socket.on('error', gone);
  socket.on('close', gone);
}

/** Undefined when more has to come. */
function spokenIn(first: Buffer, protocol: 'http' | 'tcp'): Spoken | undefined {
  if (first[0] === TLS_HANDSHAKE) return 'tls';
  if (protocol === 'tcp') return 'tcp';
  const length = Math.min(first.length, HTTP2_BEGINS.length);
  if (!first.subarray(0, length).equals(HTTP2_BEGINS.subarray(0, length))) return 'http1';
  return length === HTTP2_BEGINS.length ? 'h2' : undefined;
}
