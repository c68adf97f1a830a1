import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom } from '../../../base/random.ts';
import { RateLimit } from '../../../base/rate-limit.ts';
import type { Watch } from '../../../base/watch.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import { createCsr } from '../../../core/identity/csr.ts';
import { checkAudience } from '../../../core/identity/jwt-svid.ts';
import type { Grant, WorkloadEntry } from '../../../core/identity/workload-entry.ts';
import type { IdentityClient as IdentityStub } from '../../../wire/gen/writ/v1/Identity.ts';
import type { IssuedCertificate, IssuedToken } from '../../../wire/identity.ts';
import type { SignItem } from '../../../wire/identity-sign.ts';
import { MAX_AUDIENCES, MAX_WIT_ITEMS } from '../../../wire/identity-sign.ts';
import { GrantIndex } from './grant-index.ts';
import { signJwt, signWit, signX509 } from './identity-calls.ts';
import { IdentityClient } from './identity-client.ts';
import { IdentityFile } from './identity-file.ts';
import { SignQueue } from './sign-queue.ts';
import { grantKey, SvidCache } from './svid-cache.ts';
import { makeKeyPair } from './svid-slot.ts';
import { TokenCache } from './token-cache.ts';

/** What the control plane has told this agent. Frozen; every change is a new value. */
export interface AgentState {
  /** By id. What this agent may hand out. */
  readonly entries: ReadonlyMap<string, WorkloadEntry>;
  /** Of the own trust domain. */
  readonly bundle: TrustBundle;
  /** By trust domain: those that some entry of this agent federates with. */
  readonly federated: ReadonlyMap<string, TrustBundle>;
  /** Whether the control plane is there; if not, all of this is what it said last. */
  readonly connected: boolean;
}

/** The X.509-SVID of a workload, with the key that was made for it here. Frozen; a renewal is a new value. */
export interface HeldSvid {
  readonly spiffeId: string;
  /** DER, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

/** Somebody's interest in an X.509-SVID: while there is one, it is renewed. */
export interface Lease {
  /**
   * Undefined until it was signed for the first time, and again once it has expired or its entry is gone: it must not be used
   * any more. Set also when `failure` changes while there is none, so that who waits for an SVID hears why there is none.
   */
  readonly svid: Watch<HeldSvid | undefined>;
  /** Why the last try to get an SVID failed; undefined when it did not. An SVID that is there stays good until it expires. */
  readonly failure: () => AppError | undefined;
  /** Idempotent. The SVID is kept for a while, for whoever comes next. */
  release(): void;
}

export interface AgentJwt {
  /** JWS compact serialization. */
  readonly token: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

export interface AgentWit extends AgentJwt {
  /** Whoever shows the token proves to have this key. */
  readonly privateKey: KeyObject;
}

/** The identities of the workloads beside this agent: what the Workload API and SDS hand out. */
export interface AgentIdentities {
  /** Undefined until the control plane has said something, now or in an earlier life of this agent. */
  readonly state: Watch<AgentState | undefined>;
  /** What a workload with these selectors may have, by the state of now; not what has expired. Oldest entry first. */
  grantsFor(selectors: readonly string[]): readonly Grant[];
  /**
   * Signed on first use, on a key made here; renewed at half life ± 10 %; replaced soon when its root is tainted. Leases of
   * the same grant share one SVID.
   */
  x509(grant: Grant): Lease;
  /**
   * Kept until half of its life has passed; then the last good one is handed out while the control plane is away.
   *
   * @throws AppError `invalid` for a bad audience, `not-found` when the entry is gone, `exhausted` when this identity asks for
   * too many audiences, or what the control plane said
   */
  jwt(grant: Grant, audience: readonly string[]): Promise<AgentJwt>;
  /** As `jwt`. The key stays the same for as long as the token does. */
  wit(grant: Grant): Promise<AgentWit>;
}

export interface AgentIdentitiesOptions {
  /** Of the control plane; changes with every certificate of the agent. */
  readonly clients: Watch<{ readonly identity: IdentityStub }>;
  readonly trustDomain: string;
  /** The agent's own SPIFFE ID: what is kept on disk is its, and nobody else's. */
  readonly agentId: string;
  /** Exists already; holds `identities.state` (0600): entries and bundles, no keys. */
  readonly stateDirectory: string;
  /** For people. */
  readonly version: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  /** The control plane does not want the certificate of the agent any more. */
  readonly onRefused?: (() => void) | undefined;
  /** SVIDs that nobody asks for at the moment and that are kept. Default 1,000. */
  readonly maxWarmSvids?: number;
  /** Tokens that are kept, of each kind. Default 1,000. */
  readonly maxTokens?: number;
  /** All SVIDs below a tainted root are replaced within this time. Default 30 s. */
  readonly rekeySpreadMs?: number;
  /** JWT-SVIDs of one identity that are signed, and not from the cache. Default 100 a second, 500 at once. */
  readonly tokenRate?: { readonly perSecond: number; readonly burst: number };
}

export interface RunningAgentIdentities extends AgentIdentities {
  /** Follows the control plane until `signal` aborts; what is held is good without it as well. */
  run(signal: AbortSignal): Promise<void>;
  /** Nothing is renewed from now on. */
  close(): void;
}

/**
 * The control plane counts signatures for each agent: one workload that makes up audiences must not use up what the others
 * need to have their certificates renewed.
 */
const TOKEN_RATE = Object.freeze({ perSecond: 100, burst: 500 });

/** Certificates of one call: an answer of that size is signed in some 50 ms, and the next call is under way meanwhile. */
const MAX_X509_CALL_ITEMS = 250;

interface KeptWit extends IssuedToken {
  readonly privateKey: KeyObject;
}

/** With what the state directory holds; from there, and from the control plane as soon as `run` reaches it. */
export async function openAgentIdentities(o: AgentIdentitiesOptions): Promise<RunningAgentIdentities> {
  const file = new IdentityFile(o);
  const client = await IdentityClient.open({ ...o, file });
  return new Core(o, client);
}

class Core implements RunningAgentIdentities {
  readonly #clock: Clock;
  readonly #clients: AgentIdentitiesOptions['clients'];
  readonly #client: IdentityClient;
  readonly #svids: SvidCache;
  readonly #jwts: TokenCache<IssuedToken>;
  readonly #wits: TokenCache<KeptWit>;
  readonly #witQueue: SignQueue<SignItem, IssuedToken>;
  readonly #tokenRate: RateLimit;
  #index: { readonly of: AgentState['entries']; readonly index: GrantIndex } | undefined;

  constructor(o: AgentIdentitiesOptions, client: IdentityClient) {
    const { clock, logger, clients, maxTokens } = o;
    this.#clock = clock;
    this.#clients = clients;
    this.#client = client;
    const queue = new SignQueue<SignItem, IssuedCertificate>({
      send: (items) => signX509(clients.current.identity, items),
      maxItems: MAX_X509_CALL_ITEMS,
    });
    this.#witQueue = new SignQueue({
      send: (items) => signWit(clients.current.identity, items),
      maxItems: MAX_WIT_ITEMS,
    });
    this.#svids = new SvidCache({
      state: client.state,
      sign: (item) => queue.add(item),
      clock,
      logger,
      random: o.random ?? secureRandom,
      ...(o.maxWarmSvids !== undefined && { maxWarm: o.maxWarmSvids }),
      ...(o.rekeySpreadMs !== undefined && { rekeySpreadMs: o.rekeySpreadMs }),
    });
    const tokens = { clock, ...(maxTokens !== undefined && { maxTokens }) };
    this.#jwts = new TokenCache(tokens);
    this.#wits = new TokenCache(tokens);
    this.#tokenRate = new RateLimit({ ...TOKEN_RATE, ...o.tokenRate, clock });
  }

  get state(): Watch<AgentState | undefined> {
    return this.#client.state;
  }

  grantsFor(selectors: readonly string[]): readonly Grant[] {
    const entries = this.state.current?.entries;
    if (entries === undefined) return [];
    if (this.#index?.of !== entries) this.#index = { of: entries, index: new GrantIndex(entries.values()) };
    return this.#index.index.grantsFor(selectors, this.#clock.now());
  }

  x509(grant: Grant): Lease {
    return this.#svids.lease(grant);
  }

  async jwt(grant: Grant, audience: readonly string[]): Promise<AgentJwt> {
    if (audience.length === 0 || audience.length > MAX_AUDIENCES) {
      throw new AppError('invalid', `A token is for one to ${MAX_AUDIENCES} audiences.`);
    }
    for (const each of audience) checkAudience(each);
    const key = JSON.stringify([this.#keyOf(grant), [...audience].sort()]);
    const { entry, variables } = grant;
    const fetch = async () => {
      this.#tokenRate.take(grantKey(grant));
      const order = { audience, entryId: entry.id, variables };
      return checkSubject(await signJwt(this.#clients.current.identity, order), grant);
    };
    return await this.#jwts.get(key, fetch, (kept) => this.#isTrusted(kept));
  }

  async wit(grant: Grant): Promise<AgentWit> {
    const { entry, variables } = grant;
    const fetch = async () => {
      const { privateKey } = await makeKeyPair();
      const csr = createCsr(privateKey);
      const token = checkSubject(await this.#witQueue.add({ entryId: entry.id, csr, variables }), grant);
      return { ...token, privateKey };
    };
    return await this.#wits.get(this.#keyOf(grant), fetch, (kept) => this.#isTrusted(kept));
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#client.run(signal);
  }

  close(): void {
    this.#svids.close();
  }

  /** Of a grant by the entry as it is now: a token says what the entry said when it was signed. Throws `not-found`. */
  #keyOf(grant: Grant): string {
    const entry = this.state.current?.entries.get(grant.entry.id);
    if (entry === undefined) throw new AppError('not-found', `${grant.spiffeId} is not registered for this agent.`);
    return JSON.stringify([grantKey(grant), entry.revision]);
  }

  /**
   * Whether verifiers take it: its key is in the bundle, and not said to be in wrong hands. Both are asked, since an agent that
   * was away hears of neither: when it comes back, a key that was tainted may have been revoked, and is simply gone.
   */
  #isTrusted({ token }: IssuedToken): boolean {
    const { jwks, tainted = [] } = this.state.current?.bundle ?? {};
    const kid = keyIdOf(token);
    return !tainted.includes(kid) && jwks?.keys.some((key) => key.kid === kid) === true;
  }
}

function checkSubject(token: IssuedToken, grant: Grant): IssuedToken {
  if (token.spiffeId === grant.spiffeId) return token;
  throw new AppError('peer-refused', `A token for ${token.spiffeId} came instead of ${grant.spiffeId}.`);
}

function keyIdOf(token: string): string {
  const header: unknown = JSON.parse(Buffer.from(token.split('.', 1)[0] ?? '', 'base64url').toString('utf8'));
  const kid = typeof header === 'object' && header !== null && 'kid' in header ? header.kid : undefined;
  return typeof kid === 'string' ? kid : '';
}
