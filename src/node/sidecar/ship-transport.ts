import type { Batch, ShipAck, ShipHello, ShipLogged, ShipNack, ShipWelcome } from '../../core/audit/ship.ts';

export type ShipReply = { readonly ack: ShipAck } | { readonly nack: ShipNack } | { readonly logged: ShipLogged };

/** How the shipper reaches the ledger. */
export interface ShipTransport {
  /**
   * Opens a stream: sends the hello and resolves with the welcome. Rejects with an `AppError` when the ledger cannot be
   * reached or refuses the hello, and with the signal's reason when it aborts.
   */
  open(hello: ShipHello, signal: AbortSignal): Promise<ShipStream>;
}

export interface ShipStream {
  readonly welcome: ShipWelcome;
  /** Resolves when the batch is on its way and another may follow; rejects when the stream has ended. */
  send(batch: Batch): Promise<void>;
  /** In order. Ends or throws when the stream does. */
  readonly replies: AsyncIterable<ShipReply>;
  /** Ends the stream, and with it `replies` and pending sends. Idempotent. */
  close(): void;
}
