import { AppError } from '../../../src/base/errors.ts';
import type { AuditRecord } from '../../../src/core/audit/event.ts';
import type { AuditQuery } from '../../../src/core/audit/query.ts';
import { matches } from '../../../src/core/audit/query.ts';

type TailItem =
  | { readonly type: 'record'; readonly record: AuditRecord }
  | { readonly type: 'lost'; readonly count: number };

/** An audit index that holds what a test puts into it. */
export class ScriptedAudit {
  readonly records: AuditRecord[] = [];
  /** What was asked last. */
  lastQuery: AuditQuery | undefined;
  readonly #tails = new Set<(item: TailItem) => void>();

  get openTails(): number {
    return this.#tails.size;
  }

  emit(item: TailItem): void {
    for (const push of [...this.#tails]) push(item);
  }

  async search(query: AuditQuery) {
    this.lastQuery = query;
    const start = query.cursor == null ? 0 : Number(query.cursor);
    const limit = query.limit ?? 50;
    const found = this.records.filter((record) => matches(record, query));
    const items = found.slice(start, start + limit);
    return { items, nextCursor: found.length > start + limit ? String(start + limit) : null, revision: 0 };
  }

  async get(id: string): Promise<AuditRecord> {
    const record = this.records.find((candidate) => candidate.id === id);
    if (record === undefined) throw new AppError('not-found', 'There is no such record.');
    return record;
  }

  async *tail(query: AuditQuery, signal: AbortSignal): AsyncGenerator<TailItem> {
    this.lastQuery = query;
    const queue: TailItem[] = [];
    let wake: () => void = () => undefined;
    const push = (item: TailItem) => {
      if (item.type === 'lost' || matches(item.record, query)) queue.push(item);
      wake();
    };
    const onAbort = () => wake();
    this.#tails.add(push);
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) {
        const item = queue.shift();
        if (item !== undefined) yield item;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      this.#tails.delete(push);
      signal.removeEventListener('abort', onAbort);
    }
  }
}

let sequence = 0;

export function auditRecord(change: Partial<AuditRecord> = {}): AuditRecord {
  sequence += 1;
  return {
    id: `inst-1.1.${sequence}`,
    time: '2026-01-01T00:00:00.000Z',
    source: 'spiffe://example.org/ns/shop/sa/web',
    destination: 'spiffe://example.org/ns/shop/sa/orders',
    operation: { protocol: 'http', method: 'GET', host: 'orders.shop.mesh', path: '/orders', port: 8080 },
    decision: 'allow',
    reason: 'allow-rule',
    rule: 'shop/web-to-orders@4#0',
    policyRevision: 4,
    status: 200,
    durationMs: 1.5,
    traceId: '',
    tokenSubject: '',
    certificateSerial: '0a',
    sidecar: 'inst-1',
    epoch: 1,
    sequence,
    proof: { state: 'sealed', leaf: 7 },
    ...change,
  };
}
