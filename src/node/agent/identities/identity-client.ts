import { Backoff } from '../../../base/backoff.ts';
import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import type { WorkloadEntry } from '../../../core/identity/workload-entry.ts';
import type { IdentityClient as IdentityStub } from '../../../wire/gen/writ/v1/Identity.ts';
import type { IdentityUpdate__Output } from '../../../wire/gen/writ/v1/IdentityUpdate.ts';
import type { WatchIdentityRequest } from '../../../wire/gen/writ/v1/WatchIdentityRequest.ts';
import type { IdentityDifference } from '../../../wire/identity-watch.ts';
import { bundleHash, fromIdentityUpdate, MAX_ENTRY_VERSIONS, toIdentityMessage } from '../../../wire/identity-watch.ts';
import { GrpcStream } from '../grpc-stream.ts';
import type { AgentState } from './agent-identities.ts';
import type { IdentityFile, KeptState } from './identity-file.ts';

export interface IdentityClientOptions {
  /** Changes with every certificate of the agent: the stream then moves over. */
  readonly clients: Watch<{ readonly identity: IdentityStub }>;
  readonly trustDomain: string;
  readonly file: Pick<IdentityFile, 'load' | 'save'>;
  /** For people. */
  readonly version: string;
  /** The control plane does not want the certificate that the stream was opened with. */
  readonly onRefused?: (() => void) | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

type IdentityStream = GrpcStream<WatchIdentityRequest, IdentityUpdate__Output>;

/** Changes that come within this time are written together: the file is written whole. A crash costs no more than a longer hello. */
const SAVE_AFTER_MS = 5_000;

/**
 * What this agent may hand out and what it is verified with, as the control plane pushes it. A difference is taken over whole
 * or not at all. While the control plane is away, what it said last goes on, also over a restart of the agent.
 */
export class IdentityClient {
  readonly #o: IdentityClientOptions;
  readonly #state = new WatchSource<AgentState | undefined>(undefined);
  readonly #backoff = new Backoff({ initialMs: 100, maxMs: 5_000 });
  #cancelSave: () => void = () => undefined;
  #saving: Promise<void> = Promise.resolve();
  #unsaved = false;

  /** With what the state directory holds. */
  static async open(o: IdentityClientOptions): Promise<IdentityClient> {
    const client = new IdentityClient(o);
    const kept = await o.file.load();
    if (kept !== undefined) client.#state.set(Object.freeze({ ...kept, connected: false }));
    return client;
  }

  private constructor(o: IdentityClientOptions) {
    this.#o = o;
  }

  get state(): Watch<AgentState | undefined> {
    return this.#state;
  }

  /** Follows the control plane until `signal` aborts, over every interruption and every change of certificate. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    while (!signal.aborted) {
      const replaced = await this.#follow(signal).catch((error: unknown) => {
        if (error instanceof AppError && error.code === 'forbidden') this.#o.onRefused?.();
        if (!signal.aborted) logger.warn({ err: error }, 'the control plane is away; identities are kept as they are');
        return false;
      });
      // A stream that moves over to a new certificate is no interruption.
      if (!replaced) {
        this.#setConnected(false);
        await sleep(clock, this.#backoff.nextMs(), signal);
      }
    }
    await this.#saveNow();
  }

  /** One stream. Resolves with true when it was given up for a new certificate. */
  async #follow(signal: AbortSignal): Promise<boolean> {
    const { clients, version, clock } = this.#o;
    let replaced = false;
    const stream: IdentityStream = new GrpcStream(clients.current.identity.watch());
    const stop = () => stream.cancel();
    const unsubscribe = clients.subscribe(() => {
      replaced = true;
      stop();
    });
    signal.addEventListener('abort', stop, { once: true });
    try {
      const hello = { kind: 'hello' as const, ...holdings(this.#state.current), version, time: clock.now() };
      await stream.send(toIdentityMessage(hello));
      const parts: IdentityDifference[] = [];
      for (;;) {
        const message = await stream.receive();
        if (message === undefined) return replaced;
        const { revision, more, ...part } = fromIdentityUpdate(message);
        parts.push(part);
        if (!more) this.#apply(parts.splice(0));
        await stream.send(toIdentityMessage({ kind: 'ack', revision }));
        this.#backoff.reset();
      }
    } catch (error) {
      if (replaced) return true;
      throw error;
    } finally {
      unsubscribe();
      signal.removeEventListener('abort', stop);
      stream.cancel();
    }
  }

  /** @throws AppError `invalid`; then nothing has changed, and the stream is over */
  #apply(parts: readonly IdentityDifference[]): void {
    const { trustDomain, logger } = this.#o;
    const before = this.#state.current;
    const next = applyDifferences(before, parts, trustDomain);
    // A first update of a stream that brings nothing new.
    if (before?.connected && isSame(before, next)) return;
    this.#state.set(Object.freeze({ ...next, connected: true }));
    logger.info({ entries: next.entries.size, bundle: next.bundle.sequence }, 'entries and bundles taken over');
    if (before === undefined || !isSame(before, next)) this.#saveSoon();
  }

  #setConnected(connected: boolean): void {
    const state = this.#state.current;
    if (state === undefined || state.connected === connected) return;
    this.#state.set(Object.freeze({ ...state, connected }));
  }

  #saveSoon(): void {
    if (this.#unsaved) return;
    this.#unsaved = true;
    this.#cancelSave = this.#o.clock.after(SAVE_AFTER_MS, () => void this.#saveNow());
  }

  /** One write at a time, each with the latest. Never rejects: it is in force already, and only a restart would miss it. */
  #saveNow(): Promise<void> {
    this.#cancelSave();
    this.#saving = this.#saving.then(async () => {
      const state = this.#state.current;
      if (!this.#unsaved || state === undefined) return;
      this.#unsaved = false;
      try {
        await this.#o.file.save(state);
      } catch (error) {
        this.#o.logger.error({ err: error }, 'entries and bundles could not be stored; they are in force');
      }
    });
    return this.#saving;
  }
}

function holdings(state: AgentState | undefined) {
  if (state === undefined) return { entries: [], bundles: [] };
  const entries = [...state.entries.values()].map(({ id, revision }) => ({ id, revision }));
  return {
    // All or none: an agent that names only some would never be told that others are gone.
    entries: entries.length > MAX_ENTRY_VERSIONS ? [] : entries,
    bundles: [state.bundle, ...state.federated.values()].map((bundle) => ({
      trustDomain: bundle.trustDomain,
      hash: bundleHash(bundle),
    })),
  };
}

/** What `parts` make of a state, in their order. Pure. Throws `invalid` when that is no whole state. */
export function applyDifferences(
  before: KeptState | undefined,
  parts: readonly IdentityDifference[],
  trustDomain: string,
): KeptState {
  const entries = new Map<string, WorkloadEntry>(before?.entries);
  const bundles = new Map<string, TrustBundle>(before?.federated);
  if (before !== undefined) bundles.set(trustDomain, before.bundle);
  let changedEntries = before === undefined;
  for (const part of parts) {
    for (const domain of part.removedBundles) bundles.delete(domain);
    for (const bundle of part.bundles) bundles.set(bundle.trustDomain, bundle);
    for (const id of part.removed) entries.delete(id);
    for (const entry of part.upserted) entries.set(entry.id, entry);
    changedEntries ||= part.removed.length > 0 || part.upserted.length > 0;
  }
  const bundle = bundles.get(trustDomain);
  if (bundle === undefined) throw new AppError('invalid', `The control plane sent no bundle of ${trustDomain}.`);
  if (bundle.roots.length === 0) throw new AppError('invalid', `The bundle of ${trustDomain} has no root.`);
  bundles.delete(trustDomain);
  const kept = before !== undefined && sameBundles(before.federated, bundles) ? before.federated : bundles;
  return { entries: changedEntries ? entries : (before?.entries ?? entries), bundle, federated: kept };
}

function sameBundles(a: ReadonlyMap<string, TrustBundle>, b: ReadonlyMap<string, TrustBundle>): boolean {
  return a.size === b.size && [...a].every(([domain, bundle]) => b.get(domain) === bundle);
}

function isSame(a: KeptState, b: KeptState): boolean {
  return a.entries === b.entries && a.bundle === b.bundle && a.federated === b.federated;
}
