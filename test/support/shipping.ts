import { sign } from 'node:crypto';
import { onTestFinished } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { LedgerOptions } from '../../src/control/ledger/ledger.ts';
import { Ledger } from '../../src/control/ledger/ledger.ts';
import { batchKeyStatement, openBatch, rawBatchKey, sealBatch } from '../../src/core/audit/batch.ts';
import { batchHash, lastSeqOf } from '../../src/core/audit/batch-header.ts';
import { decodeEvent } from '../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../src/core/audit/event.ts';
import type { ShipHello } from '../../src/core/audit/ship.ts';
import { reconcile } from '../../src/node/sidecar/spool/reconcile.ts';
import type { SpoolOptions } from '../../src/node/sidecar/spool.ts';
import { Spool } from '../../src/node/sidecar/spool.ts';
import type { ShippingIdentity } from './audit.ts';
import { FakeClock } from './clock.ts';
import { MemoryFiles } from './memory-files.ts';
import { tempDirectory } from './temp.ts';

/** A spool on a directory in memory; it is closed when the test ends. */
export async function openSpool(
  files: MemoryFiles = new MemoryFiles(),
  options: Partial<SpoolOptions> = {},
): Promise<Spool> {
  const spool = await Spool.open({
    directory: await tempDirectory(),
    clock: new FakeClock(),
    logger: silentLogger,
    files,
    ...options,
  });
  closeAtEnd(files, () => spool.close());
  return spool;
}

/** A ledger on a directory in memory; it is closed when the test ends. */
export async function openLedger(
  files: MemoryFiles = new MemoryFiles(),
  options: Partial<LedgerOptions> = {},
): Promise<Ledger> {
  const ledger = await Ledger.open({
    directory: await tempDirectory(),
    clock: new FakeClock(),
    logger: silentLogger,
    files,
    ...options,
  });
  closeAtEnd(files, () => ledger.close());
  return ledger;
}

function closeAtEnd(files: MemoryFiles, close: () => Promise<void>): void {
  onTestFinished(async () => {
    files.hook = () => 'pass';
    await close();
  });
}

export function helloOf(
  spool: Spool,
  who: ShippingIdentity,
  change: Partial<ShipHello> & { clock?: Clock } = {},
): ShipHello {
  const batchKey = rawBatchKey(spool.batchKey);
  const { clock, ...rest } = change;
  return {
    bootId: 'boot-1',
    epoch: spool.outbox.nextToShip.epoch,
    nextSeq: spool.outbox.nextToShip.seq,
    lastBatchHash: spool.outbox.acked.hash,
    batchKey,
    batchKeySignature: sign('sha256', batchKeyStatement(who.instanceId, batchKey), who.svid.privateKey),
    time: clock?.now() ?? Date.UTC(2026, 0, 1),
    ...rest,
  };
}

/** What the shipper does, without its timing: until nothing is left or the ledger refuses. Gives what reconciling has found. */
export async function shipAll(spool: Spool, ledger: Ledger, who: ShippingIdentity, bootId = 'boot-1'): Promise<string> {
  const { outbox } = spool;
  await outbox.bind(who.instanceId);
  const start = ledger.connect(who.caller, helloOf(spool, who, { bootId }));
  if ('nack' in start) throw new Error(`nack ${start.nack.code}: ${start.nack.message}`);
  const { session, welcome } = start;
  try {
    const agreed = await reconcile(outbox, welcome);
    if (agreed.state === 'rolled-back') return agreed.message;
    for (;;) {
      const cut = outbox.cuts[0] ?? (await outbox.cut());
      if (cut === undefined) return agreed.state;
      const events = await outbox.load(cut);
      if (events === undefined) continue;
      const reply = await session.append(sealBatch(cut.bytes, events, spool.batchKey));
      if ('nack' in reply) throw new Error(`nack ${reply.nack.code}: ${reply.nack.message}`);
      if (!outbox.acknowledge(reply.ack.epoch, reply.ack.durableThroughSeq, reply.ack.batchHash)) {
        throw new Error('acknowledged what was not sent');
      }
    }
  } finally {
    session.close();
  }
}

export interface LoggedEvent {
  readonly instanceId: string;
  readonly epoch: number;
  readonly seq: number;
  readonly event: AuditEvent;
}

/**
 * Everything in the ledger, after verifying the whole of it: leaves numbered without gaps, and for every sidecar epochs that
 * only grow, sequences without gaps, and every batch built upon the one before.
 */
export async function ledgerEvents(ledger: Ledger): Promise<LoggedEvent[]> {
  const events: LoggedEvent[] = [];
  const heads = new Map<string, { epoch: number; seq: number; hash: string }>();
  let leaf = 0;
  for await (const logged of ledger.read(0)) {
    const { header, instanceId } = logged;
    const head = heads.get(instanceId) ?? { epoch: 0, seq: 0, hash: '' };
    const isNewEpoch = header.epoch > head.epoch;
    const follows =
      logged.leaf === leaf &&
      header.instanceId === instanceId &&
      header.epoch >= head.epoch &&
      header.firstSeq === (isNewEpoch ? 1 : head.seq + 1) &&
      header.prevHash.toString('hex') === (isNewEpoch ? '' : head.hash);
    if (!follows)
      throw new Error(`leaf ${leaf} does not follow: ${JSON.stringify(header)} after ${JSON.stringify(head)}`);
    for (const [i, bytes] of openBatch(logged.batch).entries()) {
      events.push({ instanceId, epoch: header.epoch, seq: header.firstSeq + i, event: decodeEvent(bytes) });
    }
    heads.set(instanceId, { epoch: header.epoch, seq: lastSeqOf(header), hash: hashOf(logged.batch.header) });
    leaf += 1;
  }
  return events;
}

export async function loggedCalls(ledger: Ledger): Promise<string[]> {
  return (await ledgerEvents(ledger)).flatMap(({ event }) => (event.kind === 'decision' ? [event.call] : []));
}

export async function loggedGaps(ledger: Ledger): Promise<AuditEvent[]> {
  return (await ledgerEvents(ledger)).flatMap(({ event }) => (event.kind === 'gap' ? [event] : []));
}

function hashOf(header: Buffer): string {
  return batchHash(header).toString('hex');
}
