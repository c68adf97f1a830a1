import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { Ledger } from '../../../src/control/ledger/ledger.ts';
import { Spool } from '../../../src/node/sidecar/spool.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import type { Fault } from '../../support/memory-files.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { loggedCalls, loggedGaps, shipAll } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

const who = shippingIdentity('sidecar-1');

/** Calls and shipments while disks fail, and a last shipment when they are well again. */
async function live(directory: string, faultAt: (step: number) => Fault) {
  const clock = new FakeClock();
  const [spoolFiles, ledgerFiles] = [new MemoryFiles(), new MemoryFiles()];
  const [spoolDirectory, ledgerDirectory] = [join(directory, 'spool'), join(directory, 'ledger')];
  const shared = { clock, logger: silentLogger };
  const spool = await Spool.open({ ...shared, directory: spoolDirectory, files: spoolFiles, maxBytes: 20_000 });
  const limits = { segmentBytes: 2000 };
  const ledger = await Ledger.open({ ...shared, directory: ledgerDirectory, files: ledgerFiles, limits });
  let steps = 0;
  spoolFiles.hook = () => faultAt(steps++);
  ledgerFiles.hook = () => faultAt(steps++);
  const forwarded: string[] = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 3; i++) {
      const calls = [decision(), decision()];
      const results = await Promise.allSettled(calls.map((call) => spool.append(call)));
      for (const [k, result] of results.entries()) {
        if (result.status === 'fulfilled') forwarded.push(calls[k]?.call ?? '');
        else expect(result.reason).toMatchObject({ code: 'audit-unavailable' });
      }
      await clock.advance(200);
    }
    await shipAll(spool, ledger, who).catch(() => undefined);
  }
  spoolFiles.hook = () => 'pass';
  ledgerFiles.hook = () => 'pass';
  await clock.advance(200);
  const state = await shipAll(spool, ledger, who);
  const [calls, gaps] = [await loggedCalls(ledger), await loggedGaps(ledger)];
  await spool.close();
  await ledger.close();
  return { forwarded, calls, gaps, state, steps };
}

describe('every forwarded call is in the ledger exactly once', () => {
  it.each(['fail', 'fail-done', 'fail-half'] as const)(
    'audit T12: when any one step on either disk is made to %s',
    async (fault) => {
      const directory = await tempDirectory();
      const { steps } = await live(directory, () => 'pass');
      expect(steps).toBeGreaterThan(60);
      for (let at = 0; at < steps; at++) {
        const { forwarded, calls, gaps, state } = await live(directory, (step) => (step === at ? fault : 'pass'));
        expect(state, `step ${at}`).toBe('agreed');
        expect(calls, `step ${at}`).toEqual(forwarded);
        expect(gaps, `step ${at}`).toEqual([]);
      }
    },
  );

  it('audit T12: when both disks fail again and again', async () => {
    const directory = await tempDirectory();
    for (const every of [2, 3, 5, 7, 11, 13]) {
      const { forwarded, calls } = await live(directory, (step) => (step % every === every - 1 ? 'fail-half' : 'pass'));
      expect(calls, `every ${every}`).toEqual(forwarded);
    }
  });
});
