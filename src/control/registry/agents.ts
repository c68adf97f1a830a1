import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { WorkloadEntry } from '../../core/identity/workload-entry.ts';
import { compareText } from '../store/compare.ts';
import type { PresenceNodes } from './agent-presence.ts';
import { AgentPresence } from './agent-presence.ts';
import type { AgentViews, EntryView } from './agent-views.ts';

/** What an agent should have. Frozen; agents that should have the same share one value. */
export interface AgentContent {
  /** By id. */
  readonly entries: ReadonlyMap<string, WorkloadEntry>;
  /** By trust domain: the own one, and those that some entry federates with. */
  readonly bundles: ReadonlyMap<string, TrustBundle>;
}

export interface AgentHello {
  /** Of its certificate, as `spiffeId`. */
  readonly instanceId: string;
  readonly spiffeId: string;
  /** By its own account, for people. */
  readonly version: string;
  /** The agent's clock, milliseconds since the epoch. */
  readonly time: number;
}

/** One stream of an agent, as the edge tells it. */
export interface AgentConnection {
  readonly content: Watch<AgentContent>;
  /** Aborts when a newer stream of the same instance has taken over; its reason is an AppError. */
  readonly replaced: AbortSignal;
  /** The agent has this in force. */
  acknowledged(content: AgentContent): void;
  /** Idempotent. */
  close(): void;
}

export interface AgentStatus {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly connectedSince: number;
  /** Of the own trust domain's bundle that it has in force; null until it has said so. */
  readonly bundleSequence: number | null;
  /** How far its clock was ahead of ours when it connected. */
  readonly clockSkewMs: number;
}

export interface AgentsOptions {
  readonly views: AgentViews;
  readonly bundle: Watch<TrustBundle>;
  /** By trust domain. Default none. */
  readonly federated?: Watch<ReadonlyMap<string, TrustBundle>>;
  readonly nodes: PresenceNodes & {
    /** Throws `forbidden`. */
    agentSelectors(instanceId: string): readonly string[];
    watch(instanceId: string, fn: () => void): () => void;
    acknowledged(instanceId: string, bundleSequence: number): Promise<void>;
  };
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Connected {
  readonly hello: AgentHello;
  readonly since: number;
  readonly replace: AbortController;
  bundleSequence: number | null;
}

/** Certificates live an hour, and are backdated by ten seconds: a clock that is this far off will soon refuse them. */
const SKEW_WARNING_MS = 10_000;
const noBundles: Watch<ReadonlyMap<string, TrustBundle>> = new WatchSource(new Map());

/** The agents that are connected to this control plane, what each should have, and what it has acknowledged. */
export class Agents {
  readonly #o: AgentsOptions;
  readonly #federated: Watch<ReadonlyMap<string, TrustBundle>>;
  readonly #connected = new Map<string, Connected>();
  readonly #presence: AgentPresence;
  readonly #refreshers = new Set<() => void>();
  readonly #unsubscribe: readonly (() => void)[];
  /** What the current bundles make of each view. */
  #contents = new WeakMap<EntryView, AgentContent>();
  /** Acknowledgements that are to be stored, by instance; one write at a time. */
  readonly #unstored = new Map<string, number>();
  #storing = false;

  constructor(o: AgentsOptions) {
    this.#o = o;
    this.#federated = o.federated ?? noBundles;
    const { nodes, clock, logger } = o;
    this.#presence = new AgentPresence({ nodes, connected: () => [...this.#connected.keys()], clock, logger });
    const refresh = () => {
      this.#contents = new WeakMap();
      for (const each of [...this.#refreshers]) each();
    };
    this.#unsubscribe = [o.bundle.subscribe(refresh), this.#federated.subscribe(refresh)];
  }

  /**
   * An agent has connected. A newer stream of the same instance takes over from an older one.
   *
   * @throws AppError `forbidden` when it is no node (any more)
   */
  connect(hello: AgentHello): AgentConnection {
    const { views, nodes, clock } = this.#o;
    const { instanceId, spiffeId } = hello;
    const selectors = nodes.agentSelectors(instanceId);
    this.#warnOfSkew(hello);
    this.#connected
      .get(instanceId)
      ?.replace.abort(new AppError('conflict', 'A newer stream of the same agent took over.'));
    const connected: Connected = { hello, since: clock.now(), replace: new AbortController(), bundleSequence: null };
    this.#connected.set(instanceId, connected);
    this.#presence.arrived(instanceId);

    let view: EntryView;
    const followed = views.follow({ spiffeId, selectors }, (changed) => {
      view = changed;
      content.set(this.#contentOf(view));
    });
    view = followed.view;
    const content = new WatchSource(this.#contentOf(view));
    const refresh = () => {
      const now = this.#contentOf(view);
      if (now !== content.current) content.set(now);
    };
    this.#refreshers.add(refresh);
    const unwatch = nodes.watch(instanceId, () => this.#reattested(hello, followed));
    return {
      content,
      replaced: connected.replace.signal,
      acknowledged: (acknowledged) => this.#acknowledged(connected, acknowledged),
      close: () => {
        unwatch();
        followed.close();
        this.#refreshers.delete(refresh);
        this.#disconnected(connected);
      },
    };
  }

  /** By identity, then instance. */
  list(): readonly AgentStatus[] {
    const byIdentity = (a: AgentStatus, b: AgentStatus) =>
      compareText(a.spiffeId, b.spiffeId) || compareText(a.instanceId, b.instanceId);
    return [...this.#connected.values()].map(statusOf).sort(byIdentity);
  }

  /** As in `AgentStatus`; null for one that is not connected to this replica. */
  clockSkewMs(instanceId: string): number | null {
    const connected = this.#connected.get(instanceId);
    return connected === undefined ? null : statusOf(connected).clockSkewMs;
  }

  /**
   * Names of those that do not have a bundle of this sequence, or a later one, in force: of those that are connected, here or
   * to another replica, or were within two minutes. What is banned or evicted does not count.
   */
  missing(bundleSequence: number): readonly string[] {
    const here = this.list().filter(({ instanceId }) => !this.#o.nodes.isBarred(instanceId));
    const elsewhere = this.#presence.around().filter(({ instanceId }) => !this.#connected.has(instanceId));
    return [...here, ...elsewhere]
      .filter((agent) => agent.bundleSequence === null || agent.bundleSequence < bundleSequence)
      .map((agent) => `${agent.spiffeId} (instance ${agent.instanceId})`)
      .sort(compareText);
  }

  /** Hears now of what other replicas have stored, which is otherwise ten seconds old. Rejects when that cannot be read. */
  async refresh(): Promise<void> {
    await this.#presence.refresh();
  }

  /** Keeps record of who is there, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#presence.run(signal);
  }

  /** One step of `run`. Never rejects. */
  async tick(): Promise<void> {
    await this.#presence.tick();
  }

  close(): void {
    for (const end of this.#unsubscribe) end();
  }

  #contentOf(view: EntryView): AgentContent {
    let content = this.#contents.get(view);
    if (content === undefined) {
      const own = this.#o.bundle.current;
      const bundles = new Map([[own.trustDomain, own]]);
      for (const domain of view.federatesWith) {
        const bundle = this.#federated.current.get(domain);
        // Never another bundle for the own trust domain, whatever a relationship is called.
        if (bundle !== undefined && domain !== own.trustDomain) bundles.set(domain, bundle);
      }
      content = Object.freeze({ entries: view.entries, bundles });
      this.#contents.set(view, content);
    }
    return content;
  }

  #disconnected(connected: Connected): void {
    const { hello, bundleSequence } = connected;
    const { instanceId, spiffeId } = hello;
    if (this.#connected.get(instanceId) !== connected) return;
    this.#connected.delete(instanceId);
    this.#presence.left({ instanceId, spiffeId, bundleSequence });
  }

  /** What attestation found out may be something else now. */
  #reattested(hello: AgentHello, followed: ReturnType<AgentViews['follow']>): void {
    try {
      const selectors = this.#o.nodes.agentSelectors(hello.instanceId);
      followed.change({ spiffeId: hello.spiffeId, selectors });
    } catch (error) {
      // It was evicted: the gate ends its stream.
      if (!(error instanceof AppError)) throw error;
    }
  }

  #acknowledged(connected: Connected, content: AgentContent): void {
    const { bundle } = this.#o;
    const sequence = content.bundles.get(bundle.current.trustDomain)?.sequence;
    if (sequence === undefined || connected.bundleSequence === sequence) return;
    connected.bundleSequence = sequence;
    this.#unstored.set(connected.hello.instanceId, sequence);
    if (!this.#storing) void this.#store();
  }

  /** For other replicas, and for when the agent is away. Never rejects. */
  async #store(): Promise<void> {
    this.#storing = true;
    for (let next = firstOf(this.#unstored); next !== undefined; next = firstOf(this.#unstored)) {
      const [instanceId, sequence] = next;
      this.#unstored.delete(instanceId);
      try {
        await this.#o.nodes.acknowledged(instanceId, sequence);
      } catch (error) {
        this.#o.logger.warn({ err: error, instanceId }, 'which bundle an agent has could not be stored');
      }
    }
    this.#storing = false;
  }

  #warnOfSkew({ spiffeId, instanceId, time }: AgentHello): void {
    const skewMs = time - this.#o.clock.now();
    if (Math.abs(skewMs) < SKEW_WARNING_MS) return;
    this.#o.logger.warn(
      { spiffeId, instanceId, skewMs },
      "an agent's clock is off: certificates will be refused there",
    );
  }
}

function statusOf({ hello, since, bundleSequence }: Connected): AgentStatus {
  const { instanceId, spiffeId, version, time } = hello;
  const clockSkewMs = time - since;
  return Object.freeze({ instanceId, spiffeId, version, connectedSince: since, bundleSequence, clockSkewMs });
}

function firstOf<K, V>(map: ReadonlyMap<K, V>): readonly [K, V] | undefined {
  const [first] = map;
  return first;
}
