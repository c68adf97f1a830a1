import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { openLogKeys } from '../../../src/control/ledger/log/keys.ts';
import { LogFeed } from '../../../src/control/ledger/log/log-feed.ts';
import type { ShipAck, ShipHello, ShipLogged, ShipNack } from '../../../src/core/audit/ship.ts';
import { LogPins } from '../../../src/node/sidecar/log-pins.ts';
import { RollbackConsent } from '../../../src/node/sidecar/rollback-consent.ts';
import type { ShipStream, ShipTransport } from '../../../src/node/sidecar/shipper.ts';
import { Shipper } from '../../../src/node/sidecar/shipper.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import type { LogWorld } from '../../support/audit-log.ts';
import { logWorld, openTestLog, origin } from '../../support/audit-log.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { loggedCalls, loggedGaps, openLedger, openSpool } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

interface TestLog {
  readonly world: LogWorld;
  grow(count: number): Promise<void>;
  /** What a sidecar is shown that knows it with `known` batches, as a first message of a stream. */
  shown(known: number): Promise<ShipLogged>;
  readonly feed: LogFeed;
}

async function testLog(size: number): Promise<TestLog> {
  const world = logWorld();
  const { log, sequencer } = await openTestLog(world);
  const grow = async (count: number) => {
    world.ledger.addMany(count);
    while (await sequencer.step());
  };
  await grow(size);
  const feed = new LogFeed({ log, clock: world.clock });
  const shown = async (known: number): Promise<ShipLogged> => {
    const stop = new AbortController();
    for await (const logged of feed.follow([{ origin, size: known }], () => undefined, stop.signal)) {
      stop.abort();
      return logged;
    }
    throw new Error('nothing shown');
  };
  return { world, grow, shown, feed };
}

async function openPins(directory?: string) {
  const where = directory ?? (await tempDirectory());
  return { pins: await LogPins.open(where, silentLogger), where, file: join(where, 'log-pins.json') };
}

const contradicts = (why: RegExp) =>
  ['audit-fork', new RegExp(`^The control plane contradicts itself about the audit log: .*${why.source}`)] as const;

describe('what a sidecar has seen of the log', () => {
  it('grows with the log, also over restarts', async () => {
    const log = await testLog(0);
    const { pins, where } = await openPins();
    for (const count of [0, 1, 254, 1, 300]) {
      await log.grow(count);
      await pins.accept(await log.shown(pins.known[0]?.size ?? 0));
    }
    expect(pins.status).toEqual({ origin, size: 556 });
    const { pins: again } = await openPins(where);
    expect(again.known).toEqual([{ origin, size: 556 }]);
    await log.grow(10);
    await again.accept(await log.shown(556));
    // The same once more is no news.
    await again.accept(await log.shown(566));
    expect(again.known).toEqual([{ origin, size: 566 }]);
  });

  it('audit T29: contradicts a log that was rolled back', async () => {
    const [longer, shorter] = [await testLog(30), await testLog(20)];
    const { pins, file } = await openPins();
    await pins.accept(await longer.shown(0));
    const before = await readFile(file, 'utf8');
    await expectAppError(
      pins.accept(await shorter.shown(30)),
      ...contradicts(/the log was rolled back: it had 30 batches, and has 20/),
    );
    expect(await readFile(file, 'utf8')).toBe(before);
  });

  it.each([30, 31, 300])('audit 4, T29: contradicts another history of %i batches', async (size) => {
    const [one, other] = [await testLog(30), await testLog(size)];
    const { pins } = await openPins();
    await pins.accept(await one.shown(0));
    await expectAppError(
      pins.accept(await other.shown(30)),
      ...contradicts(/does not continue the one of 30 that it has shown before/),
    );
  });

  it('contradicts a true growth whose proof was left out or bent', async () => {
    const log = await testLog(30);
    const { pins } = await openPins();
    await pins.accept(await log.shown(0));
    await log.grow(5);
    const logged = await log.shown(30);
    expect(logged.consistency.length).toBeGreaterThan(1);
    for (const consistency of [[], logged.consistency.slice(1), logged.consistency.toReversed()]) {
      await expectAppError(pins.accept({ ...logged, consistency }), ...contradicts(/does not continue/));
    }
    await pins.accept(logged);
  });

  it('keeps the first keys of a log: others do not sign for it, and none may fall away', async () => {
    const log = await testLog(3);
    const { pins } = await openPins();
    const first = await log.shown(0);
    await pins.accept(first);
    const world = logWorld();
    const keys = await openLogKeys({
      secrets: { load: async () => undefined, save: async () => undefined },
      origin,
      now: () => 0,
      random: randomBytes,
      mayCreate: true,
    });
    const { signNote, encodeNote, parseNote } = await import('../../../src/core/audit/note.ts');
    const { text, signatures } = parseNote(first.checkpoint);
    const forged = encodeNote(signNote(text, keys.signers));
    await expectAppError(
      pins.accept({ ...first, checkpoint: forged }),
      ...contradicts(/is not signed by the keys that the log had at first/),
    );
    const half = encodeNote({ text, signatures: signatures.slice(0, 1) });
    await expectAppError(pins.accept({ ...first, checkpoint: half }), ...contradicts(/is not signed by all the keys/));
    expect(world.ledger.batches).toEqual([]);
  });

  it('begins with keys of the very log, and with nothing malformed', async () => {
    const log = await testLog(3);
    const { pins } = await openPins();
    const logged = await log.shown(0);
    const peter = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    for (const keys of [[], [peter], [...logged.keys, peter], ['nonsense'], logged.keys.slice(1)]) {
      await expectAppError(
        pins.accept({ ...logged, keys }),
        ...contradicts(/it (does not name the keys of its log|names a key that is none)/),
      );
    }
    await expectAppError(
      pins.accept({ ...logged, checkpoint: Buffer.from('x') }),
      ...contradicts(/its checkpoint is malformed/),
    );
    expect(pins.known).toEqual([]);
    expect(pins.status).toBeUndefined();
  });

  it('is not forgotten when its file is damaged', async () => {
    const log = await testLog(3);
    const { pins, where, file } = await openPins();
    await pins.accept(await log.shown(0));
    const text = await readFile(file, 'utf8');
    for (const damaged of ['', '{}', text.slice(0, -10), text.replace('\\n3\\n', '\\n2\\n')]) {
      await writeFile(file, damaged);
      await expectAppError(
        LogPins.open(where, silentLogger),
        'incompatible-data',
        /which holds what was seen of the audit log, is damaged/,
      );
    }
  });
});

describe('the feed of the log', () => {
  it('shows what is there at once, then what is new, seconds apart, each continuing the one before', async () => {
    const log = await testLog(5);
    const { pins } = await openPins();
    const stop = new AbortController();
    const through = [undefined, { epoch: 1, seq: 40 }, { epoch: 1, seq: 90 }];
    const sizes: number[] = [];
    const items = log.feed.follow(
      [],
      (size) => {
        sizes.push(size);
        return through[sizes.length - 1];
      },
      stop.signal,
    );
    const first = (await items.next()).value as ShipLogged;
    expect(first).toMatchObject({ consistency: [], epoch: 0, loggedThroughSeq: 0 });
    expect(first.keys).toHaveLength(2);
    await pins.accept(first);
    const second = items.next();
    await log.grow(4);
    await log.grow(4);
    await expect.poll(() => log.world.clock.pendingTimers).toBeGreaterThan(0);
    await log.world.clock.advance(4999);
    expect(sizes).toEqual([5]);
    await log.world.clock.advance(1);
    const next = (await second).value as ShipLogged;
    expect(next).toMatchObject({ keys: [], epoch: 1, loggedThroughSeq: 40 });
    await pins.accept(next);
    expect(pins.status?.size).toBe(13);
    stop.abort();
    expect((await items.next()).done).toBe(true);
  });
});

describe('a shipper that follows the log', () => {
  const who = shippingIdentity('sidecar-1');
  type Reply = { readonly ack: ShipAck } | { readonly nack: ShipNack } | { readonly logged: ShipLogged };

  /** Streams into a ledger of this process; what is shown of the log is up to the test. */
  async function setUp(o: {
    readonly show: (known: number) => Promise<ShipLogged> | undefined;
    readonly directory?: string;
    /** Until then, nothing is answered on a stream. */
    readonly hold?: Promise<void>;
  }) {
    const clock = new FakeClock();
    const spool = await openSpool(new MemoryFiles(), { clock });
    const ledger = await openLedger(new MemoryFiles(), { clock });
    const { pins, where } = await openPins(o.directory);
    const consent = new RollbackConsent(where, clock);
    const sent: number[] = [];
    const later: { push: (reply: Reply) => void } = { push: () => undefined };
    const transport: ShipTransport = {
      async open(hello: ShipHello): Promise<ShipStream> {
        const start = ledger.connect(who.caller, hello);
        if ('nack' in start) throw new Error(start.nack.message);
        const replies: Reply[] = [];
        let wake = () => {};
        let closed = false;
        later.push = (reply) => {
          replies.push(reply);
          wake();
        };
        const shown = await o.show(hello.log?.[0]?.size ?? 0);
        if (shown !== undefined) replies.push({ logged: shown });
        return {
          welcome: { ...start.welcome, ...(shown !== undefined && { sendsLog: true }) },
          async send(batch) {
            sent.push(batch.header.length);
            later.push(await start.session.append(batch));
          },
          replies: (async function* () {
            await o.hold;
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
    const shipper = new Shipper({
      spool,
      transport,
      identity: () => ({ instanceId: who.instanceId, privateKey: who.svid.privateKey }),
      clock,
      logger: silentLogger,
      pins,
      consent,
      random: (length) => Buffer.alloc(length, 0x80),
    });
    const stop = new AbortController();
    const running = shipper.run(stop.signal);
    onTestFinished(async () => {
      stop.abort();
      await running;
    });
    // What is seen of the log is written to a real file, which takes real time.
    const untilShipped = async () => {
      await expect
        .poll(async () => {
          await clock.advance(50);
          return spool.outbox.pendingRecords;
        })
        .toBe(0);
    };
    const untilRefused = async () => {
      await expect
        .poll(async () => {
          await clock.advance(50);
          return shipper.status.problem;
        })
        .toContain('does not continue');
    };
    return {
      clock,
      spool,
      ledger,
      consent,
      pins,
      sent,
      shipper,
      untilShipped,
      untilRefused,
      push: (reply: Reply) => later.push(reply),
    };
  }

  it('ships once the log is what it must be, and says how far its records are sealed', async () => {
    const log = await testLog(5);
    const { spool, shipper, untilShipped, push } = await setUp({ show: (known) => log.shown(known) });
    await spool.append(decision());
    await untilShipped();
    expect(shipper.status.log).toEqual({ origin, size: 5, loggedThrough: 0 });
    await log.grow(2);
    push({ logged: { ...(await log.shown(5)), keys: [], epoch: 1, loggedThroughSeq: 1 } });
    await expect.poll(() => shipper.status.log).toEqual({ origin, size: 7, loggedThrough: 1 });
  });

  it('sends nothing before the log is checked, however long that takes', async () => {
    const log = await testLog(5);
    let release = () => {};
    const hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { clock, spool, sent, untilShipped } = await setUp({ show: (known) => log.shown(known), hold });
    await spool.append(decision());
    for (let i = 0; i < 40; i++) await clock.advance(50);
    expect(sent).toEqual([]);
    release();
    await untilShipped();
  });

  it('audit T29: sends nothing to a control plane whose log has forked, keeps its records, and says so', async () => {
    const [log, fork] = [await testLog(5), await testLog(9)];
    const { pins: seen, where } = await openPins();
    await seen.accept(await log.shown(0));
    const { spool, sent, shipper, untilRefused } = await setUp({
      show: (known) => fork.shown(known),
      directory: where,
    });
    await spool.append(decision());
    await untilRefused();
    expect(spool.outbox.pendingRecords).toBeGreaterThan(0);
    expect(sent).toEqual([]);
    expect(shipper.status).toMatchObject({
      connected: false,
      problem:
        'The control plane contradicts itself about the audit log: the log of 9 batches does not continue the one of 5 that it has shown before.',
    });
  });

  it('audit T19: takes another log for the true one when the operator says so, on the record, and keeps the evidence', async () => {
    const [log, other] = [await testLog(5), await testLog(9)];
    const { pins: seen, where } = await openPins();
    await seen.accept(await log.shown(0));
    const before = await readFile(join(where, 'log-pins.json'), 'utf8');
    const world = await setUp({ show: (known) => other.shown(known), directory: where });
    const call = decision();
    await world.spool.append(call);
    await world.untilRefused();
    await world.consent.give();
    await world.untilShipped();
    expect(await loggedCalls(world.ledger)).toEqual([call.call]);
    expect(await loggedGaps(world.ledger)).toMatchObject([{ reason: 'ledger-rolled-back', epoch: 0, fromSeq: 1 }]);
    expect(world.pins.known).toEqual([{ origin, size: 9 }]);
    const kept = (await readdir(where)).filter((name) => name.startsWith('log-pins.json.'));
    expect(kept).toHaveLength(1);
    expect(await readFile(join(where, kept[0] ?? ''), 'utf8')).toBe(before);
    expect(await world.consent.isGiven()).toBe(false);
  });

  it('audit T29: stops in the middle when the log forks while it ships', async () => {
    const [log, fork] = [await testLog(5), await testLog(9)];
    let now = log;
    const { clock, spool, sent, untilShipped, untilRefused, push } = await setUp({ show: (known) => now.shown(known) });
    await spool.append(decision());
    await untilShipped();
    now = fork;
    push({ logged: await fork.shown(5) });
    await untilRefused();
    const before = sent.length;
    await spool.append(decision());
    for (let i = 0; i < 20; i++) await clock.advance(50);
    expect(spool.outbox.pendingRecords).toBeGreaterThan(0);
    expect(sent).toHaveLength(before);
  });

  it('goes on with a control plane of the version before, which shows no log', async () => {
    const { spool, shipper, untilShipped } = await setUp({ show: () => undefined });
    await spool.append(decision());
    await untilShipped();
    expect(shipper.status.log).toBeUndefined();
  });
});
