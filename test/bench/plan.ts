import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { EntrySet } from '../../src/control/authority/entries/entry-set.ts';
import { Planner } from '../../src/control/policies/plan.ts';
import { PlanReceipts } from '../../src/control/policies/plan-receipts.ts';
import { PolicyStore } from '../../src/control/policies/store.ts';
import { Suggestions } from '../../src/control/policies/suggest.ts';
import { openStore } from '../../src/control/store/store.ts';
import type { Row } from './report.ts';
import { alone, time } from './report.ts';

const CALLS = 1_000_000;
const SERVICES = 40;
const CALLERS = 50;
const PATHS = 2_000;

/**
 * A plan over a million recorded calls in a database on disk: 40 services with a policy each, all of which the candidate
 * replaces, so that every call is decided twice. The reference reads the same rows with SQLite alone. The longest turn is how long
 * everybody else in the process has to wait.
 */
export async function benchPlan(directory: string): Promise<Row[]> {
  const path = join(directory, 'plan.db');
  const [clock, logger] = [systemClock, silentLogger];
  const store = await openStore({ kind: 'sqlite', path }, { clock, logger });
  fill(path, clock.now());
  const policies = await PolicyStore.open({ store, clock, logger });
  const entries = await EntrySet.open({ store, trustDomain: 'example.org', clock, logger });
  try {
    for (let n = 0; n < SERVICES; n++) await policies.put({ source: policy(n, '/api/*'), author: 'bench' });
    const shared = { store, policies: policies.current, entries, trustDomain: 'example.org', clock };
    const planner = new Planner({
      ...shared,
      rootNamespace: 'writ-system',
      receipts: new PlanReceipts({ store, clock }),
    });
    const put = Array.from({ length: SERVICES }, (_, n) => policy(n, '/api/items/1*'));
    const reference = { name: 'SQLite reads the same rows', figure: readAll(path) };
    const made = await measured(() => planner.plan({ put, author: 'bench' }));
    const { calls, newlyDenied } = made.value;
    if (calls.replayed !== CALLS || newlyDenied.calls === 0)
      throw new Error(`not a plan of them all: ${JSON.stringify(calls)}`);
    const suggestions = new Suggestions({ ...shared, rootNamespace: 'writ-system' });
    const suggested = await measured(() => suggestions.suggest({ namespace: 'shop', service: 'service-1' }));
    return [
      time('plan: 1,000,000 recorded calls, every one decided by both', made.ms, 'ms', reference, '≤ 10,000 ms'),
      alone('plan: longest turn of the event loop', made.longestTurnMs, 'ms'),
      alone('plan: growth of the heap while it runs', made.heapMiB, 'MiB'),
      alone(`suggest: ${CALLS / SERVICES} calls of one service among them`, suggested.ms, 'ms'),
    ];
  } finally {
    entries.close();
    await policies.close();
    await store.close();
  }
}

async function measured<T>(run: () => Promise<T>) {
  let [longestTurnMs, most, last] = [0, 0, performance.now()];
  const before = process.memoryUsage().heapUsed;
  const timer = setInterval(() => {
    const now = performance.now();
    longestTurnMs = Math.max(longestTurnMs, now - last);
    most = Math.max(most, process.memoryUsage().heapUsed - before);
    last = now;
  }, 1);
  const start = performance.now();
  try {
    const value = await run();
    return { value, ms: performance.now() - start, longestTurnMs, heapMiB: most / 2 ** 20 };
  } finally {
    clearInterval(timer);
  }
}

/** Milliseconds to read what a plan looks at, row by row. */
function readAll(path: string): number {
  const database = new DatabaseSync(path);
  const start = performance.now();
  const statement = database.prepare(
    `select source, destination, protocol, method, host, path, port, decision, reason, rule, policy_revision, token_subject
     from audit_records order by time desc, place desc`,
  );
  let count = 0;
  for (const _ of statement.iterate()) count += 1;
  database.close();
  if (count !== CALLS) throw new Error(`${count} rows`);
  return performance.now() - start;
}

/** By SQLite itself, since the index would take a minute. Spread over the last 23 hours. */
function fill(path: string, now: number): void {
  const database = new DatabaseSync(path);
  database.exec('pragma synchronous = off');
  database.exec(`with recursive n(i) as (select 0 union all select i + 1 from n where i < ${CALLS - 1})
    insert into audit_records (sidecar, epoch, seq, place, leaf, call, event_hash, time, source, destination, protocol, method, host,
      path, path_start, port, decision, reason, rule, policy_revision, trace_id, token_subject, certificate_serial)
    select printf('0193b2c4-aaaa-7bbb-8ccc-%012d', i % ${SERVICES}), 1, i + 1, i, i / 256,
      printf('0193b2c4-%08d-7bbb-8ccc-000000000000', i), hex(zeroblob(32)), ${now} - 82800000 + i * 80,
      'spiffe://example.org/ns/shop/sa/caller-' || ((i * 31) % ${CALLERS}),
      'spiffe://example.org/ns/shop/sa/service-' || (i % ${SERVICES}), 'http', iif(i % 5 = 0, 'POST', 'GET'),
      'service-' || (i % ${SERVICES}) || '.shop.mesh', '/api/items/' || ((i * 7919) % ${PATHS}),
      '/api/items/' || ((i * 7919) % ${PATHS}), 8080, iif(i % 10 = 0, 'deny', 'allow'),
      iif(i % 10 = 0, 'default-deny', 'allow-rule'), iif(i % 10 = 0, 'default-deny', 'shop/p@3#0'), 3, '', '', '0a1b2c'
    from n`);
  database.close();
}

function policy(n: number, path: string): string {
  return `apiVersion: writ.dev/v1
kind: AuthorizationPolicy
metadata: {name: service-${n}, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: service-${n}}]
  rules:
  - from: [{source: {namespaces: [shop]}}]
    to: [{operation: {paths: ["${path}"], methods: [GET, POST]}}]
`;
}
