import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { silentLogger } from '../../src/base/log.ts';
import { AuditIndex } from '../../src/control/ledger/index.ts';
import { Ledger } from '../../src/control/ledger/ledger.ts';
import { openAuditLog } from '../../src/control/ledger/log/open.ts';
import { openStore } from '../../src/control/store/store.ts';
import { cutBatch } from '../../src/core/audit/batch.ts';
import { encodeEvent } from '../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../src/core/audit/event.ts';
import { formatLogPolicy } from '../../src/core/audit/log-policy.ts';
import { completion, decision, shippingIdentity } from './audit.ts';
import { FakeClock } from './clock.ts';
import { tempDirectory } from './temp.ts';
import type { TestSidecar } from './test-sidecar.ts';
import { testSidecar } from './test-sidecar.ts';

export interface DataDirectory {
  readonly directory: string;
  readonly policy: Buffer;
  readonly sidecars: readonly TestSidecar[];
}

const secrets = () => {
  const held = new Map<string, Buffer>();
  return {
    load: async (name: string) => held.get(name),
    save: async (name: string, secret: Buffer) => void held.set(name, secret),
  };
};

/**
 * The data directory of a control plane that was stopped: two sidecars that shipped, one of which contradicted itself once,
 * everything sealed and indexed, and some segments.
 */
export async function dataDirectory(
  o: { readonly batches?: number; readonly segmentBytes?: number } = {},
): Promise<DataDirectory> {
  const { batches = 12, segmentBytes = 8192 } = o;
  const directory = await tempDirectory();
  const clock = new FakeClock();
  const store = await openStore({ kind: 'sqlite', path: join(directory, 'writ.db') }, { clock, logger: silentLogger });
  const open = { directory: join(directory, 'ledger'), clock, logger: silentLogger, limits: { segmentBytes } };
  const ledger = await Ledger.open(open);
  const sidecars = ['sidecar-a', 'sidecar-b'].map((id) => testSidecar(shippingIdentity(id)));
  for (const [turn, sidecar] of sidecars.entries()) await ship(ledger, sidecar, batches / 2, turn === 0);
  const index: AuditIndex = await AuditIndex.open({ store, ledger, clock, logger: silentLogger });
  const { sequencer, log } = await openAuditLog({
    directory: join(directory, 'log'),
    origin: 'example.org/writ/audit',
    ledger,
    leafOf: async () => 0,
    store,
    secrets: secrets(),
    databaseRestored: false,
    clock,
    logger: silentLogger,
    random: randomBytes,
  });
  while (await sequencer.step());
  const stop = new AbortController();
  const running = index.run(stop.signal);
  while (index.position < ledger.size.current) await new Promise(setImmediate);
  stop.abort();
  await running;
  await ledger.close();
  await store.close();
  return { directory, policy: Buffer.from(formatLogPolicy(log.vkeys)), sidecars };
}

async function ship(ledger: Ledger, sidecar: TestSidecar, count: number, contradicts: boolean): Promise<void> {
  const start = ledger.connect(sidecar.who.caller, {
    bootId: 'boot-1',
    epoch: 1,
    nextSeq: 1,
    lastBatchHash: Buffer.alloc(0),
    batchKey: Buffer.from(sidecar.keyMeta.batchKey, 'hex'),
    batchKeySignature: Buffer.from(sidecar.keyMeta.signature, 'base64'),
    time: Date.UTC(2026, 0, 1),
  });
  if ('nack' in start) throw new Error(start.nack.message);
  for (let i = 0; i < count; i++) {
    const first = decision();
    const events = [first, completion(first.call), decision({ path: `/orders/${i}` })];
    const place = sidecar.place(events.length);
    const cut = (some: readonly AuditEvent[]) =>
      cutBatch({ ...place, events: some.map(encodeEvent), privateKey: sidecar.batchKey });
    const { batch } = cut(events);
    const reply = await start.session.append(batch);
    if ('nack' in reply) throw new Error(reply.nack.message);
    sidecar.sent(batch.header, events.length);
    if (contradicts && i === count - 1) {
      await start.session.append(cut([decision(), decision(), decision()]).batch);
      // A refusal ends the session.
      return;
    }
  }
}
