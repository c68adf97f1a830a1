import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';
import type { Watch } from '../../../base/watch.ts';
import type { KeyPair } from '../../../core/identity/keys.ts';
import type { Grant } from '../../../core/identity/workload-entry.ts';
import type { IssuedCertificate } from '../../../wire/identity.ts';
import type { SignItem } from '../../../wire/identity-sign.ts';
import type { AgentState, Lease } from './agent-identities.ts';
import { makeKeyPair, SvidSlot } from './svid-slot.ts';

export interface SvidCacheOptions {
  readonly state: Watch<AgentState | undefined>;
  readonly sign: (item: SignItem) => Promise<IssuedCertificate>;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly logger: Logger;
  /** SVIDs that nobody holds a lease on and that are kept for whoever comes next. Default 1,000. */
  readonly maxWarm?: number;
  /** All SVIDs below a tainted root are replaced within this time. Default 30 s. */
  readonly rekeySpreadMs?: number;
  /** Default: P-256, in a thread. */
  readonly makeKey?: () => Promise<KeyPair>;
}

/** One for each replica of the control plane, and those before. */
const MAX_AUTHORITIES = 16;

interface Shared {
  readonly slot: SvidSlot;
  leases: number;
}

/**
 * The X.509-SVIDs of the workloads here, one for each grant, however many ask. Those that are leased are renewed; of the
 * others the latest are kept as they are, so that a workload which comes back has its identity at once.
 */
export class SvidCache {
  readonly #o: SvidCacheOptions;
  readonly #maxWarm: number;
  readonly #leased = new Map<string, Shared>();
  /** Without a lease; released longest ago first. */
  readonly #warm = new Map<string, Shared>();
  readonly #unsubscribe: () => void;
  /** Certificates that the SVIDs have in common, latest first. */
  #authorities: readonly Buffer[] = [];
  #before: AgentState | undefined;

  constructor(o: SvidCacheOptions) {
    this.#o = o;
    this.#maxWarm = o.maxWarm ?? 1_000;
    this.#before = o.state.current;
    this.#unsubscribe = o.state.subscribe((now) => this.#stateChanged(now));
  }

  get size(): { readonly leased: number; readonly warm: number } {
    return { leased: this.#leased.size, warm: this.#warm.size };
  }

  lease(grant: Grant): Lease {
    const key = grantKey(grant);
    const shared = this.#take(key, grant);
    shared.leases += 1;
    if (shared.leases === 1) shared.slot.want(true);
    let released = false;
    return {
      svid: shared.slot.svid,
      failure: () => shared.slot.failure,
      release: () => {
        if (released) return;
        released = true;
        this.#release(key, shared);
      },
    };
  }

  close(): void {
    this.#unsubscribe();
    for (const { slot } of [...this.#leased.values(), ...this.#warm.values()]) slot.close();
    this.#leased.clear();
    this.#warm.clear();
  }

  #take(key: string, grant: Grant): Shared {
    const shared = this.#leased.get(key) ?? this.#warm.get(key) ?? { slot: this.#makeSlot(grant), leases: 0 };
    this.#warm.delete(key);
    this.#leased.set(key, shared);
    return shared;
  }

  #makeSlot(grant: Grant): SvidSlot {
    const { state, sign, clock, random, logger, makeKey, rekeySpreadMs } = this.#o;
    return new SvidSlot(grant, {
      state,
      sign,
      clock,
      random,
      logger,
      makeKey: makeKey ?? makeKeyPair,
      keep: (chain) => this.#keep(chain),
      rekeySpreadMs: rekeySpreadMs ?? 30_000,
    });
  }

  #keep(chain: readonly Buffer[]): readonly Buffer[] {
    return Object.freeze(
      chain.map((der, index) => {
        if (index === 0) return copyOf(der);
        const known = this.#authorities.find((each) => each.equals(der));
        if (known !== undefined) return known;
        const own = copyOf(der);
        this.#authorities = [own, ...this.#authorities].slice(0, MAX_AUTHORITIES);
        return own;
      }),
    );
  }

  #release(key: string, shared: Shared): void {
    shared.leases -= 1;
    if (shared.leases > 0 || this.#leased.get(key) !== shared) return;
    this.#leased.delete(key);
    shared.slot.want(false);
    this.#warm.set(key, shared);
    if (this.#warm.size <= this.#maxWarm) return;
    const [oldest] = this.#warm.entries();
    if (oldest === undefined) return;
    this.#warm.delete(oldest[0]);
    oldest[1].slot.close();
  }

  #stateChanged(now: AgentState | undefined): void {
    const before = this.#before;
    this.#before = now;
    if (now === undefined) return;
    for (const { slot } of this.#leased.values()) slot.stateChanged(before, now);
    for (const { slot } of this.#warm.values()) slot.stateChanged(before, now);
  }
}

/** Buffers of a received message share its memory: one certificate would hold all of it. */
function copyOf(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}

/** Two grants with the same key are the same identity by the same entry. */
export function grantKey({ entry, spiffeId, variables }: Grant): string {
  const sorted = Object.entries(variables).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([entry.id, spiffeId, sorted]);
}
