import type { Clock } from '../../base/clock.ts';
import { unreachable } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { PolicyKey, PolicyKind, PolicyObject, PolicyObjects } from '../../core/policy/kinds.ts';
import { keyText } from '../../core/policy/kinds.ts';
import type { Policy } from '../../core/policy/model.ts';
import type { PeerAuthentication } from '../../core/policy/peer-authentication.ts';
import type { RateLimit } from '../../core/policy/rate-limit.ts';
import type { RequestAuthentication } from '../../core/policy/request-authentication.ts';
import type { TrustDomains } from '../../core/policy/trust-domain-aliases.ts';
import { expandAliases, expandRateLimit } from '../../core/policy/trust-domain-aliases.ts';
import { compareText } from '../store/compare.ts';
import { Follower } from '../store/follower.ts';
import type { Store } from '../store/store.ts';
import { withRevision } from './rows.ts';
import type { ParsedSource, StoredSource } from './source.ts';
import { parseStored } from './source.ts';

/** All objects as of one revision: each list by namespace and name, each object with the revision of its own last change. */
export interface PolicySet {
  /** Of the latest change to any object that is in it; 0 before the first. */
  readonly revision: number;
  readonly policies: readonly Policy[];
  readonly requestAuthentications: readonly RequestAuthentication[];
  readonly peerAuthentications: readonly PeerAuthentication[];
  readonly rateLimits: readonly RateLimit[];
}

interface Loaded {
  readonly object: PolicyObject;
  readonly parsed: ParsedSource;
}

interface Change extends PolicyKey {
  readonly revision: number;
  /** null for a deletion. */
  readonly source: string | null;
}

/** By `keyText`: the revision at which an object was made. Only of peer authentications, of which the oldest counts. */
type Made = Map<string, number>;

export interface CurrentPoliciesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Policies are written out for all of them. Default: policies stay as they are. */
  readonly trustDomains?: TrustDomains;
}

/** After a failure; the next change tries again sooner. */
const RETRY_MS = 1_000;

/**
 * The parsed policies, kept up to date by following the history from revision to revision.
 *
 * A change that this version cannot read (a newer replica wrote it) is refused together with all that came after the last
 * good revision, and the last good set stays: leaving out one policy might open what it denies. As soon as that policy has
 * been put or deleted again, everything is caught up.
 */
export class CurrentPolicies {
  readonly #store: Store;
  readonly #logger: Logger;
  readonly #trustDomains: TrustDomains | undefined;
  readonly #watch: WatchSource<PolicySet>;
  readonly #unsubscribe: () => void;
  #loaded: ReadonlyMap<string, Loaded>;
  readonly #follower: Follower;
  #reported = 0;

  /** Throws `incompatible-data` when a policy cannot be read. */
  static async open(options: CurrentPoliciesOptions): Promise<CurrentPolicies> {
    const { rows, made, revision } = await options.store.transaction(async (trx) => ({
      made: madeBy(
        await trx
          .selectFrom('policy_revisions')
          .select(['kind', 'namespace', 'name', 'revision', 'operation'])
          .where('kind', '=', 'PeerAuthentication')
          .orderBy('revision')
          .execute(),
      ),
      rows: await trx.selectFrom('policies').select(['kind', 'namespace', 'name', 'revision', 'source']).execute(),
      revision: (
        await trx
          .selectFrom('policy_revisions')
          .select((eb) => eb.fn.max('revision').as('max'))
          .executeTakeFirst()
      )?.max,
    }));
    return new CurrentPolicies(options, applyChanges(new Map(), rows, made, options.trustDomains), revision ?? 0);
  }

  private constructor(options: CurrentPoliciesOptions, loaded: ReadonlyMap<string, Loaded>, revision: number) {
    this.#store = options.store;
    this.#logger = options.logger;
    this.#trustDomains = options.trustDomains;
    this.#loaded = loaded;
    this.#watch = new WatchSource(toSet(loaded, revision));
    this.#follower = new Follower({
      read: () => this.#catchUp(),
      failed: (error) => this.#report(error),
      retryMs: RETRY_MS,
      clock: options.clock,
    });
    this.#unsubscribe = this.#store.revision.subscribe(() => void this.#follower.follow());
    // What was committed while we were loading.
    if (this.#store.revision.current > revision) void this.#follower.follow();
  }

  get watch(): Watch<PolicySet> {
    return this.#watch;
  }

  /** The parsed text of a stored row, when it is the one that is in force. */
  parsed(row: StoredSource): ParsedSource | undefined {
    const loaded = this.#loaded.get(keyText(row));
    return loaded?.object.object.revision === row.revision ? loaded.parsed : undefined;
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    await this.#follower.close();
  }

  async #catchUp(): Promise<void> {
    const changes = await this.#store.db
      .selectFrom('policy_revisions')
      .select(['kind', 'namespace', 'name', 'revision', 'operation', 'source'])
      .where('revision', '>', this.#watch.current.revision)
      .orderBy('revision')
      .execute();
    const last = changes.at(-1);
    if (last === undefined || this.#follower.closed) return;
    const made = madeBy(changes, madeOf(this.#watch.current));
    this.#loaded = applyChanges(this.#loaded, lastOfEach(changes), made, this.#trustDomains);
    this.#watch.set(toSet(this.#loaded, last.revision));
  }

  /** Once per store revision: a bad policy would otherwise fill the log. */
  #report(error: unknown): void {
    const head = this.#store.revision.current;
    if (this.#reported === head) return;
    this.#reported = head;
    this.#logger.error(
      { err: error, revision: this.#watch.current.revision },
      'cannot take over policy changes; the last good policies stay in force',
    );
  }
}

/** Only what each policy has become matters: an unreadable text that has been replaced since does no harm. */
function lastOfEach(changes: readonly Change[]): readonly Change[] {
  return [...new Map(changes.map((change) => [keyText(change), change])).values()];
}

/** @param before of those that are there. */
function madeBy(changes: readonly (Omit<Change, 'source'> & { readonly operation: string })[], before?: Made): Made {
  const made: Made = new Map(before);
  for (const change of changes) {
    if (change.kind !== 'PeerAuthentication') continue;
    const key = keyText(change);
    if (change.operation === 'delete') made.delete(key);
    else if (!made.has(key)) made.set(key, change.revision);
  }
  return made;
}

function madeOf({ peerAuthentications }: PolicySet): Made {
  return new Map(
    peerAuthentications.map((one) => [keyText({ kind: 'PeerAuthentication', ...one }), one.made ?? one.revision]),
  );
}

function applyChanges(
  loaded: ReadonlyMap<string, Loaded>,
  changes: readonly Change[],
  made: Made,
  trustDomains: TrustDomains | undefined,
): ReadonlyMap<string, Loaded> {
  const next = new Map(loaded);
  for (const change of changes) {
    const { source } = change;
    if (source === null) next.delete(keyText(change));
    else next.set(keyText(change), load({ ...change, source }, trustDomains, made.get(keyText(change))));
  }
  return next;
}

function load(stored: StoredSource, trustDomains: TrustDomains | undefined, made: number | undefined): Loaded {
  const parsed = parseStored(stored);
  const object = inForce(parsed, stored.revision, trustDomains);
  return { parsed, object: object.kind === 'PeerAuthentication' ? madeAt(object, made) : object };
}

function madeAt({ kind, object }: PolicyObject<'PeerAuthentication'>, made: number | undefined): PolicyObject {
  return { kind, object: Object.freeze({ ...object, ...(made !== undefined && { made }) }) };
}

/** What was read, as it decides: at its revision, with every trust domain that counts as one. */
export function inForce(read: PolicyObject, revision: number, trustDomains: TrustDomains | undefined): PolicyObject {
  const object = withRevision(read, revision);
  return trustDomains === undefined ? object : forAll(object, trustDomains);
}

/** What names callers names them in every trust domain that counts as the same. */
function forAll(object: PolicyObject, trustDomains: TrustDomains): PolicyObject {
  switch (object.kind) {
    case 'AuthorizationPolicy':
      return { kind: object.kind, object: expandAliases(object.object, trustDomains) };
    case 'RateLimit':
      return { kind: object.kind, object: expandRateLimit(object.object, trustDomains) };
    case 'RequestAuthentication':
    case 'PeerAuthentication':
      return object;
    default:
      return unreachable(object);
  }
}

function toSet(loaded: ReadonlyMap<string, Loaded>, revision: number): PolicySet {
  return Object.freeze({
    revision,
    policies: allOf(loaded, 'AuthorizationPolicy'),
    requestAuthentications: allOf(loaded, 'RequestAuthentication'),
    peerAuthentications: allOf(loaded, 'PeerAuthentication'),
    rateLimits: allOf(loaded, 'RateLimit'),
  });
}

function allOf<K extends PolicyKind>(loaded: ReadonlyMap<string, Loaded>, kind: K): readonly PolicyObjects[K][] {
  const objects = [...loaded.values()].flatMap(({ object: each }) =>
    each.kind === kind ? [each.object as PolicyObjects[K]] : [],
  );
  return Object.freeze(objects.sort(byName));
}

function byName(a: Omit<PolicyKey, 'kind'>, b: Omit<PolicyKey, 'kind'>): number {
  return compareText(a.namespace, b.namespace) || compareText(a.name, b.name);
}
