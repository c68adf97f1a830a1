/** What somebody who changes the policies of a namespace must have done. */
export interface NamespaceRules {
  /** Somebody else has agreed: the author of a change is not who approves it. */
  readonly requireApproval: boolean;
  /** The change was played through over the recorded calls. */
  readonly requirePlan: boolean;
}

export const freeNamespace: NamespaceRules = Object.freeze({ requireApproval: false, requirePlan: false });

/** Stands for every namespace. */
export const ANY_NAMESPACE = '*';

export interface ProtectionOptions {
  /** By namespace; `*` for all of them. Default: none has any. */
  readonly namespaces?: ReadonlyMap<string, NamespaceRules>;
  /** Policies in it hold in every namespace. */
  readonly rootNamespace: string;
}

/**
 * The rules of each namespace. They come from the configuration of the server and not from the store: whoever is bound by them
 * cannot change them.
 *
 * A policy of the root namespace reaches into all the others, so it is bound by what binds any of them.
 */
export class Protection {
  readonly #options: ProtectionOptions;

  constructor(options: ProtectionOptions) {
    this.#options = options;
  }

  /** Whether any namespace has a rule. */
  get isAny(): boolean {
    const { requireApproval, requirePlan } = strictest([...(this.#options.namespaces?.values() ?? [])]);
    return requireApproval || requirePlan;
  }

  of(namespace: string): NamespaceRules {
    const { namespaces = new Map<string, NamespaceRules>(), rootNamespace } = this.#options;
    if (namespace === rootNamespace) return strictest([...namespaces.values()]);
    return strictest([namespaces.get(namespace), namespaces.get(ANY_NAMESPACE)].filter((rules) => rules !== undefined));
  }

  /** Of several that are changed together. */
  ofAll(namespaces: Iterable<string>): NamespaceRules {
    return strictest([...new Set(namespaces)].map((namespace) => this.of(namespace)));
  }
}

function strictest(rules: readonly NamespaceRules[]): NamespaceRules {
  return Object.freeze({
    requireApproval: rules.some((each) => each.requireApproval),
    requirePlan: rules.some((each) => each.requirePlan),
  });
}
