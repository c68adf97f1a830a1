import type { LoggedBatch } from '../../../../src/control/ledger/ledger.ts';
import type { AuditEvent } from '../../../../src/core/audit/event.ts';
import { TestLedger } from '../test-ledger.ts';

export const controlPlane = 'spiffe://example.org/writ/control-plane';

/** A batch as the ledger holds it. */
export function plain(events: readonly (AuditEvent | Buffer)[], spiffeId?: string): LoggedBatch {
  const ledger = new TestLedger();
  ledger.add(events, 'sidecar-1', 1, spiffeId);
  const [batch] = ledger.batches;
  if (batch === undefined) throw new Error('no batch');
  return batch;
}
