import type { Transaction } from 'kysely';
import { AppError } from '../../../base/errors.ts';
import { isExpired } from '../../../core/identity/selectors.ts';
import { compareText } from '../../store/compare.ts';
import type { Tables } from '../../store/tables.ts';
import type { EntryRow } from './entry.ts';
import { columnsOf, fingerprintOf } from './entry.ts';
import type { EntrySpec } from './entry-input.ts';
import { bury } from './tombstones.ts';

/** What is being written, and when. */
export interface Write {
  readonly trx: Transaction<Tables>;
  readonly now: number;
  /** Taken when it is first needed: without a change there is none. */
  revision(): Promise<number>;
}

/** Rows in one statement: SQLite takes at most 32,766 parameters. */
const ROWS_PER_STATEMENT = 500;

/** The entries of these SPIFFE IDs, those that have expired too, oldest first. */
export async function readSiblings(write: Write, spiffeIds: readonly string[]): Promise<Map<string, EntryRow[]>> {
  const siblings = new Map<string, EntryRow[]>();
  for (const some of chunks([...new Set(spiffeIds)])) {
    const rows = await write.trx
      .selectFrom('entries')
      .selectAll()
      .where('spiffe_id', 'in', some)
      .orderBy('id')
      .execute();
    for (const row of rows) siblings.set(row.spiffe_id, [...(siblings.get(row.spiffe_id) ?? []), row]);
  }
  return siblings;
}

/**
 * What stands in the way of an entry: a live one with the same parent, SPIFFE ID and selectors, or, for labels that were
 * given, one of the same SPIFFE ID with others.
 */
export function twinOf(spec: EntrySpec, siblings: readonly EntryRow[], now: number): EntryRow | undefined {
  const selectors = JSON.stringify(spec.selectors);
  const fingerprint = fingerprintOf(spec);
  return siblings.find(
    (row) =>
      !isExpired({ expiresAt: row.expires_at }, now) &&
      // Entries from before there were parents have another fingerprint, and selectors in the order given.
      (row.fingerprint === fingerprint ||
        (row.parent_id === (spec.parentId ?? '') && inOrder(row.selectors) === selectors)),
  );
}

function inOrder(selectors: string): string {
  return JSON.stringify((JSON.parse(selectors) as string[]).sort(compareText));
}

export function labelsFor(
  spec: EntrySpec,
  siblings: readonly EntryRow[],
  now: number,
): { readonly labels: Readonly<Record<string, string>>; readonly contradicts: EntryRow | undefined } {
  const [live] = siblings.filter((row) => !isExpired({ expiresAt: row.expires_at }, now));
  const kept = live === undefined ? {} : (JSON.parse(live.labels) as Record<string, string>);
  const labels = spec.labels ?? kept;
  return { labels, contradicts: live?.labels === JSON.stringify(labels) ? undefined : live };
}

/** What has expired is not there: whoever writes an entry of the same SPIFFE ID takes it away. */
export async function buryExpired(write: Write, siblings: readonly EntryRow[]): Promise<void> {
  const gone = siblings.filter((row) => isExpired({ expiresAt: row.expires_at }, write.now));
  if (gone.length === 0) return;
  const revision = await write.revision();
  for (const some of chunks(gone)) {
    const ids = some.map((row) => row.id);
    await bury(write.trx, ids, { revision, now: write.now });
  }
}

export function newRow(
  id: string,
  spec: EntrySpec,
  labels: Readonly<Record<string, string>>,
  at: { readonly revision: number; readonly now: number },
): EntryRow {
  const { revision, now } = at;
  return { id, ...columnsOf(spec, labels), revision, created_at: now, updated_at: now };
}

export async function insertRows(write: Write, rows: readonly EntryRow[]): Promise<void> {
  for (const some of chunks(rows)) await write.trx.insertInto('entries').values(some).execute();
}

export function refusePast(spec: EntrySpec, now: number, stays: number | null = null): void {
  if (spec.expiresAt === null || spec.expiresAt > now || spec.expiresAt === stays) return;
  const message = 'must be in the future';
  throw new AppError('invalid', `The entry is not valid: /expiresAt ${message}.`, {
    details: [{ code: 'invalid', pointer: '/expiresAt', message }],
  });
}

export function alreadyThere(spec: EntrySpec, twin: { readonly id: string } | undefined): AppError {
  const which = twin === undefined ? '' : `: ${twin.id}`;
  return new AppError(
    'conflict',
    `${spec.spiffeId} has an entry already with this parent and these selectors${which}. Change that one, or delete it first.`,
  );
}

export function otherLabels(spec: EntrySpec, other: { readonly id: string }): AppError {
  return new AppError(
    'conflict',
    `Labels belong to a SPIFFE ID, and another entry of ${spec.spiffeId} (${other.id}) has others. ` +
      'Give the same, or none; or change them there, for all of its entries.',
  );
}

function* chunks<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += ROWS_PER_STATEMENT) yield items.slice(at, at + ROWS_PER_STATEMENT);
}
