import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { toEntry } from '../../../src/control/authority/entries/entry.ts';
import type { EntrySnapshot } from '../../../src/control/authority/entries/entry-index.ts';
import { EntryIndex } from '../../../src/control/authority/entries/entry-index.ts';
import type { AgentSighting } from '../../../src/control/registry/agent-presence.ts';
import { AgentViews } from '../../../src/control/registry/agent-views.ts';
import type { AgentsOptions } from '../../../src/control/registry/agents.ts';
import { Agents } from '../../../src/control/registry/agents.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';

const own = createTestAuthority().bundle;
const A = 'spiffe://example.org/writ/agent/t/a';

function start(options: Partial<AgentsOptions> = {}) {
  const clock = new FakeClock();
  const index = new EntryIndex();
  const entries = new WatchSource<EntrySnapshot>(index.snapshot(0, 'all'));
  const views = new AgentViews({ trustDomain: 'example.org', entries });
  const bundle = new WatchSource<TrustBundle>(own);
  const federated = new WatchSource<ReadonlyMap<string, TrustBundle>>(new Map());
  const selectors = new Map<string, readonly string[]>([
    ['1', []],
    ['2', []],
  ]);
  const stored: string[] = [];
  const sightings: AgentSighting[] = [];
  const seen: string[][] = [];
  const barred = new Set<string>();
  const watchers = new Map<string, () => void>();
  const warnings: unknown[] = [];
  const agents = new Agents({
    views,
    bundle,
    federated,
    nodes: {
      agentSelectors: (instanceId) => {
        const found = selectors.get(instanceId);
        if (found === undefined) throw new AppError('forbidden', 'Not attested.');
        return found;
      },
      watch: (instanceId, fn) => {
        watchers.set(instanceId, fn);
        return () => watchers.delete(instanceId);
      },
      acknowledged: async (instanceId, sequence) => {
        stored.push(`${instanceId} ${sequence}`);
      },
      agentSightings: async () => sightings,
      seen: async (instanceIds) => {
        seen.push([...instanceIds]);
      },
      isBarred: (instanceId) => barred.has(instanceId),
    },
    clock,
    logger: { ...silentLogger, warn: (fields: unknown) => warnings.push(fields) } as unknown as typeof silentLogger,
    ...options,
  });
  const connect = (instanceId = '1', spiffeId = A) =>
    agents.connect({ instanceId, spiffeId, version: 'v', time: clock.now() });
  const put = (id: string, parentId: string, federatesWith: readonly string[] = []) => {
    index.put(
      toEntry({
        id,
        parent_id: parentId,
        spiffe_id: `spiffe://example.org/${id}`,
        namespace: '',
        template: 0,
        namespaces: '[]',
        selectors: '["x:1"]',
        fingerprint: id,
        labels: '{}',
        x509_ttl_seconds: null,
        jwt_ttl_seconds: null,
        dns_names: '[]',
        federates_with: JSON.stringify(federatesWith),
        hint: '',
        expires_at: null,
        jwt_claims: null,
        revision: 1,
        created_at: 0,
        updated_at: 0,
      }),
    );
    entries.set(index.snapshot(1, { upserted: [id], removed: [] }));
  };
  const known = { sightings, seen, barred };
  return { clock, agents, connect, put, bundle, federated, selectors, stored, watchers, warnings, ...known };
}

const next = (sequence: number): TrustBundle => ({ ...own, sequence });
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a connected agent', () => {
  it('should have its entries, the own bundle, and those that an entry federates with', () => {
    const { connect, put, federated } = start();
    const { content } = connect();
    expect([...content.current.entries]).toEqual([]);
    expect([...content.current.bundles.values()]).toEqual([own]);
    put('web', A, ['partner.example']);
    expect([...content.current.entries.keys()]).toEqual(['web']);
    expect([...content.current.bundles.keys()]).toEqual(['example.org']);
    const partner = { ...own, trustDomain: 'partner.example' };
    const other = { ...own, trustDomain: 'other.example' };
    federated.set(new Map([partner, other].map((each) => [each.trustDomain, each])));
    expect([...content.current.bundles.keys()]).toEqual(['example.org', 'partner.example']);
  });

  it('never gets a federated bundle in place of the own one', () => {
    const { connect, put, federated } = start();
    const { content } = connect();
    put('web', A, ['example.org']);
    federated.set(new Map([['example.org', { ...own, roots: [] }]]));
    expect([...content.current.bundles.values()]).toEqual([own]);
  });

  it('hears of another bundle at once; agents that should have the same share it', () => {
    const { connect, bundle } = start();
    const [a, b] = [connect('1'), connect('2', `${A}2`)];
    bundle.set(next(2));
    expect(a.content.current.bundles.get('example.org')?.sequence).toBe(2);
    expect(a.content.current).toBe(b.content.current);
  });

  it('that attested anew has what its selectors give it now, and one that was evicted keeps nothing open here', () => {
    const { connect, put, selectors, watchers } = start();
    put('pool', 'spiffe://example.org/writ/control-plane');
    put('web', 'spiffe://example.org/pool');
    const { content, close } = connect();
    expect(content.current.entries.size).toBe(0);
    selectors.set('1', ['x:1']);
    watchers.get('1')?.();
    expect([...content.current.entries.keys()]).toEqual(['web']);
    selectors.delete('1');
    watchers.get('1')?.();
    close();
    expect(watchers.size).toBe(0);
  });

  it('that is no node is refused', async () => {
    const { connect } = start();
    await expectAppError(() => connect('unknown'), 'forbidden', 'Not attested.');
  });

  it('whose clock is off is spoken of', () => {
    const { agents, clock, warnings } = start();
    agents.connect({ instanceId: '1', spiffeId: A, version: 'v', time: clock.now() - 300_000 });
    agents.connect({ instanceId: '2', spiffeId: A, version: 'v', time: clock.now() + 5_000 });
    expect(warnings).toEqual([{ spiffeId: A, instanceId: '1', skewMs: -300_000 }]);
    expect(agents.list().map((agent) => agent.clockSkewMs)).toEqual([-300_000, 5_000]);
    expect([agents.clockSkewMs('1'), agents.clockSkewMs('unknown')]).toEqual([-300_000, null]);
  });
});

describe('which bundle agents have', () => {
  it('is known by what they acknowledged, and who is missing is named', async () => {
    const { agents, connect, bundle, stored } = start();
    const [a, b] = [connect('1'), connect('2', `${A}2`)];
    expect(agents.missing(1)).toEqual([`${A} (instance 1)`, `${A}2 (instance 2)`]);
    const before = a.content.current;
    a.acknowledged(before);
    b.acknowledged(before);
    expect(agents.missing(own.sequence)).toEqual([]);
    bundle.set(next(7));
    // What was in force before is not what is in force now.
    b.acknowledged(before);
    a.acknowledged(a.content.current);
    expect(agents.missing(7)).toEqual([`${A}2 (instance 2)`]);
    await turn();
    expect(stored.toSorted()).toEqual(['1 1', '1 7', '2 1']);
    b.close();
    // It may be on its way to another replica.
    expect(agents.missing(7)).toEqual([`${A}2 (instance 2)`]);
  });

  it('those that are banned or evicted do not count, although their streams may still be ending', () => {
    const { agents, connect, barred } = start();
    connect('1');
    connect('2', `${A}2`);
    barred.add('1');
    expect(agents.missing(1)).toEqual([`${A}2 (instance 2)`]);
  });

  it('those that connect are stored as seen at once, and with all others every minute', async () => {
    const { agents, connect, clock, seen } = start();
    const ending = new AbortController();
    connect('1');
    connect('2', `${A}2`);
    await turn();
    expect(seen).toEqual([['1'], ['2']]);
    const done = agents.run(ending.signal);
    await turn();
    await clock.advance(59_000);
    expect(seen.splice(0)).toEqual([['1'], ['2'], ['1', '2']]);
    await clock.advance(61_000);
    expect(seen).toEqual([
      ['1', '2'],
      ['1', '2'],
    ]);
    ending.abort();
    await done;
  });

  it('a newer stream of an instance takes over, and ends without the older one', () => {
    const { agents, connect } = start();
    const older = connect();
    older.acknowledged(older.content.current);
    const newer = connect();
    expect(older.replaced.aborted).toBe(true);
    expect(older.replaced.reason).toMatchObject({ code: 'conflict' });
    expect(agents.missing(1)).toHaveLength(1);
    older.close();
    expect(agents.list()).toHaveLength(1);
    newer.close();
    expect(agents.list()).toEqual([]);
  });
});
