import { AppError } from '../../base/errors.ts';
import type { PolicyPort } from './services.ts';

type LabelsOf = Readonly<Record<string, string>>;

/**
 * The labels that an operator gave to a workload. Read once per workload, however many of its sidecars are connected, and
 * again after every change that may concern them.
 */
export class Labels {
  readonly #policy: Pick<PolicyPort, 'entries' | 'changes' | 'published'>;
  #asOf = '';
  #known = new Map<string, Promise<LabelsOf>>();

  constructor(policy: Pick<PolicyPort, 'entries' | 'changes' | 'published'>) {
    this.#policy = policy;
  }

  /** Throws `forbidden` when the workload has no entry (any more). */
  of(spiffeId: string): Promise<LabelsOf> {
    this.#forgetOld();
    let labels = this.#known.get(spiffeId);
    if (labels === undefined) {
      labels = this.#read(spiffeId);
      this.#known.set(spiffeId, labels);
    }
    return labels;
  }

  #forgetOld(): void {
    const asOf = `${this.#policy.published.version} ${this.#policy.changes?.version}`;
    if (asOf === this.#asOf) return;
    this.#asOf = asOf;
    this.#known = new Map();
  }

  async #read(spiffeId: string): Promise<LabelsOf> {
    const known = this.#known;
    try {
      const entry = await this.#policy.entries.bySpiffeId(spiffeId);
      if (entry !== undefined) return entry.labels;
    } catch (error) {
      // The next who asks tries again.
      known.delete(spiffeId);
      throw error;
    }
    throw new AppError('forbidden', `${spiffeId} is not registered (any more). Ask an operator for an entry.`);
  }
}
