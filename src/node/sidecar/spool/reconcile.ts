import type { ShipWelcome } from '../../../core/audit/ship.ts';
import type { Outbox } from './outbox.ts';

export type Reconciled =
  /** The next thing to send follows what the ledger has. */
  | { readonly state: 'agreed' }
  /** The ledger has what we do not know of; what is not acknowledged continues in a new epoch behind it. */
  | { readonly state: 'new-epoch' }
  /** The ledger no longer has what it once acknowledged. Nothing may be sent, and nothing deleted. */
  | { readonly state: 'rolled-back'; readonly message: string };

/** Compares what the ledger says it has with what we know it has, and mends what can be mended. */
export async function reconcile(outbox: Outbox, welcome: ShipWelcome): Promise<Reconciled> {
  const { expectedEpoch: epoch, expectedPrevHash: hash } = welcome;
  const seq = welcome.expectedSeq - 1;
  const { acked } = outbox;
  const isNothing = seq === 0 && hash.length === 0;

  if (epoch === acked.epoch && seq === acked.seq) {
    return hash.equals(acked.hash) ? { state: 'agreed' } : rolledBack(outbox, welcome);
  }
  // Its acknowledgement was lost on the way.
  if (!isNothing && outbox.cuts.some((cut) => cut.epoch === epoch && cut.seq === seq && cut.hash.equals(hash))) {
    outbox.acknowledge(epoch, seq, hash);
    return { state: 'agreed' };
  }
  const isBehind = epoch < acked.epoch || (epoch === acked.epoch && seq < acked.seq);
  if (isBehind || (isNothing && acked.epoch > 0)) return rolledBack(outbox, welcome);
  // A ledger that has never heard of us takes any epoch; one that has more of an epoch which we gave up takes the next.
  if (outbox.nextToShip.epoch > epoch || isNothing) return { state: 'agreed' };
  await outbox.startEpochAfter({ epoch, nextSeq: welcome.expectedSeq });
  return { state: 'new-epoch' };
}

function rolledBack(outbox: Outbox, welcome: ShipWelcome): Reconciled {
  const { acked } = outbox;
  return {
    state: 'rolled-back',
    message:
      `server rollback: the ledger acknowledged epoch ${acked.epoch} up to ${acked.seq} and now expects epoch ` +
      `${welcome.expectedEpoch} from ${welcome.expectedSeq}. Everything that is not acknowledged is kept and nothing is sent ` +
      'until the ledger is restored, or somebody says that this sidecar is to go on: writ accept-rollback --state-dir DIR.',
  };
}
