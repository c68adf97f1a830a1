import { onTestFinished } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { AuthorityKind, AuthorityRecord, AuthorityState } from '../../../src/control/authority/authorities.ts';
import type { AuthorityOptions } from '../../../src/control/authority/authority.ts';
import { Authority } from '../../../src/control/authority/authority.ts';
import type { AuthorityStore } from '../../../src/control/authority/authority-store.ts';
import { MemoryAuthorities } from '../../../src/control/authority/authority-store.ts';
import type { KeyStore } from '../../../src/control/authority/keys/key-store.ts';
import { MemoryKeyStore } from '../../../src/control/authority/keys/key-store.ts';
import type { RotationOptions } from '../../../src/control/authority/rotation.ts';
import { Rotation } from '../../../src/control/authority/rotation.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { workloadId } from '../../../src/core/identity/spiffe-id.ts';
import { FakeClock } from '../../support/clock.ts';
import { listRecorder } from '../../support/recorder.ts';

export const hour = 3600 * 1000;
export const day = 24 * hour;
export const admin = { name: 'alice', source: '192.0.2.1' };
export const web = workloadId('example.org', 'shop', 'web');
export const csr = createCsr(generateKeyPair().privateKey);

/** Sidecars and agents of whom one only knows who is behind. */
export class TestFollowers {
  behind: readonly string[] = [];
  readonly asked: number[] = [];
  /** Behind according to other replicas, which are heard of by asking. */
  elsewhere: readonly string[] | AppError = [];

  async refresh(): Promise<void> {
    if (this.elsewhere instanceof AppError) throw this.elsewhere;
    this.behind = [...new Set([...this.behind, ...this.elsewhere])];
  }

  missing(sequence: number): readonly string[] {
    this.asked.push(sequence);
    return this.behind;
  }
}

export interface Replica {
  readonly authority: Authority;
  readonly rotation: Rotation;
}

export interface AuthorityWorld {
  readonly clock: FakeClock;
  readonly keyStore: MemoryKeyStore;
  readonly store: AuthorityStore;
  readonly followers: TestFollowers;
  readonly recorder: ReturnType<typeof listRecorder>;
  /** One more control plane of the same trust domain. */
  replica(o?: Partial<AuthorityOptions> & Partial<Pick<RotationOptions, 'keyStore' | 'store'>>): Promise<Replica>;
  /** The authorities of a kind that are in this state. */
  inState(kind: AuthorityKind, state: AuthorityState): Promise<readonly AuthorityRecord[]>;
  /** The states of a kind, oldest first. */
  states(kind: AuthorityKind): Promise<readonly AuthorityState[]>;
}

export function authorityWorld(
  o: { readonly store?: AuthorityStore; readonly clock?: FakeClock } = {},
): AuthorityWorld {
  const clock = o.clock ?? new FakeClock();
  const keyStore = new MemoryKeyStore();
  const store = o.store ?? new MemoryAuthorities();
  const followers = new TestFollowers();
  const recorder = listRecorder();
  const all = async (kind: AuthorityKind) => (await store.read()).records.filter((record) => record.kind === kind);
  return {
    clock,
    keyStore,
    store,
    followers,
    recorder,
    async replica(more = {}) {
      const common = { keyStore: keyStore as KeyStore, store, clock, logger: silentLogger, ...more };
      const authority = await Authority.open({ trustDomain: 'example.org', ...common });
      const { upstream } = more;
      const rotation = new Rotation({
        ...common,
        authority,
        followers: [followers],
        recorder,
        ...(upstream !== undefined && { upstream }),
      });
      // What is made next has a later id.
      await clock.advance(1000);
      return { authority, rotation };
    },
    inState: async (kind, state) => (await all(kind)).filter((record) => record.state === state),
    states: async (kind) => (await all(kind)).map((record) => record.state),
  };
}

/** Runs both loops until the test ends. */
export function run({ authority, rotation }: Replica): void {
  const stop = new AbortController();
  const running = Promise.all([authority.run(stop.signal), rotation.run(stop.signal)]);
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
}

/** The one id of a kind in a state. */
export async function theOne(world: AuthorityWorld, kind: AuthorityKind, state: AuthorityState): Promise<string> {
  const [record, ...others] = await world.inState(kind, state);
  if (record === undefined || others.length > 0) throw new Error(`not one ${kind} is ${state}`);
  return record.id;
}
