import type { Selectable, Transaction } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import type { Policy } from '../../core/policy/model.ts';
import type { TrustDomains } from '../../core/policy/trust-domain-aliases.ts';
import { matchesLabels, parseLabelSelector } from '../store/label-selector.ts';
import type { PageRequest, RevisedPage } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import type { WriteOptions, Writer } from '../store/rehearse.ts';
import { writer } from '../store/rehearse.ts';
import { scanPage } from '../store/scan.ts';
import type { Store } from '../store/store.ts';
import type { PoliciesTable, Tables } from '../store/tables.ts';
import type { PolicySet } from './current.ts';
import { CurrentPolicies } from './current.ts';
import { labelsOf } from './labels.ts';
import type { ParsedSource } from './source.ts';
import { parseOne, parseStored } from './source.ts';

export type { PolicySet } from './current.ts';

/** A policy as it is stored. */
export interface StoredPolicy {
  readonly namespace: string;
  readonly name: string;
  /** Store revision of its last change: its ETag, and part of the rule ids that it decides with. */
  readonly revision: number;
  readonly policy: Policy;
  /** The document byte for byte as its author wrote it. */
  readonly source: string;
  /** Its own labels (`metadata.labels`): for lists, not for decisions. */
  readonly labels: Readonly<Record<string, string>>;
  /** Line of each rule in `source`, from 1. */
  readonly ruleLines: readonly number[];
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly updatedBy: string;
}

export interface PutPolicy extends WriteOptions {
  /** One document, YAML or JSON. */
  readonly source: string;
  /** Who puts it, for the history. */
  readonly author: string;
  /** The revision that it replaces, or `*` for whichever is there. Needed when the policy exists. */
  readonly ifMatch?: number | '*' | undefined;
  /** Only if it does not exist yet. */
  readonly ifNoneMatch?: boolean | undefined;
  /** Why, for the history. Default: the `reason` of its spec. */
  readonly reason?: string | undefined;
  /** Where given, the document must say the same. */
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

export interface DeletePolicy extends WriteOptions {
  readonly namespace: string;
  readonly name: string;
  readonly author: string;
  /** Where given, the revision that is deleted; otherwise whichever is there. */
  readonly ifMatch?: number | '*' | undefined;
  readonly reason?: string | undefined;
}

export interface RollBackPolicy extends WriteOptions {
  readonly namespace: string;
  readonly name: string;
  /** The revision of this policy whose content it gets again. */
  readonly to: number;
  readonly author: string;
  readonly reason: string;
  /** The newest revision of this policy, that of its deletion where it is deleted; or `*` for whichever that is. */
  readonly ifMatch: number | '*';
}

/** One of several writes that count together. `replaces`: the revision that it must find; null for no policy at all. */
export type PolicyWrite =
  | { readonly operation: 'put'; readonly source: string; readonly replaces: number | null }
  | {
      readonly operation: 'delete';
      readonly namespace: string;
      readonly name: string;
      readonly replaces: number;
    };

export interface WritePolicies extends WriteOptions {
  /** In this order. */
  readonly writes: readonly PolicyWrite[];
  readonly author: string;
  readonly reason: string;
  /** Part of the same transaction, after all of them: what it throws undoes them. `revision` is that of the last. */
  readonly alongside?: (trx: Transaction<Tables>, revision: number) => Promise<void>;
}

export interface PolicyFilter extends PageRequest {
  readonly namespace?: string | undefined;
  /** As Kubernetes writes it (`store/label-selector.ts`); of the labels of the policies themselves. */
  readonly labelSelector?: string | undefined;
}

export interface PolicyStoreOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Those that count as one in policies. Default: each is its own. */
  readonly trustDomains?: TrustDomains;
}

const MAX_AUTHOR_CHARACTERS = 256;
const MAX_REASON_CHARACTERS = 1024;

/** The policies and their history. The only writer of both. */
export class PolicyStore {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #current: CurrentPolicies;

  /** Throws `incompatible-data` when the database holds a policy that this version cannot read. */
  static async open(options: PolicyStoreOptions): Promise<PolicyStore> {
    return new PolicyStore(options, await CurrentPolicies.open(options));
  }

  private constructor(options: PolicyStoreOptions, current: CurrentPolicies) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#current = current;
  }

  /** All policies as of a revision. Follows changes by every replica, in order; changes in quick succession are one. */
  get current(): Watch<PolicySet> {
    return this.#current.watch;
  }

  /**
   * Checks the document whole, then stores it as a new revision. The same text again is no new revision.
   * Throws `invalid-document` (all findings; nothing is stored), `invalid` when names disagree, `precondition-failed`, and
   * `precondition-required` when the policy exists and the caller did not say which revision it replaces.
   */
  async put(input: PutPolicy): Promise<{ readonly policy: StoredPolicy; readonly created: boolean }> {
    const parsed = parseOne(input.source);
    checkNames(input, parsed.policy);
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? parsed.policy.reason ?? null;
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      const before = await readRow(trx, parsed.policy);
      checkPut(input, parsed, before);
      return await this.#replace(store, trx, { parsed, author, reason, before });
    });
  }

  /**
   * Gives a policy the content that it had at an earlier revision, as a new revision; also one that has been deleted. Content
   * that it has already is no new revision. Throws `not-found`, `invalid` for a revision that was a deletion,
   * `precondition-failed`, and `invalid-document` for content that has become wrong since.
   */
  async rollBack(input: RollBackPolicy): Promise<{ readonly policy: StoredPolicy; readonly created: boolean }> {
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? null;
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      const { latest, target } = await readRevisions(trx, input);
      checkLatest(input, latest.revision);
      if (target.source === null) throw wasDeletion(input, target.revision);
      const parsed = parseOne(target.source);
      const before = await readRow(trx, input);
      return await this.#replace(store, trx, { parsed, author, reason, before, restores: target.revision });
    });
  }

  /** Throws `not-found`, and `incompatible-data` when a newer version wrote it. */
  async get(namespace: string, name: string): Promise<StoredPolicy> {
    const row = await readRow(this.#store.db, { namespace, name });
    if (row === undefined) throw notFound({ namespace, name });
    return this.#parseRow(row);
  }

  /** By namespace and name. `revision` is that of `current`. Throws `invalid` for a bad limit or selector, `invalid-cursor`, `cursor-expired`. */
  async list(filter: PolicyFilter = {}): Promise<RevisedPage<StoredPolicy>> {
    const limit = pageLimit(filter.limit);
    const selector = filter.labelSelector === undefined ? undefined : parseLabelSelector(filter.labelSelector);
    const { revision } = this.current.current;
    const page = await scanPage<PolicyRow>({
      cursors: this.#store.cursors,
      scope: `policies ${JSON.stringify([filter.namespace ?? null, selector ?? null])}`,
      limit,
      cursor: filter.cursor,
      read: ([namespace, name] = [], count) => {
        let query = this.#store.db.selectFrom('policies').selectAll();
        if (filter.namespace !== undefined) query = query.where('namespace', '=', filter.namespace);
        if (namespace !== undefined) {
          query = query.where((eb) =>
            eb.or([
              eb('namespace', '>', String(namespace)),
              eb.and([eb('namespace', '=', String(namespace)), eb('name', '>', String(name))]),
            ]),
          );
        }
        return query.orderBy('namespace').orderBy('name').limit(count).execute();
      },
      keysOf: (row) => [row.namespace, row.name],
      matches: selector && ((row) => matchesLabels(selector, JSON.parse(row.labels) as Record<string, string>)),
    });
    return { items: page.items.map((row) => this.#parseRow(row)), nextCursor: page.nextCursor, revision };
  }

  /** Returns the revision as of which it is gone. Throws `not-found`, `precondition-failed`. */
  async delete(input: DeletePolicy): Promise<{ readonly revision: number }> {
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? null;
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      const before = await readRow(trx, input);
      if (before === undefined) throw notFound(input);
      if (!matches(before, input.ifMatch ?? '*')) throw changed(before, input.ifMatch);
      return { revision: await this.#remove(store, trx, { before, author, reason }) };
    });
  }

  /**
   * Several puts and deletions: all of them, or none. Returns the revision of the last that changed anything, 0 when none
   * did. Throws `invalid-document`, `not-found`, and `precondition-failed` when one of the policies is not as its write says.
   */
  async writeAll(input: WritePolicies): Promise<{ readonly revision: number }> {
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? null;
    const writes = input.writes.map((write) =>
      write.operation === 'put' ? { ...write, parsed: parseOne(write.source) } : write,
    );
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      let last = 0;
      for (const write of writes) {
        const key = write.operation === 'put' ? write.parsed.policy : write;
        const before = await readRow(trx, key);
        checkReplaces(write, key, before);
        if (write.operation === 'put') {
          const { policy } = await this.#replace(store, trx, { parsed: write.parsed, author, reason, before });
          if (policy.revision !== before?.revision) last = policy.revision;
        } else if (before !== undefined) last = await this.#remove(store, trx, { before, author, reason });
      }
      await input.alongside?.(trx, last);
      return { revision: last };
    });
  }

  async close(): Promise<void> {
    await this.#current.close();
  }

  /** The same text again is no new revision. */
  async #replace(
    store: Writer,
    trx: Transaction<Tables>,
    change: Change,
  ): Promise<{ readonly policy: StoredPolicy; readonly created: boolean }> {
    const { parsed, before } = change;
    if (before !== undefined && before.source === parsed.source) {
      return { policy: toStored(before, parsed), created: false };
    }
    const row = await this.#write(store, trx, change);
    return { policy: toStored(row, parsed), created: before === undefined };
  }

  async #remove(
    store: Writer,
    trx: Transaction<Tables>,
    { before, author, reason }: Pick<Change, 'author' | 'reason'> & { readonly before: PolicyRow },
  ): Promise<number> {
    const { namespace, name } = before;
    await trx.deleteFrom('policies').where('namespace', '=', namespace).where('name', '=', name).execute();
    const revision = await store.nextRevision(trx);
    const time = this.#clock.now();
    await trx
      .insertInto('policy_revisions')
      .values({ revision, namespace, name, operation: 'delete', source: null, author, time, reason })
      .execute();
    return revision;
  }

  async #write(store: Writer, trx: Transaction<Tables>, change: Change): Promise<PolicyRow> {
    const { parsed, author, reason, before, restores = null } = change;
    const { namespace, name } = parsed.policy;
    const { source } = parsed;
    const time = this.#clock.now();
    const revision = await store.nextRevision(trx);
    const labels = JSON.stringify(labelsOf(source));
    const changed = { revision, source, labels, updated_at: time, updated_by: author };
    const row = { namespace, name, created_at: before?.created_at ?? time, ...changed };
    await trx
      .insertInto('policies')
      .values(row)
      .onConflict((conflict) => conflict.columns(['namespace', 'name']).doUpdateSet(changed))
      .execute();
    await trx
      .insertInto('policy_revisions')
      .values({ revision, namespace, name, operation: 'put', source, author, time, reason, restores })
      .execute();
    return row;
  }

  #parseRow(row: PolicyRow): StoredPolicy {
    return toStored(row, this.#current.parsed(row) ?? parseStored(row));
  }
}

interface Change {
  readonly parsed: ParsedSource;
  readonly author: string;
  readonly reason: string | null;
  readonly before: PolicyRow | undefined;
  /** The revision that is rolled back to. */
  readonly restores?: number;
}

type PolicyRow = Selectable<PoliciesTable>;
type PolicyName = Pick<Policy, 'namespace' | 'name'>;

async function readRow(db: Pick<Store['db'], 'selectFrom'>, key: PolicyName): Promise<PolicyRow | undefined> {
  return await db
    .selectFrom('policies')
    .selectAll()
    .where('namespace', '=', key.namespace)
    .where('name', '=', key.name)
    .executeTakeFirst();
}

/** The newest revision of a policy, and the one that is rolled back to. Throws `not-found`. */
async function readRevisions(db: Pick<Store['db'], 'selectFrom'>, input: RollBackPolicy) {
  const revisions = await db
    .selectFrom('policy_revisions')
    .select(['revision', 'source'])
    .where('namespace', '=', input.namespace)
    .where('name', '=', input.name)
    .where((eb) =>
      eb.or([
        eb('revision', '=', input.to),
        eb(
          'revision',
          '=',
          eb
            .selectFrom('policy_revisions as r')
            .select((r) => r.fn.max('r.revision').as('max'))
            .where('r.namespace', '=', input.namespace)
            .where('r.name', '=', input.name),
        ),
      ]),
    )
    .orderBy('revision')
    .execute();
  const latest = revisions.at(-1);
  if (latest === undefined) throw notFound(input);
  const target = revisions.find(({ revision }) => revision === input.to);
  if (target === undefined) throw noRevision(input, input.to);
  return { latest, target };
}

function toStored(row: PolicyRow, parsed: ParsedSource): StoredPolicy {
  return Object.freeze({
    namespace: row.namespace,
    name: row.name,
    revision: row.revision,
    policy: Object.freeze({ ...parsed.policy, revision: row.revision }),
    source: row.source,
    labels: Object.freeze(JSON.parse(row.labels) as Record<string, string>),
    ruleLines: parsed.ruleLines,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    updatedBy: row.updated_by,
  });
}

function checkNames(input: PutPolicy, policy: Policy): void {
  const wanted = { namespace: input.namespace ?? policy.namespace, name: input.name ?? policy.name };
  if (wanted.namespace === policy.namespace && wanted.name === policy.name) return;
  throw new AppError(
    'invalid',
    `The document is the policy ${nameOf(policy)}, not ${nameOf(wanted)}. Make its metadata and the address agree.`,
  );
}

function checkAuthor(author: string): string {
  if (author !== '' && author.length <= MAX_AUTHOR_CHARACTERS) return author;
  throw new AppError('invalid', `The author must have 1 to ${MAX_AUTHOR_CHARACTERS} characters.`);
}

/** Throws `invalid` for what is too long, or could rewrite what a terminal or a log shows. */
function checkReason(reason: string | undefined): string | undefined {
  if (reason === undefined) return undefined;
  if (reason.trim() !== '' && reason.length <= MAX_REASON_CHARACTERS && !/\p{Cc}/u.test(reason)) return reason;
  throw new AppError(
    'invalid',
    `The reason must have 1 to ${MAX_REASON_CHARACTERS} characters, on one line and without control characters.`,
  );
}

/** An explicit condition is always checked; the duty to state one does not apply to a put that would change nothing. */
function checkPut(input: PutPolicy, parsed: ParsedSource, before: PolicyRow | undefined): void {
  if (before === undefined) {
    if (input.ifMatch === undefined) return;
    throw new AppError('precondition-failed', `There is no policy ${nameOf(parsed.policy)} to replace.`);
  }
  if (input.ifNoneMatch === true) {
    throw new AppError(
      'precondition-failed',
      `The policy ${nameOf(before)} exists already, at revision ${before.revision}.`,
    );
  }
  if (input.ifMatch === undefined) {
    if (before.source === parsed.source) return;
    throw new AppError(
      'precondition-required',
      `The policy ${nameOf(before)} exists. Say which revision you replace (it is at ${before.revision}), so that nobody's ` +
        'change is lost.',
    );
  }
  if (!matches(before, input.ifMatch)) throw changed(before, input.ifMatch);
}

/** Of a write that was decided on earlier: what it is about must be as it was then. */
function checkReplaces({ replaces }: PolicyWrite, key: PolicyName, before: PolicyRow | undefined): void {
  if ((before?.revision ?? null) === replaces) return;
  const now = before === undefined ? 'does not exist' : `is at revision ${before.revision}`;
  const then = replaces === null ? 'did not exist' : `was at revision ${replaces}`;
  throw new AppError(
    'precondition-failed',
    `The policy ${nameOf(key)} ${now}; it ${then} when this was proposed. Look at what it is now, and propose it again.`,
  );
}

function matches(row: PolicyRow, ifMatch: number | '*'): boolean {
  return ifMatch === '*' || ifMatch === row.revision;
}

function changed(row: PolicyRow, ifMatch: number | '*' | undefined): AppError {
  return new AppError(
    'precondition-failed',
    `The policy ${nameOf(row)} is at revision ${row.revision}, not ${ifMatch}: somebody changed it. ` +
      'Read it again and repeat your change.',
  );
}

function checkLatest({ namespace, name, ifMatch }: RollBackPolicy, latest: number): void {
  if (ifMatch === '*' || ifMatch === latest) return;
  throw new AppError(
    'precondition-failed',
    `The newest revision of the policy ${nameOf({ namespace, name })} is ${latest}, not ${ifMatch}: somebody changed it. ` +
      'Look at its history again and repeat your change.',
  );
}

function wasDeletion(key: PolicyName, revision: number): AppError {
  return new AppError(
    'invalid',
    `Revision ${revision} is the deletion of the policy ${nameOf(key)}, so it has no content to go back to. Delete the ` +
      'policy instead, or choose an earlier revision.',
  );
}

export function noRevision(key: PolicyName, revision: number): AppError {
  return new AppError(
    'not-found',
    `The policy ${nameOf(key)} has no revision ${revision}. Its revisions: writ policy history ${nameOf(key)}`,
  );
}

function notFound(key: PolicyName): AppError {
  return new AppError('not-found', `There is no policy ${nameOf(key)}.`);
}

function nameOf(key: PolicyName): string {
  return `${key.namespace}/${key.name}`;
}
