import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import type { Recorder } from '../../ledger/recorder.ts';
import type { PageRequest, RevisedPage } from '../../store/page.ts';
import { pageLimit } from '../../store/page.ts';
import type { WriteOptions } from '../../store/rehearse.ts';
import { scanPage } from '../../store/scan.ts';
import type { Store } from '../../store/store.ts';
import type { Caller, Eviction, Node, Verdict } from './node.ts';
import { judge, toNode } from './node.ts';
import { NodeCache } from './node-cache.ts';
import type { Admission, Claim, Sighting } from './node-rows.ts';
import { bannedSubject, NodeRows } from './node-rows.ts';

export type { Caller, Node } from './node.ts';
export type { Admission, Claim } from './node-rows.ts';

export interface NodesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly recorder: Recorder;
}

/** Who asks for a change to a node, for the record. */
export interface AdminWrite extends WriteOptions {
  /** Name of the admin. */
  readonly actor: string;
  /** Network address. Default none. */
  readonly source?: string | undefined;
}

export interface NodeFilter extends PageRequest {
  readonly kind?: Node['kind'] | undefined;
  readonly method?: string | undefined;
  readonly spiffeId?: string | undefined;
  readonly banned?: boolean | undefined;
}

/** How often sightings are stored. */
const TICK_MS = 60_000;
/** Who was refused with a certificate is not looked up again with it for so long. */
const REFUSAL_MS = 1_000;
const MAX_REFUSALS = 10_000;
const dayMs = 24 * 60 * 60 * 1000;
/** A node whose last certificate expired so long ago is forgotten, unless it is banned. */
const FORGET_MS = 7 * dayMs;
/** Clocks of replicas, and the last second of a certificate. */
const EVICTION_MARGIN_MS = 10 * 60_000;

/**
 * What has attested itself, and the gate that every call with a client certificate passes (S3). All of it is held in memory and
 * follows the store, so that a call costs no read; what memory would refuse is read from the store first, since another
 * replica may know more.
 *
 * Another replica hears of a ban or an eviction by the revision feed: within half a second, at once where the database
 * notifies. Until then it lets the node pass, and a superseded certificate as well.
 */
export class Nodes {
  readonly #store: Store;
  readonly #rows: NodeRows;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #recorder: Recorder;
  readonly #cache: NodeCache;
  readonly #promotions = new Map<string, Promise<void>>();
  readonly #refusals = new Map<string, number>();
  readonly #seen = new Set<string>();

  /** Reads all nodes that there are. */
  static async open(options: NodesOptions): Promise<Nodes> {
    const nodes = new Nodes(options);
    try {
      await nodes.#cache.refresh();
    } catch (error) {
      await nodes.close();
      throw error;
    }
    return nodes;
  }

  private constructor(options: NodesOptions) {
    this.#store = options.store;
    this.#rows = new NodeRows(options.store);
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#recorder = options.recorder;
    const { store, clock, logger } = options;
    this.#cache = new NodeCache({ store, rows: this.#rows, clock, logger });
  }

  /** Changes with every change to any node that others should see; the value is the revision of the store. */
  get changes(): Watch<number> {
    return this.#cache.changes;
  }

  /**
   * Lets a caller pass, or throws `forbidden` with why (S3). A node that shows its next certificate is from now on known by
   * that one; this is durable when the call resolves, and the certificate before is refused.
   */
  async check(caller: Caller): Promise<void> {
    let verdict = this.#judge(caller);
    if (verdict.kind === 'refuse' && verdict.why !== 'banned' && this.#mayLookUp(caller)) {
      await this.#cache.lookUp(caller.instanceId);
      verdict = this.#judge(caller);
      if (verdict.kind === 'refuse') this.#rememberRefusal(caller);
    }
    if (verdict.kind === 'refuse') throw verdict.error;
    if (verdict.kind === 'promote') await this.#promoteOnce(caller);
    this.#seen.add(caller.instanceId);
  }

  /** Why the caller would be refused, as far as memory knows: for streams that are open, after every change. */
  refusal(caller: Caller): { readonly why: string; readonly error: AppError } | undefined {
    const verdict = this.#judge(caller);
    return verdict.kind === 'refuse' ? verdict : undefined;
  }

  /** Calls `fn` after every change to this instance, until the returned function is called. */
  watch(instanceId: string, fn: () => void): () => void {
    return this.#cache.watch(instanceId, fn);
  }

  /**
   * The node that may renew its own certificate. Throws `forbidden` for a workload that got its identity through an agent, which
   * renews it, and for a node that can prove itself again and must do so (S6).
   */
  async renewable(caller: Caller): Promise<Node> {
    if (this.#nodeOf(caller) === undefined) await this.#cache.lookUp(caller.instanceId);
    const node = this.#nodeOf(caller);
    if (node === undefined) {
      throw new AppError('forbidden', `${caller.id.uri} got its identity through an agent, and the agent renews it.`);
    }
    if (node.canReattest) {
      throw new AppError(
        'forbidden',
        `${caller.id.uri} attested by ${node.method}, which can be repeated: attest again instead of renewing.`,
      );
    }
    return node;
  }

  /**
   * A certificate was made for the node's renewal. To be called before it leaves: when this resolves, it is durable that the node
   * may show it, and the one in use goes on until it does. An answer that is lost on the way locks nobody out: the node
   * renews again with the certificate that it has.
   *
   * @param usedSerial of the certificate that it renewed with; when another one is in use meanwhile, it is too late
   * @throws AppError `forbidden` when the node is gone or banned
   */
  async renewed(instanceId: string, newSerial: string, expiresAt: number, usedSerial?: string): Promise<void> {
    const node = await this.#rows.setNext(instanceId, { serial: newSerial, expiresAt }, usedSerial);
    if (node === undefined) {
      throw new AppError('forbidden', 'The node was banned, evicted, or uses a newer certificate already.');
    }
    this.#cache.put(node);
  }

  /**
   * What attestation found out about a node. Throws `forbidden` for one that is not known, or banned: it may have been since
   * its call was let in.
   */
  agentSelectors(instanceId: string): readonly string[] {
    const node = this.#cache.get(instanceId);
    if (node === undefined || 'evicted' in node) {
      throw new AppError('forbidden', 'The agent is not attested, or was evicted. Attest it again.');
    }
    if (node.banned) throw bannedSubject(node.spiffeId);
    return node.selectors;
  }

  /** Keeps which bundle a node has acknowledged. */
  async acknowledged(instanceId: string, bundleSequence: number): Promise<void> {
    const known = this.#cache.get(instanceId);
    if (known !== undefined && !('evicted' in known) && known.bundleSequence === bundleSequence) return;
    const node = await this.#rows.acknowledge(instanceId, bundleSequence);
    if (node !== undefined) this.#cache.put(node);
  }

  /** When each agent was last seen by whichever replica, and which bundle it has acknowledged; without banned ones. */
  async agentSightings(): Promise<readonly Sighting[]> {
    return await this.#rows.agentSightings(this.#clock.now() - EVICTION_MARGIN_MS);
  }

  /** Stores that these are there now: for whoever holds a stream open and says nothing. */
  async seen(instanceIds: readonly string[]): Promise<void> {
    await this.#rows.seen(instanceIds, this.#clock.now());
  }

  /** Whether it is known here to be banned or evicted. */
  isBarred(instanceId: string): boolean {
    const known = this.#cache.get(instanceId);
    return known !== undefined && ('evicted' in known || known.banned);
  }

  /** Throws `forbidden` when what would attest is banned: for early refusals, `admit` looks again. */
  async refuseBanned(subject: string, spiffeId: string): Promise<void> {
    if (await this.#rows.isBanned(subject)) throw bannedSubject(spiffeId);
  }

  /** The known node of this caller, whose instance it may keep when it attests again. */
  current(caller: Caller): Node | undefined {
    return this.#judge(caller).kind === 'refuse' ? undefined : this.#nodeOf(caller);
  }

  /**
   * Lets a node in that has attested itself, before it gets its certificate; `claim` takes part in the transaction. Throws
   * `forbidden` for a banned subject, `conflict`, and what `claim` throws.
   */
  async admit(admission: Admission, claim?: Claim): Promise<Node> {
    const node = await this.#rows.admit(admission, this.#clock.now(), claim);
    this.#refusals.clear();
    await this.#cache.refresh();
    return node;
  }

  /** Takes `admit` back for a node that never got its certificate. */
  async retract(instanceId: string, serial: string, release?: Claim): Promise<void> {
    await this.#rows.retract(instanceId, serial, release);
    await this.#cache.refresh();
  }

  /** Throws `not-found`. */
  async get(instanceId: string): Promise<Node> {
    const node = await this.#rows.byInstance(instanceId);
    if (node === undefined || 'evicted' in node) {
      throw new AppError('not-found', 'There is no node with this instance id.');
    }
    return node;
  }

  /** By instance id. Throws `invalid` for a bad limit, `invalid-cursor`, `cursor-expired`. */
  async list(filter: NodeFilter = {}): Promise<RevisedPage<Node>> {
    const { kind, method, spiffeId, banned } = filter;
    const revision = this.#store.revision.current;
    const page = await scanPage({
      cursors: this.#store.cursors,
      scope: `nodes ${JSON.stringify([kind ?? null, method ?? null, spiffeId ?? null, banned ?? null])}`,
      limit: pageLimit(filter.limit),
      cursor: filter.cursor,
      read: ([after] = [], count) => {
        let query = this.#store.db.selectFrom('nodes').selectAll();
        if (kind !== undefined) query = query.where('kind', '=', kind);
        if (method !== undefined) query = query.where('method', '=', method);
        if (spiffeId !== undefined) query = query.where('spiffe_id', '=', spiffeId);
        if (banned !== undefined) query = query.where('banned', '=', banned ? 1 : 0);
        if (after !== undefined) query = query.where('instance_id', '>', String(after));
        return query.orderBy('instance_id').limit(count).execute();
      },
      keysOf: (row) => [row.instance_id],
    });
    return { items: page.items.map(toNode), nextCursor: page.nextCursor, revision };
  }

  /**
   * Takes a node's access away at once, open streams included, and its right to attest again, until it is lifted. In force even
   * when it then cannot be recorded (`unavailable`): do it again to have it recorded. Throws `not-found`.
   */
  async ban(instanceId: string, write: AdminWrite): Promise<Node> {
    const node = await this.#rows.setBanned(instanceId, true, write);
    if (write.dryRun === true) return node;
    await this.#tell(node);
    await this.#record('node.ban', node, write);
    return node;
  }

  /** Lifts a ban; recorded before it is. Throws `not-found`. */
  async unban(instanceId: string, write: AdminWrite): Promise<Node> {
    if (write.dryRun === true) return await this.#rows.setBanned(instanceId, false, write);
    await this.#record('node.unban', await this.get(instanceId), write);
    const node = await this.#rows.setBanned(instanceId, false, write);
    await this.#cache.refresh();
    return node;
  }

  /**
   * Forgets a node: its access ends at once, open streams included; it comes back only by attesting again. That lifts a ban too.
   * In force even when it then cannot be recorded (`unavailable`). Returns what it was. Throws `not-found`.
   */
  async evict(instanceId: string, write: AdminWrite): Promise<Node> {
    const node = await this.#rows.evict(instanceId, write);
    if (write.dryRun === true) return node;
    const { spiffeId, expiresAt, revision } = node;
    await this.#tell({ instanceId, spiffeId, evicted: true, expiresAt, revision });
    await this.#record('node.evict', node, write);
    return node;
  }

  /** Keeps record of who is there and forgets who is long gone, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(this.#clock, TICK_MS, signal);
      if (signal.aborted) return;
      try {
        await this.#tick();
      } catch (error) {
        this.#logger.warn({ err: error }, 'cannot keep record of the nodes');
      }
    }
  }

  async close(): Promise<void> {
    await this.#cache.close();
  }

  /** What is stored is in force here at once, whether or not it can be read back now: the cache tries that again by itself. */
  async #tell(each: Node | Eviction): Promise<void> {
    this.#cache.put(each);
    await this.#cache.refresh().catch(() => undefined);
  }

  async #tick(): Promise<void> {
    const now = this.#clock.now();
    const seen = [...this.#seen].filter((instanceId) => this.#cache.get(instanceId) !== undefined);
    this.#seen.clear();
    await this.#rows.seen(seen, now);
    const evictionsEndedBefore = now - EVICTION_MARGIN_MS;
    const nodesExpiredBefore = now - FORGET_MS;
    await this.#rows.prune(evictionsEndedBefore, nodesExpiredBefore);
    this.#cache.prune(evictionsEndedBefore, nodesExpiredBefore);
  }

  #judge(caller: Caller): Verdict {
    return judge(this.#cache.get(caller.instanceId), caller);
  }

  #nodeOf(caller: Caller): Node | undefined {
    const known = this.#cache.get(caller.instanceId);
    return known === undefined || 'evicted' in known || known.spiffeId !== caller.id.uri ? undefined : known;
  }

  /** Once for all calls that show the same certificate at the same time. */
  async #promoteOnce(caller: Caller): Promise<void> {
    const key = keyOf(caller);
    const running = this.#promotions.get(key) ?? this.#promote(caller).finally(() => this.#promotions.delete(key));
    this.#promotions.set(key, running);
    await running;
  }

  async #promote(caller: Caller): Promise<void> {
    const node = await this.#rows.promote(caller.instanceId, caller.serial, this.#clock.now());
    if (node !== undefined) this.#cache.put(node);
    else await this.#cache.lookUp(caller.instanceId);
    const verdict = this.#judge(caller);
    // Another replica may have been first; whatever else it is, it is not this certificate's turn.
    if (verdict.kind === 'refuse') throw verdict.error;
    if (verdict.kind === 'promote') throw new AppError('unavailable', 'The node changed meanwhile. Try again.');
  }

  #mayLookUp(caller: Caller): boolean {
    const at = this.#refusals.get(keyOf(caller));
    return at === undefined || Math.abs(this.#clock.now() - at) >= REFUSAL_MS;
  }

  #rememberRefusal(caller: Caller): void {
    if (this.#refusals.size >= MAX_REFUSALS) this.#refusals.clear();
    this.#refusals.set(keyOf(caller), this.#clock.now());
  }

  async #record(action: 'node.ban' | 'node.unban' | 'node.evict', node: Node, write: AdminWrite): Promise<void> {
    await this.#recorder.record({
      action,
      outcome: 'granted',
      subject: node.spiffeId,
      actor: write.actor,
      entry: node.entryId ?? '',
      instance: node.instanceId,
      serial: node.serial,
      method: node.method,
      selectors: node.selectors,
      audience: [],
      expiresAt: 0,
      reason: '',
      source: write.source ?? '',
    });
  }
}

function keyOf(caller: Caller): string {
  return `${caller.instanceId} ${caller.serial}`;
}
