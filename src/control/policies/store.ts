import type { Transaction } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import type { PolicyKey, PolicyKind } from '../../core/policy/kinds.ts';
import { keyOf } from '../../core/policy/kinds.ts';
import type { TrustDomains } from '../../core/policy/trust-domain-aliases.ts';
import type { RevisedPage } from '../store/page.ts';
import type { WriteOptions } from '../store/rehearse.ts';
import { writer } from '../store/rehearse.ts';
import type { Store } from '../store/store.ts';
import type { Tables } from '../store/tables.ts';
import type { PutConditions } from './checks.ts';
import {
  checkAuthor,
  checkLatest,
  checkMatch,
  checkNames,
  checkPut,
  checkReason,
  checkReplaces,
  notFound,
  wasDeletion,
} from './checks.ts';
import type { PolicySet } from './current.ts';
import { CurrentPolicies } from './current.ts';
import type { PolicyFilter } from './list.ts';
import { listRows } from './list.ts';
import type { PolicyRow, StoredPolicy } from './rows.ts';
import { readRevisions, readRow, removeRow, replaceRow, toStored } from './rows.ts';
import type { ParsedSource } from './source.ts';
import { parseOne, parseStored } from './source.ts';

export type { PolicySet } from './current.ts';
export type { PolicyFilter } from './list.ts';
export type { StoredPolicy } from './rows.ts';

export interface PutPolicy extends PutConditions, WriteOptions, Partial<PolicyKey> {
  /** One document, YAML or JSON, of any kind. Where `kind`, `namespace` or `name` is given, it must say the same. */
  readonly source: string;
  /** Who puts it, for the history. */
  readonly author: string;
  /** Why, for the history. Default: the `reason` of its spec. */
  readonly reason?: string | undefined;
}

export interface DeletePolicy extends PolicyKey, WriteOptions {
  readonly author: string;
  /** Where given, the revision that is deleted; otherwise whichever is there. */
  readonly ifMatch?: number | '*' | undefined;
  readonly reason?: string | undefined;
}

export interface RollBackPolicy extends PolicyKey, WriteOptions {
  /** The revision of this object whose content it gets again. */
  readonly to: number;
  readonly author: string;
  readonly reason: string;
  /** The newest revision of this object, that of its deletion where it is deleted; or `*` for whichever that is. */
  readonly ifMatch: number | '*';
}

/** One of several writes that count together. `replaces`: the revision that it must find; null for no object at all. */
export type PolicyWrite =
  | { readonly operation: 'put'; readonly source: string; readonly replaces: number | null }
  | ({ readonly operation: 'delete'; readonly replaces: number } & PolicyKey);

export interface WritePolicies extends WriteOptions {
  /** In this order. */
  readonly writes: readonly PolicyWrite[];
  readonly author: string;
  readonly reason: string;
  /** Part of the same transaction, after all of them: what it throws undoes them. `revision` is that of the last. */
  readonly alongside?: (trx: Transaction<Tables>, revision: number) => Promise<void>;
}

export interface PolicyStoreOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Those that count as one in policies. Default: each is its own. */
  readonly trustDomains?: TrustDomains;
}

/** The policies and all that is written beside them (`core/policy/kinds.ts`), with their history. The only writer of both. */
export class PolicyStore {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #current: CurrentPolicies;

  /** Throws `incompatible-data` when the database holds an object that this version cannot read. */
  static async open(options: PolicyStoreOptions): Promise<PolicyStore> {
    return new PolicyStore(options, await CurrentPolicies.open(options));
  }

  private constructor(options: PolicyStoreOptions, current: CurrentPolicies) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#current = current;
  }

  /** All objects as of a revision. Follows changes by every replica, in order; changes in quick succession are one. */
  get current(): Watch<PolicySet> {
    return this.#current.watch;
  }

  /**
   * Checks the document whole, then stores it as a new revision. The same text again is no new revision.
   * Throws `invalid-document` (all findings; nothing is stored), `invalid` when names disagree, `precondition-failed`, and
   * `precondition-required` when the object exists and the caller did not say which revision it replaces.
   */
  async put(input: PutPolicy): Promise<{ readonly policy: StoredPolicy; readonly created: boolean }> {
    const parsed = parseOne(input.source);
    checkNames(input, parsed);
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? reasonIn(parsed);
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      const before = await readRow(trx, keyOf(parsed));
      checkPut(input, keyOf(parsed), parsed.source, before);
      return await replaceRow(store, trx, { parsed, before, author, reason, time: this.#clock.now() });
    });
  }

  /**
   * Gives an object the content that it had at an earlier revision, as a new revision; also one that has been deleted.
   * Content that it has already is no new revision. Throws `not-found`, `invalid` for a revision that was a deletion,
   * `precondition-failed`, and `invalid-document` for content that has become wrong since.
   */
  async rollBack(input: RollBackPolicy): Promise<{ readonly policy: StoredPolicy; readonly created: boolean }> {
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? null;
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      const { latest, target } = await readRevisions(trx, input, input.to);
      checkLatest(input.ifMatch, input, latest.revision);
      if (target.source === null) throw wasDeletion(input, target.revision);
      const parsed = parseOne(target.source);
      const before = await readRow(trx, input);
      const time = this.#clock.now();
      return await replaceRow(store, trx, { parsed, before, author, reason, time, restores: target.revision });
    });
  }

  /** Throws `not-found`, and `incompatible-data` when a newer version wrote it. */
  async get<K extends PolicyKind>(key: PolicyKey & { readonly kind: K }): Promise<StoredPolicy<K>> {
    const row = await readRow(this.#store.db, key);
    if (row === undefined) throw notFound(key);
    return this.#parseRow<K>(row);
  }

  /** By namespace and name. `revision` is that of `current`. Throws `invalid` for a bad limit or selector, `invalid-cursor`, `cursor-expired`. */
  async list<K extends PolicyKind>(filter: PolicyFilter<K>): Promise<RevisedPage<StoredPolicy<K>>> {
    // Read before the rows, which are at least as new.
    const { revision } = this.current.current;
    const { items, nextCursor } = await listRows(this.#store, filter);
    return { items: items.map((row) => this.#parseRow<K>(row)), nextCursor, revision };
  }

  /** Returns the revision as of which it is gone. Throws `not-found`, `precondition-failed`. */
  async delete(input: DeletePolicy): Promise<{ readonly revision: number }> {
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? null;
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      const before = await readRow(trx, input);
      if (before === undefined) throw notFound(input);
      checkMatch(input.ifMatch ?? '*', input, before);
      return { revision: await removeRow(store, trx, input, { author, reason, time: this.#clock.now() }) };
    });
  }

  /**
   * Several puts and deletions: all of them, or none. Returns the revision of the last that changed anything, 0 when none
   * did. Throws `invalid-document`, `not-found`, and `precondition-failed` when one of the objects is not as its write says.
   */
  async writeAll(input: WritePolicies): Promise<{ readonly revision: number }> {
    const author = checkAuthor(input.author);
    const reason = checkReason(input.reason) ?? null;
    const writes = input.writes.map((write) => {
      if (write.operation === 'delete') return { ...write, key: write };
      const parsed = parseOne(write.source);
      return { ...write, parsed, key: keyOf(parsed) };
    });
    const store = writer(this.#store, input);
    return await store.transaction(async (trx) => {
      const note = { author, reason, time: this.#clock.now() };
      let last = 0;
      for (const write of writes) {
        const before = await readRow(trx, write.key);
        checkReplaces(write.replaces, write.key, before);
        if (write.operation === 'put') {
          const { policy } = await replaceRow(store, trx, { parsed: write.parsed, before, ...note });
          if (policy.revision !== before?.revision) last = policy.revision;
        } else if (before !== undefined) last = await removeRow(store, trx, write.key, note);
      }
      await input.alongside?.(trx, last);
      return { revision: last };
    });
  }

  async close(): Promise<void> {
    await this.#current.close();
  }

  /** The row is of the kind that was asked for. */
  #parseRow<K extends PolicyKind>(row: PolicyRow): StoredPolicy<K> {
    return toStored(row, this.#current.parsed(row) ?? parseStored(row)) as StoredPolicy<K>;
  }
}

function reasonIn(parsed: ParsedSource): string | null {
  return (parsed.kind === 'AuthorizationPolicy' ? parsed.object.reason : undefined) ?? null;
}
