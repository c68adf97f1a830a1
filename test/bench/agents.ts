import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import type { AgentsReply, AgentsRequest } from './agents-process.ts';
import { Child } from './child.ts';
import type { Admitted, Plane } from './control-plane.ts';
import { createAll, input, startControlPlane } from './control-plane.ts';
import { fsyncPerSecond, perSecond } from './reference.ts';
import type { Reference, Row } from './report.ts';
import { alone, quantile, time } from './report.ts';
import { WorkloadApiClient, workloadMetadata } from './workload-client.ts';

type AgentsChild = Child<AgentsRequest, AgentsReply>;

const AGENTS = 1_000;
const ENTRIES_PER_AGENT = 10;
const SAMPLES = 300;
const WORKLOADS = 1_000;
const IDLE_MS = 5_000;

/**
 * From the call that makes an entry to the moment when a workload beside the agent holds its SVID: commit, push, key, request,
 * record in the ledger, signature, verification. 1,000 agents, each on an mTLS connection of its own, in another process; 10,000
 * entries; SQLite with synchronous=FULL and a ledger that is synced before anything is handed out. Then one agent with 1,000
 * workloads on its Unix socket, in a process of its own.
 */
export async function benchAgents(directory: string): Promise<Row[]> {
  const closers: (() => unknown)[] = [];
  try {
    const plane = await startControlPlane(directory, closers);
    const ids = await plane.admit(AGENTS);
    await fill(plane, ids);
    const echo = await echoMs(closers);
    const steps = cryptoMs() + 1_000 / fsyncPerSecond(directory, 1024);
    const reference: Reference = {
      name: 'P-256, 2 syncs, 2 TCP echoes',
      figure: steps + 2 * echo + 1_000 / fsyncPerSecond(directory, 4096),
    };

    const agents = new Child<AgentsRequest, AgentsReply>('agents-process.ts', closers);
    await agents.ask({ kind: 'agents', ...plane.connection(), agents: ids, directory });
    const idle = await idleCpu();
    const single = await newEntries(plane, agents, ids);
    const burst = await importedEntries(plane, agents, ids);
    agents.end();

    const first = await firstSvids(plane, directory, closers, {
      name: 'P-256, 1 sync, 2 echoes',
      figure: steps + 2 * echo,
    });
    const count = AGENTS.toLocaleString('en-US');
    return [
      time(`new entry → workload holds its SVID, ${count} agents, p50`, quantile(single, 0.5), 'ms', reference),
      time(
        `new entry → workload holds its SVID, ${count} agents, p99`,
        quantile(single, 0.99),
        'ms',
        reference,
        '≤ 100 ms',
      ),
      alone(`${count} entries in one import → the last workload holds its SVID`, burst, 'ms'),
      alone(`control plane, ${count} agents connected and nothing changes`, idle, 'ms CPU/s'),
      ...first,
    ];
  } finally {
    for (const close of closers) await close();
  }
}

/** What is there before anything is measured. */
async function fill(plane: Plane, ids: readonly Admitted[]): Promise<void> {
  const inputs = ids.flatMap(({ spiffeId: parentId }, agent) =>
    Array.from({ length: ENTRIES_PER_AGENT }, (_, i) => input(parentId, `there/${agent}-${i}`)),
  );
  await createAll(plane.entries, inputs);
  await plane.entrySet.settled();
}

/** One after the other, each for another agent. */
async function newEntries(plane: Plane, agents: AgentsChild, ids: readonly Admitted[]): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < SAMPLES + 20; i++) {
    const agent = (i * 7) % ids.length;
    const name = `new/${i}`;
    await agents.ask({ kind: 'wait', agent, names: [`bench:name:${name}`] });
    const held = agents.hear('held');
    const start = performance.now();
    await plane.entries.create(input(ids[agent]?.spiffeId ?? '', name));
    await held;
    // The first few find cold code.
    if (i >= 20) samples.push(performance.now() - start);
  }
  return samples;
}

/** One for each agent, at once. */
async function importedEntries(plane: Plane, agents: AgentsChild, ids: readonly Admitted[]): Promise<number> {
  const inputs = ids.map(({ spiffeId }, agent) => input(spiffeId, `import/${agent}`));
  for (const agent of ids.keys()) await agents.ask({ kind: 'wait', agent, names: [`bench:name:import/${agent}`] });
  const all = agents.hear('held', ids.length);
  const start = performance.now();
  await createAll(plane.entries, inputs);
  await all;
  return performance.now() - start;
}

async function firstSvids(
  plane: Plane,
  directory: string,
  closers: (() => unknown)[],
  reference: Reference,
): Promise<Row[]> {
  const [agent] = await plane.admit(1, 'busy');
  if (agent === undefined) throw new Error('no agent');
  await createAll(
    plane.entries,
    Array.from({ length: WORKLOADS }, (_, i) => input(agent.spiffeId, `w/${i}`)),
  );
  const child = new Child<AgentsRequest, AgentsReply>('agents-process.ts', closers);
  const socket = join(directory, 'agent.sock');
  await child.ask({
    kind: 'workloads',
    ...plane.connection(),
    agent,
    directory: join(directory, 'busy'),
    socket,
    entries: WORKLOADS,
  });
  const clients: InstanceType<typeof WorkloadApiClient>[] = [];
  closers.unshift(() => {
    for (const client of clients) client.close();
  });
  const fetch = async () => {
    const start = performance.now();
    const client = new WorkloadApiClient(`unix://${socket}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
    clients.push(client);
    const stream = client.FetchX509SVID({}, workloadMetadata());
    stream.on('error', () => undefined);
    await once(stream, 'data');
    return performance.now() - start;
  };
  const oneByOne = async () => {
    const samples: number[] = [];
    for (let i = 0; i < SAMPLES + 20; i++) {
      const ms = await fetch();
      if (i >= 20) samples.push(ms);
    }
    return samples;
  };
  const cold = await oneByOne();
  // The others come all at once, as after a restart of the agent.
  const rest = WORKLOADS - clients.length;
  const start = performance.now();
  await Promise.all(Array.from({ length: rest }, fetch));
  const burst = performance.now() - start;
  const { rssBytes } = await child.ask({ kind: 'memory' });
  // All of them end, and some begin anew: their identities are still there.
  for (const client of clients.splice(0)) client.close();
  const warm = await oneByOne();
  child.end();
  return [
    time('agent: connect → first SVID, warm, p50', quantile(warm, 0.5), 'ms', reference),
    time('agent: connect → first SVID, warm, p99', quantile(warm, 0.99), 'ms', reference, '≤ 20 ms'),
    time('agent: connect → first SVID, signed then, p50', quantile(cold, 0.5), 'ms', reference),
    time('agent: connect → first SVID, signed then, p99', quantile(cold, 0.99), 'ms', reference),
    alone(`agent: ${rest} workloads connect at once → the last has its SVID`, burst, 'ms'),
    alone(
      `agent: memory with ${WORKLOADS.toLocaleString('en-US')} workloads connected`,
      rssBytes / 1e6,
      'MB',
      '≤ 200 MB',
    ),
  ];
}

/** What this process spends while everybody is connected and nothing happens: milliseconds of CPU per second. */
async function idleCpu(): Promise<number> {
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / (IDLE_MS / 1000);
}

/** A key, a request and a certificate signed, both verified. */
function cryptoMs(): number {
  const data = Buffer.alloc(300, 1);
  return (
    1_000 /
    perSecond(() => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const signatures = [sign('sha256', data, privateKey), sign('sha256', data, privateKey)];
      for (const signature of signatures) verify('sha256', data, publicKey, signature);
    }, 500)
  );
}

/** Median milliseconds for a kilobyte there and a byte back over plain TCP. */
async function echoMs(closers: (() => unknown)[]): Promise<number> {
  const server = createServer((socket) => socket.setNoDelay().on('data', () => socket.write('x')));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const socket = connect(address.port, '127.0.0.1').setNoDelay();
  closers.unshift(() => {
    socket.destroy();
    server.close();
  });
  const data = Buffer.alloc(1024, 1);
  const samples: number[] = [];
  for (let i = 0; i < 500; i++) {
    const start = performance.now();
    socket.write(data);
    await once(socket, 'data');
    samples.push(performance.now() - start);
  }
  return quantile(samples, 0.5);
}
