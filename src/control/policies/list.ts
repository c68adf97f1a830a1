import type { PolicyKind } from '../../core/policy/kinds.ts';
import { matchesLabels, parseLabelSelector } from '../store/label-selector.ts';
import type { Page, PageRequest } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import { scanPage } from '../store/scan.ts';
import type { Store } from '../store/store.ts';
import type { PolicyRow } from './rows.ts';

export interface PolicyFilter<K extends PolicyKind = PolicyKind> extends PageRequest {
  readonly kind: K;
  readonly namespace?: string | undefined;
  /** As Kubernetes writes it (`store/label-selector.ts`); of the labels of the objects themselves. */
  readonly labelSelector?: string | undefined;
}

/** By namespace and name. Throws `invalid` for a bad limit or selector, `invalid-cursor`, `cursor-expired`. */
export async function listRows(store: Pick<Store, 'db' | 'cursors'>, filter: PolicyFilter): Promise<Page<PolicyRow>> {
  const selector = filter.labelSelector === undefined ? undefined : parseLabelSelector(filter.labelSelector);
  return await scanPage<PolicyRow>({
    cursors: store.cursors,
    scope: `policies ${JSON.stringify([filter.kind, filter.namespace ?? null, selector ?? null])}`,
    limit: pageLimit(filter.limit),
    cursor: filter.cursor,
    read: ([namespace, name] = [], count) => {
      let query = store.db.selectFrom('policies').selectAll().where('kind', '=', filter.kind);
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
}
