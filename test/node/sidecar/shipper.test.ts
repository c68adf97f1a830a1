import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { Ledger, LedgerSession } from '../../../src/control/ledger/ledger.ts';
import type { Batch, ShipAck, ShipHello, ShipNack, ShipWelcome } from '../../../src/core/audit/ship.ts';
import type { ShipStream, ShipTransport } from '../../../src/node/sidecar/shipper.ts';
import { Shipper } from '../../../src/node/sidecar/shipper.ts';
import type { Spool } from '../../../src/node/sidecar/spool.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { ledgerEvents, loggedCalls, loggedGaps, openLedger, openSpool } from '../../support/shipping.ts';

const who = shippingIdentity('sidecar-1');

type Reply = { readonly ack: ShipAck } | { readonly nack: ShipNack };

/** Streams into a ledger of the same process, which a test can cut, starve or bend. */
class TestTransport implements ShipTransport {
  ledger: Ledger;
  /** What happens to each batch before the ledger sees it. */
  onBatch: (batch: Batch, session: LedgerSession) => Promise<Reply | 'cut' | undefined> = (batch, session) =>
    session.append(batch);
  onWelcome: (welcome: ShipWelcome) => ShipWelcome = (welcome) => welcome;
  refuse: AppError | undefined;
  readonly hellos: ShipHello[] = [];
  readonly sent: Batch[] = [];
  readonly open_: ShipStream[] = [];

  constructor(ledger: Ledger) {
    this.ledger = ledger;
  }

  async open(hello: ShipHello): Promise<ShipStream> {
    this.hellos.push(hello);
    if (this.refuse !== undefined) throw this.refuse;
    const start = this.ledger.connect(who.caller, hello);
    if ('nack' in start) throw new AppError('audit-fenced', start.nack.message);
    const { session } = start;
    const replies: Reply[] = [];
    let wake: () => void = () => undefined;
    let closed = false;
    const close = () => {
      closed = true;
      session.close();
      wake();
    };
    const stream: ShipStream = {
      welcome: this.onWelcome(start.welcome),
      send: async (batch) => {
        if (closed) throw new AppError('unavailable', 'cut');
        this.sent.push(batch);
        void this.onBatch(batch, session).then((reply) => {
          if (reply === 'cut') close();
          else if (reply !== undefined && !closed) replies.push(reply);
          wake();
        });
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
    this.open_.push(stream);
    return stream;
  }

  cutAll(): void {
    for (const stream of this.open_) stream.close();
  }
}

async function setUp(o: { files?: MemoryFiles } = {}) {
  const clock = new FakeClock();
  const spool = await openSpool(o.files ?? new MemoryFiles(), { clock });
  const ledger = await openLedger(new MemoryFiles(), { clock });
  const transport = new TestTransport(ledger);
  const shipper = new Shipper({
    spool,
    transport,
    identity: () => ({ instanceId: who.instanceId, privateKey: who.svid.privateKey }),
    clock,
    logger: silentLogger,
    random: (length) => Buffer.alloc(length, 0x80),
  });
  const stop = new AbortController();
  const running = shipper.run(stop.signal);
  const end = async () => {
    stop.abort();
    await running;
  };
  onTestFinished(end);
  return { clock, spool, ledger, transport, shipper, end };
}

/** Lets time pass until the spool is empty; the ledger's journal and the spool work in between. */
async function untilShipped(clock: FakeClock, spool: Spool, ms = 60_000): Promise<void> {
  for (let passed = 0; passed < ms && spool.outbox.pendingRecords > 0; passed += 50) await clock.advance(50);
  expect(spool.outbox.pendingRecords).toBe(0);
}

async function record(spool: Spool, count: number): Promise<string[]> {
  const events = Array.from({ length: count }, () => decision());
  await Promise.all(events.map((event) => spool.append(event)));
  return events.map((event) => event.call);
}

describe('a shipper', () => {
  it('ships what is recorded, in one batch for what comes within 250 ms', async () => {
    const { clock, spool, ledger, transport, shipper } = await setUp();
    await clock.advance(0);
    const first = await record(spool, 3);
    await clock.advance(200);
    const second = await record(spool, 2);
    expect(transport.sent).toHaveLength(0);
    await clock.advance(60);
    await untilShipped(clock, spool);
    expect(transport.sent).toHaveLength(1);
    expect(await loggedCalls(ledger)).toEqual([...first, ...second]);
    expect(shipper.status).toEqual({
      connected: true,
      shippedThrough: 5,
      pending: 0,
      lastAckAt: expect.any(Number),
      log: undefined,
      problem: undefined,
    });
  });

  it('does not wait when a batch is full', async () => {
    const { clock, spool, transport } = await setUp();
    await clock.advance(0);
    await record(spool, 4096);
    await clock.advance(0);
    await expect.poll(() => transport.sent.length).toBe(1);
  });

  it('resends what was not acknowledged, exactly as it was', async () => {
    const { clock, spool, ledger, transport } = await setUp();
    const lost = { after: 1 };
    transport.onBatch = async (batch, session) => {
      const reply = await session.append(batch);
      // The ledger has it, but the answer never arrives.
      return lost.after-- > 0 ? 'cut' : reply;
    };
    const calls = await record(spool, 2);
    await untilShipped(clock, spool);
    expect(await loggedCalls(ledger)).toEqual(calls);
    expect(transport.hellos.length).toBe(2);

    lost.after = 0;
    transport.onBatch = async () => 'cut';
    const more = await record(spool, 2);
    await clock.advance(1000);
    const before = transport.sent.at(-1);
    transport.onBatch = (batch, session) => session.append(batch);
    await untilShipped(clock, spool);
    expect(transport.sent.at(-1)).toEqual(before);
    expect(await loggedCalls(ledger)).toEqual([...calls, ...more]);
  });

  it('audit T15: loses nothing and doubles nothing when streams are cut at random places', async () => {
    const { clock, spool, ledger, transport } = await setUp();
    let n = 0;
    transport.onBatch = async (batch, session) => {
      n += 1;
      if (n % 5 === 1) return 'cut';
      const reply = await session.append(batch);
      return n % 3 === 0 ? 'cut' : reply;
    };
    const calls: string[] = [];
    for (let i = 0; i < 15; i++) {
      calls.push(...(await record(spool, 3)));
      await clock.advance(170);
    }
    await untilShipped(clock, spool);
    expect(await loggedCalls(ledger)).toEqual(calls);
    expect(await loggedGaps(ledger)).toEqual([]);
  });

  it('audit T16: has no more batches under way than the ledger has given credit for', async () => {
    const { clock, spool, transport } = await setUp();
    transport.onWelcome = (welcome) => ({ ...welcome, creditBatches: 2 });
    const held: (() => void)[] = [];
    transport.onBatch = async (batch, session) => {
      await new Promise<void>((resolve) => held.push(resolve));
      return session.append(batch);
    };
    for (let i = 0; i < 4; i++) {
      await record(spool, 1);
      await clock.advance(300);
    }
    expect(transport.sent).toHaveLength(2);
    expect(spool.outbox.cuts).toHaveLength(2);
    held.shift()?.();
    for (let i = 0; i < 12; i++) await clock.advance(50);
    expect(transport.sent).toHaveLength(3);
    while (spool.outbox.pendingRecords > 0) {
      held.shift()?.();
      await clock.advance(300);
    }
  });

  it('collects while the ledger is away, waits longer and longer, and says why', async () => {
    const { clock, spool, ledger, transport, shipper } = await setUp();
    transport.cutAll();
    transport.refuse = new AppError('unavailable', 'The control plane is away.');
    const calls = await record(spool, 3);
    await clock.advance(60_000);
    expect(transport.hellos.length).toBeLessThan(15);
    expect(shipper.status).toMatchObject({ connected: false, problem: 'The control plane is away.' });
    expect(shipper.status.pending).toBeGreaterThanOrEqual(3);
    transport.refuse = undefined;
    await untilShipped(clock, spool);
    expect((await loggedCalls(ledger)).slice(0, 3)).toEqual(calls);
    expect(shipper.status).toMatchObject({ connected: true, problem: undefined });
  });

  it('records a heartbeat after ten idle seconds, and none while there are calls', async () => {
    const { clock, spool, ledger } = await setUp();
    for (let i = 0; i < 5; i++) {
      await record(spool, 1);
      await clock.advance(6000);
    }
    const beats = async () => (await ledgerEvents(ledger)).filter(({ event }) => event.kind === 'heartbeat').length;
    expect(await beats()).toBe(0);
    await clock.advance(30_500);
    await untilShipped(clock, spool);
    expect(await beats()).toBe(3);
  });

  it('sends nothing to a ledger that has gone back in time, and says so', async () => {
    const { clock, spool, transport, shipper } = await setUp();
    await record(spool, 2);
    await untilShipped(clock, spool);
    transport.ledger = await openLedger(new MemoryFiles(), { clock });
    transport.cutAll();
    const sent = transport.sent.length;
    await record(spool, 2);
    await clock.advance(20_000);
    expect(transport.sent).toHaveLength(sent);
    expect(shipper.status.connected).toBe(false);
    expect(shipper.status.problem).toMatch(/^server rollback: the ledger acknowledged epoch 1 up to 2/);
    expect(shipper.status.pending).toBeGreaterThanOrEqual(2);
  });

  it('puts into a new epoch what the ledger refuses again and again', async () => {
    const { clock, spool, ledger, transport } = await setUp();
    await record(spool, 1);
    await untilShipped(clock, spool);
    transport.onBatch = async (batch, session) => {
      const header = JSON.parse(batch.header.toString()) as { epoch: number };
      if (header.epoch > 1) return session.append(batch);
      return {
        nack: {
          code: 'fork',
          expectedEpoch: 1,
          expectedSeq: 2,
          expectedPrevHash: spool.outbox.acked.hash,
          message: 'no',
        },
      };
    };
    const calls = await record(spool, 2);
    await untilShipped(clock, spool);
    expect((await loggedCalls(ledger)).slice(1)).toEqual(calls);
    expect(await loggedGaps(ledger)).toMatchObject([{ epoch: 1, fromSeq: 2 }]);
  });

  it('ends the stream when the ledger acknowledges what was never sent', async () => {
    const { clock, spool, transport, shipper } = await setUp();
    transport.onBatch = async () => ({ ack: { epoch: 1, durableThroughSeq: 99, batchHash: Buffer.alloc(32) } });
    await record(spool, 1);
    await clock.advance(400);
    expect(shipper.status.problem).toBe('The ledger has acknowledged a batch that this sidecar has not sent.');
    expect(spool.outbox.pendingRecords).toBe(1);
  });

  it('goes on where it was when the process starts again', async () => {
    const files = new MemoryFiles();
    const { clock, spool, ledger, transport, end } = await setUp({ files });
    transport.onBatch = async () => undefined;
    const calls = await record(spool, 3);
    await clock.advance(400);
    expect(spool.outbox.cuts).toHaveLength(1);
    await end();
    const spool2 = await openSpool(files.crash('kill'), { clock });
    const transport2 = new TestTransport(ledger);
    const shipper2 = new Shipper({
      spool: spool2,
      transport: transport2,
      identity: () => ({ instanceId: who.instanceId, privateKey: who.svid.privateKey }),
      clock,
      logger: silentLogger,
    });
    const stop = new AbortController();
    const running = shipper2.run(stop.signal);
    await untilShipped(clock, spool2);
    stop.abort();
    await running;
    expect(transport2.sent[0]?.header).toEqual(transport.sent[0]?.header);
    expect(await loggedCalls(ledger)).toEqual(calls);
  });

  it('ends at once when it is told to, whatever it was waiting for', async () => {
    const { clock, spool, transport, end } = await setUp();
    transport.onBatch = async () => undefined;
    await record(spool, 1);
    await clock.advance(400);
    await end();
    expect(clock.pendingTimers).toBe(0);
  });
});
