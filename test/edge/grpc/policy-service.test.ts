import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { PolicyPort, ProxyConnection, Published } from '../../../src/edge/grpc/services.ts';
import { SnapshotBytes } from '../../../src/edge/grpc/snapshot-bytes.ts';
import type { Snapshot__Output } from '../../../src/wire/gen/writ/v1/Snapshot.ts';
import type { WatchPolicyRequest } from '../../../src/wire/gen/writ/v1/WatchPolicyRequest.ts';
import { clients } from '../../../src/wire/loader.ts';
import type { PolicyMessage } from '../../../src/wire/policy.ts';
import { fromSnapshot, toPolicyMessage } from '../../../src/wire/policy.ts';
import { expectAppError } from '../../support/errors.ts';
import type { Bench } from './harness.ts';
import { ClientStream, ORDERS, startBench, WEB } from './harness.ts';

const hello: PolicyMessage = { kind: 'hello', inbound: [], version: '1.0', haveHash: Buffer.alloc(0) };
const hashOf = (content: string) => createHash('sha256').update(content).digest();

/** A control plane of one content for all, and a record of what it was told. */
class FakeMesh implements PolicyPort {
  readonly published: WatchSource<Published>;
  readonly changes = new WatchSource(0);
  readonly log: string[] = [];
  readonly hellos: object[] = [];
  readonly labels = new Map<string, Record<string, string>>([
    [WEB, { app: 'web' }],
    [ORDERS, { app: 'orders' }],
  ]);
  entryReads = 0;
  /** What a sidecar must understand to be sent a snapshot. */
  needs: readonly string[] = [];
  storeIsAway = false;

  constructor() {
    this.published = new WatchSource(this.#snapshots(1, 'one'));
  }

  publish(revision: number, text: string): void {
    this.published.set(this.#snapshots(revision, text));
  }

  #snapshots(revision: number, text: string): Published {
    return {
      revision,
      publishedAt: 1000 * revision,
      for: (_id, labels) => {
        const content = Buffer.from(`${text} for ${labels.app}`);
        return { content, hash: hashOf(content.toString()), needs: this.needs };
      },
    };
  }

  readonly entries = {
    bySpiffeId: async (id: string) => {
      this.entryReads += 1;
      if (this.storeIsAway) throw new AppError('unavailable', 'The store is away.');
      const labels = this.labels.get(id);
      return labels && { labels };
    },
  };

  readonly proxies = {
    connect: async (proxy: { instanceId: string; spiffeId: string }): Promise<ProxyConnection> => {
      this.hellos.push(proxy);
      return {
        sent: (revision) => this.log.push(`sent ${revision}`),
        ack: (revision) => this.log.push(`ack ${revision}`),
        nack: (revision, _hash, error) => this.log.push(`nack ${revision} ${error}`),
        close: async ({ goodbye }) => {
          this.log.push(`close${goodbye ? ' goodbye' : ''}`);
          this.#closed.resolve();
        },
      };
    },
  };
  readonly #closed = Promise.withResolvers<void>();

  /** Resolves when a connection was closed. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }
}

/** A sidecar, as far as the protocol goes. */
class Sidecar {
  readonly stream: ClientStream<WatchPolicyRequest, Snapshot__Output>;

  constructor(bench: Bench, id = WEB, instanceId = 'web-1') {
    this.stream = new ClientStream(bench.client(clients.Policy, bench.svid(id, { instanceId })).Watch());
  }

  say(message: PolicyMessage): void {
    this.stream.send(toPolicyMessage(message));
  }

  async snapshot() {
    const { revision, hash, content } = fromSnapshot(await this.stream.receive());
    return { revision, hash, content: content?.toString() };
  }

  async applied(): Promise<string> {
    const { revision, hash, content } = await this.snapshot();
    this.say({ kind: 'ack', revision, hash });
    return `${revision}: ${content ?? 'unchanged'}`;
  }
}

async function start(): Promise<{ bench: Bench; mesh: FakeMesh }> {
  const mesh = new FakeMesh();
  return { mesh, bench: await startBench({ policy: mesh }) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Long enough for anything that was sent to arrive: two round trips on the same connection's other streams. */
async function quiet(bench: Bench): Promise<void> {
  const client = bench.client(clients.Health);
  for (let i = 0; i < 2; i++) await new Promise((resolve) => client.Check({}, resolve));
}

describe('Policy.Watch', () => {
  it('sends what is published at once, chosen by the certificate and the entry', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench, ORDERS, 'orders-7');
    const inbound = [{ address: '10.0.0.1:15006', protocol: 'http', applicationPort: 8080 }] as const;
    sidecar.say({ ...hello, inbound, version: '1.2.3' });
    expect(await sidecar.snapshot()).toEqual({
      revision: 1,
      hash: hashOf('one for orders'),
      content: 'one for orders',
    });
    expect(mesh.hellos).toEqual([{ instanceId: 'orders-7', spiffeId: ORDERS, version: '1.2.3', inbound }]);
  });

  it('sends each change, and keeps account of what was sent and acknowledged', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    expect(await sidecar.applied()).toBe('1: one for web');
    await until(() => mesh.log.includes('ack 1'));
    mesh.publish(2, 'two');
    expect(await sidecar.applied()).toBe('2: two for web');
    await until(() => mesh.log.includes('ack 2'));
    expect(mesh.log).toEqual(['sent 1', 'ack 1', 'sent 2', 'ack 2']);
  });

  it('sends nothing while a snapshot is unanswered, then only the latest', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    const first = await sidecar.snapshot();
    for (let revision = 2; revision <= 9; revision++) mesh.publish(revision, `v${revision}`);
    await quiet(bench);
    expect(sidecar.stream.pending).toBe(0);
    sidecar.say({ kind: 'ack', revision: first.revision, hash: first.hash });
    expect(await sidecar.applied()).toBe('9: v9 for web');
    await until(() => mesh.log.includes('ack 9'));
    expect(mesh.log).toEqual(['sent 1', 'ack 1', 'sent 9', 'ack 9']);
  });

  it('does not send what the sidecar does not understand, says so, and sends the next that it does', async () => {
    const { bench, mesh } = await start();
    const old = new Sidecar(bench);
    old.say(hello);
    expect(await old.applied()).toBe('1: one for web');
    mesh.needs = ['federation'];
    mesh.publish(2, 'two');
    const why =
      'The sidecar does not understand federation, which its snapshot needs: it was not sent. Upgrade the sidecar.';
    await expect.poll(() => mesh.log).toContain(`nack 2 ${why}`);
    const current = new Sidecar(bench, WEB, 'web-2');
    current.say({ ...hello, features: ['federation', 'something-newer'] });
    expect(await current.applied()).toBe('2: two for web');
    mesh.needs = [];
    mesh.publish(3, 'three');
    expect(await old.applied()).toBe('3: three for web');
  });

  it('says that a sidecar is where it should be again when what it refused, or does not understand, is taken back', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    expect(await sidecar.applied()).toBe('1: one for web');
    await until(() => mesh.log.includes('ack 1'));
    mesh.publish(2, 'two');
    const { revision, hash } = fromSnapshot(await sidecar.stream.receive());
    sidecar.say({ kind: 'nack', revision, hash, error: 'no' });
    await until(() => mesh.log.includes('nack 2 no'));
    mesh.publish(1, 'one');
    await until(() => mesh.log.at(-1) === 'ack 1');
    mesh.needs = ['federation'];
    mesh.publish(3, 'three');
    await until(() => mesh.log.at(-1)?.startsWith('nack 3') === true);
    mesh.needs = [];
    mesh.publish(1, 'one');
    await until(() => mesh.log.at(-1) === 'ack 1');
    expect(sidecar.stream.pending).toBe(0);
  });

  it('does not send more than a message can hold, says so, and keeps the stream for what comes after', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    expect(await sidecar.applied()).toBe('1: one for web');
    mesh.publish(2, 'x'.repeat(16 * 1024 * 1024));
    await expect.poll(() => mesh.log.at(-1)).toMatch(/^nack 2 The policies of this workload have 16777224 bytes/);
    mesh.publish(3, 'three');
    expect(await sidecar.applied()).toBe('3: three for web');
  });

  it('leaves the content out when the sidecar has it by its hello, and says nothing to one that it does not concern', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say({ ...hello, haveHash: hashOf('one for web') });
    expect(await sidecar.applied()).toBe('1: unchanged');
    await until(() => mesh.log.includes('ack 1'));
    mesh.publish(2, 'one');
    await until(() => mesh.log.includes('ack 2'));
    await quiet(bench);
    expect(sidecar.stream.pending).toBe(0);
    mesh.publish(3, 'three');
    expect(await sidecar.applied()).toBe('3: three for web');
    await until(() => mesh.log.includes('ack 3'));
    expect(mesh.log).toEqual(['sent 1', 'ack 1', 'sent 2', 'ack 2', 'sent 3', 'ack 3']);
  });

  it('says nothing when neither content nor revision has changed', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    await until(() => mesh.log.includes('ack 1'));
    mesh.publish(1, 'one');
    await quiet(bench);
    expect(sidecar.stream.pending).toBe(0);
    expect(mesh.log).toEqual(['sent 1', 'ack 1']);
  });

  it('does not send content again that was refused, until it is different', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    const { revision, hash } = await sidecar.snapshot();
    sidecar.say({ kind: 'nack', revision, hash, error: 'too clever' });
    await until(() => mesh.log.includes('nack 1 too clever'));
    mesh.publish(2, 'one');
    await until(() => mesh.log.includes('nack 2 too clever'));
    expect(sidecar.stream.pending).toBe(0);
    mesh.publish(3, 'three');
    expect(await sidecar.applied()).toBe('3: three for web');
    await until(() => mesh.log.includes('ack 3'));
    expect(mesh.log).toEqual(['sent 1', 'nack 1 too clever', 'sent 2', 'nack 2 too clever', 'sent 3', 'ack 3']);
  });

  it('sends content that was refused once more, after something else was in force in between', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    const { revision, hash } = await sidecar.snapshot();
    sidecar.say({ kind: 'nack', revision, hash, error: 'too clever' });
    mesh.publish(2, 'two');
    expect(await sidecar.applied()).toBe('2: two for web');
    await until(() => mesh.log.includes('ack 2'));
    mesh.publish(3, 'one');
    expect(await sidecar.applied()).toBe('3: one for web');
  });

  it('reads labels again when entries change, and sends what that changes', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    mesh.labels.set(WEB, { app: 'quarantined' });
    mesh.changes.set(1);
    expect(await sidecar.applied()).toBe('1: one for quarantined');
  });

  it('reads the entry of a workload once for all its sidecars, and waits for no database when it pushes', async () => {
    const { bench, mesh } = await start();
    const sidecars = Array.from({ length: 5 }, (_, i) => new Sidecar(bench, WEB, `web-${i}`));
    for (const sidecar of sidecars) {
      sidecar.say(hello);
      await sidecar.applied();
    }
    expect(mesh.entryReads).toBe(1);
    mesh.publish(2, 'two');
    await Promise.all(sidecars.map((sidecar) => sidecar.applied()));
    expect(mesh.entryReads).toBe(1);
    mesh.changes.set(1);
    await until(() => mesh.entryReads === 2);
  });

  it('goes on with the labels that it knows while entries cannot be read, and tries again', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    mesh.labels.set(WEB, { app: 'quarantined' });
    mesh.storeIsAway = true;
    const timers = bench.clock.pendingTimers;
    mesh.changes.set(1);
    await until(() => bench.clock.pendingTimers > timers);
    mesh.publish(2, 'two');
    expect(await sidecar.applied()).toBe('2: two for web');
    mesh.storeIsAway = false;
    await bench.clock.advance(1000);
    expect(await sidecar.applied()).toBe('2: two for quarantined');
  });

  it('ends for a workload whose entry is gone, and does not begin for one', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    await until(() => mesh.log.includes('ack 1'));
    mesh.labels.delete(WEB);
    mesh.changes.set(1);
    await expectAppError(sidecar.stream.end(), 'forbidden', /not registered/);
    await mesh.closed;
    const late = new Sidecar(bench);
    late.say(hello);
    await expectAppError(late.stream.end(), 'forbidden', /not registered/);
    expect(mesh.hellos).toHaveLength(1);
  });

  it('a goodbye ends the stream well, and is passed on', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    sidecar.say({ kind: 'goodbye' });
    await sidecar.stream.end();
    expect(mesh.log.at(-1)).toBe('close goodbye');
  });

  it('a sidecar that goes without goodbye is let go of', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.snapshot();
    sidecar.stream.call.cancel();
    await mesh.closed;
    expect(mesh.log).toEqual(['sent 1', 'close']);
  });

  it('a sidecar that ends its side of the stream is let go of', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    sidecar.stream.call.end();
    await sidecar.stream.end();
    expect(mesh.log.at(-1)).toBe('close');
  });

  it('a snapshot that is not answered within 30 s ends the stream', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.snapshot();
    await bench.clock.advance(30_000);
    await expectAppError(sidecar.stream.end(), 'deadline-exceeded', 'A snapshot was not acknowledged within 30 s.');
    await mesh.closed;
    expect(bench.clock.pendingTimers).toBe(0);
  });

  it('a stream that says nothing ends after 10 s', async () => {
    const { bench } = await start();
    const sidecar = new Sidecar(bench);
    // The identity's expiry, and the patience.
    await until(() => bench.clock.pendingTimers === 2);
    await bench.clock.advance(10_000);
    await expectAppError(sidecar.stream.end(), 'deadline-exceeded', 'Nothing was received within 10 s.');
  });

  it('ends when the certificate expires, even without a word', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    await until(() => mesh.log.includes('ack 1'));
    await bench.clock.advance(3600_000 + 1000);
    await expectAppError(sidecar.stream.end(), 'unauthenticated', /has expired/);
    await mesh.closed;
  });

  it('ends with unavailable when the server stops', async () => {
    const { bench, mesh } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    await sidecar.applied();
    const closed = bench.server.close();
    await expectAppError(sidecar.stream.end(), 'unavailable', 'The control plane is stopping. Connect again.');
    await closed;
    await mesh.closed;
  });

  const zero = Buffer.alloc(32);
  it.each<[string, readonly PolicyMessage[], RegExp]>([
    ['an answer before hello', [{ kind: 'ack', revision: 1, hash: zero }], /^The first message must be hello/],
    ['a second hello', [hello, hello], /^hello comes once/],
    ['an ack of what was not sent', [hello, { kind: 'ack', revision: 1, hash: zero }], /^ack names a snapshot/],
    ['an ack of another revision', [hello, { kind: 'ack', revision: 7, hash: hashOf('one for web') }], /^ack names/],
    ['a nack of what was not sent', [hello, { kind: 'nack', revision: 1, hash: zero, error: 'x' }], /^nack names/],
  ])('%s is invalid', async (_name, messages, expected) => {
    const { bench } = await start();
    const sidecar = new Sidecar(bench);
    for (const [index, message] of messages.entries()) {
      if (index > 0) await sidecar.snapshot();
      sidecar.say(message);
    }
    await expectAppError(sidecar.stream.end(), 'invalid', expected);
  });

  it('a second ack of the same snapshot is invalid', async () => {
    const { bench } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.say(hello);
    const { revision, hash } = await sidecar.snapshot();
    sidecar.say({ kind: 'ack', revision, hash });
    sidecar.say({ kind: 'ack', revision, hash });
    await expectAppError(sidecar.stream.end(), 'invalid', /not waiting for an answer/);
  });

  it('S4: who opens one stream after the other is slowed down, and nobody else', async () => {
    const mesh = new FakeMesh();
    const bench = await startBench({ policy: mesh }, { limits: { streamsPerSecond: 1, streamBurst: 2 } });
    for (const sidecar of [new Sidecar(bench), new Sidecar(bench)]) {
      sidecar.say(hello);
      await sidecar.snapshot();
    }
    const third = new Sidecar(bench);
    await expectAppError(third.stream.end(), 'exhausted', /Try again in 1 s/);
    expect(mesh.hellos).toHaveLength(2);
    const other = new Sidecar(bench, WEB, 'web-2');
    other.say(hello);
    expect(await other.applied()).toBe('1: one for web');
  });

  it('reaches every one of many streams', async () => {
    const { bench, mesh } = await start();
    const sidecars = Array.from({ length: 30 }, (_, i) => new Sidecar(bench, i % 2 ? WEB : ORDERS, `i-${i}`));
    for (const sidecar of sidecars) sidecar.say(hello);
    await Promise.all(sidecars.map((sidecar) => sidecar.applied()));
    await until(() => mesh.log.filter((line) => line === 'ack 1').length === 30);
    mesh.publish(2, 'two');
    const applied = await Promise.all(sidecars.map((sidecar) => sidecar.applied()));
    expect(new Set(applied)).toEqual(new Set(['2: two for web', '2: two for orders']));
  });
});

describe('SnapshotBytes', () => {
  it('encodes each distinct snapshot of what is published once', () => {
    const { published } = new FakeMesh();
    const bytes = new SnapshotBytes();
    const one = published.current.for(WEB, { app: 'web' });
    const same = published.current.for(WEB, { app: 'web' });
    expect(bytes.of(published.current, same)).toBe(bytes.of(published.current, one));
    expect(bytes.of(published.current, { ...one, content: undefined })).not.toEqual(bytes.of(published.current, one));
    expect(bytes.of({ ...published.current, revision: 2 }, one)).not.toEqual(bytes.of(published.current, one));
  });
});
