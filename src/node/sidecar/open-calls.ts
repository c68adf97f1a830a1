import type { ServerResponse } from 'node:http';

/**
 * The calls of one HTTP/1.1 connection that are not answered yet. What is written past Node's queue of answers (an upgrade,
 * a tunnel, a refusal of either) has to wait for them, or it would overtake them and be taken for theirs.
 */
export class OpenCalls {
  #count = 0;
  #waiting: (() => void)[] = [];

  get count(): number {
    return this.#count;
  }

  add(res: ServerResponse): void {
    this.#count += 1;
    // By then Node has taken the connection away from this answer.
    res.once('close', () => {
      this.#count -= 1;
      if (this.#count === 0) for (const then of this.#waiting.splice(0)) then();
    });
  }

  /** From here on the connection is a tunnel, which ends by itself. */
  hold(): void {
    this.#count += 1;
  }

  whenNone(then: () => void): void {
    if (this.#count === 0) then();
    else this.#waiting.push(then);
  }
}
