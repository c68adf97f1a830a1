/** Wakes the one who waits; a ring that nobody waits for is lost, so look before waiting. */
export class Alarm {
  #waiting: (() => void) | undefined;

  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  ring(): void {
    this.#waiting?.();
    this.#waiting = undefined;
  }
}
