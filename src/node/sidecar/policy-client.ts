import { hash } from 'node:crypto';
import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseSpiffeId } from '../../core/identity/spiffe-id.ts';
import { boundariesOf } from '../../core/policy/boundaries.ts';
import { compile } from '../../core/policy/compile.ts';
import type { Service, Snapshot } from '../../core/policy/snapshot.ts';
import { snapshotFeatures } from '../../core/policy/snapshot.ts';
import type { Snapshot__Output } from '../../wire/gen/writ/v1/Snapshot.ts';
import type { WatchPolicyRequest } from '../../wire/gen/writ/v1/WatchPolicyRequest.ts';
import type { InboundEndpoint } from '../../wire/policy.ts';
import { fromSnapshot, toPolicyMessage } from '../../wire/policy.ts';
import { NO_SNAPSHOT } from '../../wire/quarantine.ts';
import { SnapshotDecoder } from '../../wire/snapshot-memory.ts';
import { GrpcStream } from '../agent/grpc-stream.ts';
import { authenticationOf } from './authentication-state.ts';
import type { ControlPlaneClients } from './control-plane.ts';
import type { CachedSnapshot, PolicyCache } from './policy-cache.ts';
import type { PolicyState } from './policy-state.ts';
import type { QuarantineKeeper } from './quarantine/keeper.ts';

export interface PolicyClientOptions {
  readonly clients: Watch<ControlPlaneClients>;
  readonly cache: PolicyCache;
  readonly quarantine: QuarantineKeeper;
  readonly trustDomain: string;
  /** Asked when a stream begins: ports that were free to choose are known only then. */
  readonly inbound: () => readonly InboundEndpoint[];
  readonly version: string;
  /** The control plane does not want the certificate that the stream was opened with. */
  readonly onRefused?: (() => void) | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

type PolicyStream = GrpcStream<WatchPolicyRequest, Snapshot__Output>;

/**
 * Keeps the policy of this sidecar in force: what the control plane pushes is checked whole, put in force, made durable,
 * and acknowledged, in this order. What cannot be used is refused, and the last good one stays. Without a control plane
 * the last good one goes on.
 */
export class PolicyClient {
  readonly #o: PolicyClientOptions;
  readonly #state: WatchSource<PolicyState | undefined>;
  readonly #backoff = new Backoff({ initialMs: 100, maxMs: 5_000 });
  #stream: PolicyStream | undefined;
  /** Of the message before on the stream. */
  readonly #decoder = new SnapshotDecoder();
  #last = NO_SNAPSHOT;

  /** With what the state directory holds in force already. */
  static async open(o: PolicyClientOptions): Promise<PolicyClient> {
    const client = new PolicyClient(o);
    await client.#restore();
    return client;
  }

  private constructor(o: PolicyClientOptions) {
    this.#o = o;
    this.#state = new WatchSource<PolicyState | undefined>(undefined);
  }

  get state(): Watch<PolicyState | undefined> {
    return this.#state;
  }

  /** Follows the control plane until `signal` aborts, over every interruption and every change of certificate. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    while (!signal.aborted) {
      const replaced = await this.#follow(signal).catch((error: unknown) => {
        if (error instanceof AppError && error.code === 'forbidden') this.#o.onRefused?.();
        if (!signal.aborted) logger.warn({ err: error }, 'the control plane is away; the last good policy stays');
        return false;
      });
      this.#setConnected(false);
      if (!replaced) await sleep(clock, this.#backoff.nextMs(), signal);
    }
  }

  /** Tells the control plane that this sidecar leaves, so that nobody calls it any more. */
  async goodbye(): Promise<void> {
    const stream = this.#stream;
    if (stream === undefined) return;
    await stream.send(toPolicyMessage({ kind: 'goodbye' })).catch(() => undefined);
    stream.endSending();
  }

  /** One stream. Resolves with true when it was given up for a new certificate. */
  async #follow(signal: AbortSignal): Promise<boolean> {
    const { clients, inbound, version } = this.#o;
    let replaced = false;
    const stream: PolicyStream = new GrpcStream(clients.current.policy.watch());
    const stop = () => stream.cancel();
    const unsubscribe = clients.subscribe(() => {
      replaced = true;
      stop();
    });
    signal.addEventListener('abort', stop, { once: true });
    this.#stream = stream;
    this.#last = NO_SNAPSHOT;
    try {
      const haveHash = this.#state.current?.hash ?? Buffer.alloc(0);
      await stream.send(
        toPolicyMessage({ kind: 'hello', inbound: inbound(), version, haveHash, features: snapshotFeatures }),
      );
      for (;;) {
        const message = await stream.receive();
        if (message === undefined) return replaced;
        this.#backoff.reset();
        await this.#receive(fromSnapshot(message), stream);
      }
    } catch (error) {
      if (replaced) return true;
      throw error;
    } finally {
      this.#stream = undefined;
      unsubscribe();
      signal.removeEventListener('abort', stop);
      stream.cancel();
    }
  }

  async #receive(snapshot: Snapshot, stream: PolicyStream): Promise<void> {
    const { cache, clock, logger } = this.#o;
    const { revision, hash: contentHash } = snapshot;
    // Ahead of everything: whatever is wrong with the rest of the message, or with the one before.
    if (snapshot.quarantine !== undefined) await this.#o.quarantine.receive(snapshot.quarantine);
    const quarantineRevision = this.#o.quarantine.current.current.revision;
    const last = this.#last;
    this.#last = { revision, hash: contentHash };
    if (isOnlyQuarantine(snapshot, last)) {
      await stream.send(toPolicyMessage({ kind: 'ack', revision, hash: contentHash, quarantineRevision }));
      return;
    }
    try {
      const receivedAt = clock.now();
      const state = this.#understand(snapshot, receivedAt);
      this.#state.set(state);
      if (snapshot.content !== undefined) {
        const cached: CachedSnapshot = { ...snapshot, content: snapshot.content, receivedAt };
        // In force already; without the file only a restart without a control plane would miss it.
        await cache
          .save(cached)
          .catch((error: unknown) => logger.error({ err: error }, 'the policy could not be stored; it is in force'));
      }
    } catch (error) {
      const why = error instanceof AppError ? error.message : 'An internal error occurred in the sidecar.';
      logger.error({ err: error, revision }, 'a policy was refused; the last good one stays');
      await stream.send(toPolicyMessage({ kind: 'nack', revision, hash: contentHash, error: why }));
      return;
    }
    logger.info({ revision }, 'policy in force');
    await stream.send(toPolicyMessage({ kind: 'ack', revision, hash: contentHash, quarantineRevision }));
  }

  /** Throws `invalid` for anything that is not whole. */
  #understand(snapshot: Snapshot, receivedAt: number): PolicyState {
    const { revision, publishedAt, content } = snapshot;
    const current = this.#state.current;
    if (content === undefined) {
      if (current === undefined || !current.hash.equals(snapshot.hash)) {
        throw new AppError('invalid', 'The control plane sent no content, and the sidecar does not have it.');
      }
      return { ...current, revision, publishedAt, receivedAt, connected: true };
    }
    if (!hash('sha256', content, 'buffer').equals(snapshot.hash)) {
      throw new AppError('invalid', 'The content of the snapshot does not have the hash that it came with.');
    }
    const understood = this.#decoder.decode(content);
    const { policies, services, bundle, federated = [], egress = [] } = understood;
    const { trustDomain } = this.#o;
    if (bundle.trustDomain !== trustDomain) {
      throw new AppError('invalid', `The bundle is of ${bundle.trustDomain}, and this is ${trustDomain}.`);
    }
    checkForeign(federated, trustDomain);
    return {
      revision,
      hash: snapshot.hash,
      // What has not changed is the same value as before, and is not compiled again.
      compiled: compile(policies, revision, current?.compiled),
      egress: egress.length === 0 ? undefined : compile(egress, revision, current?.egress),
      rateLimits: understood.rateLimits,
      authorizers: understood.authorizers,
      trustedProxies: understood.trustedProxies,
      ...authenticationOf(understood, current),
      boundaries: boundariesOf([...policies, ...egress]),
      services: new Map(services.map((service) => [nameInMesh(service, trustDomain), service])),
      // The same value while it says the same: whoever watches it need not start over.
      bundle: current !== undefined && sameBundle(current.bundle, bundle) ? current.bundle : bundle,
      federated: current !== undefined && sameBundles(current.federated, federated) ? current.federated : federated,
      publishedAt,
      receivedAt,
      connected: true,
    };
  }

  async #restore(): Promise<void> {
    const { cache, clock, logger } = this.#o;
    // Who must not be let in is not known then: without a policy, nobody is.
    if (this.#o.quarantine.damaged) return;
    const cached = await cache.load();
    if (cached === undefined) return;
    try {
      const state = this.#understand(cached, cached.receivedAt);
      this.#state.set({ ...state, connected: false });
      const ageSeconds = Math.round((clock.now() - cached.receivedAt) / 1000);
      logger.info(
        { revision: cached.revision, ageSeconds },
        'goes on with the stored policy until the control plane answers',
      );
    } catch (error) {
      logger.warn({ err: error }, 'the stored policy cannot be used');
    }
  }

  #setConnected(connected: boolean): void {
    const state = this.#state.current;
    if (state === undefined || state.connected === connected) return;
    // Until now we would have heard of anything newer.
    this.#state.set({ ...state, connected, receivedAt: this.#o.clock.now() });
  }
}

/** See `Snapshot.quarantine` in the protocol. */
function isOnlyQuarantine(snapshot: Snapshot, last: typeof NO_SNAPSHOT): boolean {
  const { quarantine, content, revision } = snapshot;
  return (
    quarantine !== undefined && content === undefined && revision === last.revision && snapshot.hash.equals(last.hash)
  );
}

/** Whether two bundles verify the same. */
export function sameBundle(a: TrustBundle, b: TrustBundle): boolean {
  return (
    a.trustDomain === b.trustDomain &&
    a.sequence === b.sequence &&
    a.roots.length === b.roots.length &&
    a.roots.every((root, i) => b.roots[i]?.equals(root)) &&
    JSON.stringify(a.jwks) === JSON.stringify(b.jwks)
  );
}

function sameBundles(a: readonly TrustBundle[], b: readonly TrustBundle[]): boolean {
  return a.length === b.length && a.every((bundle, i) => b[i] !== undefined && sameBundle(bundle, b[i]));
}

/** One bundle for each trust domain, and our own comes by itself: two would leave open which one verifies. */
function checkForeign(federated: readonly TrustBundle[], own: string): void {
  const names = new Set([own]);
  for (const { trustDomain } of federated) {
    if (names.has(trustDomain)) throw new AppError('invalid', `There are two bundles of ${trustDomain}.`);
    names.add(trustDomain);
  }
}

/** What stands before `.mesh` in the name of a service. */
function nameInMesh({ name, namespace, spiffeId }: Service, own: string): string {
  const { trustDomain } = parseSpiffeId(spiffeId);
  return trustDomain === own ? `${name}.${namespace}` : `${name}.${namespace}.${trustDomain}`;
}
