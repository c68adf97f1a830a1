import { AppError } from '../../../src/base/errors.ts';
import type { AdminRecord } from '../../../src/core/audit/admin-event.ts';
import type { AuditRecord, IdentityRecord } from '../../../src/core/audit/event.ts';
import type { AdminQuery, AuditQuery, IdentityQuery } from '../../../src/core/audit/query.ts';
import { matches, matchesAdmin, matchesIdentity } from '../../../src/core/audit/query.ts';

type TailItem<R> = { readonly type: 'record'; readonly record: R } | { readonly type: 'lost'; readonly count: number };

/** An audit index that holds what a test puts into it. */
export class ScriptedAudit {
  readonly calls = new Scripted<AuditRecord, AuditQuery>(matches);
  readonly identities = new Scripted<IdentityRecord, IdentityQuery>(matchesIdentity);
  readonly admins = new Scripted<AdminRecord, AdminQuery>(matchesAdmin);

  /** Of the index. */
  state = { indexed: 3, batches: 3, rebuilding: false };

  async rebuild(): Promise<void> {
    this.state = { ...this.state, indexed: 0, rebuilding: true };
  }

  get records(): AuditRecord[] {
    return this.calls.records;
  }

  /** What was asked last. */
  get lastQuery(): AuditQuery | undefined {
    return this.calls.lastQuery;
  }

  get openTails(): number {
    return this.calls.openTails;
  }

  emit(item: TailItem<AuditRecord>): void {
    this.calls.emit(item);
  }

  search(query: AuditQuery) {
    return this.calls.search(query);
  }

  get(id: string): Promise<AuditRecord> {
    return this.calls.get(id);
  }

  tail(query: AuditQuery, signal: AbortSignal) {
    return this.calls.tail(query, signal);
  }

  searchIdentities(query: IdentityQuery) {
    return this.identities.search(query);
  }

  getIdentity(id: string): Promise<IdentityRecord> {
    return this.identities.get(id);
  }

  tailIdentities(query: IdentityQuery, signal: AbortSignal) {
    return this.identities.tail(query, signal);
  }

  searchAdmins(query: AdminQuery) {
    return this.admins.search(query);
  }

  getAdmin(id: string): Promise<AdminRecord> {
    return this.admins.get(id);
  }

  tailAdmins(query: AdminQuery, signal: AbortSignal) {
    return this.admins.tail(query, signal);
  }
}

/** Records of one kind. */
class Scripted<R extends { readonly id: string }, Q extends Pick<AuditQuery, 'cursor' | 'limit'>> {
  readonly records: R[] = [];
  /** What was asked last. */
  lastQuery: Q | undefined;
  readonly #matches: (record: R, query: Q) => boolean;
  readonly #tails = new Set<(item: TailItem<R>) => void>();

  constructor(matches: (record: R, query: Q) => boolean) {
    this.#matches = matches;
  }

  get openTails(): number {
    return this.#tails.size;
  }

  emit(item: TailItem<R>): void {
    for (const push of [...this.#tails]) push(item);
  }

  async search(query: Q) {
    this.lastQuery = query;
    const start = query.cursor == null ? 0 : Number(query.cursor);
    const limit = query.limit ?? 50;
    const found = this.records.filter((record) => this.#matches(record, query));
    const items = found.slice(start, start + limit);
    return { items, nextCursor: found.length > start + limit ? String(start + limit) : null, revision: 0 };
  }

  async get(id: string): Promise<R> {
    const record = this.records.find((candidate) => candidate.id === id);
    if (record === undefined) throw new AppError('not-found', 'There is no such record.');
    return record;
  }

  async *tail(query: Q, signal: AbortSignal): AsyncGenerator<TailItem<R>> {
    this.lastQuery = query;
    const queue: TailItem<R>[] = [];
    let wake: () => void = () => undefined;
    const push = (item: TailItem<R>) => {
      if (item.type === 'lost' || this.#matches(item.record, query)) queue.push(item);
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

export function identityRecord(change: Partial<IdentityRecord> = {}): IdentityRecord {
  sequence += 1;
  return {
    id: `control-1.1.${sequence}`,
    time: '2026-01-01T00:00:00.000Z',
    action: 'x509-svid',
    outcome: 'granted',
    subject: 'spiffe://example.org/ns/shop/sa/orders',
    actor: 'spiffe://example.org/writ/agent/join_token/7',
    entry: '019b7600-0000-7000-8000-000000000001',
    instance: 'inst-1',
    serial: '0a1b',
    method: '',
    selectors: ['unix:uid:1000'],
    audience: [],
    expiresAt: '2026-01-01T01:00:00.000Z',
    reason: '',
    source: '10.0.0.7',
    recorder: 'control-1',
    epoch: 1,
    sequence,
    proof: { state: 'sealed', leaf: 3 },
    ...change,
  };
}

export function adminRecord(change: Partial<AdminRecord> = {}): AdminRecord {
  sequence += 1;
  return {
    id: `control-1.1.${sequence}`,
    time: '2026-01-01T00:00:00.000Z',
    action: 'call',
    outcome: 'done',
    settled: true,
    actor: 'ann',
    role: 'editor',
    credential: '019b7600-0000-7000-8000-000000000009',
    source: '10.0.0.7',
    operation: 'putPolicy',
    permission: 'policies:write',
    object: '/v1/policies/shop/web',
    query: '',
    request: '019b7600-0000-7000-8000-000000000001',
    status: 200,
    count: 1,
    lastTime: null,
    before: '',
    after: '0'.repeat(64),
    detail: '--- /dev/null\n+++ shop/web@4\n@@ -0,0 +1 @@\n+kind: AuthorizationPolicy\n',
    reason: '',
    recorder: 'control-1',
    epoch: 1,
    sequence,
    proof: { state: 'sealed', leaf: 7 },
    ...change,
  };
}
