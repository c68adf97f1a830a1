import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom, uniform } from '../../../base/random.ts';
import type { Watch } from '../../../base/watch.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import { parseSpiffeBundle } from '../../../core/identity/spiffe-bundle.ts';
import { parseSpiffeId } from '../../../core/identity/spiffe-id.ts';
import type { Recorder } from '../../ledger/recorder.ts';
import type { Store } from '../../store/store.ts';
import type { FederatedBundles } from './federated-bundles.ts';
import { federationFacts } from './federation.ts';
import type { BundleStatus, RelationshipWithBundle } from './relationship.ts';
import { toBundleStatus, trustBundleOf } from './relationship.ts';

/** What the connection to an endpoint is verified with. */
export type EndpointTrust =
  | { readonly kind: 'web' /** PEM; null for those that the system trusts. */; readonly caCertificates: string | null }
  | { readonly kind: 'spiffe'; readonly spiffeId: string; readonly bundle: TrustBundle };

/**
 * Fetches the document at a bundle endpoint, following redirects to endpoints that prove the same; it neither reads nor
 * stores anything. Rejects with `unavailable` or `peer-refused`, within a time of its own.
 */
export type FetchBundle = (url: string, trust: EndpointTrust, signal: AbortSignal) => Promise<Buffer>;

export interface BundlePollerOptions {
  readonly store: Store;
  readonly federated: Pick<FederatedBundles, 'relationships' | 'settled'>;
  /** Of our own trust domain: an endpoint may have an identity of ours. */
  readonly bundle: Watch<TrustBundle>;
  readonly fetch: FetchBundle;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

/** When the issuer gives no hint (SPIFFE_Trust_Domain_and_Bundle.md §4.1.2). */
const DEFAULT_INTERVAL_MS = 300_000;
/** As long as there is no bundle at all, somebody is waiting for it. */
const FIRST_INTERVAL_MS = 30_000;
/** A hint is the partner's: it shall neither wear us out nor keep us from hearing of a lost key. */
const MIN_INTERVAL_MS = 10_000;
const MAX_INTERVAL_MS = 3_600_000;
const MAX_ERROR_CHARACTERS = 1024;

interface Schedule {
  /** Revision of the relationship that it is for: another one is polled at once. */
  readonly revision: number;
  cancel: () => void;
  polling: Promise<void> | undefined;
}

/**
 * Keeps the bundles of federated trust domains fresh (SPIFFE_Federation.md §4.1, §6.2): at once when a relationship is new,
 * then as often as its issuer hints, within limits and with jitter; after a failure at the next interval. The last good
 * bundle stays in force meanwhile.
 *
 * Every replica polls. What they find is stored by sequence, in a transaction, so the newest wins and none goes back.
 */
export class BundlePoller {
  readonly #o: BundlePollerOptions;
  readonly #schedules = new Map<string, Schedule>();
  #signal: AbortSignal | undefined;

  constructor(o: BundlePollerOptions) {
    this.#o = o;
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#signal = signal;
    const { relationships } = this.#o.federated;
    const unsubscribe = relationships.subscribe(() => this.#plan());
    this.#plan();
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    unsubscribe();
    const polling = [...this.#schedules.values()].map((schedule) => {
      schedule.cancel();
      return schedule.polling;
    });
    this.#schedules.clear();
    await Promise.all(polling);
  }

  /** Polls one now, on behalf of an operator. Resolves when it is stored; throws `not-found` and why it failed. */
  async refresh(trustDomain: string): Promise<void> {
    const relationship = await this.#relationshipWith(trustDomain);
    await this.#poll(relationship, this.#signal ?? new AbortController().signal);
    await this.#o.federated.settled();
  }

  /** What `refresh` would make of it: asks and checks as that does, stores nothing, and throws what that would throw. */
  async rehearse(
    trustDomain: string,
  ): Promise<{ readonly relationship: RelationshipWithBundle; readonly changes: boolean }> {
    const before = await this.#relationshipWith(trustDomain);
    const bytes = await this.#fetch(before, this.#signal ?? new AbortController().signal);
    const document = parseSpiffeBundle(bytes, trustDomain);
    refuseOlder(before.bundle, document.sequence);
    const changes = before.bundle.document === undefined || !trustsTheSame(before.bundle.document, document);
    const now = this.#o.clock.now();
    const fetchedAt = changes ? now : before.bundle.fetchedAt;
    const bundle = { ...before.bundle, document, fetchedAt, checkedAt: now, lastError: null };
    return { relationship: { ...before, bundle }, changes };
  }

  async #relationshipWith(trustDomain: string): Promise<RelationshipWithBundle> {
    await this.#o.federated.settled();
    const found = this.#o.federated.relationships.current.get(trustDomain);
    if (found === undefined) throw new AppError('not-found', `There is no federation with ${trustDomain}.`);
    return found;
  }

  #plan(): void {
    const { current } = this.#o.federated.relationships;
    for (const [trustDomain, schedule] of this.#schedules) {
      if (current.get(trustDomain)?.revision === schedule.revision) continue;
      schedule.cancel();
      this.#schedules.delete(trustDomain);
    }
    for (const [trustDomain, { revision }] of current) {
      if (this.#schedules.has(trustDomain)) continue;
      const schedule: Schedule = { revision, cancel: () => undefined, polling: undefined };
      this.#schedules.set(trustDomain, schedule);
      this.#tick(trustDomain, schedule);
    }
  }

  #tick(trustDomain: string, schedule: Schedule): void {
    const signal = this.#signal;
    const relationship = this.#o.federated.relationships.current.get(trustDomain);
    if (signal === undefined || signal.aborted || relationship === undefined) return;
    const { clock, logger } = this.#o;
    schedule.polling = this.#poll(relationship, signal)
      .catch((error: unknown) => {
        if (!signal.aborted) logger.warn({ err: error, trustDomain }, 'a federated bundle was not refreshed');
      })
      .then(() => {
        schedule.polling = undefined;
        if (signal.aborted || this.#schedules.get(trustDomain) !== schedule) return;
        const { document } = this.#o.federated.relationships.current.get(trustDomain)?.bundle ?? {};
        const jitter = 0.9 + 0.2 * uniform(this.#o.random ?? secureRandom);
        const wait = Math.round(pollIntervalMs(document) * jitter);
        schedule.cancel = clock.after(wait, () => this.#tick(trustDomain, schedule));
      });
  }

  /** Throws why it failed, once that is stored. */
  async #poll(relationship: RelationshipWithBundle, signal: AbortSignal): Promise<void> {
    const { trustDomain } = relationship;
    try {
      await this.#store(relationship, await this.#fetch(relationship, signal));
      await this.#o.federated.settled();
    } catch (error) {
      if (!signal.aborted) await this.#storeFailure(trustDomain, error);
      throw error;
    }
  }

  async #fetch(relationship: RelationshipWithBundle, signal: AbortSignal): Promise<Buffer> {
    return await this.#o.fetch(relationship.bundleEndpoint.url, this.#trustFor(relationship), signal);
  }

  /** §5.2: what verifies the endpoint is the latest bundle that was fetched, or the one to begin with. */
  #trustFor({ bundleEndpoint, trustDomain, bundle: status }: RelationshipWithBundle): EndpointTrust {
    const { spiffeId, caCertificates } = bundleEndpoint;
    if (spiffeId === null) return { kind: 'web', caCertificates };
    const issuer = parseSpiffeId(spiffeId).trustDomain;
    const own = this.#o.bundle.current;
    const bundle =
      issuer === trustDomain
        ? trustBundleOf(trustDomain, status)
        : issuer === own.trustDomain
          ? own
          : this.#bundleOf(issuer);
    if (bundle === undefined) {
      throw new AppError('unavailable', `There is no bundle of ${issuer} to verify the endpoint with. Give one.`);
    }
    return { kind: 'spiffe', spiffeId, bundle };
  }

  #bundleOf(trustDomain: string): TrustBundle | undefined {
    const relationship = this.#o.federated.relationships.current.get(trustDomain);
    return relationship === undefined ? undefined : trustBundleOf(trustDomain, relationship.bundle);
  }

  /** What is older than the stored one is refused; what trusts the same is only noted. */
  async #store({ trustDomain, revision }: RelationshipWithBundle, bytes: Buffer): Promise<void> {
    const { store, recorder, clock, logger } = this.#o;
    const text = bytes.toString('utf8');
    const document = parseSpiffeBundle(bytes, trustDomain);
    const sequence = document.sequence?.toString() ?? null;
    const isNew = await store.transaction(async (trx) => {
      const relationship = await trx
        .selectFrom('federation_relationships')
        .select('revision')
        .where('trust_domain', '=', trustDomain)
        .executeTakeFirst();
      // Somebody has changed or deleted it meanwhile: what came from the old address is worth nothing.
      if (relationship?.revision !== revision) return false;
      const row = await trx
        .selectFrom('federation_bundles')
        .selectAll()
        .where('trust_domain', '=', trustDomain)
        .executeTakeFirstOrThrow();
      const before = toBundleStatus(row);
      refuseOlder(before, document.sequence);
      const same = before.document !== undefined && trustsTheSame(before.document, document);
      const now = clock.now();
      const polled = { checked_at: now, last_error: null, refresh_hint_seconds: document.refreshHintSeconds ?? null };
      const change = same
        ? { ...polled, sequence: sequence ?? row.sequence }
        : { ...polled, sequence, document: text, fetched_at: now, revision: await store.nextRevision(trx) };
      // Who counts further without another change is not asked to count back: the number that is kept is the stored text's.
      const documentToo = same && sequence !== row.sequence ? { document: text } : {};
      await trx
        .updateTable('federation_bundles')
        .set({ ...change, ...documentToo })
        .where('trust_domain', '=', trustDomain)
        .execute();
      if (!same) {
        const by = { actor: 'control-plane', source: '', method: 'bundle', serial: sequence ?? '' };
        await recorder.record(federationFacts('federation.put', trustDomain, by));
      }
      return !same;
    });
    if (isNew) logger.info({ trustDomain, sequence, ignored: document.ignored }, 'a federated bundle has changed');
  }

  async #storeFailure(trustDomain: string, error: unknown): Promise<void> {
    const { store, clock, logger } = this.#o;
    const why = error instanceof AppError ? `${error.code}: ${error.message}` : 'internal: an internal error occurred';
    const change = { checked_at: clock.now(), last_error: why.slice(0, MAX_ERROR_CHARACTERS) };
    try {
      await store.transaction((trx) =>
        trx.updateTable('federation_bundles').set(change).where('trust_domain', '=', trustDomain).execute(),
      );
    } catch (storing) {
      logger.warn({ err: storing, trustDomain }, 'cannot note that a federated bundle was not refreshed');
    }
  }
}

/** How long until the next poll, before jitter. */
export function pollIntervalMs(document: { readonly refreshHintSeconds: number | undefined } | undefined): number {
  if (document === undefined) return FIRST_INTERVAL_MS;
  const hint = document.refreshHintSeconds;
  if (hint === undefined) return DEFAULT_INTERVAL_MS;
  return Math.min(Math.max(hint * 1000, MIN_INTERVAL_MS), MAX_INTERVAL_MS);
}

function refuseOlder(before: BundleStatus, sequence: bigint | undefined): void {
  const stored = before.document?.sequence;
  if (stored === undefined || sequence === undefined || sequence >= stored) return;
  throw new AppError(
    'conflict',
    `The endpoint served bundle ${sequence}, which is older than ${stored}. If its issuer counts anew, give the bundle by hand.`,
  );
}

type Keys = Pick<NonNullable<BundleStatus['document']>, 'roots' | 'jwks'>;

function trustsTheSame(a: Keys, b: Keys): boolean {
  return (
    a.roots.length === b.roots.length &&
    a.roots.every((root, i) => b.roots[i]?.equals(root)) &&
    JSON.stringify(a.jwks) === JSON.stringify(b.jwks)
  );
}
