import { expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import { SidecarRecords } from '../../../src/control/ledger/sidecar-records.ts';
import type { GapEvent } from '../../../src/core/audit/event.ts';
import { decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { describeEachStore } from '../../support/stores.ts';
import { receivedAt, TestLedger } from './test-ledger.ts';

const gap: GapEvent = { kind: 'gap', time: receivedAt, reason: 'spool-lost', epoch: 1, fromSeq: 2 };
const heartbeat = { kind: 'heartbeat', time: receivedAt } as const;

describeEachStore('what is known of the records of sidecars', (bench) => {
  async function setUp() {
    const store = await bench.open();
    const ledger = new TestLedger();
    const clock = new FakeClock(receivedAt);
    const index = await AuditIndex.open({ store, ledger, clock, logger: silentLogger });
    const epochOf = (id: string) =>
      ledger.batches.findLast(({ instanceId }) => instanceId === id)?.header.epoch ?? null;
    const records = new SidecarRecords({ store, index, ledger: { epochOf }, clock });
    const settle = async () => {
      const stop = new AbortController();
      const running = index.run(stop.signal);
      await expect.poll(() => index.position, { timeout: 5000 }).toBe(ledger.batches.length);
      stop.abort();
      await running;
    };
    const of = async (instanceId: string, since = receivedAt) =>
      (await records.of([{ instanceId, since }])).get(instanceId);
    return { ledger, clock, settle, of, records };
  }

  it('is stale three missed heartbeats after the last one, since then and not since it was noticed', async () => {
    const { ledger, clock, settle, of } = await setUp();
    ledger.add([decision({ time: receivedAt }), heartbeat]);
    await settle();
    expect(await of('sidecar-1')).toEqual({ heardAt: receivedAt, staleSince: null, epoch: 1, gaps: 0 });
    clock.jump(30_000);
    expect(await of('sidecar-1')).toMatchObject({ staleSince: null });
    clock.jump(1);
    expect(await of('sidecar-1')).toEqual({ heardAt: receivedAt, staleSince: receivedAt, epoch: 1, gaps: 0 });
  });

  it('is as old as the backlog that it comes from, even if it has just come', async () => {
    const { ledger, settle, of } = await setUp();
    ledger.add([decision({ time: receivedAt - 3_600_000 })]);
    await settle();
    expect(await of('sidecar-1')).toMatchObject({ staleSince: receivedAt - 3_600_000 });
  });

  it('counts the admissions of each sidecar, and says its epoch', async () => {
    const { ledger, settle, of, records } = await setUp();
    ledger.add([gap, heartbeat], 'sidecar-1', 2);
    ledger.add([gap, heartbeat], 'sidecar-1', 3);
    ledger.add([heartbeat], 'sidecar-2');
    await settle();
    expect(await of('sidecar-1')).toMatchObject({ epoch: 3, gaps: 2 });
    expect(await of('sidecar-2')).toMatchObject({ epoch: 1, gaps: 0 });
    expect((await records.of([])).size).toBe(0);
  });

  it('is stale too where nothing was ever heard, half a minute after that was possible', async () => {
    const { of } = await setUp();
    const never = { heardAt: null, epoch: null, gaps: 0 };
    expect(await of('sidecar-9', receivedAt - 30_000)).toEqual({ ...never, staleSince: null });
    expect(await of('sidecar-9', receivedAt - 30_001)).toEqual({ ...never, staleSince: receivedAt - 30_001 });
  });
});
