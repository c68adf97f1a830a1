import type { Transaction } from 'kysely';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import { parseSpiffeId } from '../../../core/identity/spiffe-id.ts';
import type { Recorder } from '../../ledger/recorder.ts';
import type { PageRequest, RevisedPage } from '../../store/page.ts';
import { pageLimit } from '../../store/page.ts';
import type { WriteOptions } from '../../store/rehearse.ts';
import { writer } from '../../store/rehearse.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import type { BundleRow, RelationshipRow, RelationshipWithBundle } from './relationship.ts';
import { withBundle } from './relationship.ts';
import type { RelationshipInput, RelationshipSpec } from './relationship-input.ts';
import { checkRelationshipInput } from './relationship-input.ts';

/** How a relationship is written, and by whom, for the audit log. */
export interface FederationWriteOptions extends WriteOptions {
  /** The revision that the caller has seen; `*` or undefined for whatever is there. */
  readonly ifMatch?: number | '*' | undefined;
  /** Create, never replace. */
  readonly ifNoneMatch?: boolean | undefined;
  /** Name of the administrator. Default: the control plane itself. */
  readonly actor?: string | undefined;
  /** Network address. */
  readonly source?: string | undefined;
  /** Whether to replace one needs `ifMatch`, unless nothing would change. Default false. */
  readonly mustMatch?: boolean;
}

export interface FederationOptions {
  readonly store: Store;
  readonly trustDomain: string;
  readonly clock: Clock;
  /** Told of every change before it is there; while it cannot record, nothing changes. */
  readonly recorder: Recorder;
}

const SCOPE = 'federation';

/**
 * The trust domains that this one federates with, as operators have decided it. A bundle that is given with one counts at
 * once and whatever its sequence: that is how an operator mends what polling cannot.
 */
export class Federation {
  readonly #o: FederationOptions;

  constructor(o: FederationOptions) {
    this.#o = o;
  }

  /**
   * Creates or replaces. Throws `invalid` with all that is wrong, `precondition-failed`, and `precondition-required` when
   * there is one and `ifMatch` is missing.
   */
  async put(
    input: RelationshipInput,
    options: FederationWriteOptions = {},
  ): Promise<{ readonly relationship: RelationshipWithBundle; readonly created: boolean }> {
    const spec = checkRelationshipInput(input, this.#o.trustDomain);
    const store = writer(this.#o.store, options);
    const now = this.#o.clock.now();
    return await store.transaction(async (trx) => {
      const before = await readOne(trx, spec.trustDomain);
      checkMatch(before?.relationship, spec.trustDomain, options);
      requireBootstrap(spec, before?.bundle);
      const columns = columnsOf(spec);
      const isSame = before !== undefined && isUnchanged(before, columns, spec);
      const revision = isSame ? before.relationship.revision : await store.nextRevision(trx);
      const relationship: RelationshipRow = {
        trust_domain: spec.trustDomain,
        ...columns,
        revision,
        created_at: before?.relationship.created_at ?? now,
        updated_at: isSame ? before.relationship.updated_at : now,
      };
      const bundle = bundleRow(spec, before?.bundle, { revision, now });
      if (before !== undefined && !isSame && options.mustMatch === true && options.ifMatch === undefined) {
        throw new AppError(
          'precondition-required',
          `There is a relationship with ${spec.trustDomain}. Say which revision you replace (it is at ${before.relationship.revision}), ` +
            "so that nobody's change is lost.",
        );
      }
      if (!isSame) {
        await write(trx, relationship, bundle);
        await this.#record('federation.put', spec.trustDomain, options);
      }
      return { relationship: withBundle(relationship, bundle), created: before === undefined };
    });
  }

  /** Throws `not-found`. */
  async get(trustDomain: string): Promise<RelationshipWithBundle> {
    const found = await readOne(this.#o.store.db, trustDomain);
    if (found === undefined) throw notFound(trustDomain);
    return withBundle(found.relationship, found.bundle);
  }

  /** By trust domain. */
  async list(request: PageRequest = {}): Promise<RevisedPage<RelationshipWithBundle>> {
    const { store } = this.#o;
    const limit = pageLimit(request.limit);
    const [after = ''] = store.cursors.open(SCOPE, request.cursor) ?? [];
    const revision = store.revision.current;
    const rows = await store.db
      .selectFrom('federation_relationships')
      .selectAll()
      .where('trust_domain', '>', String(after))
      .orderBy('trust_domain')
      .limit(limit + 1)
      .execute();
    const page = store.cursors.page(SCOPE, rows, limit, (row) => [row.trust_domain]);
    const bundles = new Map(
      (
        await store.db
          .selectFrom('federation_bundles')
          .selectAll()
          .where('trust_domain', 'in', ['', ...page.items.map((row) => row.trust_domain)])
          .execute()
      ).map((row) => [row.trust_domain, row]),
    );
    const items = page.items.flatMap((row) => {
      const bundle = bundles.get(row.trust_domain);
      // Deleted between the two reads.
      return bundle === undefined ? [] : [withBundle(row, bundle)];
    });
    return { items, nextCursor: page.nextCursor, revision };
  }

  /**
   * Ends it: its identities are refused as soon as sidecars hear of it, and its bundle is forgotten. Throws `not-found`,
   * `precondition-failed`.
   */
  async delete(trustDomain: string, options: FederationWriteOptions = {}): Promise<RelationshipWithBundle> {
    const store = writer(this.#o.store, options);
    return await store.transaction(async (trx) => {
      const found = await readOne(trx, trustDomain);
      if (found === undefined) throw notFound(trustDomain);
      checkMatch(found.relationship, trustDomain, options);
      // So that whoever follows the store looks.
      await store.nextRevision(trx);
      await trx.deleteFrom('federation_bundles').where('trust_domain', '=', trustDomain).execute();
      await trx.deleteFrom('federation_relationships').where('trust_domain', '=', trustDomain).execute();
      await this.#record('federation.delete', trustDomain, options);
      return withBundle(found.relationship, found.bundle);
    });
  }

  async #record(
    action: 'federation.put' | 'federation.delete',
    trustDomain: string,
    options: FederationWriteOptions,
  ): Promise<void> {
    if (options.dryRun === true) return;
    const { actor = 'control-plane', source = '' } = options;
    await this.#o.recorder.record(federationFacts(action, trustDomain, { actor, source }));
  }
}

/** What the ledger is told. */
export function federationFacts(
  action: 'federation.put' | 'federation.delete',
  trustDomain: string,
  by: { readonly actor: string; readonly source: string; readonly method?: string; readonly serial?: string },
) {
  return {
    action,
    outcome: 'granted',
    subject: `spiffe://${trustDomain}`,
    entry: '',
    instance: '',
    serial: '',
    method: '',
    selectors: [],
    audience: [],
    expiresAt: 0,
    reason: '',
    ...by,
  } as const;
}

type Reader = Pick<Transaction<Tables>, 'selectFrom'>;

async function readOne(
  db: Reader,
  trustDomain: string,
): Promise<{ readonly relationship: RelationshipRow; readonly bundle: BundleRow } | undefined> {
  const relationship = await db
    .selectFrom('federation_relationships')
    .selectAll()
    .where('trust_domain', '=', trustDomain)
    .executeTakeFirst();
  const bundle = await db
    .selectFrom('federation_bundles')
    .selectAll()
    .where('trust_domain', '=', trustDomain)
    .executeTakeFirst();
  return relationship === undefined || bundle === undefined ? undefined : { relationship, bundle };
}

async function write(trx: Transaction<Tables>, relationship: RelationshipRow, bundle: BundleRow): Promise<void> {
  await trx
    .insertInto('federation_relationships')
    .values(relationship)
    .onConflict((conflict) => conflict.column('trust_domain').doUpdateSet(relationship))
    .execute();
  await trx
    .insertInto('federation_bundles')
    .values(bundle)
    .onConflict((conflict) => conflict.column('trust_domain').doUpdateSet(bundle))
    .execute();
}

function columnsOf(spec: RelationshipSpec) {
  return {
    bundle_url: spec.bundleEndpoint.url,
    profile: spec.bundleEndpoint.profile,
    endpoint_spiffe_id: spec.bundleEndpoint.spiffeId,
    ca_certificates: spec.bundleEndpoint.caCertificates,
    services: JSON.stringify(spec.services),
  };
}

function isUnchanged(
  before: { readonly relationship: RelationshipRow; readonly bundle: BundleRow },
  columns: ReturnType<typeof columnsOf>,
  spec: RelationshipSpec,
): boolean {
  const keys = Object.keys(columns) as (keyof typeof columns)[];
  const sameBundle = spec.bundle === undefined || spec.bundle.text === before.bundle.document;
  return sameBundle && keys.every((key) => columns[key] === before.relationship[key]);
}

/** A bundle that is given replaces the stored one; an address that is new has yet to be asked. */
function bundleRow(
  spec: RelationshipSpec,
  before: BundleRow | undefined,
  at: { readonly revision: number; readonly now: number },
): BundleRow {
  const { bundle, trustDomain } = spec;
  if (bundle === undefined && before !== undefined) return before;
  const { document } = bundle ?? {};
  return {
    trust_domain: trustDomain,
    document: bundle?.text ?? null,
    sequence: document?.sequence?.toString() ?? null,
    refresh_hint_seconds: document?.refreshHintSeconds ?? null,
    fetched_at: bundle === undefined ? null : at.now,
    checked_at: null,
    last_error: null,
    revision: at.revision,
  };
}

/** SPIFFE_Federation.md §5.2: the first connection has to be verified with something. */
function requireBootstrap(spec: RelationshipSpec, before: BundleRow | undefined): void {
  const { spiffeId } = spec.bundleEndpoint;
  if (spiffeId === null || parseSpiffeId(spiffeId).trustDomain !== spec.trustDomain) return;
  const roots = spec.bundle?.document.roots.length ?? (before?.document == null ? 0 : 1);
  if (roots > 0) return;
  const message = 'is missing: with https_spiffe, the first connection is verified with the bundle that you give';
  throw new AppError('invalid', `The relationship is not valid: /bundle ${message}.`, {
    details: [{ code: 'invalid', pointer: '/bundle', message }],
  });
}

function checkMatch(row: RelationshipRow | undefined, trustDomain: string, options: FederationWriteOptions): void {
  const { ifMatch, ifNoneMatch } = options;
  if (row !== undefined && ifNoneMatch === true) {
    throw new AppError('precondition-failed', `There is a relationship with ${trustDomain} already.`);
  }
  if (ifMatch === undefined || ifMatch === row?.revision || (ifMatch === '*' && row !== undefined)) return;
  const now = row === undefined ? 'there is none' : `it is at revision ${row.revision}`;
  throw new AppError(
    'precondition-failed',
    `The relationship with ${trustDomain} is not at revision ${ifMatch}: ${now}. Read it again and repeat the change.`,
  );
}

function notFound(trustDomain: string): AppError {
  // The name is a path parameter that was checked for its form.
  return new AppError('not-found', `There is no federation with ${trustDomain}.`);
}
