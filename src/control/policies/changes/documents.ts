import type { Transaction } from 'kysely';
import { AppError } from '../../../base/errors.ts';
import type { PolicyKey } from '../../../core/policy/kinds.ts';
import { keyOf, keyText, titleOf } from '../../../core/policy/kinds.ts';
import { parseDocuments } from '../../../core/policy/parse.ts';
import type { Tables } from '../../store/tables.ts';
import { readRow } from '../rows.ts';
import type { ChangeDocument } from './change.ts';

/** Documents at a time. */
export const MAX_DOCUMENTS = 1_000;

/** What is to be put, before it is known what it takes the place of. */
export type WantedDocument = PolicyKey & { readonly source: string | null };

/**
 * The documents of a proposal. Every text may hold several; one that stands alone is kept byte for byte. Throws
 * `invalid-document` with the findings of the first text that has any, and `invalid` for none, too many, or one that is
 * named twice.
 */
export function wantedDocuments(puts: readonly string[], deletions: readonly PolicyKey[]): readonly WantedDocument[] {
  const wanted = [...puts.flatMap(documentsIn), ...deletions.map((key) => ({ ...keyOfDeletion(key), source: null }))];
  if (wanted.length === 0) throw new AppError('invalid', 'A change needs at least one document to put or delete.');
  if (wanted.length > MAX_DOCUMENTS) {
    throw new AppError('too-large', `A change has at most ${MAX_DOCUMENTS} documents, and this one ${wanted.length}.`);
  }
  const seen = new Set<string>();
  for (const each of wanted) {
    if (seen.has(keyText(each))) throw new AppError('invalid', `The ${titleOf(each)} stands in the change twice.`);
    seen.add(keyText(each));
  }
  return wanted;
}

function documentsIn(text: string): readonly WantedDocument[] {
  const documents = parseDocuments(text);
  const [only, second] = documents;
  if (only !== undefined && second === undefined && only.pointer === '') return [{ ...keyOf(only), source: text }];
  return documents.map((document) => ({ ...keyOf(document), source: document.source }));
}

function keyOfDeletion({ kind, namespace, name }: PolicyKey): PolicyKey {
  return { kind, namespace, name };
}

/**
 * What of it would change anything now, and what that takes the place of. Throws `not-found` for a deletion of what is not
 * there, and `invalid` when everything is like that already.
 */
export async function changingDocuments(
  trx: Transaction<Tables>,
  wanted: readonly WantedDocument[],
): Promise<readonly Omit<ChangeDocument, 'revision'>[]> {
  const changing: Omit<ChangeDocument, 'revision'>[] = [];
  for (const { kind, namespace, name, source } of wanted) {
    const before = await readRow(trx, { kind, namespace, name });
    if (source === null && before === undefined) {
      throw new AppError('not-found', `There is no ${titleOf({ kind, namespace, name })} to delete.`);
    }
    if (source !== null && before?.source === source) continue;
    const operation = source === null ? 'delete' : 'put';
    changing.push({ operation, kind, namespace, name, source, replaces: before?.revision ?? null });
  }
  if (changing.length > 0) return changing;
  throw new AppError('invalid', 'Everything is like this already, so there is nothing to propose.');
}
