import { AppError } from '../base/errors.ts';
import type { PageOf } from './api.ts';
import type { Client } from './client.ts';

/** The most that the server gives at once. */
const PAGE = 500;
const MAX_LIMIT = 100_000;

/** The first `limit` records of a search of the audit record, page after page. */
export async function searchRecords<R>(
  client: Client,
  path: string,
  query: Readonly<Record<string, string | undefined>>,
  limit: number,
  tell: (note: string) => void = () => undefined,
): Promise<readonly R[]> {
  const records: R[] = [];
  let cursor: string | undefined;
  do {
    const { body, headers } = await client.call<PageOf<R>>({
      method: 'GET',
      path,
      query: { ...query, limit: Math.min(PAGE, limit - records.length), cursor },
    });
    const index = headers.get('writ-audit-index');
    if (index !== null && cursor === undefined)
      tell(
        `Not everything is found: the search index is being built again (${index.replace('rebuilding; ', '')} batches).\n`,
      );
    records.push(...body.items);
    cursor = body.nextCursor ?? undefined;
  } while (cursor !== undefined && records.length < limit);
  return records.slice(0, limit);
}

/** The value of `--limit`. Throws `usage`. */
export function parseLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MAX_LIMIT)
    throw new AppError('usage', `--limit must be from 1 to ${MAX_LIMIT}, not ${JSON.stringify(text)}.`);
  return limit;
}
