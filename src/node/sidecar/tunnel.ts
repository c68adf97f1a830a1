import type { Socket } from 'node:net';

export interface TunnelBytes {
  /** From the caller. */
  readonly bytesIn: number;
  /** To the caller. */
  readonly bytesOut: number;
}

/**
 * Joins two connections until both directions have ended, either one fails, or nothing moves for `idleMs`. A half that
 * ends is passed on as an end, so that protocols which close one direction first work.
 *
 * @param first Bytes that were already read from the caller.
 */
export function tunnel(
  caller: Socket,
  callee: Socket,
  o: { readonly idleMs: number; readonly firstIn?: Buffer; readonly firstOut?: Buffer },
  done: (bytes: TunnelBytes) => void,
): void {
  let bytesIn = o.firstIn?.length ?? 0;
  let bytesOut = o.firstOut?.length ?? 0;
  let open = 2;
  const cut = () => {
    caller.destroy();
    callee.destroy();
  };
  const closed = (other: Socket) => {
    open -= 1;
    // The other side may still be writing out what it was given; anything else cannot be delivered any more.
    if (open === 1) {
      if (other.readableEnded && other.writableEnded) other.setTimeout(o.idleMs, cut);
      else other.destroy();
    }
    if (open === 0) done({ bytesIn, bytesOut });
  };
  caller.on('error', cut);
  callee.on('error', cut);
  if (caller.destroyed || callee.destroyed) {
    // Its `close` may have been before we listened.
    cut();
    done({ bytesIn: 0, bytesOut: 0 });
    return;
  }
  caller.once('close', () => closed(callee));
  callee.once('close', () => closed(caller));
  caller.setTimeout(o.idleMs, cut);
  // Every byte in either direction is a read or a write of `caller`; one timer is enough.
  callee.setTimeout(0);
  if (o.firstIn !== undefined && o.firstIn.length > 0) callee.write(o.firstIn);
  if (o.firstOut !== undefined && o.firstOut.length > 0) caller.write(o.firstOut);
  caller.on('data', (chunk: Buffer) => {
    bytesIn += chunk.length;
  });
  callee.on('data', (chunk: Buffer) => {
    bytesOut += chunk.length;
  });
  caller.pipe(callee);
  callee.pipe(caller);
}
