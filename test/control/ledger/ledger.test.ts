import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { LedgerOptions, LedgerSession } from '../../../src/control/ledger/ledger.ts';
import { Ledger } from '../../../src/control/ledger/ledger.ts';
import { batchKeyStatement, cutBatch, rawBatchKey } from '../../../src/core/audit/batch.ts';
import { encodeBatchHeader, parseBatchHeader } from '../../../src/core/audit/batch-header.ts';
import { encodeEvent } from '../../../src/core/audit/canonical.ts';
import type { Batch, ShipHello } from '../../../src/core/audit/ship.ts';
import type { ShippingIdentity } from '../../support/audit.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { ledgerEvents, openLedger } from '../../support/shipping.ts';
import { tempDirectory } from '../../support/temp.ts';

const alice = shippingIdentity('sidecar-a', 'web');
const bob = shippingIdentity('sidecar-b', 'orders');
const keys = new Map([alice, bob].map((who) => [who, generateKeyPairSync('ed25519').privateKey]));

function keyOf(who: ShippingIdentity) {
  const key = keys.get(who);
  if (key === undefined) throw new Error('no key');
  return key;
}

function helloOf(who: ShippingIdentity, change: Partial<ShipHello> = {}): ShipHello {
  const batchKey = rawBatchKey(keyOf(who));
  return {
    bootId: 'boot-1',
    epoch: 1,
    nextSeq: 1,
    lastBatchHash: Buffer.alloc(0),
    batchKey,
    batchKeySignature: sign('sha256', batchKeyStatement(who.instanceId, batchKey), who.svid.privateKey),
    time: Date.UTC(2026, 0, 1),
    ...change,
  };
}

function connect(ledger: Ledger, who: ShippingIdentity, change: Partial<ShipHello> = {}) {
  const start = ledger.connect(who.caller, helloOf(who, change));
  if ('nack' in start) throw new Error(`nack ${start.nack.code}: ${start.nack.message}`);
  return start;
}

/** Cuts batches that follow each other. */
class Batches {
  readonly #who: ShippingIdentity;
  epoch = 1;
  seq = 1;
  prevHash = Buffer.alloc(0);

  constructor(who: ShippingIdentity) {
    this.#who = who;
  }

  next(count = 2): Batch & { readonly hash: Buffer } {
    const { batch, hash } = this.peek(count);
    this.seq += count;
    this.prevHash = Buffer.from(hash);
    return { ...batch, hash };
  }

  /** The same place may be cut again, otherwise. */
  peek(count = 2, change: { firstSeq?: number; prevHash?: Buffer; epoch?: number; instanceId?: string } = {}) {
    const events = Array.from({ length: count }, () => encodeEvent(decision()));
    return cutBatch({
      instanceId: this.#who.instanceId,
      epoch: this.epoch,
      firstSeq: this.seq,
      prevHash: this.prevHash,
      events,
      privateKey: keyOf(this.#who),
      ...change,
    });
  }
}

async function refusal(session: LedgerSession, batch: Batch) {
  const reply = await session.append(batch);
  if (!('nack' in reply)) throw new Error('it was acknowledged');
  return reply.nack;
}

describe('a ledger', () => {
  it('acknowledges a batch with the place and the hash of its end, when it is durable', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const { session, welcome } = connect(ledger, alice);
    expect(welcome).toMatchObject({
      expectedEpoch: 1,
      expectedSeq: 1,
      expectedPrevHash: Buffer.alloc(0),
      creditBatches: 8,
    });
    const batch = new Batches(alice).next(3);
    let synced = false;
    files.hook = (step) => {
      if (step.operation === 'sync') synced = true;
      return 'pass';
    };
    const reply = await session.append(batch);
    expect(synced).toBe(true);
    expect(reply).toEqual({ ack: { epoch: 1, durableThroughSeq: 3, batchHash: batch.hash } });
    expect(ledger.size.current).toBe(1);
    expect((await ledgerEvents(await openLedger(files.crash('power')))).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  it('gives leaves in the order of arrival, whichever sidecar they are from', async () => {
    const ledger = await openLedger();
    const a = new Batches(alice);
    const b = new Batches(bob);
    const [ofAlice, ofBob] = [connect(ledger, alice).session, connect(ledger, bob).session];
    await ofAlice.append(a.next());
    await ofBob.append(b.next());
    await Promise.all([ofAlice.append(a.next()), ofBob.append(b.next()), ofAlice.append(a.next())]);
    const read: [number, string, number][] = [];
    for await (const { leaf, instanceId, header } of ledger.read(1)) read.push([leaf, instanceId, header.firstSeq]);
    expect(read).toEqual([
      [1, 'sidecar-b', 1],
      [2, 'sidecar-a', 3],
      [3, 'sidecar-b', 3],
      [4, 'sidecar-a', 5],
    ]);
    expect(await ledgerEvents(ledger)).toHaveLength(10);
  });

  it('shares one fdatasync among the batches of many sidecars', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const [ofAlice, ofBob] = [connect(ledger, alice).session, connect(ledger, bob).session];
    const [a, b] = [new Batches(alice), new Batches(bob)];
    await Promise.all([ofAlice.append(a.next()), ofBob.append(b.next())]);
    const before = files.steps.filter((step) => step.operation === 'sync').length;
    await Promise.all([ofAlice.append(a.next()), ofBob.append(b.next()), ofAlice.append(a.next())]);
    expect(files.steps.filter((step) => step.operation === 'sync').length - before).toBe(1);
  });

  it('stores the key of a sidecar, with its certificate, once before its first batch and again when it changes', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const [a, b] = [new Batches(alice), new Batches(alice)];
    const { session } = connect(ledger, alice);
    await Promise.all([session.append(a.next()), session.append(a.next())]);
    await connect(ledger, alice).session.append(a.next());
    const countOf = (text: string) => files.content('0000000001.wal').toString('latin1').split(text).length - 1;
    expect(countOf(rawBatchKey(keyOf(alice)).toString('hex'))).toBe(1);
    expect(countOf(alice.caller.certificate.toString('base64'))).toBe(1);
    const renewed = generateKeyPairSync('ed25519').privateKey;
    keys.set(alice, renewed);
    Object.assign(b, { seq: a.seq, prevHash: a.prevHash });
    expect(await connect(ledger, alice).session.append(b.next())).toMatchObject({ ack: { durableThroughSeq: 8 } });
    expect(countOf(rawBatchKey(renewed).toString('hex'))).toBe(1);
    expect(await ledgerEvents(await openLedger(files.crash('kill')))).toHaveLength(8);
  });

  it('says in its welcome where it stands, also after a restart', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const batches = new Batches(alice);
    const { session } = connect(ledger, alice);
    await session.append(batches.next(2));
    const last = batches.next(5);
    await session.append(last);
    session.close();
    for (const each of [ledger, await openLedger(files.crash('power'))]) {
      expect(connect(each, alice, { epoch: 9 }).welcome).toMatchObject({
        expectedEpoch: 1,
        expectedSeq: 8,
        expectedPrevHash: last.hash,
      });
    }
  });

  it('audit T17: acknowledges a batch again that it already has, and stores it once', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const batches = new Batches(alice);
    const [first, second, third] = [batches.next(), batches.next(), batches.next()];
    const { session } = connect(ledger, alice);
    // Twice before it is durable, too.
    const replies = await Promise.all(
      [first, first, second, first, second, third].map((batch) => session.append(batch)),
    );
    expect(replies.map((reply) => ('ack' in reply ? reply.ack.durableThroughSeq : 'nack'))).toEqual([2, 2, 4, 2, 4, 6]);
    expect(ledger.size.current).toBe(3);
    const again = await openLedger(files.crash('kill'));
    const resumed = connect(again, alice, { bootId: 'boot-2' }).session;
    expect(await resumed.append(second)).toMatchObject({ ack: { durableThroughSeq: 4, batchHash: second.hash } });
    expect(again.size.current).toBe(3);
  });

  it('takes a new epoch, which starts from nothing, and says so in its log only when there was another', async () => {
    const ledger = await openLedger();
    const batches = new Batches(alice);
    const { session } = connect(ledger, alice);
    await session.append(batches.next());
    Object.assign(batches, { epoch: 5, seq: 1, prevHash: Buffer.alloc(0) });
    expect(await session.append(batches.next(1))).toMatchObject({ ack: { epoch: 5, durableThroughSeq: 1 } });
    expect(await session.append(batches.next(1))).toMatchObject({ ack: { epoch: 5, durableThroughSeq: 2 } });
  });

  it('refuses directories that another process has', async () => {
    const directory = await tempDirectory();
    const options: LedgerOptions = { directory, clock: new FakeClock(), logger: silentLogger };
    const ledger = await Ledger.open(options);
    await expectAppError(Ledger.open(options), 'conflict', /^Another process is using/);
    await ledger.close();
    await (await Ledger.open(options)).close();
  });
});

describe('a sidecar that lies', () => {
  const cases: [string, string, RegExp, (batches: Batches) => Batch][] = [
    [
      'skips a sequence number',
      'gap',
      /something is missing before it/,
      (b) => b.peek(2, { firstSeq: b.seq + 1 }).batch,
    ],
    ['jumps to 2^52', 'gap', /something is missing before it/, (b) => b.peek(1, { firstSeq: 2 ** 52 }).batch],
    [
      'jumps into the middle of a later epoch',
      'gap',
      /missing before it/,
      (b) => b.peek(1, { epoch: 2, firstSeq: 4 }).batch,
    ],
    [
      'begins an epoch on top of another',
      'gap',
      /missing/,
      (b) => b.peek(1, { epoch: 2, firstSeq: 1, prevHash: b.prevHash }).batch,
    ],
    ['builds on another batch', 'fork', /contradicts/, (b) => b.peek(2, { prevHash: Buffer.alloc(32, 7) }).batch],
    ['builds on nothing', 'fork', /contradicts/, (b) => b.peek(2, { prevHash: Buffer.alloc(0) }).batch],
    [
      'rewrites what it has shipped',
      'fork',
      /contradicts/,
      (b) => b.peek(2, { firstSeq: 1, prevHash: Buffer.alloc(0) }).batch,
    ],
    ['overlaps what it has shipped', 'fork', /contradicts/, (b) => b.peek(4, { firstSeq: b.seq - 1 }).batch],
    [
      'ships in the name of another',
      'bad-signature',
      /names another sidecar/,
      (b) => b.peek(2, { instanceId: 'sidecar-b' }).batch,
    ],
    ['does not sign', 'bad-signature', /not signed/, (b) => ({ ...b.next(), signature: Buffer.alloc(64) })],
    [
      'changes a header after signing it',
      'bad-signature',
      /not signed/,
      (b) => {
        const batch = b.next();
        return { ...batch, header: encodeBatchHeader({ ...parseBatchHeader(batch.header), epoch: 2 }) };
      },
    ],
    ['signs a header that is none', 'bad-root', /^Not a batch header/, () => signed(Buffer.from('{"v":1}'))],
    [
      'signs a sequence beyond 2^53',
      'bad-root',
      /firstSeq is not/,
      (b) => {
        const text = b
          .next()
          .header.toString()
          .replace(/"firstSeq":\d+/, '"firstSeq":9223372036854775808');
        return signed(Buffer.from(text));
      },
    ],
    [
      'sends other events than it signed',
      'bad-root',
      /Merkle root/,
      (b) => {
        const batch = b.next();
        return { ...batch, events: b.peek(2).batch.events };
      },
    ],
    [
      'sends events that expand beyond what it signed',
      'too-large',
      /larger than its header says/,
      (b) => {
        const batch = b.next();
        return { ...batch, events: b.peek(60).batch.events };
      },
    ],
  ];

  function signed(header: Buffer): Batch {
    return { header, signature: sign(null, header, keyOf(alice)), events: Buffer.from('x'), encoding: 'identity' };
  }

  it.each(cases)(
    'audit T17, T28: and %s gets %s, with what the ledger has, and changes nothing',
    async (_, code, message, lie) => {
      const files = new MemoryFiles();
      const ledger = await openLedger(files);
      const { session } = connect(ledger, alice);
      const batches = new Batches(alice);
      await session.append(batches.next(2));
      const last = batches.next(3);
      await session.append(last);
      const nack = await refusal(session, lie(batches));
      expect(nack).toEqual({
        code,
        expectedEpoch: 1,
        expectedSeq: 6,
        expectedPrevHash: last.hash,
        message: expect.stringMatching(message),
      });
      expect(ledger.size.current).toBe(2);
      // The stream is over; the truth is taken on a new one.
      expect((await refusal(session, last)).code).toBe(code);
      const again = connect(ledger, alice).session;
      const honest = new Batches(alice);
      Object.assign(honest, { seq: 6, prevHash: last.hash });
      expect(await again.append(honest.next())).toMatchObject({ ack: { durableThroughSeq: 7 } });
      expect(await ledgerEvents(ledger)).toHaveLength(7);
      expect(await ledgerEvents(await openLedger(files.crash('kill')))).toHaveLength(7);
    },
  );

  it('has its contradictions kept as evidence, signed by itself, and only so many of them', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files, { limits: { evidencePerSidecar: 3 } });
    const batches = new Batches(alice);
    await connect(ledger, alice).session.append(batches.next());
    const forks = Array.from({ length: 6 }, () => batches.peek(2, { firstSeq: 1, prevHash: Buffer.alloc(0) }).batch);
    for (const fork of [...forks, ...forks]) {
      expect((await refusal(connect(ledger, alice).session, fork)).code).toBe('fork');
    }
    await connect(ledger, alice).session.append(batches.next());
    const bytes = Buffer.concat(
      files
        .names()
        .filter((n) => n.endsWith('.wal'))
        .map((name) => files.content(name)),
    );
    expect(forks.map((fork) => bytes.includes(fork.header))).toEqual([true, true, true, false, false, false]);
    expect(bytes.includes(forks[0]?.signature ?? '')).toBe(true);
    // Evidence is no leaf.
    expect(await ledgerEvents(ledger)).toHaveLength(4);
    const again = await openLedger(files.crash('kill'));
    expect(await ledgerEvents(again)).toHaveLength(4);
    expect(again.size.current).toBe(2);
  });

  it('audit T28: is refused when its batch key is not bound to its certificate', async () => {
    const ledger = await openLedger();
    const good = helloOf(alice);
    const lies: Partial<ShipHello>[] = [
      { batchKeySignature: Buffer.alloc(70) },
      { batchKeySignature: helloOf(bob).batchKeySignature },
      { batchKey: helloOf(bob).batchKey },
      // Signed by the right certificate, but for another instance.
      { batchKeySignature: sign('sha256', batchKeyStatement('sidecar-b', good.batchKey), alice.svid.privateKey) },
    ];
    for (const lie of lies) {
      const start = ledger.connect(alice.caller, { ...good, ...lie });
      expect('nack' in start && start.nack).toMatchObject({
        code: 'bad-signature',
        message: 'The batch key is not signed by the key of your certificate.',
      });
    }
    const noCertificate = ledger.connect({ ...alice.caller, certificate: Buffer.from('junk') }, good);
    expect('nack' in noCertificate && noCertificate.nack.code).toBe('bad-signature');
  });
});

describe('two streams of one sidecar', () => {
  it('audit T21: of the same process: the newer one fences the older', async () => {
    const ledger = await openLedger();
    const batches = new Batches(alice);
    const older = connect(ledger, alice);
    const newer = connect(ledger, alice);
    expect(newer.welcome.streamId).toBeGreaterThan(older.welcome.streamId);
    const batch = batches.next();
    expect(await refusal(older.session, batch)).toMatchObject({
      code: 'fenced',
      message: 'A newer stream of the same sidecar has taken over.',
    });
    expect(await newer.session.append(batch)).toMatchObject({ ack: { durableThroughSeq: 2 } });
    // The end of the older one changes nothing for the newer.
    older.session.close();
    expect(await newer.session.append(batches.next())).toMatchObject({ ack: { durableThroughSeq: 4 } });
  });

  it('audit T21, T22: of two processes: the second is a clone, until the first has ended or has been silent for long', async () => {
    const clock = new FakeClock();
    const ledger = await openLedger(new MemoryFiles(), { clock });
    const first = connect(ledger, alice);
    const clone = ledger.connect(alice.caller, helloOf(alice, { bootId: 'boot-2' }));
    expect('nack' in clone && clone.nack.code).toBe('clone');
    await clock.advance(29_000);
    await first.session.append(new Batches(alice).next());
    await clock.advance(29_000);
    expect('nack' in ledger.connect(alice.caller, helloOf(alice, { bootId: 'boot-2' }))).toBe(true);
    await clock.advance(1000);
    connect(ledger, alice, { bootId: 'boot-2' });
    expect('nack' in ledger.connect(alice.caller, helloOf(alice, { bootId: 'boot-3' }))).toBe(true);
    const other = connect(ledger, bob);
    other.session.close();
    connect(ledger, bob, { bootId: 'boot-9' });
  });

  it('audit T24: say how far their clocks are off, for as long as they are connected', async () => {
    const clock = new FakeClock();
    const ledger = await openLedger(new MemoryFiles(), { clock });
    const { instanceId } = alice.caller;
    expect(ledger.clockSkewMs(instanceId)).toBeNull();
    const { session } = connect(ledger, alice, { time: clock.now() - 300_000 });
    await clock.advance(60_000);
    expect(ledger.clockSkewMs(instanceId)).toBe(-300_000);
    session.close();
    expect(ledger.clockSkewMs(instanceId)).toBeNull();
  });

  it('get growing stream ids, also across restarts', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const { session, welcome } = connect(ledger, alice);
    await session.append(new Batches(alice).next());
    const again = await openLedger(files.crash('kill'));
    expect(connect(again, bob).welcome.streamId).toBeGreaterThan(welcome.streamId);
  });
});

describe('a ledger whose disk fails', () => {
  it('refuses what it could not store, asks to retry, and takes it again when the disk is back', async () => {
    const clock = new FakeClock();
    const files = new MemoryFiles();
    const ledger = await openLedger(files, { clock });
    const batches = new Batches(alice);
    const { session } = connect(ledger, alice);
    const ofBob = connect(ledger, bob).session;
    await session.append(batches.next());
    const [second, third] = [batches.next(), batches.next()];
    files.hook = (step) => (step.operation === 'sync' ? 'fail' : 'pass');
    const replies = await Promise.all([session.append(second), session.append(third)]);
    expect(replies).toMatchObject([
      { nack: { code: 'retry-later', expectedSeq: 3 } },
      { nack: { code: 'retry-later' } },
    ]);
    // Everybody starts over, since what was accepted was taken back.
    expect((await refusal(ofBob, new Batches(bob).next())).code).toBe('retry-later');
    files.hook = () => 'pass';
    await clock.advance(100);
    const again = connect(ledger, alice);
    expect(again.welcome.expectedSeq).toBe(3);
    await again.session.append(second);
    await again.session.append(third);
    expect(await ledgerEvents(ledger)).toHaveLength(6);
    const recovered = await openLedger(files.crash('power'));
    expect(await ledgerEvents(recovered)).toHaveLength(6);
  });

  it('cuts off a torn record at its end, and goes on', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const batches = new Batches(alice);
    const { session } = connect(ledger, alice);
    await session.append(batches.next());
    const second = batches.next();
    await session.append(second);
    const torn = files.crash('kill');
    torn.tamper('0000000001.wal', (content) => content.subarray(0, content.length - 1));
    const again = await openLedger(torn);
    const resumed = connect(again, alice);
    expect(resumed.welcome.expectedSeq).toBe(3);
    expect(await resumed.session.append(second)).toMatchObject({ ack: { durableThroughSeq: 4 } });
    expect(await ledgerEvents(again)).toHaveLength(4);
  });

  it('refuses to open with damage anywhere else, and names file and offset', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files);
    const batches = new Batches(alice);
    const { session } = connect(ledger, alice);
    for (let i = 0; i < 3; i++) await session.append(batches.next());
    const damaged = files.crash('kill');
    damaged.tamper('0000000001.wal', (content) => content.fill(0, 300, 310));
    await expectAppError(
      openLedger(damaged),
      'incompatible-data',
      /^\/spool\/0000000001\.wal is damaged at offset \d+: the record 1 is destroyed\. Restore the ledger from a backup; nothing was changed\.$/,
    );
  });

  it('refuses to open when a segment is missing, at the start, in between or at the end', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files, { limits: { segmentBytes: 1500 } });
    const batches = new Batches(alice);
    const { session } = connect(ledger, alice);
    for (let i = 0; i < 6; i++) await session.append(batches.next());
    await ledger.close();
    const segments = files.names().filter((name) => name.endsWith('.wal'));
    expect(segments.length).toBeGreaterThan(3);
    for (const [name, message] of [
      [segments[0], /^\/.*: the records 1 to \d+ are missing/],
      [segments[1], /the records \d+ to \d+ before it are missing/],
      // Nothing behind it tells, but the snapshot knows that there was more.
      [segments.at(-1), /^\/.*: the records \d+ to \d+ are missing/],
    ] as const) {
      const image = files.crash('kill');
      image.unlink(name ?? '');
      await expectAppError(openLedger(image), 'incompatible-data', message);
    }
  });

  it('does not need its snapshot, nor trusts a damaged one, and reads only what is new with a good one', async () => {
    const files = new MemoryFiles();
    const ledger = await openLedger(files, { limits: { segmentBytes: 1500 } });
    const [a, b] = [new Batches(alice), new Batches(bob)];
    const [ofAlice, ofBob] = [connect(ledger, alice).session, connect(ledger, bob).session];
    for (let i = 0; i < 5; i++) {
      await ofAlice.append(a.next());
      await ofBob.append(b.next());
    }
    await ledger.close();
    const snapshot = files.names().find((name) => name.startsWith('snapshot-')) ?? '';
    const without = files.crash('kill');
    without.unlink(snapshot);
    const damaged = files.crash('kill');
    damaged.tamper(snapshot, (content) => content.fill(0x20, 200, 210));
    const good = files.crash('kill');
    const expected = await ledgerEvents(await openLedger(without));
    expect(expected).toHaveLength(20);
    for (const image of [without, damaged, good]) {
      const again = await openLedger(image);
      expect(await ledgerEvents(again)).toEqual(expected);
      for (const [who, batches] of [
        [alice, a],
        [bob, b],
      ] as const) {
        expect(connect(again, who).welcome).toMatchObject({
          expectedSeq: batches.seq,
          expectedPrevHash: batches.prevHash,
        });
      }
    }
    expect(good.steps.filter((step) => step.operation === 'truncate')).toEqual([]);
  });
});
