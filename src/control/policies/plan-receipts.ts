import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { PolicyKey } from '../../core/policy/kinds.ts';
import { keyText } from '../../core/policy/kinds.ts';
import type { Store } from '../store/store.ts';
import { readRow } from './rows.ts';

/** A document of a candidate; `source` is null for one that is deleted. */
export type PlannedDocument = PolicyKey & { readonly source: string | null };

export interface PlanReceipt {
  readonly documents: readonly PlannedDocument[];
  /** Revision of the policies that the plan was made against. */
  readonly baseRevision: number;
  /** Who made it. */
  readonly author: string;
}

export interface PlanReceiptsOptions {
  readonly store: Store;
  readonly clock: Clock;
}

/** How long a plan counts: the traffic that it was made over gets old. */
export const RECEIPT_LIFETIME_MS = 24 * 60 * 60_000;

/**
 * That a plan was made, and of what: of exactly these documents, in any order, against the policies as they were at a revision.
 * In the store, so that every replica knows of it.
 */
export class PlanReceipts {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor({ store, clock }: PlanReceiptsOptions) {
    this.#store = store;
    this.#clock = clock;
  }

  async write({ documents, baseRevision, author }: PlanReceipt): Promise<void> {
    if (documents.length === 0) return;
    const now = this.#clock.now();
    const digest = digestOf(await this.#changing(documents));
    const row = { digest, base_revision: baseRevision, made_at: now, made_by: author };
    await this.#store.transaction(async (trx) => {
      await trx
        .deleteFrom('plan_receipts')
        .where('made_at', '<', now - RECEIPT_LIFETIME_MS)
        .execute();
      await trx
        .insertInto('plan_receipts')
        .values(row)
        .onConflict((conflict) =>
          conflict.columns(['digest', 'base_revision']).doUpdateSet({ made_at: now, made_by: author }),
        )
        .execute();
    });
  }

  /** Whether a plan of exactly these documents was made against the policies as they are now, and not too long ago. */
  async covers(documents: readonly PlannedDocument[]): Promise<boolean> {
    const head = await this.#store.db
      .selectFrom('policy_revisions')
      .select((eb) => eb.fn.max('revision').as('max'))
      .executeTakeFirst();
    const found = await this.#store.db
      .selectFrom('plan_receipts')
      .select('made_at')
      .where('digest', '=', digestOf(await this.#changing(documents)))
      .where('base_revision', '=', head?.max ?? 0)
      .where('made_at', '>=', this.#clock.now() - RECEIPT_LIFETIME_MS)
      .executeTakeFirst();
    return found !== undefined;
  }

  /** What is like this already is no part of a change, whether or not it was sent along. */
  async #changing(documents: readonly PlannedDocument[]): Promise<readonly PlannedDocument[]> {
    const changing: PlannedDocument[] = [];
    for (const document of documents) {
      const { kind, namespace, name, source } = document;
      const row = await readRow(this.#store.db, { kind, namespace, name });
      if (row?.source !== (source ?? undefined)) changing.push(document);
    }
    return changing;
  }
}

/** SHA-256, lower hex, over the documents in the order of their names. */
function digestOf(documents: readonly PlannedDocument[]): string {
  const lines = documents.map((each) => JSON.stringify([keyText(each), each.source])).sort();
  return createHash('sha256').update(lines.join('\n')).digest('hex');
}
