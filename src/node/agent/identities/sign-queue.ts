import type { AppError, ErrorCode } from '../../../base/errors.ts';
import { toAppError } from '../../../base/errors.ts';
import type { ItemResult } from '../../../wire/identity-sign.ts';
import { isAway } from './token-cache.ts';

export interface SignQueueOptions<Item, Value> {
  /** One call. Answers in the order of the items; rejects with an AppError when the whole call failed. */
  readonly send: (items: readonly Item[]) => Promise<readonly ItemResult<Value>[]>;
  /** Most items of one call. */
  readonly maxItems: number;
  /** Calls under way at once. Default 2. */
  readonly maxCalls?: number;
}

interface Waiting<Item, Value> {
  readonly item: Item;
  readonly resolve: (value: Value) => void;
  readonly reject: (error: AppError) => void;
}

/** Answers that are handed over before the event loop gets its turn: whoever gets one verifies it, which takes a while. */
const ANSWERS_AT_ONCE = 16;

/**
 * Orders that are signed together: the first goes at once, what comes while calls are under way goes with the next one. So a
 * burst becomes a few calls, and a single order waits for nobody.
 *
 * A call that fails as a whole for what may be wrong with its items, or with their number, is made again in two halves, so that
 * one bad item does not fail its neighbours. When the control plane is away or busy, all fail: who asked knows when to ask again.
 */
export class SignQueue<Item, Value> {
  readonly #o: SignQueueOptions<Item, Value>;
  readonly #waiting: Waiting<Item, Value>[] = [];
  #calls = 0;
  #scheduled = false;

  constructor(o: SignQueueOptions<Item, Value>) {
    this.#o = o;
  }

  add(item: Item): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#schedule();
    });
  }

  /** After what else happens in this turn of the event loop, so that it goes with it. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#start();
    });
  }

  #start(): void {
    while (this.#waiting.length > 0 && this.#calls < (this.#o.maxCalls ?? 2)) {
      const batch = this.#waiting.splice(0, this.#o.maxItems);
      this.#calls += 1;
      void this.#carryOut(batch).finally(() => {
        this.#calls -= 1;
        this.#start();
      });
    }
  }

  /** Never rejects. */
  async #carryOut(batch: readonly Waiting<Item, Value>[]): Promise<void> {
    let results: readonly ItemResult<Value>[];
    try {
      results = await this.#o.send(batch.map(({ item }) => item));
    } catch (cause) {
      const error = toAppError(cause);
      if (batch.length === 1 || !mayDependOnItems(error)) {
        for (const { reject } of batch) reject(error);
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await this.#carryOut(batch.slice(0, middle));
      await this.#carryOut(batch.slice(middle));
      return;
    }
    for (const [index, { resolve, reject }] of batch.entries()) {
      if (index % ANSWERS_AT_ONCE === 0 && index > 0) await new Promise((next) => setImmediate(next));
      const result = results[index];
      if (result !== undefined && 'value' in result) resolve(result.value);
      else reject(toAppError(result?.error));
    }
  }
}

/** Whether fewer items may fare better. Not when the control plane is away, busy, or has had enough of us: more calls make it worse. */
function mayDependOnItems(error: AppError): boolean {
  return !isAway(error) && !refusals.includes(error.code);
}

/** Of the caller, whatever it asks for. */
const refusals: readonly ErrorCode[] = ['unauthenticated', 'forbidden', 'peer-refused'];
