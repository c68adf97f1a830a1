import { AppError } from '../../../base/errors.ts';

/** So many may be inside at once, counted for each of those who ask. */
export class Places {
  readonly #max: number;
  readonly #full: string;
  readonly #taken = new Map<number, number>();

  /** @param o.full what somebody is told for whom there is no place */
  constructor(o: { readonly max: number; readonly full: string }) {
    this.#max = o.max;
    this.#full = o.full;
  }

  /** @returns what gives the place back, idempotent. Throws `exhausted`. */
  take(who: number): () => void {
    const taken = this.#taken.get(who) ?? 0;
    if (taken >= this.#max) throw new AppError('exhausted', this.#full);
    this.#taken.set(who, taken + 1);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const left = (this.#taken.get(who) ?? 1) - 1;
      if (left > 0) this.#taken.set(who, left);
      else this.#taken.delete(who);
    };
  }
}
