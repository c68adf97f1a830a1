import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { WorkloadEntry } from '../../core/identity/workload-entry.ts';
import type { IdentityDifference } from '../../wire/identity-watch.ts';
import { encodeDifference } from '../../wire/identity-watch.ts';
import type { AgentContent } from './services.ts';

export interface EncodedDifference {
  /** Still without revisions. */
  readonly messages: readonly Buffer[];
  readonly isEmpty: boolean;
}

/** What is to be sent, worked out and encoded once for all agents that are at the same point. */
export class Differences {
  readonly #maxBytes: number | undefined;
  readonly #known = new WeakMap<AgentContent, WeakMap<AgentContent, EncodedDifference>>();

  /** @param maxBytes of one message. Default 1 MiB */
  constructor(maxBytes?: number) {
    this.#maxBytes = maxBytes;
  }

  between(has: AgentContent, wanted: AgentContent): EncodedDifference {
    let towards = this.#known.get(has);
    if (towards === undefined) {
      towards = new WeakMap();
      this.#known.set(has, towards);
    }
    let encoded = towards.get(wanted);
    if (encoded === undefined) {
      const change = difference({
        wanted,
        heldEntries: has.entries.keys(),
        heldDomains: has.bundles.keys(),
        // Entries and bundles are frozen and replaced: the same object is the same content.
        isNewEntry: (entry) => has.entries.get(entry.id) !== entry,
        isNewBundle: (bundle) => has.bundles.get(bundle.trustDomain) !== bundle,
      });
      encoded = { messages: this.encode(change), isEmpty: isEmpty(change) };
      towards.set(wanted, encoded);
    }
    return encoded;
  }

  encode(change: IdentityDifference): readonly Buffer[] {
    return encodeDifference(change, this.#maxBytes);
  }
}

export function difference(o: {
  readonly wanted: AgentContent;
  /** Ids. */
  readonly heldEntries: Iterable<string>;
  readonly heldDomains: Iterable<string>;
  readonly isNewEntry: (entry: WorkloadEntry) => boolean;
  readonly isNewBundle: (bundle: TrustBundle) => boolean;
}): IdentityDifference {
  const { entries, bundles } = o.wanted;
  return {
    upserted: [...entries.values()].filter(o.isNewEntry),
    removed: [...o.heldEntries].filter((id) => !entries.has(id)),
    bundles: [...bundles.values()].filter(o.isNewBundle),
    removedBundles: [...o.heldDomains].filter((domain) => !bundles.has(domain)),
  };
}

function isEmpty(change: IdentityDifference): boolean {
  return change.upserted.length + change.removed.length + change.bundles.length + change.removedBundles.length === 0;
}
