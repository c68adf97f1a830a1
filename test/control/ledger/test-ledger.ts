import { generateKeyPairSync } from 'node:crypto';
import { WatchSource } from '../../../src/base/watch.ts';
import type { LoggedBatch } from '../../../src/control/ledger/ledger.ts';
import { cutBatch } from '../../../src/core/audit/batch.ts';
import { encodeEvent } from '../../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../../src/core/audit/event.ts';

const { privateKey } = generateKeyPairSync('ed25519');
export const receivedAt = Date.UTC(2026, 0, 2);
/** The service that decisions are for when a test says nothing else. */
export const orders = 'spiffe://example.org/ns/shop/sa/orders';

/** A ledger of this process: what it holds is what a test puts there. */
export class TestLedger {
  readonly size = new WatchSource(0);
  readonly batches: LoggedBatch[] = [];
  /** Makes reading fail at a leaf. */
  damagedAt: number | undefined;
  readonly #next = new Map<string, number>();

  /** As shipped by a sidecar of `spiffeId`. */
  add(events: readonly (AuditEvent | Buffer)[], sidecar = 'sidecar-1', epoch = 1, spiffeId = orders): void {
    const firstSeq = this.#next.get(`${sidecar}/${epoch}`) ?? 1;
    this.#next.set(`${sidecar}/${epoch}`, firstSeq + events.length);
    const { batch, header } = cutBatch({
      instanceId: sidecar,
      epoch,
      firstSeq,
      prevHash: Buffer.alloc(0),
      events: events.map((event) => (Buffer.isBuffer(event) ? event : encodeEvent(event))),
      privateKey,
    });
    const leaf = this.batches.length;
    this.batches.push({ leaf, instanceId: sidecar, spiffeId, receivedAt, keyRecord: 1, header, batch });
    this.size.set(this.batches.length);
  }

  async *read(from: number): AsyncGenerator<LoggedBatch, void, undefined> {
    for (const batch of this.batches.slice(from)) {
      if (batch.leaf === this.damagedAt) throw new Error('damaged');
      yield batch;
    }
  }
}
