import type { Clock } from '../../../base/clock.ts';
import type { AppError, ErrorCode } from '../../../base/errors.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import type { Grant } from '../../../core/identity/workload-entry.ts';
import type { AgentIdentities, HeldSvid, Lease } from '../identities/agent-identities.ts';
import { grantKey } from '../identities/svid-cache.ts';

/** What a workload may have, and what it is verified with. */
export interface Entitlement {
  /** At least one; the default identity first. */
  readonly grants: readonly Grant[];
  /** Of the own trust domain. */
  readonly bundle: TrustBundle;
  /** Of those that some grant federates with, as far as they are known. */
  readonly federated: readonly TrustBundle[];
}

/**
 * The entitlement of a workload as of now.
 *
 * @returns 'starting' while the control plane has said nothing yet, 'none' for a workload without an identity
 */
export function entitlementOf(
  identities: AgentIdentities,
  selectors: readonly string[],
): Entitlement | 'starting' | 'none' {
  const state = identities.state.current;
  if (state === undefined) return 'starting';
  const grants = identities.grantsFor(selectors);
  if (grants.length === 0) return 'none';
  const names = new Set(grants.flatMap(({ entry }) => entry.federatesWith));
  const federated = [...names].sort().flatMap((name) => state.federated.get(name) ?? []);
  return Object.freeze({ grants, bundle: state.bundle, federated: Object.freeze(federated) });
}

/** A grant with what came of it: an SVID, or why there is none. */
export interface Holding {
  readonly grant: Grant;
  readonly svid: HeldSvid | undefined;
  readonly failure: AppError | undefined;
}

/**
 * The identities of one workload over time, for one stream. Level-based: `changed` says that something may be different,
 * `current` says what is; whoever is slow misses what was in between. Close it when the stream ends.
 */
export class WorkloadView {
  readonly #identities: AgentIdentities;
  readonly #selectors: readonly string[];
  readonly #clock: Clock;
  readonly #wanted: (grants: readonly Grant[]) => readonly Grant[];
  readonly #leases = new Map<string, { readonly lease: Lease; readonly unsubscribe: () => void }>();
  readonly #unsubscribe: () => void;
  #cancelExpiry: () => void = () => undefined;
  #wake: () => void = () => undefined;
  #dirty = true;

  constructor(o: {
    readonly identities: AgentIdentities;
    readonly selectors: readonly string[];
    readonly clock: Clock;
    /** Which X.509-SVIDs are wanted, asked with `current`: they are signed and renewed while the view is open. */
    readonly x509: boolean | ((grants: readonly Grant[]) => readonly Grant[]);
  }) {
    this.#identities = o.identities;
    this.#selectors = o.selectors;
    this.#clock = o.clock;
    const { x509 } = o;
    this.#wanted = typeof x509 === 'function' ? x509 : (grants) => (x509 ? grants : []);
    this.#unsubscribe = o.identities.state.subscribe(() => this.touch());
  }

  /** As `entitlementOf`. Leases what is granted now, and releases what is no longer. */
  current(): Entitlement | 'starting' | 'none' {
    this.#dirty = false;
    const entitlement = entitlementOf(this.#identities, this.#selectors);
    const grants = typeof entitlement === 'string' ? [] : entitlement.grants;
    this.#watchExpiry(grants);
    this.#lease(this.#wanted(grants));
    return entitlement;
  }

  holdings(entitlement: Entitlement): readonly Holding[] {
    return entitlement.grants.map((grant) => {
      const lease = this.#leases.get(grantKey(grant))?.lease;
      return { grant, svid: lease?.svid.current, failure: lease?.failure() };
    });
  }

  /** Resolves when something may have changed since `current` was asked; also when `signal` aborts. */
  async changed(signal: AbortSignal): Promise<void> {
    if (this.#dirty || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done);
        this.#wake = () => undefined;
        resolve();
      };
      this.#wake = done;
      signal.addEventListener('abort', done, { once: true });
    });
  }

  close(): void {
    this.#unsubscribe();
    this.#cancelExpiry();
    for (const each of this.#leases.values()) drop(each);
    this.#leases.clear();
  }

  /** Makes `changed` resolve. */
  touch(): void {
    this.#dirty = true;
    this.#wake();
  }

  /** An entry that expires is news that nobody sends. */
  #watchExpiry(grants: readonly Grant[]): void {
    this.#cancelExpiry();
    const next = Math.min(...grants.map(({ entry }) => entry.expiresAt ?? Number.POSITIVE_INFINITY));
    this.#cancelExpiry =
      next === Number.POSITIVE_INFINITY
        ? () => undefined
        : this.#clock.after(Math.max(next - this.#clock.now(), 0), () => this.touch());
  }

  #lease(grants: readonly Grant[]): void {
    const wanted = new Map(grants.map((grant) => [grantKey(grant), grant]));
    for (const [key, grant] of wanted) {
      if (this.#leases.has(key)) continue;
      const lease = this.#identities.x509(grant);
      this.#leases.set(key, { lease, unsubscribe: lease.svid.subscribe(() => this.touch()) });
    }
    for (const [key, each] of this.#leases) {
      if (wanted.has(key)) continue;
      this.#leases.delete(key);
      drop(each);
    }
  }
}

/** Whether trying again later may help: what fails for good is left out, what fails for now is waited for. */
export function isTemporary(error: AppError): boolean {
  return temporary.includes(error.code);
}

const temporary: readonly ErrorCode[] = [
  'unavailable',
  'deadline-exceeded',
  'exhausted',
  'audit-unavailable',
  'internal',
  'unauthenticated',
];

function drop(o: { readonly lease: Lease; readonly unsubscribe: () => void }): void {
  o.unsubscribe();
  o.lease.release();
}
