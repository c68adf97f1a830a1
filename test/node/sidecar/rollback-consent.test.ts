import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { Ledger } from '../../../src/control/ledger/ledger.ts';
import { lastSeqOf } from '../../../src/core/audit/batch-header.ts';
import { LogPins } from '../../../src/node/sidecar/log-pins.ts';
import { RollbackConsent } from '../../../src/node/sidecar/rollback-consent.ts';
import type { ShipReply, ShipTransport } from '../../../src/node/sidecar/ship-transport.ts';
import { Shipper } from '../../../src/node/sidecar/shipper.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { loggedCalls, loggedGaps, openLedger, openSpool } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

const who = shippingIdentity('sidecar-1');

/** A sidecar that ships to whatever ledger is there now. */
async function setUp() {
  const clock = new FakeClock();
  const directory = await tempDirectory();
  const files = new MemoryFiles();
  const spool = await openSpool(files, { clock });
  const ledgerFiles = new MemoryFiles();
  const control: { ledger: Ledger; close: () => void } = {
    ledger: await openLedger(ledgerFiles),
    close: () => undefined,
  };
  const transport: ShipTransport = {
    async open(hello) {
      const start = control.ledger.connect(who.caller, hello);
      if ('nack' in start) throw new Error(start.nack.message);
      const replies: ShipReply[] = [];
      let wake = () => {};
      let closed = false;
      const close = () => {
        closed = true;
        start.session.close();
        wake();
      };
      control.close = close;
      return {
        welcome: start.welcome,
        async send(batch) {
          replies.push(await start.session.append(batch));
          wake();
        },
        replies: (async function* () {
          for (;;) {
            const reply = replies.shift();
            if (reply !== undefined) yield reply;
            else if (closed) return;
            else await new Promise<void>((resolve) => (wake = resolve));
          }
        })(),
        close,
      };
    },
  };
  const consent = new RollbackConsent(directory, clock);
  const identity = () => ({ instanceId: who.instanceId, privateKey: who.svid.privateKey });
  const pins = await LogPins.open(directory, silentLogger);
  const random = (length: number) => Buffer.alloc(length, 0x80);
  const shipper = new Shipper({ spool, transport, identity, pins, consent, clock, logger: silentLogger, random });
  const stop = new AbortController();
  const running = shipper.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
  const record = async (count: number) => {
    const events = Array.from({ length: count }, () => decision());
    for (const event of events) await spool.append(event);
    return events.map(({ call }) => call);
  };
  const until = async (done: () => boolean) => {
    await expect
      .poll(async () => {
        await clock.advance(200);
        return done();
      })
      .toBe(true);
  };
  const shipped = () => until(() => spool.outbox.pendingRecords === 0);
  const refused = () => until(() => shipper.status.problem?.startsWith('server rollback') === true);
  /** The control plane is restored from a backup. */
  const restore = async (backup: MemoryFiles) => {
    control.ledger = await openLedger(backup);
    control.close();
  };
  return { clock, directory, spool, ledgerFiles, control, consent, shipper, record, shipped, refused, restore };
}

describe('a control plane that was restored from a backup', () => {
  it('audit T19: is gone on with when the operator says so: what it lost is a signed gap, what we hold is shipped once', async () => {
    const { ledgerFiles, control, consent, record, shipped, refused, restore, directory } = await setUp();
    const kept = await record(2);
    await shipped();
    const backup = ledgerFiles.crash('kill');
    const lost = await record(2);
    await shipped();
    await restore(backup);
    const held = await record(2);
    await refused();
    expect(await loggedCalls(control.ledger)).toEqual(kept);
    await consent.give();
    await shipped();
    const later = await record(1);
    await shipped();
    expect(await loggedCalls(control.ledger)).toEqual([...kept, ...held, ...later]);
    expect(await loggedCalls(control.ledger)).not.toContain(lost[0]);
    expect(await loggedGaps(control.ledger)).toMatchObject([{ reason: 'ledger-rolled-back', epoch: 1, fromSeq: 3 }]);
    // Once.
    expect(await consent.isGiven()).toBe(false);
    expect(await readdir(directory)).not.toContain('accept-rollback.json');
  });

  it('audit T19: and has lost everything is gone on with too', async () => {
    const { control, consent, record, shipped, refused, restore } = await setUp();
    await record(3);
    await shipped();
    await restore(new MemoryFiles());
    const held = await record(1);
    await refused();
    await consent.give();
    await shipped();
    expect(await loggedCalls(control.ledger)).toEqual(held);
    expect(await loggedGaps(control.ledger)).toMatchObject([{ reason: 'ledger-rolled-back', epoch: 1, fromSeq: 1 }]);
  });

  it('audit T19: and is rolled back again after that needs another word', async () => {
    const { ledgerFiles, control, consent, record, shipped, refused, restore } = await setUp();
    await record(2);
    await shipped();
    const backup = ledgerFiles.crash('kill');
    await record(2);
    await shipped();
    await restore(backup.crash('kill'));
    await record(1);
    await refused();
    await consent.give();
    await shipped();
    await restore(backup.crash('kill'));
    await record(1);
    await refused();
    await consent.give();
    await shipped();
    expect(await loggedGaps(control.ledger)).toMatchObject([{ reason: 'ledger-rolled-back', epoch: 1, fromSeq: 3 }]);
    let last: string | undefined;
    for await (const { header } of control.ledger.read(0)) last = `${header.epoch}.${lastSeqOf(header)}`;
    expect(last).toBe('3.2');
  });
});

describe('the consent', () => {
  it('is good for an hour', async () => {
    const clock = new FakeClock();
    const consent = new RollbackConsent(await tempDirectory(), clock);
    expect(await consent.isGiven()).toBe(false);
    await consent.give();
    clock.jump(3_600_000);
    expect(await consent.isGiven()).toBe(true);
    clock.jump(1);
    expect(await consent.isGiven()).toBe(false);
    clock.jump(-7_200_000);
    expect(await consent.isGiven()).toBe(false);
    await consent.withdraw();
    await consent.withdraw();
  });

  it.each(['', '{}', 'null', '{"version":2,"time":1767225600000}', '{"version":1,"time":"now"}'])(
    'is none when the file holds %j',
    async (text) => {
      const directory = await tempDirectory();
      await writeFile(join(directory, 'accept-rollback.json'), text);
      expect(await new RollbackConsent(directory, new FakeClock()).isGiven()).toBe(false);
    },
  );
});
