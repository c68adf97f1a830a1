import type { Clock } from '../base/clock.ts';
import type { AuditRecord } from '../core/audit/event.ts';

/** A call that has not ended after so long is shown without its status, in milliseconds. */
const PATIENCE_MS = 1_000;
/** How many calls are remembered as shown. */
const MEMORY = 10_000;

/**
 * The tail tells each call twice, when it is decided and when it has ended. People want one line: this shows a call when
 * it has ended, or when that takes too long.
 */
export class OncePerCall {
  readonly #show: (record: AuditRecord) => void;
  readonly #clock: Clock;
  readonly #waiting = new Map<string, () => void>();
  readonly #shown = new Set<string>();

  constructor(clock: Clock, show: (record: AuditRecord) => void) {
    this.#clock = clock;
    this.#show = show;
  }

  add(record: AuditRecord): void {
    if (this.#shown.has(record.id)) return;
    this.#waiting.get(record.id)?.();
    if (record.status === null) {
      const cancel = this.#clock.after(PATIENCE_MS, () => this.#now(record));
      this.#waiting.set(record.id, cancel);
    } else {
      this.#now(record);
    }
  }

  #now(record: AuditRecord): void {
    this.#waiting.delete(record.id);
    this.#shown.add(record.id);
    if (this.#shown.size > MEMORY) this.#shown.delete(this.#shown.values().next().value ?? '');
    this.#show(record);
  }
}
