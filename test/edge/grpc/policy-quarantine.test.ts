import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import type { Quarantine } from '../../../src/core/policy/snapshot.ts';
import type { PolicyPort, Published } from '../../../src/edge/grpc/services.ts';
import type { Snapshot__Output } from '../../../src/wire/gen/writ/v1/Snapshot.ts';
import type { WatchPolicyRequest } from '../../../src/wire/gen/writ/v1/WatchPolicyRequest.ts';
import { clients } from '../../../src/wire/loader.ts';
import type { PolicyMessage } from '../../../src/wire/policy.ts';
import { fromSnapshot, toPolicyMessage } from '../../../src/wire/policy.ts';
import type { Bench } from './harness.ts';
import { ClientStream, startBench, WEB } from './harness.ts';

const OTHER = 'spiffe://example.org/ns/shop/sa/other';
const zeros = Buffer.alloc(32);
const features = ['quarantine'];

/** A control plane with one content for all. */
class Mesh implements PolicyPort {
  readonly published: WatchSource<Published>;
  readonly quarantine = new WatchSource<Quarantine>({ revision: 0, spiffeIds: [] });
  readonly changes = new WatchSource(0);
  readonly heard: string[] = [];
  readonly entries = { bySpiffeId: async () => ({ labels: {} }) };
  readonly proxies = {
    connect: async () => ({
      sent: () => undefined,
      ack: (revision: number) => this.heard.push(`ack ${revision}`),
      nack: (revision: number) => this.heard.push(`nack ${revision}`),
      quarantined: (revision: number) => this.heard.push(`quarantine ${revision}`),
      close: async () => undefined,
    }),
  };

  constructor() {
    this.published = new WatchSource(snapshots(1));
  }

  publish(revision: number): void {
    this.published.set(snapshots(revision));
  }

  cutOff(revision: number, ...spiffeIds: string[]): void {
    this.quarantine.set({ revision, spiffeIds });
  }
}

function snapshots(revision: number): Published {
  const content = Buffer.from(`content ${revision}`);
  return {
    revision,
    publishedAt: 1000,
    for: () => ({ content, hash: createHash('sha256').update(content).digest() }),
  };
}

class Sidecar {
  readonly stream: ClientStream<WatchPolicyRequest, Snapshot__Output>;

  constructor(bench: Bench, known: readonly string[] = features) {
    this.stream = new ClientStream(bench.client(clients.Policy, bench.svid(WEB, { instanceId: 'web-1' })).Watch());
    this.say({ kind: 'hello', inbound: [], version: '1', haveHash: Buffer.alloc(0), features: [...known] });
  }

  say(message: PolicyMessage): void {
    this.stream.send(toPolicyMessage(message));
  }

  async next() {
    return fromSnapshot(await this.stream.receive());
  }

  /** Answers as a good sidecar does. */
  ack({ revision, hash }: { revision: number; hash: Buffer }, quarantineRevision = 0): void {
    this.say({ kind: 'ack', revision, hash, quarantineRevision });
  }
}

async function start() {
  const mesh = new Mesh();
  return { mesh, bench: await startBench({ policy: mesh }) };
}

describe('the quarantine on Policy.Watch', () => {
  it('is the first thing that a sidecar is sent, ahead of its policies', async () => {
    const { mesh, bench } = await start();
    mesh.cutOff(5, OTHER);
    const sidecar = new Sidecar(bench);
    const first = await sidecar.next();
    expect(first).toMatchObject({ revision: 0, quarantine: { revision: 5, spiffeIds: [OTHER] } });
    expect(first.hash.equals(zeros)).toBe(true);
    expect(first.content).toBeUndefined();
    const second = await sidecar.next();
    expect(second).toMatchObject({ revision: 1, content: Buffer.from('content 1') });
    expect(second.quarantine).toBeUndefined();
    sidecar.ack(first, 5);
    sidecar.ack(second, 5);
    await expect.poll(() => mesh.heard).toEqual(['quarantine 5', 'quarantine 5', 'ack 1']);
  });

  it('is not sent as long as there has never been any', async () => {
    const { bench } = await start();
    const first = await new Sidecar(bench).next();
    expect(first).toMatchObject({ revision: 1 });
    expect(first.quarantine).toBeUndefined();
  });

  it('is sent at once while a snapshot is unanswered, and repeats its revision and hash', async () => {
    const { mesh, bench } = await start();
    const sidecar = new Sidecar(bench);
    const snapshot = await sidecar.next();
    mesh.cutOff(5, OTHER);
    const quarantine = await sidecar.next();
    expect(quarantine).toMatchObject({ revision: 1, hash: snapshot.hash, quarantine: { revision: 5 } });
    expect(quarantine.content).toBeUndefined();
    expect(mesh.heard).toEqual([]);
    // In the order in which they were sent, each is answered by itself.
    sidecar.ack(snapshot);
    await expect.poll(() => mesh.heard).toEqual(['ack 1']);
    sidecar.ack(quarantine, 5);
    await expect.poll(() => mesh.heard).toEqual(['ack 1', 'quarantine 5']);
    mesh.publish(2);
    expect((await sidecar.next()).revision).toBe(2);
  });

  it('is no answer to the snapshot: that is still waited for', async () => {
    const { mesh, bench } = await start();
    const sidecar = new Sidecar(bench);
    const snapshot = await sidecar.next();
    sidecar.ack(snapshot);
    await expect.poll(() => mesh.heard).toEqual(['ack 1']);
    mesh.cutOff(5, OTHER);
    const quarantine = await sidecar.next();
    mesh.publish(2);
    const next = await sidecar.next();
    sidecar.ack(quarantine, 5);
    await expect.poll(() => mesh.heard).toEqual(['ack 1', 'quarantine 5']);
    mesh.publish(3);
    await bench.clock.advance(1_000);
    expect(sidecar.stream.pending).toBe(0);
    sidecar.ack(next, 5);
    expect((await sidecar.next()).revision).toBe(3);
  });

  it('goes on when the sidecar refuses the snapshot before it', async () => {
    const { mesh, bench } = await start();
    const sidecar = new Sidecar(bench);
    const snapshot = await sidecar.next();
    mesh.cutOff(5, OTHER);
    const quarantine = await sidecar.next();
    sidecar.say({ kind: 'nack', revision: 1, hash: snapshot.hash, error: 'no' });
    sidecar.ack(quarantine, 5);
    await expect.poll(() => mesh.heard).toEqual(['nack 1', 'quarantine 5']);
  });

  it('of its changes only the latest is sent once the one before is answered; a release is one', async () => {
    const { mesh, bench } = await start();
    mesh.cutOff(5, OTHER);
    const sidecar = new Sidecar(bench);
    const first = await sidecar.next();
    const snapshot = await sidecar.next();
    mesh.cutOff(6, OTHER, WEB);
    mesh.cutOff(7);
    await bench.clock.advance(1_000);
    expect(sidecar.stream.pending).toBe(0);
    sidecar.ack(first, 5);
    sidecar.ack(snapshot, 5);
    expect((await sidecar.next()).quarantine).toEqual({ revision: 7, spiffeIds: [] });
  });

  it('a sidecar that has a newer one, of another replica, has this one too', async () => {
    const { mesh, bench } = await start();
    mesh.cutOff(5, OTHER);
    const sidecar = new Sidecar(bench);
    sidecar.ack(await sidecar.next(), 9);
    sidecar.ack(await sidecar.next(), 9);
    await expect.poll(() => mesh.heard).toEqual(['quarantine 9', 'quarantine 9', 'ack 1']);
  });

  it('a sidecar that answers without having it in force is sent away', async () => {
    const { mesh, bench } = await start();
    mesh.cutOff(5, OTHER);
    const sidecar = new Sidecar(bench);
    sidecar.ack(await sidecar.next(), 4);
    const error = await sidecar.stream.end().catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'invalid', message: 'The quarantine was not put in force.' });
  });

  it('a sidecar that does not answer is sent away', async () => {
    const { mesh, bench } = await start();
    const sidecar = new Sidecar(bench);
    sidecar.ack(await sidecar.next());
    await expect.poll(() => mesh.heard).toEqual(['ack 1']);
    mesh.cutOff(5, OTHER);
    await sidecar.next();
    await bench.clock.advance(60_000);
    expect(await sidecar.stream.end().catch((reason: unknown) => reason)).toMatchObject({ code: 'deadline-exceeded' });
  });

  it('a sidecar that does not know it is sent its policies as ever', async () => {
    const { mesh, bench } = await start();
    mesh.cutOff(5, OTHER);
    const sidecar = new Sidecar(bench, []);
    const first = await sidecar.next();
    expect(first).toMatchObject({ revision: 1 });
    expect(first.quarantine).toBeUndefined();
    sidecar.ack(first);
    mesh.cutOff(6);
    mesh.publish(2);
    expect((await sidecar.next()).revision).toBe(2);
  });
});
