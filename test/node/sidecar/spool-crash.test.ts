import { describe, expect, it } from 'vitest';
import type { Durability } from '../../../src/base/journal/journal.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { Ledger } from '../../../src/control/ledger/ledger.ts';
import { Spool } from '../../../src/node/sidecar/spool.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { loggedCalls, loggedGaps, openLedger, openSpool, shipAll } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

const clock = new FakeClock();
const who = shippingIdentity('sidecar-1');

interface Image {
  readonly label: string;
  readonly spool: MemoryFiles;
  readonly ledger: MemoryFiles;
  /** Calls that were forwarded: their decision had been recorded. */
  readonly forwarded: readonly string[];
}

/** A short life: calls are recorded, shipped now and then, segments fill up and are freed. Every step leaves an image. */
async function live(durability: Durability, kind: 'kill' | 'power'): Promise<Image[]> {
  const spoolFiles = new MemoryFiles();
  const ledgerFiles = new MemoryFiles();
  const spool = await openSpool(spoolFiles, { durability, maxBytes: 20_000, clock });
  const ledger = await openLedger(ledgerFiles, { limits: { segmentBytes: 2000 } });
  const images: Image[] = [];
  const forwarded: string[] = [];
  const take = (side: string) => (step: { operation: string; name: string }) => {
    images.push({
      label: `${kind} before ${side} ${step.operation} ${step.name}, step ${images.length}`,
      spool: spoolFiles.crash(kind),
      ledger: ledgerFiles.crash(kind),
      forwarded: [...forwarded],
    });
    return 'pass' as const;
  };
  spoolFiles.hook = take('spool');
  ledgerFiles.hook = take('ledger');
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 3; i++) {
      const calls = [decision(), decision()];
      await Promise.all(calls.map((call) => spool.append(call)));
      forwarded.push(...calls.map((call) => call.call));
      if (durability === 'write') await clock.advance(5);
    }
    await shipAll(spool, ledger, who);
  }
  spoolFiles.hook = () => 'pass';
  ledgerFiles.hook = () => 'pass';
  return images;
}

/** Brings both back to life and ships: every forwarded call is there once, in order, and nothing had to be given up. */
async function expectExactlyOnce(images: readonly Image[]): Promise<void> {
  const [spoolDirectory, ledgerDirectory] = [await tempDirectory(), await tempDirectory()];
  for (const { label, spool: spoolImage, ledger: ledgerImage, forwarded } of images) {
    const spool = await Spool.open({ directory: spoolDirectory, files: spoolImage, clock, logger: silentLogger });
    const ledger = await Ledger.open({ directory: ledgerDirectory, files: ledgerImage, clock, logger: silentLogger });
    const after = decision();
    await spool.append(after);
    expect(await shipAll(spool, ledger, who, 'boot-2'), label).toBe('agreed');
    const calls = await loggedCalls(ledger);
    const owed = [...forwarded, after.call];
    expect(new Set(calls).size, `${label}: twice`).toBe(calls.length);
    expect(
      calls.filter((call) => owed.includes(call)),
      `${label}: lost`,
    ).toEqual(owed);
    // A call that was under way may be there or not; nothing else may.
    expect(calls.length - owed.length, `${label}: more`).toBeLessThanOrEqual(2);
    expect(await loggedGaps(ledger), `${label}: gap`).toEqual([]);
    await spool.close();
    await ledger.close();
  }
}

describe('every forwarded call is in the ledger exactly once', () => {
  it('audit T1, T2, T6, T7, T8, T18: when sidecar and control plane are killed at any step', async () => {
    for (const durability of ['fsync', 'write'] as const) {
      const images = await live(durability, 'kill');
      expect(images.length).toBeGreaterThan(60);
      await expectExactlyOnce(images);
    }
  });

  it('audit T3, T6: when the power is cut at any step', async () => {
    await expectExactlyOnce(await live('fsync', 'power'));
  });

  it('audit T7: when the sidecar is killed at any step, and the control plane goes on for a while', async () => {
    const images = await live('fsync', 'kill');
    const later = images.map((image, i) => ({ ...image, ledger: (images[i + 3] ?? image).ledger.crash('kill') }));
    await expectExactlyOnce(later);
  });
});
