import type { KeyObject } from 'node:crypto';
import { hash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { AppError, toAppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { isAgentId } from '../../core/identity/agent-id.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { parseCsr } from '../../core/identity/csr.ts';
import { resolveClaims } from '../../core/identity/jwt-claims.ts';
import { importPublicKey } from '../../core/identity/keys.ts';
import { holdsAll } from '../../core/identity/selectors.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { controlPlaneId, parseSpiffeId } from '../../core/identity/spiffe-id.ts';
import { isTemplate, matchTemplate, resolveTemplate } from '../../core/identity/template.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { Recorder } from '../ledger/recorder.ts';
import type { QuarantineGate } from '../policies/quarantine.ts';
import type { KnownAgent } from '../registry/agent-views.ts';
import type { Entry } from './entries/entry.ts';
import type { EntrySnapshot } from './entries/entry-index.ts';
import { lifetimeBy } from './entries/entry-lifetime.ts';
import type { Node } from './nodes/node.ts';
import type { Facts, Note } from './recorded.ts';
import { recorded } from './recorded.ts';

/** A JWT-SVID or WIT-SVID. */
export interface SignedFor {
  readonly token: string;
  readonly spiffeId: string;
  /** Milliseconds since the epoch, as `expiresAt`. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** What an agent asks for a workload beside it. All of it is attacker-controlled when the agent is. */
export interface Order {
  readonly entryId: string;
  /** PKCS #10, DER. */
  readonly csr: Buffer;
  readonly variables: Readonly<Record<string, string>>;
}

export interface JwtOrder {
  readonly audience: readonly string[];
  /** Undefined: for the caller itself. */
  readonly entryId: string | undefined;
  readonly variables: Readonly<Record<string, string>>;
}

export type Outcome<T> = { readonly value: T } | { readonly error: AppError };

interface Token {
  readonly token: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface IdentitiesOptions {
  readonly authority: {
    readonly lifetimes: { readonly x509Seconds: number; readonly jwtSeconds: number; readonly witSeconds: number };
    issue(request: {
      readonly id: SpiffeId;
      readonly instanceId: string;
      readonly csr: Uint8Array;
      readonly ttlSeconds?: number;
      readonly dnsNames?: readonly string[];
    }): X509Svid;
    signJwt(request: {
      readonly id: SpiffeId;
      readonly audience: readonly string[];
      readonly ttlSeconds?: number;
      readonly claims?: Readonly<Record<string, unknown>>;
    }): Promise<Token>;
    signWit(request: {
      readonly id: SpiffeId;
      readonly publicKey: KeyObject;
      readonly ttlSeconds?: number;
    }): Promise<Token>;
  };
  readonly entries: {
    readonly current: Watch<EntrySnapshot>;
    /** Resolves once what was committed before the call is in `current`. */
    settled(): Promise<void>;
  };
  readonly views: { of(agent: KnownAgent): { readonly entries: ReadonlyMap<string, Entry> } };
  readonly nodes: {
    agentSelectors(instanceId: string): readonly string[];
    /** Undefined for who is welcome. */
    refusal(caller: PeerIdentity): { readonly error: AppError } | undefined;
    /** Undefined for who got its identity through an agent. */
    current(caller: PeerIdentity): Node | undefined;
    renewable(caller: PeerIdentity): Promise<Node>;
    renewed(instanceId: string, newSerial: string, expiresAt: number, usedSerial?: string): Promise<void>;
  };
  /** Who gets nothing, neither for itself nor for others. Default: everybody gets what is theirs. */
  readonly quarantine?: QuarantineGate;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Certificates that are signed before everybody else gets a turn: one takes a tenth of a millisecond. */
const SIGNED_AT_ONCE = 8;

/**
 * Identities for those that have proved one: its own again, and for an agent those of the workloads beside it. What an agent
 * may have signed follows from its attestation and the entries alone (S8); whatever is refused or issued is durable in the
 * ledger before the answer leaves.
 */
export class Identities {
  readonly #o: IdentitiesOptions;

  constructor(options: IdentitiesOptions) {
    this.#o = options;
  }

  /**
   * The caller's identity again, of the same instance, on the key in the CSR.
   *
   * @throws AppError `forbidden` when its entry is gone, its node is not welcome any more, or its agent renews for it; `csr-refused`
   */
  async renew(caller: PeerIdentity, csr: Uint8Array, source = ''): Promise<X509Svid> {
    const facts: Facts = { action: 'renewal', subject: caller.id.uri, instance: caller.instanceId };
    return await this.#recorded(caller, source, facts, async (note) => {
      const { nodes, authority } = this.#o;
      const node = await nodes.renewable(caller);
      note({ method: node.method, selectors: node.selectors });
      const entry = isAgentId(caller.id) ? undefined : await this.#entryOfNode(caller, node);
      note({ entry: entry?.id ?? '' });
      const svid = authority.issue({
        id: caller.id,
        instanceId: caller.instanceId,
        csr,
        ...(entry !== undefined && this.#limitsOf(entry)),
      });
      await nodes.renewed(caller.instanceId, svid.serial, svid.notAfter, caller.serial);
      note({ serial: svid.serial, expiresAt: svid.notAfter });
      return svid;
    });
  }

  /** In the order of the orders; one that is refused does not fail its neighbours. Throws `forbidden` for who is no agent. */
  async signX509(caller: PeerIdentity, orders: readonly Order[], source = ''): Promise<readonly Outcome<X509Svid>[]> {
    const { authority } = this.#o;
    return await this.#eachFor(caller, orders, source, 'x509-svid', async ({ id, entry }, order, note) => {
      const instanceId = instanceOf(caller.id.uri, order);
      note({ instance: instanceId });
      const svid = authority.issue({ id, instanceId, csr: order.csr, ...this.#limitsOf(entry) });
      note({ serial: svid.serial, expiresAt: svid.notAfter });
      return svid;
    });
  }

  /** As `signX509`. The CSR proves that the key is there, and that it is strong enough. */
  async signWit(caller: PeerIdentity, orders: readonly Order[], source = ''): Promise<readonly Outcome<SignedFor>[]> {
    const { authority } = this.#o;
    return await this.#eachFor(caller, orders, source, 'wit-svid', async ({ id, entry }, order, note) => {
      const publicKey = importPublicKey(parseCsr(order.csr));
      const ttl = this.#ttlOf(entry, entry.x509TtlSeconds, authority.lifetimes.witSeconds);
      const token = await authority.signWit({ id, publicKey, ...ttl });
      note({ instance: instanceOf(caller.id.uri, order), serial: jtiOf(token.token), expiresAt: token.expiresAt });
      return { ...token, spiffeId: id.uri };
    });
  }

  /**
   * A JWT-SVID for the caller itself, or for a workload beside it.
   *
   * @throws AppError `forbidden` when the caller's entry is gone or an agent asks for itself, `not-found` for an entry that is not
   *   this agent's, `invalid` for a bad audience
   */
  async signJwt(caller: PeerIdentity, order: JwtOrder, source = ''): Promise<SignedFor> {
    const { audience, entryId } = order;
    const facts: Facts = { action: 'jwt-svid', subject: entryId === undefined ? caller.id.uri : '', audience };
    return await this.#recorded(caller, source, { ...facts, entry: entryId ?? '' }, async (note) => {
      const subject =
        entryId === undefined ? await this.#self(caller) : await this.#workload(caller, { ...order, entryId });
      const { id, entry, variables } = subject;
      note({ subject: id.uri, entry: entry.id });
      this.#o.quarantine?.refuse(id.uri);
      const token = await this.#o.authority.signJwt({
        id,
        audience,
        ...this.#ttlOf(entry, entry.jwtTtlSeconds, this.#o.authority.lifetimes.jwtSeconds),
        ...(entry.jwtClaims !== null && { claims: resolveClaims(entry.jwtClaims, variables) }),
      });
      note({ serial: jtiOf(token.token), expiresAt: token.expiresAt });
      return { ...token, spiffeId: id.uri };
    });
  }

  async #eachFor<T>(
    caller: PeerIdentity,
    orders: readonly Order[],
    source: string,
    action: Facts['action'],
    sign: (workload: Workload, order: Order, note: Note) => Promise<T>,
  ): Promise<readonly Outcome<T>[]> {
    const outcomes: Promise<Outcome<T>>[] = [];
    for (const [index, order] of orders.entries()) {
      if (index % SIGNED_AT_ONCE === 0 && index > 0) await new Promise((resolve) => setImmediate(resolve));
      const outcome = this.#recorded(caller, source, { action, entry: order.entryId }, async (note) => {
        const workload = await this.#workload(caller, order);
        note({ subject: workload.id.uri });
        this.#o.quarantine?.refuse(workload.id.uri);
        return await sign(workload, order, note);
      });
      outcomes.push(
        outcome.then(
          (value) => ({ value }),
          (error: unknown) => ({ error: this.#reported(error) }),
        ),
      );
    }
    return await Promise.all(outcomes);
  }

  /** S8: an entry that is not this agent's does not exist for it, and both are refused with the same words. */
  async #workload(caller: PeerIdentity, order: Pick<Order, 'entryId' | 'variables'>): Promise<Workload> {
    if (!isAgentId(caller.id)) {
      throw new AppError('forbidden', `${caller.id.uri} is no agent: it gets identities for nobody but itself.`);
    }
    const agent = { spiffeId: caller.id.uri, selectors: this.#o.nodes.agentSelectors(caller.instanceId) };
    let entry = this.#o.views.of(agent).entries.get(order.entryId);
    if (entry === undefined) {
      // The agent may have heard of it from another replica, before this one read it.
      await this.#o.entries.settled();
      entry = this.#o.views.of(agent).entries.get(order.entryId);
    }
    if (entry === undefined) throw new AppError('not-found', 'There is no such entry, or it is not for this agent.');
    // The agent is not trusted to stay inside the bounds of a template.
    const id = parseSpiffeId(resolveTemplate(entry, order.variables));
    return { id, entry, variables: order.variables };
  }

  /** Who asks for itself: a workload that has attested itself, or one that an agent serves. */
  async #self(caller: PeerIdentity): Promise<Workload> {
    if (isAgentId(caller.id)) {
      throw new AppError('forbidden', 'An agent has no token of its own. Name the entry that the token is for.');
    }
    const { nodes } = this.#o;
    // Since its call was let in, it may have been sent away: then it is not one that nobody knows.
    const refusal = nodes.refusal(caller);
    if (refusal !== undefined) throw refusal.error;
    const node = nodes.current(caller);
    const entry = node === undefined ? await this.#entryOfServed(caller) : await this.#entryOfNode(caller, node);
    return { id: caller.id, entry, variables: variablesOf(entry, caller.id) };
  }

  /**
   * Of who attested itself: the entry that it got its identity by, or one that was made anew for who attests like that. What
   * others have the same SPIFFE ID by is not its own.
   */
  async #entryOfNode(caller: PeerIdentity, node: Node): Promise<Entry> {
    const [entry] = await this.#entriesOf(caller, (snapshot) => {
      const own = node.entryId === null ? undefined : snapshot.byId(node.entryId);
      if (own !== undefined) return [own];
      const controlPlane = controlPlaneId(caller.id.trustDomain).uri;
      const held = new Set(node.selectors);
      return snapshot
        .allOfIdentity(caller.id.uri)
        .filter(({ parentId, selectors }) =>
          node.canReattest ? parentId === controlPlane && holdsAll(held, selectors) : parentId === null,
        );
    });
    return entry;
  }

  /**
   * Of who got its identity through an agent: its certificate does not say by which entry. Where several could be it, they must
   * all give it the same claims, or it would choose those of another workload.
   */
  async #entryOfServed(caller: PeerIdentity): Promise<Entry> {
    const candidates = await this.#entriesOf(caller, (snapshot) => snapshot.allOfIdentity(caller.id.uri));
    const [entry, ...others] = candidates;
    const claims = claimsFor(entry, caller.id);
    if (others.every((other) => claimsFor(other, caller.id) === claims)) return entry;
    throw new AppError(
      'forbidden',
      `Several entries of ${caller.id.uri} have other claims each. Ask the agent for the token: it knows which entry is meant.`,
    );
  }

  async #entriesOf(
    caller: PeerIdentity,
    find: (snapshot: EntrySnapshot) => readonly Entry[],
  ): Promise<readonly [Entry, ...Entry[]]> {
    const { entries } = this.#o;
    let found = find(entries.current.current);
    if (found.length === 0) {
      await entries.settled();
      found = find(entries.current.current);
    }
    const [first, ...others] = found;
    if (first !== undefined) return [first, ...others];
    throw new AppError('forbidden', `${caller.id.uri} is not registered any more. Ask an operator for an entry.`);
  }

  #recorded<T>(caller: PeerIdentity, source: string, facts: Facts, work: (note: Note) => Promise<T>): Promise<T> {
    return recorded(this.#o, { ...facts, actor: caller.id.uri, source }, async (note) => {
      // An agent in quarantine gets nothing for the workloads beside it either.
      this.#o.quarantine?.refuse(caller.id.uri);
      return await work(note);
    });
  }

  /** From the entry, never from the CSR (S10, S11). */
  #limitsOf(entry: Entry) {
    return {
      ...this.#ttlOf(entry, entry.x509TtlSeconds, this.#o.authority.lifetimes.x509Seconds),
      ...(entry.dnsNames.length > 0 && { dnsNames: entry.dnsNames }),
    };
  }

  #ttlOf(entry: Entry, asked: number | null, usual: number) {
    return lifetimeBy(entry, asked, usual, this.#o.clock.now());
  }

  /** What was not expected is told to nobody, so it is told here. */
  #reported(error: unknown): AppError {
    const appError = toAppError(error);
    if (appError.code === 'internal')
      this.#o.logger.error({ err: appError.cause ?? error }, 'an identity was not signed');
    return appError;
  }
}

interface Workload {
  readonly id: SpiffeId;
  readonly entry: Entry;
  readonly variables: Readonly<Record<string, string>>;
}

/**
 * Names the instance that an agent's workload is: the same agent, entry and variables are the same one, over all renewals. First
 * 32 hex digits of a SHA-256.
 */
export function instanceOf(agentId: string, order: Pick<Order, 'entryId' | 'variables'>): string {
  const variables = Object.entries(order.variables).sort(([a], [b]) => (a < b ? -1 : 1));
  return hash('sha256', JSON.stringify([agentId, order.entryId, variables])).slice(0, 32);
}

/** Those that a template of the caller's identity was filled in with. */
function variablesOf(entry: Entry, { uri }: SpiffeId): Readonly<Record<string, string>> {
  return isTemplate(entry.spiffeId) ? (matchTemplate(entry, uri) ?? {}) : {};
}

/** To be compared. */
function claimsFor(entry: Entry, id: SpiffeId): string {
  return entry.jwtClaims === null ? '' : JSON.stringify(resolveClaims(entry.jwtClaims, variablesOf(entry, id)));
}

/** Of a token that was just signed here. */
function jtiOf(token: string): string {
  const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
  const jti = typeof claims === 'object' && claims !== null && 'jti' in claims ? claims.jti : undefined;
  return typeof jti === 'string' ? jti : '';
}
