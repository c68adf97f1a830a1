import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { Ledger } from '../../../src/control/ledger/ledger.ts';
import type { GapEvent } from '../../../src/core/audit/event.ts';
import { Spool } from '../../../src/node/sidecar/spool.ts';
import { shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { loggedCalls, loggedGaps, openLedger, shipAll } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

const who = shippingIdentity('sidecar-1');
const child = join(import.meta.dirname, 'spool-kill.child.ts');

/** Runs a sidecar's recording side in a process of its own, kills it after so many calls, and gives the calls it let pass. */
async function recordUntilKilled(directory: string, mode: string, count: number): Promise<string[]> {
  const process_ = spawn(process.execPath, [child, directory, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
  const forwarded: string[] = [];
  for await (const line of createInterface({ input: process_.stdout })) {
    forwarded.push(line);
    if (forwarded.length === count) process_.kill('SIGKILL');
  }
  if (process_.exitCode === null && process_.signalCode === null) await once(process_, 'exit');
  return forwarded.filter((line) => line.length === 36);
}

describe('a real process that records calls', () => {
  it.each(['fsync', 'write'])(
    'audit T1, T2: and is killed again and again loses none of them with durability %s',
    async (durability) => {
      const directory = join(await tempDirectory(), 'spool');
      const ledger = await openLedger();
      const forwarded: string[] = [];
      for (const count of [1, 300, 1500]) {
        forwarded.push(...(await recordUntilKilled(directory, durability, count)));
        const spool = await Spool.open({ directory, clock: new FakeClock(), logger: silentLogger });
        await shipAll(spool, ledger, who, `boot-${count}`);
        await spool.close();
      }
      const logged = await loggedCalls(ledger);
      const once_ = new Set(logged);
      expect(once_.size).toBe(logged.length);
      expect(forwarded.filter((call) => !once_.has(call))).toEqual([]);
      expect(await loggedGaps(ledger)).toEqual([]);
    },
  );

  it('audit T1, T26: and is killed while it only counts has each forwarded call on the record once, or an admission', async () => {
    const directory = join(await tempDirectory(), 'spool');
    const ledger = await openLedger();
    for (const count of [50, 2000, 2500]) {
      const before = new Set(await loggedCalls(ledger));
      const admitted = (await degradedGaps(ledger)).length;
      const forwarded = await recordUntilKilled(directory, 'degrade', count);
      const spool = await Spool.open({ directory, clock: new FakeClock(), logger: silentLogger });
      await shipAll(spool, ledger, who, `boot-${count}`);
      await spool.close();
      const logged = await loggedCalls(ledger);
      expect(new Set(logged).size).toBe(logged.length);
      const uncovered = forwarded.filter((call) => !logged.includes(call));
      expect(forwarded.some((call) => before.has(call))).toBe(false);
      // Those that were only counted are behind an admission that was durable before them.
      expect((await degradedGaps(ledger)).length > admitted).toBe(uncovered.length > 0);
      if (count >= 2000) expect(uncovered.length).toBeGreaterThan(0);
    }
  });
});

async function degradedGaps(ledger: Ledger): Promise<GapEvent[]> {
  return (await loggedGaps(ledger)).flatMap((event) =>
    event.kind === 'gap' && event.reason === 'degraded' ? [event] : [],
  );
}
