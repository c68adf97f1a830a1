import { expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { ShipReply, ShipTransport } from '../../../src/node/sidecar/ship-transport.ts';
import { Shipper } from '../../../src/node/sidecar/shipper.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { ledgerEvents, loggedGaps, openLedger, openSpool } from '../../support/shipping.ts';

const SIDECARS = 100;
const DAY_MS = 86_400_000;

it('audit T25: sidecars come back over seconds, not at once, after a control plane was away for a day, and ship everything once', async () => {
  const clock = new FakeClock();
  const ledger = await openLedger(new MemoryFiles(), { clock });
  let isAway = true;
  const came: number[] = [];
  const expected = new Map<string, string[]>();
  const spools = await Promise.all(
    Array.from({ length: SIDECARS }, async (_, i) => {
      const who = shippingIdentity(`sidecar-${i}`);
      const spool = await openSpool(new MemoryFiles(), { clock });
      const transport: ShipTransport = {
        async open(hello) {
          if (isAway) throw new AppError('unavailable', 'away');
          came.push(clock.now());
          const start = ledger.connect(who.caller, hello);
          if ('nack' in start) throw new AppError('audit-fenced', start.nack.message);
          const replies: ShipReply[] = [];
          let wake = () => {};
          let closed = false;
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
            close() {
              closed = true;
              start.session.close();
              wake();
            },
          };
        },
      };
      const identity = () => ({ instanceId: who.instanceId, privateKey: who.svid.privateKey });
      const shipper = new Shipper({ spool, transport, identity, clock, logger: silentLogger, heartbeatMs: DAY_MS * 2 });
      const stop = new AbortController();
      const running = shipper.run(stop.signal);
      onTestFinished(async () => {
        stop.abort();
        await running;
      });
      const calls = [decision(), decision()];
      for (const call of calls) await spool.append(call);
      expected.set(
        who.instanceId,
        calls.map(({ call }) => call),
      );
      return spool;
    }),
  );
  // Long enough for all of them to wait as long as they ever do.
  for (let passed = 0; passed < 60_000; passed += 500) await clock.advance(500);
  clock.jump(DAY_MS);
  await clock.advance(20_000);
  isAway = false;
  for (let passed = 0; passed < 20_000; passed += 100) await clock.advance(100);
  expect(spools.filter(({ outbox }) => outbox.pendingRecords > 0)).toEqual([]);

  const seconds = new Map<number, number>();
  for (const time of came) seconds.set(Math.floor(time / 1000), (seconds.get(Math.floor(time / 1000)) ?? 0) + 1);
  expect(came).toHaveLength(SIDECARS);
  // They are spread over the five seconds and more of their last delay.
  expect(Math.max(...seconds.values())).toBeLessThan(SIDECARS / 2);
  expect(seconds.size).toBeGreaterThan(4);
  const logged = new Map<string, string[]>();
  for (const { instanceId, event } of await ledgerEvents(ledger)) {
    if (event.kind === 'decision') logged.set(instanceId, [...(logged.get(instanceId) ?? []), event.call]);
  }
  expect(logged).toEqual(new Map([...expected].filter(([id]) => logged.has(id))));
  expect(logged.size).toBe(SIDECARS);
  expect(await loggedGaps(ledger)).toEqual([]);
});
