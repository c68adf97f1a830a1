import { keyOf } from '../../../core/policy/kinds.ts';
import { parseOne } from '../source.ts';
import type { DeletePolicy, PolicyStore, PutPolicy, RollBackPolicy } from '../store.ts';
import type { Plans } from './changes.ts';
import type { Protection } from './protection.ts';
import { approvalRequired, planRequired } from './refusals.ts';

export interface DirectWritesOptions {
  readonly policies: PolicyStore;
  readonly protection: Protection;
  /** Default: nobody can make a plan. */
  readonly plans?: Plans | undefined;
}

/**
 * The store of policies as administrators see it: what they write there is in force at once, for everybody, and so it is
 * refused where the namespace asks for more than one person. A dry run finds that too.
 */
export class DirectWrites {
  readonly #options: DirectWritesOptions;

  constructor(options: DirectWritesOptions) {
    this.#options = options;
  }

  get current(): PolicyStore['current'] {
    return this.#options.policies.current;
  }

  get: PolicyStore['get'] = (...args) => this.#options.policies.get(...args);
  list: PolicyStore['list'] = (...args) => this.#options.policies.list(...args);

  /** Throws as the store, `approval-required`, and `plan-required` while no plan of exactly this was made. */
  async put(input: PutPolicy): ReturnType<PolicyStore['put']> {
    const { policies, protection } = this.#options;
    // Only where some namespace has rules is it parsed a second time.
    if (protection.isAny) {
      const key = keyOf(parseOne(input.source));
      await this.#check(key.namespace, { ...key, source: input.source });
    }
    return await policies.put(input);
  }

  async delete(input: DeletePolicy): ReturnType<PolicyStore['delete']> {
    const { kind, namespace, name } = input;
    await this.#check(namespace, { kind, namespace, name, source: null });
    return await this.#options.policies.delete(input);
  }

  /** To where it was, which was in force before: that needs no plan, only the second person. */
  async rollBack(input: RollBackPolicy): ReturnType<PolicyStore['rollBack']> {
    await this.#check(input.namespace, undefined);
    return await this.#options.policies.rollBack(input);
  }

  async #check(namespace: string, document: Parameters<Plans['covers']>[0][number] | undefined): Promise<void> {
    const { protection, plans } = this.#options;
    const { requireApproval, requirePlan } = protection.of(namespace);
    if (requireApproval) throw approvalRequired([namespace]);
    if (!requirePlan || document === undefined) return;
    if ((await plans?.covers([document])) !== true) throw planRequired([namespace]);
  }
}
