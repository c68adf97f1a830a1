import type { KeyObject } from 'node:crypto';
import { AppError } from '../../../src/base/errors.ts';
import type { Watch } from '../../../src/base/watch.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { jwtKey } from '../../../src/core/identity/bundle.ts';
import { signJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { matchEntries } from '../../../src/core/identity/selectors.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { signWitSvid } from '../../../src/core/identity/wit-svid.ts';
import type { Grant, WorkloadEntry } from '../../../src/core/identity/workload-entry.ts';
import type {
  AgentIdentities,
  AgentState,
  HeldSvid,
  Lease,
} from '../../../src/node/agent/identities/agent-identities.ts';
import type { TestAuthority } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';

let count = 0;

export function testEntry(entry: Partial<WorkloadEntry> & { readonly spiffeId: string }): WorkloadEntry {
  count += 1;
  return Object.freeze({
    id: `entry-${String(count).padStart(6, '0')}`,
    revision: count,
    selectors: [`unix:uid:${process.geteuid?.()}`],
    namespaces: [],
    federatesWith: [],
    dnsNames: [],
    hint: '',
    expiresAt: null,
    ...entry,
  });
}

/** The identities of an agent, with keys and signatures that are real, and entries that the test holds in its hand. */
export class TestIdentities implements AgentIdentities {
  /** Signs from now on. */
  authority: TestAuthority;
  readonly source: WatchSource<AgentState | undefined>;
  readonly bundle: TrustBundle;
  readonly #wit = generateKeyPair();
  readonly #slots = new Map<string, WatchSource<HeldSvid | undefined>>();
  /** By SPIFFE ID: what signing fails with. */
  readonly failures = new Map<string, AppError>();
  /** SPIFFE IDs whose signature does not come yet. */
  readonly slow = new Set<string>();
  now: () => number = () => Date.now();
  ttlMs = 3_600_000;
  leases = 0;
  signedTokens = 0;

  constructor(authority: TestAuthority = createTestAuthority()) {
    this.authority = authority;
    const { bundle } = authority;
    this.bundle = {
      ...bundle,
      jwks: { keys: [...bundle.jwks.keys, jwtKey(this.#wit.publicKey, 'wit-1', 'wit-svid')] },
    };
    this.source = new WatchSource<AgentState | undefined>(undefined);
  }

  get state(): Watch<AgentState | undefined> {
    return this.source;
  }

  set(entries: readonly WorkloadEntry[], o: Partial<AgentState> = {}): void {
    const before = this.source.current;
    this.source.set({
      bundle: before?.bundle ?? this.bundle,
      federated: before?.federated ?? new Map(),
      connected: true,
      ...o,
      entries: new Map(entries.map((entry) => [entry.id, entry])),
    });
    for (const [spiffeId, slot] of this.#slots) {
      if (!entries.some((entry) => entry.spiffeId === spiffeId || entry.spiffeId.includes('{{'))) slot.set(undefined);
    }
  }

  grantsFor(selectors: readonly string[]): readonly Grant[] {
    return matchEntries(this.source.current?.entries.values() ?? [], selectors, this.now());
  }

  x509(grant: Grant): Lease {
    this.leases += 1;
    const slot = this.#slots.get(grant.spiffeId) ?? new WatchSource<HeldSvid | undefined>(undefined);
    this.#slots.set(grant.spiffeId, slot);
    if (slot.current === undefined) queueMicrotask(() => this.sign(grant.spiffeId));
    let released = false;
    return {
      svid: slot,
      failure: () => this.failures.get(grant.spiffeId),
      release: () => {
        if (!released) this.leases -= 1;
        released = true;
      },
    };
  }

  /** As if it had become due. */
  sign(spiffeId: string): HeldSvid | undefined {
    const slot = this.#slots.get(spiffeId);
    if (slot === undefined || this.slow.has(spiffeId)) return undefined;
    if (this.failures.has(spiffeId)) {
      slot.set(slot.current);
      return slot.current;
    }
    const notAfter = this.now() + this.ttlMs;
    const { chain, privateKey } = this.authority.issue(spiffeId, { notAfter });
    const svid = Object.freeze({ spiffeId, chain, privateKey, notAfter });
    slot.set(svid);
    return svid;
  }

  expire(spiffeId: string): void {
    this.#slots.get(spiffeId)?.set(undefined);
  }

  async jwt(grant: Grant, audience: readonly string[]): Promise<{ token: string; expiresAt: number }> {
    this.#checkFailure(grant);
    this.signedTokens += 1;
    return signJwtSvid({
      id: parseSpiffeId(grant.spiffeId),
      audience,
      ...this.authority.jwt,
      now: this.now(),
      ttlSeconds: 300,
      claims: { team: 'shop', nested: { list: [1, true, null, 'x'] } },
    });
  }

  async wit(grant: Grant): Promise<{ token: string; privateKey: KeyObject; expiresAt: number }> {
    this.#checkFailure(grant);
    this.signedTokens += 1;
    const key = generateKeyPair();
    const signed = await signWitSvid({
      id: parseSpiffeId(grant.spiffeId),
      publicKey: key.publicKey,
      kid: 'wit-1',
      privateKey: this.#wit.privateKey,
      now: this.now(),
      ttlSeconds: 3_600,
    });
    return { token: signed.token, privateKey: key.privateKey, expiresAt: signed.expiresAt };
  }

  #checkFailure({ spiffeId }: Grant): void {
    const failure = this.failures.get(spiffeId);
    if (failure !== undefined) throw failure;
  }
}

export function away(): AppError {
  return new AppError('unavailable', 'The control plane is away.');
}
