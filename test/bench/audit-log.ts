import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { systemClock } from '../../src/base/clock.ts';
import { localFiles } from '../../src/base/journal/files.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Ledger } from '../../src/control/ledger/ledger.ts';
import { openLogKeys } from '../../src/control/ledger/log/keys.ts';
import { MemoryCheckpointLock } from '../../src/control/ledger/log/lock.ts';
import { LogFiles } from '../../src/control/ledger/log/log-files.ts';
import { Sequencer } from '../../src/control/ledger/log/sequencer.ts';
import { openBatch } from '../../src/core/audit/batch.ts';
import { LogAudit } from '../../src/core/audit/log-audit.ts';
import { splitBundle, tilesBetween } from '../../src/core/audit/tile.ts';
import type { Row } from './report.ts';
import { rate, time } from './report.ts';

/** What a log costs over a ledger that is full: putting its batches in, and verifying all of it again. */
export async function benchAuditLog(
  directory: string,
  ledger: Ledger,
  o: { readonly sha256: number; readonly fsync: number },
): Promise<Row[]> {
  await mkdir(directory, { recursive: true });
  const files = new LogFiles(localFiles(directory));
  const keys = await openLogKeys({
    secrets: { load: async () => undefined, save: async () => undefined },
    origin: 'example.org/bench',
    now: () => Date.now(),
    random: randomBytes,
    mayCreate: true,
  });
  const shared = { ledger, files, lock: new MemoryCheckpointLock(), keys, clock: systemClock, logger: silentLogger };
  const sequencer = await Sequencer.open({ ...shared, limits: { batches: 256 } });
  const start = performance.now();
  let steps = 0;
  while (await sequencer.step()) steps += 1;
  const seconds = (performance.now() - start) / 1000;
  const { size } = sequencer.published.current.checkpoint;

  const audit = new LogAudit();
  const verifying = performance.now();
  for (const tile of tilesBetween(0, size)) {
    if (tile.level !== 'entries') continue;
    for (const entry of splitBundle(await files.tile(tile), tile.width)) audit.add(entry);
  }
  const verified = (performance.now() - verifying) / 1000;
  if (!audit.root().equals(sequencer.published.current.checkpoint.root)) throw new Error('the log does not verify');

  const opening = performance.now();
  for await (const { batch, header } of ledger.read(0)) openBatch(batch, header);
  const opened = (performance.now() - opening) / 1000;
  const { events } = audit.findings();
  return [
    rate('audit log: batches put into the log, 256 to a checkpoint', size / seconds, 'batches/s', {
      name: 'writes of 4 KiB + fdatasync, one at a time',
      figure: o.fsync,
    }),
    time('audit log: one checkpoint of 256 batches', (seconds * 1000) / steps, 'ms', {
      name: 'one write of 4 KiB + fdatasync',
      figure: 1000 / o.fsync,
    }),
    rate('audit log: entries verified', size / verified, 'batches/s', {
      name: 'SHA-256 of 64 bytes',
      figure: o.sha256,
    }),
    rate(
      'audit log: verified with its events',
      events / (verified + opened),
      'events/s',
      { name: 'SHA-256 of 64 bytes', figure: o.sha256 },
      '≥ 100,000 events/s',
    ),
  ];
}
