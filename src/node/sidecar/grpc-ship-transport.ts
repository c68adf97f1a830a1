import { AppError, unreachable } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type { ShipHello, ShipNack } from '../../core/audit/ship.ts';
import type { ShipResponseMessage } from '../../wire/audit.ts';
import { fromShipResponse, toShipRequest } from '../../wire/audit.ts';
import { GrpcStream } from '../agent/grpc-stream.ts';
import type { ControlPlaneClients } from './control-plane.ts';
import type { ShipStream, ShipTransport } from './ship-transport.ts';

/** Carries audit batches over `Audit.Ship`. */
export class GrpcShipTransport implements ShipTransport {
  readonly #clients: Watch<ControlPlaneClients>;

  constructor(clients: Watch<ControlPlaneClients>) {
    this.#clients = clients;
  }

  /** The stream ends when `signal` aborts, and when the certificate is replaced: the next one is opened with the new. */
  async open(hello: ShipHello, signal: AbortSignal): Promise<ShipStream> {
    signal.throwIfAborted();
    const stream = new GrpcStream(this.#clients.current.audit.ship());
    const close = () => {
      unsubscribe();
      signal.removeEventListener('abort', close);
      stream.cancel();
    };
    const unsubscribe = this.#clients.subscribe(close);
    signal.addEventListener('abort', close, { once: true });
    const receive = async (): Promise<ShipResponseMessage | undefined> => {
      const message = await stream.receive();
      return message === undefined ? undefined : fromShipResponse(message);
    };
    try {
      await stream.send(toShipRequest({ hello }));
      const first = await receive();
      if (first === undefined) throw new AppError('unavailable', 'The control plane ended the audit stream.');
      if ('nack' in first) throw refusedBy(first.nack);
      if (!('welcome' in first)) throw new AppError('invalid', 'The control plane did not begin with a welcome.');
      const { welcome } = first;
      return {
        welcome,
        send: (batch) => stream.send(toShipRequest({ batch })),
        replies: replies(receive, close),
        close,
      };
    } catch (error) {
      close();
      signal.throwIfAborted();
      throw error;
    }
  }
}

async function* replies(receive: () => Promise<ShipResponseMessage | undefined>, close: () => void) {
  try {
    for (;;) {
      const message = await receive();
      if (message === undefined) return;
      if ('welcome' in message) throw new AppError('invalid', 'The control plane said welcome twice.');
      yield message;
    }
  } finally {
    close();
  }
}

function refusedBy(nack: ShipNack): AppError {
  const message = `The ledger refused the audit stream: ${nack.message}`;
  switch (nack.code) {
    case 'clone':
    case 'fenced':
      return new AppError('audit-fenced', message);
    case 'gap':
      return new AppError('audit-gap', message);
    case 'fork':
      return new AppError('audit-fork', message);
    case 'retry-later':
      return new AppError('unavailable', message);
    case 'bad-signature':
    case 'bad-root':
    case 'too-large':
      return new AppError('audit-refused', message);
    default:
      return unreachable(nack.code);
  }
}
