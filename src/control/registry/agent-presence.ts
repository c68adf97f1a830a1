import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';

/** An agent as some replica has stored it. */
export interface AgentSighting {
  readonly instanceId: string;
  readonly spiffeId: string;
  /** By the clock of the replica that it is or was connected to, milliseconds since the epoch. */
  readonly lastSeen: number;
  /** Of the own trust domain's bundle that it has acknowledged; null for none. */
  readonly bundleSequence: number | null;
}

/** The nodes, as far as it matters who is there. */
export interface PresenceNodes {
  /** All agents that are not banned; without those whose certificates have long expired. */
  agentSightings(): Promise<readonly AgentSighting[]>;
  /** Stores that these are there now. */
  seen(instanceIds: readonly string[]): Promise<void>;
  /** Whether it is known to be banned or evicted. */
  isBarred(instanceId: string): boolean;
}

export interface PresenceOptions {
  readonly nodes: PresenceNodes;
  /** Instances of the agents that are connected to this replica. */
  readonly connected: () => readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How often it is read whom other replicas have seen. */
const READ_MS = 10_000;
/** How often those that are connected are stored as seen. A stream that is idle for hours is a sighting all the same. */
const MARK_MS = 60_000;
/** Whom no replica has seen for so long is away. One sighting may be late. */
const AWAY_MS = 2 * MARK_MS;
/** At the start, by our own clock: clocks of replicas need not agree. Then our own clock counts, from what we saw change. */
const START_MS = 10 * 60_000;

interface Known extends AgentSighting {
  /** When we last learnt that some replica has seen it, by our own clock. */
  readonly heardAt: number;
}

/**
 * Which agents are there, connected to whichever replica, and which bundle each has. Every replica stores that its agents are
 * there, and reads what the others have stored.
 *
 * Time during which nothing could be read does not count as anybody's absence: a root must not become active because the
 * database was away.
 */
export class AgentPresence {
  readonly #o: PresenceOptions;
  readonly #known = new Map<string, Known>();
  #readAt = Number.NEGATIVE_INFINITY;
  #markedAt = Number.NEGATIVE_INFINITY;
  /** Those that have come since the last time they were stored. */
  readonly #arrived = new Set<string>();
  #marking: Promise<void> | undefined;

  constructor(options: PresenceOptions) {
    this.#o = options;
  }

  /** An agent has connected here: other replicas hear of it with their next read. Those that come at once share a write. */
  arrived(instanceId: string): void {
    this.#arrived.add(instanceId);
    this.#marking ??= this.#markArrived().finally(() => {
      this.#marking = undefined;
    });
  }

  /** Its stream here has ended. It may come back, here or elsewhere, and counts until it has been away for two minutes. */
  left(agent: Omit<AgentSighting, 'lastSeen'>): void {
    const heardAt = this.#o.clock.now();
    const lastSeen = this.#known.get(agent.instanceId)?.lastSeen ?? heardAt;
    this.#known.set(agent.instanceId, { ...agent, lastSeen, heardAt });
  }

  /** Those that are there, by what is known here; without those that are banned or evicted. */
  around(): readonly AgentSighting[] {
    // Time that has passed since the last read proves nothing.
    const until = Math.min(this.#o.clock.now(), this.#readAt);
    return [...this.#known.values()].filter(
      (each) => isAround(each, until) && !this.#o.nodes.isBarred(each.instanceId),
    );
  }

  /** Reads what all replicas have stored. Rejects when the database cannot be read. */
  async refresh(): Promise<void> {
    const startedAt = this.#o.clock.now();
    const sightings = await this.#o.nodes.agentSightings();
    const now = this.#o.clock.now();
    const lastReadAt = this.#readAt;
    const isGap = Math.abs(now - lastReadAt) > 3 * READ_MS;
    for (const sighting of sightings) {
      const before = this.#known.get(sighting.instanceId);
      const isFirst = lastReadAt === Number.NEGATIVE_INFINITY;
      const isNews =
        before === undefined ? !isFirst || now - sighting.lastSeen < START_MS : before.lastSeen !== sighting.lastSeen;
      const isForgiven = isGap && before !== undefined && isAround(before, lastReadAt);
      const heardAt = isNews || isForgiven ? now : (before?.heardAt ?? Number.NEGATIVE_INFINITY);
      this.#known.set(sighting.instanceId, { ...sighting, heardAt });
    }
    const stored = new Set(sightings.map((sighting) => sighting.instanceId));
    for (const [instanceId, { heardAt }] of this.#known) {
      // Whoever left while this was reading may have come after what was read.
      if (!stored.has(instanceId) && heardAt < startedAt) this.#known.delete(instanceId);
    }
    this.#readAt = now;
  }

  /** Keeps record of who is there, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.tick();
      await sleep(this.#o.clock, READ_MS, signal);
    }
  }

  /** Stores who is connected here, when that is due, and reads who is elsewhere. Never rejects. */
  async tick(): Promise<void> {
    try {
      await this.#mark();
      await this.refresh();
    } catch (error) {
      this.#o.logger.warn({ err: error }, 'cannot keep record of the agents; none counts as away meanwhile');
    }
  }

  async #mark(): Promise<void> {
    const now = this.#o.clock.now();
    if (Math.abs(now - this.#markedAt) < MARK_MS) return;
    await this.#o.nodes.seen(this.#o.connected());
    this.#markedAt = now;
  }

  /** Never rejects. */
  async #markArrived(): Promise<void> {
    while (this.#arrived.size > 0) {
      const instanceIds = [...this.#arrived];
      this.#arrived.clear();
      try {
        await this.#o.nodes.seen(instanceIds);
      } catch (error) {
        // With all others, within a minute.
        this.#o.logger.warn({ err: error }, 'agents that have connected could not be stored as seen');
      }
    }
  }
}

function isAround({ heardAt }: Known, at: number): boolean {
  return at - heardAt < AWAY_MS;
}
