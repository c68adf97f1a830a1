import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { ShipWelcome } from '../../core/audit/ship.ts';
import type { LogPins } from './log-pins.ts';
import type { RollbackConsent } from './rollback-consent.ts';
import type { Spool } from './spool.ts';

/**
 * The ledger or its log contradicts what it has said before. Where the operator has consented, what is seen of it now is what
 * counts from the next stream on, and that it was so is on record: a signed gap from where the ledger stands. Returns whether
 * that was done.
 *
 * @param rolledBackTo where the ledger stands, if that is behind what it had acknowledged
 */
export async function goOnAfterRollback(
  o: {
    readonly spool: Spool;
    readonly pins?: LogPins;
    readonly consent?: RollbackConsent;
    readonly clock: Clock;
    readonly logger: Logger;
  },
  rolledBackTo: ShipWelcome | undefined,
): Promise<boolean> {
  const { spool, pins, consent, clock, logger } = o;
  if (consent === undefined || !(await consent.isGiven())) return false;
  const { acked } = spool.outbox;
  if (rolledBackTo !== undefined) {
    await spool.outbox.followRolledBack(rolledBackTo);
  } else {
    // It has everything that it acknowledged; only its log is another one.
    const gap = { kind: 'gap', reason: 'ledger-rolled-back', epoch: acked.epoch, fromSeq: acked.seq + 1 } as const;
    await spool.append({ ...gap, time: clock.now() });
  }
  await pins?.forget(clock.now());
  await consent.withdraw();
  logger.error(
    { epoch: acked.epoch, seq: acked.seq },
    'as the operator has said, shipping goes on with a control plane that was rolled back; the loss is recorded as a gap',
  );
  return true;
}
