import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import { LedgerAdminRecorder } from '../../src/control/ledger/admin-recorder.ts';
import { AdminTrail } from '../../src/control/ledger/admin-trail.ts';
import { AuditIndex } from '../../src/control/ledger/index.ts';
import { leafIn, openAuditLog } from '../../src/control/ledger/log/open.ts';
import { EventProducer } from '../../src/control/ledger/producer.ts';
import { openStore } from '../../src/control/store/store.ts';
import { FakeClock } from './clock.ts';
import { MemoryFiles } from './memory-files.ts';
import { createTestAuthority } from './pki.ts';
import { openLedger } from './shipping.ts';
import { tempDirectory } from './temp.ts';

/** The record of administration as a server has it: a real ledger (its files in memory), its index, and its log. */
export async function openAdminLedger() {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  const deps = { clock, logger: silentLogger };
  const ledger = await openLedger(files, { clock });
  const identity = createTestAuthority().issue('spiffe://example.org/writ/control-plane', { instanceId: 'control-1' });
  const producer = new EventProducer({ ledger, identity: () => identity, ...deps });
  const trail = new AdminTrail({ recorder: new LedgerAdminRecorder({ producer, clock }), ...deps });
  const store = await openStore({ kind: 'sqlite', path: join(await tempDirectory(), 'audit.db') }, deps);
  const { log, sequencer } = await openAuditLog({
    directory: await tempDirectory(),
    files: new MemoryFiles(),
    origin: 'example.org/writ/audit',
    ledger,
    leafOf: (id) => leafIn(index, id),
    store,
    secrets: new MemoryKeyStore(),
    databaseRestored: false,
    ...deps,
  });
  const index: AuditIndex = await AuditIndex.open({
    store,
    ledger,
    sealedBelow: () => log.published.current.checkpoint.size,
    ...deps,
  });
  const stop = new AbortController();
  const running = index.run(stop.signal);
  onTestFinished(async () => {
    files.hook = () => 'pass';
    await trail.close();
    await producer.close();
    stop.abort();
    await running;
    await store.close();
  });
  return {
    files,
    clock,
    ledger,
    trail,
    index,
    log,
    /** Until everything is indexed and sealed. */
    settle: async () => {
      await expect.poll(() => index.position, { timeout: 5000 }).toBe(ledger.size.current);
      await sequencer.step();
    },
  };
}
