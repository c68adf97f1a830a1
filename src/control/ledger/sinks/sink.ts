import type { SinkItem } from './item.ts';

/** Where copies of the record go. The transport of a sink: made by whoever knows sockets and files. */
export interface Sink {
  /**
   * Resolves when the receiver has taken all of `items`, in their order, as durably as its protocol can tell. Rejects with
   * `invalid` when it will never take them as they are; with anything else when trying again may help, and then all of them come again:
   * a receiver may get an item twice, with the same id.
   *
   * Called for one group at a time. Gives up when `signal` aborts.
   */
  deliver(items: readonly SinkItem[], signal: AbortSignal): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** What a sink can promise: `best-effort` where the receiver never says what it has. */
export type SinkGuarantee = 'at-least-once' | 'best-effort';

export interface SinkStatus {
  readonly name: string;
  /** As configured: `file`, `syslog` … */
  readonly type: string;
  readonly format: string;
  readonly guarantee: SinkGuarantee;
  /** `following`: it has everything, or is on its way there; `failing`: the last try did not succeed. */
  readonly state: 'following' | 'failing';
  /** Since when, in milliseconds since the epoch. */
  readonly since: number;
  /** Number of the batch that it gets next. */
  readonly position: number;
  /** Batches that are in the ledger and that it has not taken. */
  readonly lagBatches: number;
  /** Age of the oldest of them, in milliseconds; 0 for none, null when that is not known. */
  readonly lagMs: number | null;
  /** Events that it has taken since this process started. */
  readonly delivered: number;
  /** Events that it refused for good since this process started: they are in a file of their own. */
  readonly rejected: number;
  /** Times are in milliseconds since the epoch; null: never. */
  readonly lastDeliveredAt: number | null;
  /** The last one, also when it is over. */
  readonly lastError: { readonly at: number; readonly message: string } | null;
}
