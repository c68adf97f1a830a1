import { describe, expect, it, vi } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { Batch, LogPin, ShipAck, ShipCaller, ShipHello, ShipNack } from '../../../src/core/audit/ship.ts';
import type { AuditPort, LogFeedPort } from '../../../src/edge/grpc/services.ts';
import type { ShipRequestMessage } from '../../../src/wire/audit.ts';
import { fromShipResponse, toShipRequest } from '../../../src/wire/audit.ts';
import type { ShipRequest } from '../../../src/wire/gen/writ/v1/ShipRequest.ts';
import type { ShipResponse__Output } from '../../../src/wire/gen/writ/v1/ShipResponse.ts';
import { clients } from '../../../src/wire/loader.ts';
import { expectAppError } from '../../support/errors.ts';
import type { Bench } from './harness.ts';
import { ClientStream, ORDERS, startBench, WEB } from './harness.ts';

const none = Buffer.alloc(0);
const hello: ShipHello = {
  bootId: 'boot-1',
  epoch: 1,
  nextSeq: 1,
  lastBatchHash: none,
  batchKey: Buffer.alloc(32, 1),
  batchKeySignature: Buffer.alloc(70, 2),
  time: 1_767_225_600_000,
};
const batch = (seq: number): Batch => ({
  header: Buffer.from(`header ${seq}`),
  signature: Buffer.alloc(64, 3),
  events: Buffer.from(`events ${seq}`),
  encoding: 'zstd',
});
const welcome = { streamId: 1, expectedEpoch: 1, expectedSeq: 1, expectedPrevHash: none, creditBatches: 8 };
const ackOf = (seq: number): ShipAck => ({ epoch: 1, durableThroughSeq: seq, batchHash: Buffer.alloc(32, seq) });
const gap: ShipNack = { code: 'gap', expectedEpoch: 1, expectedSeq: 5, expectedPrevHash: none, message: 'mind it' };
const seqOf = (each: Batch) => Number(each.header.toString().replace('header ', ''));

/** A ledger that makes batches durable when the test says so. */
class FakeLedger implements AuditPort {
  readonly connected: { caller: ShipCaller; hello: ShipHello }[] = [];
  readonly appended: number[] = [];
  readonly #durable = new Map<number, () => void>();
  credit = 8;
  closed = 0;
  automatic = true;
  answer: (each: Batch) => { ack: ShipAck } | { nack: ShipNack } = (each) => ({ ack: ackOf(seqOf(each)) });
  refuse: ShipNack | undefined;
  log?: LogFeedPort;

  connect(caller: ShipCaller, said: ShipHello) {
    this.connected.push({ caller, hello: said });
    if (this.refuse !== undefined) return { nack: this.refuse };
    const session = {
      append: async (each: Batch) => {
        this.appended.push(seqOf(each));
        if (!this.automatic) await new Promise<void>((resolve) => this.#durable.set(seqOf(each), resolve));
        return this.answer(each);
      },
      loggedThrough: () => ({ epoch: 1, seq: this.appended.length }),
      close: () => {
        this.closed += 1;
      },
    };
    return { session, welcome: { ...welcome, creditBatches: this.credit } };
  }

  makeDurable(seq: number): void {
    this.#durable.get(seq)?.();
  }
}

function ship(bench: Bench, id = WEB) {
  const stream = new ClientStream<ShipRequest, ShipResponse__Output>(
    bench.client(clients.Audit, bench.svid(id, { instanceId: 'web-1' })).Ship(),
  );
  return {
    stream,
    say: (message: ShipRequestMessage) => stream.send(toShipRequest(message)),
    receive: async () => fromShipResponse(await stream.receive()),
  };
}

async function start() {
  const ledger = new FakeLedger();
  return { ledger, bench: await startBench({ audit: ledger }) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Long enough for anything that was sent to arrive: two round trips on a new connection. */
async function quiet(bench: Bench): Promise<void> {
  const client = bench.client(clients.Health);
  for (let i = 0; i < 2; i++) await new Promise((resolve) => client.Check({}, resolve));
}

/** Shows one checkpoint for each time that the test says so. */
class FakeFeed implements LogFeedPort {
  readonly followed: unknown[] = [];
  readonly #sizes: number[] = [];
  #wake: () => void = () => undefined;
  stopped = false;

  show(size: number): void {
    this.#sizes.push(size);
    this.#wake();
  }

  async *follow(
    pins: readonly LogPin[],
    loggedThrough: (size: number) => { epoch: number; seq: number } | undefined,
    signal: AbortSignal,
  ) {
    this.followed.push(pins);
    signal.addEventListener('abort', () => this.#wake());
    while (!signal.aborted) {
      const size = this.#sizes.shift();
      if (size === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      const through = loggedThrough(size);
      yield {
        checkpoint: Buffer.from(`size ${size}`),
        consistency: [],
        keys: [],
        epoch: through?.epoch ?? 0,
        loggedThroughSeq: through?.seq ?? 0,
      };
    }
    this.stopped = true;
  }
}

describe('Audit.Ship', () => {
  it('audit 27: shows how the log grows between the acknowledgements, to whoever follows it', async () => {
    const { bench, ledger } = await start();
    const feed = new FakeFeed();
    ledger.log = feed;
    const { stream, say, receive } = ship(bench);
    const log = [{ origin: 'example.org/log', size: 7 }];
    say({ hello: { ...hello, log } });
    expect(await receive()).toEqual({ welcome: { ...welcome, sendsLog: true } });
    feed.show(8);
    expect(await receive()).toMatchObject({
      logged: { checkpoint: Buffer.from('size 8'), epoch: 1, loggedThroughSeq: 0 },
    });
    say({ batch: batch(1) });
    expect(await receive()).toEqual({ ack: ackOf(1) });
    feed.show(9);
    expect(await receive()).toMatchObject({ logged: { checkpoint: Buffer.from('size 9'), loggedThroughSeq: 1 } });
    expect(feed.followed).toEqual([log]);
    stream.call.end();
    await stream.end();
    await until(() => feed.stopped);
  });

  it('shows a sidecar of the version before no log, which it would not understand', async () => {
    const { bench, ledger } = await start();
    const feed = new FakeFeed();
    ledger.log = feed;
    const { stream, say, receive } = ship(bench);
    say({ hello });
    expect(await receive()).toEqual({ welcome });
    feed.show(1);
    say({ batch: batch(1) });
    expect(await receive()).toEqual({ ack: ackOf(1) });
    expect(feed.followed).toEqual([]);
    stream.call.end();
    await stream.end();
  });

  it('welcomes a sidecar by its certificate, takes batches and acknowledges each', async () => {
    const { bench, ledger } = await start();
    const svid = bench.svid(ORDERS, { instanceId: 'orders-3' });
    const stream = new ClientStream<ShipRequest, ShipResponse__Output>(bench.client(clients.Audit, svid).Ship());
    stream.send(toShipRequest({ hello }));
    expect(fromShipResponse(await stream.receive())).toEqual({ welcome });
    stream.send(toShipRequest({ batch: batch(1) }));
    expect(fromShipResponse(await stream.receive())).toEqual({ ack: ackOf(1) });
    stream.call.end();
    await stream.end();
    expect(ledger.connected).toEqual([
      { caller: { instanceId: 'orders-3', spiffeId: ORDERS, certificate: svid.chain[0] }, hello },
    ]);
    expect(ledger.closed).toBe(1);
  });

  it('hands in as many batches as there is credit for, and acknowledges in order what is durable', async () => {
    const { bench, ledger } = await start();
    ledger.automatic = false;
    ledger.credit = 2;
    const { stream, say, receive } = ship(bench);
    say({ hello });
    await receive();
    for (const seq of [1, 2, 3, 4]) say({ batch: batch(seq) });
    await until(() => ledger.appended.length === 2);
    // Out of order: the second is durable first, and waits for the first to be.
    ledger.makeDurable(2);
    await quiet(bench);
    expect(stream.pending).toBe(0);
    expect(ledger.appended).toEqual([1, 2]);
    ledger.makeDurable(1);
    expect(await receive()).toEqual({ ack: ackOf(1) });
    expect(await receive()).toEqual({ ack: ackOf(2) });
    await until(() => ledger.appended.length === 4);
    ledger.makeDurable(3);
    expect(await receive()).toEqual({ ack: ackOf(3) });
    stream.call.end();
    await quiet(bench);
    ledger.makeDurable(4);
    expect(await receive()).toEqual({ ack: ackOf(4) });
    await stream.end();
    expect(ledger.closed).toBe(1);
  });

  it('ends well after a refusal, which is the last answer', async () => {
    const { bench, ledger } = await start();
    ledger.answer = (each) => (seqOf(each) === 2 ? { nack: gap } : { ack: ackOf(seqOf(each)) });
    const { stream, say, receive } = ship(bench);
    say({ hello });
    await receive();
    for (const seq of [1, 2]) say({ batch: batch(seq) });
    expect(await receive()).toEqual({ ack: ackOf(1) });
    expect(await receive()).toEqual({ nack: gap });
    await stream.end();
    expect(ledger.closed).toBe(1);
  });

  it('passes the refusal of a hello on, and ends', async () => {
    const { bench, ledger } = await start();
    ledger.refuse = { ...gap, code: 'clone' };
    const { stream, say, receive } = ship(bench);
    say({ hello });
    expect(await receive()).toEqual({ nack: { ...gap, code: 'clone' } });
    await stream.end();
  });

  it('lets go of a sidecar that goes away', async () => {
    const { bench, ledger } = await start();
    const { stream, say, receive } = ship(bench);
    say({ hello });
    await receive();
    stream.call.cancel();
    await until(() => ledger.closed === 1);
  });

  it('ends with the error of a ledger that cannot write', async () => {
    const { bench, ledger } = await start();
    ledger.answer = () => {
      throw new AppError('audit-unavailable', 'The disk is full.', { cause: new Error('ENOSPC /var/lib/secret') });
    };
    const { stream, say, receive } = ship(bench);
    say({ hello });
    await receive();
    say({ batch: batch(1) });
    await expectAppError(stream.end(), 'audit-unavailable', 'The disk is full.');
    expect(ledger.closed).toBe(1);
  });

  it('audit T23: checks the lifetime of the certificate before each batch', async () => {
    const { bench, ledger } = await start();
    const { stream, say, receive } = ship(bench);
    say({ hello });
    await receive();
    // As after a suspension of the machine: time has passed, and no timer has fired yet.
    vi.spyOn(bench.clock, 'now').mockReturnValue(bench.clock.now() + 3600_000 + 1000);
    say({ batch: batch(1) });
    await expectAppError(stream.end(), 'unauthenticated', /has expired/);
    expect(ledger.appended).toEqual([]);
    await until(() => ledger.closed === 1);
  });

  it('audit T16: ends a stream that says nothing', async () => {
    const { bench } = await start();
    const { stream } = ship(bench);
    await until(() => bench.clock.pendingTimers === 2);
    await bench.clock.advance(10_000);
    await expectAppError(stream.end(), 'deadline-exceeded');
  });

  it.each<[string, readonly ShipRequestMessage[], RegExp]>([
    ['a batch before hello', [{ batch: batch(1) }], /^The first message must be hello/],
    ['a second hello', [{ hello }, { hello }], /^Only batches follow hello/],
    [
      'a hello with a short key',
      [{ hello: { ...hello, batchKey: Buffer.alloc(31) } }],
      /^hello\.batch_key is 31 bytes/,
    ],
    ['an unsigned batch', [{ hello }, { batch: { ...batch(1), signature: none } }], /^batch\.signature is missing/],
  ])('%s is invalid', async (_name, messages, expected) => {
    const { bench, ledger } = await start();
    const { stream, say } = ship(bench);
    for (const message of messages) say(message);
    await expectAppError(stream.end(), 'invalid', expected);
    expect(ledger.appended).toEqual([]);
    expect(ledger.closed).toBe(messages.length - 1);
  });
});
