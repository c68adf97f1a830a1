/** After so many publications in which nobody has asked for it, a value is dropped. */
const MAX_IDLE = 8;

/** What was made for one publication and most of the next ask for again. Bounded by what is asked for. */
export class Kept<V> {
  readonly #entries = new Map<string, { readonly value: V; used: number }>();
  #publication = 0;

  get(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.used = this.#publication;
    return entry?.value;
  }

  set(key: string, value: V): void {
    this.#entries.set(key, { value, used: this.#publication });
  }

  /** The next publication begins. */
  next(): void {
    this.#publication += 1;
    for (const [key, { used }] of this.#entries) if (this.#publication - used > MAX_IDLE) this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}
