import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import type { WorkloadEntry } from '../../../src/core/identity/workload-entry.ts';
import type { GrpcLimits } from '../../../src/edge/grpc/limits.ts';
import type { AgentContent, AgentsPort } from '../../../src/edge/grpc/services.ts';
import type { IdentityUpdate__Output } from '../../../src/wire/gen/writ/v1/IdentityUpdate.ts';
import type { WatchIdentityRequest } from '../../../src/wire/gen/writ/v1/WatchIdentityRequest.ts';
import type { IdentityHello, IdentityUpdate } from '../../../src/wire/identity-watch.ts';
import {
  bundleHash,
  fromIdentityUpdate,
  MAX_UPDATE_BYTES,
  toIdentityMessage,
} from '../../../src/wire/identity-watch.ts';
import { clients } from '../../../src/wire/loader.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { ClientStream, startBench, unary } from './harness.ts';

const AGENT = 'spiffe://example.org/writ/agent/test/a';
const authority = createTestAuthority();

function entry(id: string, change: Partial<WorkloadEntry> = {}): WorkloadEntry {
  return Object.freeze({
    id,
    revision: 1,
    spiffeId: `spiffe://example.org/${id}`,
    selectors: ['unix:uid:1'],
    namespaces: [],
    federatesWith: [],
    dnsNames: [],
    hint: '',
    expiresAt: null,
    ...change,
  });
}

function contentOf(entries: readonly WorkloadEntry[], bundles: readonly TrustBundle[] = [authority.bundle]) {
  return {
    entries: new Map(entries.map((each) => [each.id, each])),
    bundles: new Map(bundles.map((each) => [each.trustDomain, each])),
  };
}

async function start(first: AgentContent, limits: Partial<GrpcLimits> = {}) {
  const content = new WatchSource(first);
  const acknowledged: AgentContent[] = [];
  const connects: Parameters<AgentsPort['connect']>[0][] = [];
  const replaces: AbortController[] = [];
  let open = 0;
  const agents: AgentsPort = {
    connect: (hello) => {
      connects.push(hello);
      open += 1;
      const replace = new AbortController();
      replaces.push(replace);
      return {
        content,
        replaced: replace.signal,
        acknowledged: (each) => acknowledged.push(each),
        close: () => {
          open -= 1;
        },
      };
    },
  };
  const bench = await startBench({ agents }, { authority, limits });
  const client = bench.client(clients.Identity, bench.svid(AGENT, { instanceId: 'a-1' }));
  const watch = () => new AgentStream(new ClientStream(client.Watch()));
  /** An answer on the same connection: whatever the server had to say before has arrived. */
  const settled = async () => {
    await unary((callback) => client.SignWit({}, callback)).catch(() => undefined);
  };
  return { bench, content, acknowledged, connects, replaces, watch, settled, open: () => open };
}

/** The agent's side, which acknowledges when the test says so. */
class AgentStream {
  readonly stream: ClientStream<WatchIdentityRequest, IdentityUpdate__Output>;

  constructor(stream: ClientStream<WatchIdentityRequest, IdentityUpdate__Output>) {
    this.stream = stream;
  }

  hello(change: Partial<IdentityHello> = {}): this {
    this.stream.send(toIdentityMessage({ kind: 'hello', entries: [], bundles: [], version: 'v', time: 0, ...change }));
    return this;
  }

  ack(revision: number): void {
    this.stream.send(toIdentityMessage({ kind: 'ack', revision }));
  }

  async receive(): Promise<IdentityUpdate> {
    return fromIdentityUpdate(await this.stream.receive());
  }

  async receiveAndAck(): Promise<IdentityUpdate> {
    const update = await this.receive();
    this.ack(update.revision);
    return update;
  }
}

const idsOf = (update: IdentityUpdate) => update.upserted.map((each) => each.id);

describe('Identity.Watch', () => {
  it('begins with everything for an agent that has nothing', async () => {
    const { watch, connects, acknowledged, content } = await start(contentOf([entry('a'), entry('b')]));
    const stream = watch().hello({ version: '1.2.3', time: 5_000 });
    const update = await stream.receiveAndAck();
    expect(update).toMatchObject({ revision: 1, removed: [], removedBundles: [], more: false });
    expect(idsOf(update)).toEqual(['a', 'b']);
    expect(update.bundles).toEqual([authority.bundle]);
    // Who it is, the certificate says.
    expect(connects).toEqual([{ instanceId: 'a-1', spiffeId: AGENT, version: '1.2.3', time: 5_000 }]);
    content.set(contentOf([entry('a'), entry('b')]));
    await stream.receive();
    expect(acknowledged).toHaveLength(1);
  });

  it('after a reconnect only what differs travels', async () => {
    const kept = entry('kept');
    const { watch } = await start(contentOf([kept, entry('changed', { revision: 2 }), entry('new')]));
    const other = { ...authority.bundle, trustDomain: 'gone.example' };
    const update = await watch()
      .hello({
        entries: [
          { id: 'kept', revision: 1 },
          { id: 'changed', revision: 1 },
          { id: 'gone', revision: 1 },
        ],
        bundles: [authority.bundle, other].map((b) => ({ trustDomain: b.trustDomain, hash: bundleHash(b) })),
      })
      .receive();
    expect(idsOf(update)).toEqual(['changed', 'new']);
    expect(update).toMatchObject({ removed: ['gone'], bundles: [], removedBundles: ['gone.example'] });
  });

  it('an agent that has everything is told so, by a difference with nothing in it', async () => {
    const { watch } = await start(contentOf([entry('a')]));
    const update = await watch()
      .hello({
        entries: [{ id: 'a', revision: 1 }],
        bundles: [{ trustDomain: 'example.org', hash: bundleHash(authority.bundle) }],
      })
      .receive();
    expect(update).toEqual({ revision: 1, upserted: [], removed: [], bundles: [], removedBundles: [], more: false });
  });

  it('nothing more is sent until an update is acknowledged; what changes meanwhile comes at once, as it is then', async () => {
    const a = entry('a');
    const { watch, content, settled } = await start(contentOf([a]));
    const stream = watch().hello();
    await stream.receive();
    for (let revision = 2; revision < 50; revision += 1) content.set(contentOf([a, entry('b', { revision })]));
    content.set(contentOf([a, entry('c')]));
    await settled();
    expect(stream.stream.pending).toBe(0);
    stream.ack(1);
    const update = await stream.receiveAndAck();
    // b came and went while nobody looked.
    expect(update).toMatchObject({ revision: 2, removed: [] });
    expect(idsOf(update)).toEqual(['c']);
    await settled();
    expect(stream.stream.pending).toBe(0);
  });

  it('a change that changes nothing for the agent is not sent', async () => {
    const a = entry('a');
    const { watch, content, settled } = await start(contentOf([a]));
    const stream = watch().hello();
    await stream.receiveAndAck();
    content.set(contentOf([a]));
    content.set(contentOf([a]));
    await settled();
    content.set(contentOf([]));
    expect(await stream.receive()).toMatchObject({ revision: 2, removed: ['a'] });
  });

  it('what is too long for one message comes in several, in order, each acknowledged, and the last says so', async () => {
    const entries = Array.from({ length: 3_000 }, (_, i) => entry(`e${i}`, { hint: 'x'.repeat(1_000) }));
    const { watch, acknowledged, settled } = await start(contentOf(entries));
    const stream = watch().hello();
    const updates: IdentityUpdate[] = [];
    do {
      await settled();
      expect(stream.stream.pending).toBeLessThanOrEqual(1);
      const raw = await stream.stream.receive();
      updates.push(fromIdentityUpdate(raw));
      expect(JSON.stringify(raw).length).toBeLessThan(2 * MAX_UPDATE_BYTES);
      expect(acknowledged).toEqual([]);
      stream.ack(updates.length);
    } while (updates.at(-1)?.more === true);
    expect(updates.length).toBeGreaterThan(2);
    expect(updates[0]?.bundles).toHaveLength(1);
    expect(updates.map((update) => update.revision)).toEqual(updates.map((_, i) => i + 1));
    expect(updates.flatMap(idsOf)).toEqual(entries.map((each) => each.id));
    await settled();
    expect(acknowledged).toHaveLength(1);
  });

  it('an acknowledgement of something else ends the stream', async () => {
    const { watch, open, settled } = await start(contentOf([]));
    const stream = watch().hello();
    await stream.receive();
    stream.ack(2);
    await expectAppError(stream.stream.end(), 'invalid', 'ack names an update that is not waiting for one.');
    await settled();
    expect(open()).toBe(0);
  });

  it('hello comes once, first', async () => {
    const { watch } = await start(contentOf([]));
    const twice = watch().hello();
    await twice.receive();
    twice.hello();
    await expectAppError(twice.stream.end(), 'invalid', 'hello comes once, first.');
    const never = watch();
    never.ack(1);
    await expectAppError(never.stream.end(), 'invalid', 'The first message must be hello.');
  });

  it('an agent that says nothing, or acknowledges nothing, is not waited for', async () => {
    const { watch, bench, connects, settled } = await start(contentOf([]));
    const silent = watch();
    const deaf = watch().hello();
    await deaf.receive();
    await settled();
    expect(connects).toHaveLength(1);
    await bench.clock.advance(30_000);
    await expectAppError(silent.stream.end(), 'deadline-exceeded');
    await expectAppError(deaf.stream.end(), 'deadline-exceeded', 'An update was not acknowledged within 30 s.');
  });

  it('a newer stream of the same agent ends the older one', async () => {
    const { watch, replaces } = await start(contentOf([]));
    const stream = watch().hello();
    await stream.receiveAndAck();
    replaces[0]?.abort(new AppError('conflict', 'A newer stream took over.'));
    await expectAppError(stream.stream.end(), 'conflict', 'A newer stream took over.');
  });

  it('S4: who opens one stream after the other is slowed down', async () => {
    const { watch } = await start(contentOf([]), { streamsPerSecond: 1, streamBurst: 2 });
    await watch().hello().receive();
    await watch().hello().receive();
    await expectAppError(watch().hello().stream.end(), 'exhausted', /Try again in 1 s/);
  });

  it('is for agents only', async () => {
    const { bench } = await start(contentOf([]));
    const stream = new ClientStream(bench.client(clients.Identity, bench.svid()).Watch());
    await expectAppError(stream.end(), 'forbidden', /is for agents/);
  });
});
