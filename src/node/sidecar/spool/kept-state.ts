import type { SpoolState, StateFile, StoredCut } from './state-file.ts';

/** The state of the spool in memory, which follows to the state file: the latest one, one write at a time. */
export class KeptState {
  readonly #file: StateFile;
  #current: SpoolState;
  #changed = false;
  #writing: Promise<void> | undefined;
  #durableAckedCut: number;

  constructor(file: StateFile, initial: SpoolState) {
    this.#file = file;
    this.#current = initial;
    this.#durableAckedCut = initial.acked.cut;
  }

  get current(): SpoolState {
    return this.#current;
  }

  /** Count of the last batch whose acknowledgement is durable. */
  get durableAckedCut(): number {
    return this.#durableAckedCut;
  }

  update(change: Partial<SpoolState>): void {
    this.#current = Object.freeze({ ...this.#current, ...change });
    this.#changed = true;
  }

  /** Resolves when the state as it is now, or a later one, is durable. After a failure the next flush tries again. */
  async flush(): Promise<void> {
    while (this.#changed || this.#writing !== undefined) {
      await this.#exclusively(async () => {
        if (!this.#changed) return;
        this.#changed = false;
        const state = this.#current;
        try {
          await this.#file.writeState(state);
          this.#durableAckedCut = state.acked.cut;
        } catch (error) {
          this.#changed = true;
          throw error;
        }
      });
    }
  }

  writeCut(cut: StoredCut): Promise<void> {
    return this.#exclusively(() => this.#file.writeCut(cut));
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #exclusively(work: () => Promise<void>): Promise<void> {
    while (this.#writing !== undefined) await this.#writing.catch(() => undefined);
    this.#writing = work();
    try {
      await this.#writing;
    } finally {
      this.#writing = undefined;
    }
  }
}
