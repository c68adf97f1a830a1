import type { Watch } from '../../../base/watch.ts';
import type { AgentState } from '../identities/agent-identities.ts';

/** Which selectors the entries of this agent ask for, so that nothing is found out about a caller that nobody asks for. */
export class Interests {
  readonly #state: Watch<AgentState | undefined>;
  #version = -1;
  #selectors: readonly string[] = [];
  readonly #answers = new Map<string, boolean>();

  constructor(state: Watch<AgentState | undefined>) {
    this.#state = state;
  }

  /** Whether an entry asks for a selector that begins so, or has a variable for one. */
  wants(prefix: string): boolean {
    this.#refresh();
    let answer = this.#answers.get(prefix);
    if (answer === undefined) {
      const [type, key] = prefix.split(':');
      const variable = `{{${type}.${key}`;
      answer = this.#selectors.some((selector) => selector.startsWith(prefix) || selector.includes(variable));
      // What containers have in their environments can be much.
      if (this.#answers.size < 1_000) this.#answers.set(prefix, answer);
    }
    return answer;
  }

  #refresh(): void {
    if (this.#version === this.#state.version) return;
    this.#version = this.#state.version;
    this.#answers.clear();
    const all = new Set<string>();
    for (const entry of this.#state.current?.entries.values() ?? []) {
      for (const selector of entry.selectors) all.add(selector);
      if (entry.spiffeId.includes('{{')) all.add(entry.spiffeId);
    }
    this.#selectors = [...all];
  }
}
