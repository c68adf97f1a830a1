import { itemsOf } from '../../../src/control/ledger/sinks/item.ts';
import type { AuditEvent } from '../../../src/core/audit/event.ts';
import { plain } from '../../control/ledger/sinks/batches.ts';

export const itemsFrom = (events: readonly (AuditEvent | Buffer)[], spiffeId?: string) =>
  itemsOf(plain(events, spiffeId));
