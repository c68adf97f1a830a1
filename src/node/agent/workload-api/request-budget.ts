import type { ServerHttp2Stream } from 'node:http2';
import { constants } from 'node:http2';

export interface RequestBudgetOptions {
  /** Bytes of begun messages that the callers of one user may have us hold. Default 32 MiB. */
  readonly maxBytesPerUser: number;
  /** Of all users. Default 256 MiB. */
  readonly maxBytes: number;
}

export const defaultRequestBudget: RequestBudgetOptions = Object.freeze({
  maxBytesPerUser: 32 * 1024 * 1024,
  maxBytes: 256 * 1024 * 1024,
});

/** What stands before each message: a flag, and its length (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const PREFIX_BYTES = 5;

/**
 * Counts the bytes of messages that have begun and not ended. The library keeps them for each stream until the message is
 * whole, before anybody is asked who calls: whoever may connect could otherwise fill the agent's memory with halves of
 * messages, over thousands of streams. A message that comes in one piece, as requests of workloads do, is never counted.
 */
export class RequestBudget {
  readonly #limits: RequestBudgetOptions;
  readonly #byUser = new Map<number, number>();
  #total = 0;

  constructor(limits: Partial<RequestBudgetOptions> = {}) {
    this.#limits = { ...defaultRequestBudget, ...limits };
  }

  /** Bytes that are held now. */
  get held(): number {
    return this.#total;
  }

  /** Follows a stream that has just begun, and resets it when it would have us hold too much. */
  follow(stream: ServerHttp2Stream, uid: number): void {
    const message = new MessageBytes();
    let counted = 0;
    const count = (bytes: number) => {
      this.#add(uid, bytes - counted);
      counted = bytes;
    };
    const look = (piece: Buffer) => {
      count(message.add(piece));
      if (counted > 0 && this.#isOver(uid)) stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    };
    stream.on('data', look);
    stream.once('close', () => {
      stream.off('data', look);
      count(0);
    });
  }

  #isOver(uid: number): boolean {
    return this.#total > this.#limits.maxBytes || (this.#byUser.get(uid) ?? 0) > this.#limits.maxBytesPerUser;
  }

  #add(uid: number, bytes: number): void {
    if (bytes === 0) return;
    this.#total += bytes;
    const ofUser = (this.#byUser.get(uid) ?? 0) + bytes;
    if (ofUser > 0) this.#byUser.set(uid, ofUser);
    else this.#byUser.delete(uid);
  }
}

/** Where in its messages a stream stands. */
class MessageBytes {
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #inPrefix = 0;
  /** Of the message that has begun: bytes that are still to come, and that are there. */
  #missing = 0;
  #there = 0;

  /** @returns bytes of the message that has begun and not ended */
  add(piece: Buffer): number {
    let at = 0;
    while (at < piece.length) {
      if (this.#missing === 0) {
        this.#prefix[this.#inPrefix] = piece[at] ?? 0;
        at += 1;
        this.#inPrefix += 1;
        if (this.#inPrefix < PREFIX_BYTES) continue;
        this.#inPrefix = 0;
        this.#missing = this.#prefix.readUInt32BE(1);
        this.#there = 0;
      }
      const taken = Math.min(this.#missing, piece.length - at);
      at += taken;
      this.#missing -= taken;
      this.#there += taken;
    }
    return this.#missing === 0 ? 0 : this.#there;
  }
}
