import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { Authority } from '../../src/control/authority/authority.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import type { PolicySet } from '../../src/control/policies/current.ts';
import { Snapshots } from '../../src/control/policies/snapshots.ts';
import type { CompiledPolicies } from '../../src/core/policy/compile.ts';
import { compile } from '../../src/core/policy/compile.ts';
import type { Policy } from '../../src/core/policy/model.ts';
import { SnapshotDecoder, SnapshotEncoder } from '../../src/wire/snapshot-memory.ts';
import { policySet } from '../support/policies.ts';
import type { Row } from './report.ts';
import { time } from './report.ts';

const POLICIES = 10_000;
const NAMESPACES = 1_000;
const TIMES = 10;
const labels = {};

/** What one changed policy costs where there are ten thousand: a workload that has all of them, and a mesh in which each has ten. */
export async function benchOneChange(): Promise<Row[]> {
  return [await ofOneWorkload(), await ofManyWorkloads()];
}

/** From the set of policies to what the sidecar decides with: selected, encoded, decoded, compiled. */
async function ofOneWorkload(): Promise<Row> {
  const all = Array.from({ length: POLICIES }, (_, i) => policy('shop', i));
  const publish = await publisher();
  const decoder = new SnapshotDecoder();
  let compiled: CompiledPolicies | undefined;
  const take = (policies: readonly Policy[], revision: number) => {
    const published = publish(policySet({ revision, policies }));
    const { content } = published.for('spiffe://example.org/ns/shop/sa/orders', labels);
    compiled = compile(decoder.decode(content).policies, revision, compiled);
  };
  const nothing = elapsed(() => take(all, POLICIES));
  const change = best(TIMES, (i) => take(all.with(5_000, policy('shop', 5_000, POLICIES + 1 + i)), POLICIES + 1 + i));
  const reference = { name: 'the same from nothing', figure: nothing };
  return time(
    'one of 10,000 policies of a workload changed: published to compiled',
    change,
    'ms',
    reference,
    '≤ 20 ms',
  );
}

/** For all of 1,000 workloads, one in each namespace. */
async function ofManyWorkloads(): Promise<Row> {
  const namespaces = Array.from({ length: NAMESPACES }, (_, i) => `ns-${String(i).padStart(4, '0')}`);
  const each = POLICIES / NAMESPACES;
  const all = namespaces.flatMap((namespace, n) =>
    Array.from({ length: each }, (_, i) => policy(namespace, n * each + i)),
  );
  const ids = namespaces.map((namespace) => ({ id: `spiffe://example.org/ns/${namespace}/sa/orders`, labels: {} }));
  const publish = await publisher();
  const snapshots = (set: PolicySet) => {
    const published = publish(set);
    for (const { id, labels: own } of ids) published.for(id, own);
  };
  const nothing = elapsed(() => snapshots(policySet({ revision: POLICIES, policies: all })));
  const change = best(TIMES, (i) => {
    const revision = POLICIES + 1 + i;
    const at = all[5_000]?.namespace ?? '';
    snapshots(policySet({ revision, policies: all.with(5_000, policy(at, 5_000, revision)) }));
  });
  const reference = { name: 'the same from nothing', figure: nothing };
  return time('one of 10,000 policies changed: snapshots of 1,000 workloads', change, 'ms', reference);
}

async function publisher() {
  const options = {
    trustDomain: 'example.org',
    keyStore: new MemoryKeyStore(),
    clock: systemClock,
    logger: silentLogger,
  };
  const authority = await Authority.open(options);
  const encoder = new SnapshotEncoder();
  const snapshots = new Snapshots({
    encode: (content) => encoder.encode(content),
    rootNamespace: 'writ-system',
    federatesWith: () => [],
    withKeys: (one) => one,
  });
  const federated = { bundles: new Map(), services: new Map() };
  const environment = { services: [], bundle: authority.bundle.current, federated, authorizers: [], trustedProxies: 0 };
  return (set: PolicySet) => snapshots.publish(set, environment, { publishedAt: 0, keys: 0 });
}

function policy(namespace: string, i: number, revision = i + 1): Policy {
  const caller = { kind: 'exact', value: `example.org/ns/${namespace}/sa/caller-${i}` } as const;
  return {
    ...{ namespace, name: `p${String(i).padStart(5, '0')}`, revision, selector: {}, action: 'ALLOW' },
    rules: [{ from: [{ principals: [caller], namespaces: [] }], to: [] }],
  };
}

function best(times: number, run: (i: number) => void): number {
  return Math.min(...Array.from({ length: times }, (_, i) => elapsed(() => run(i))));
}

function elapsed(run: () => void): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}
