import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { startDevMesh } from '../support/dev-mesh.ts';
import { createTestAuthority } from '../support/pki.ts';
import type { ForwarderRequest } from './naive-forwarder.ts';
import type { Row } from './report.ts';
import { quantile, rate, time } from './report.ts';

const RATE = 200;
const SECONDS = 8;

/**
 * What a pair of sidecars adds to a call: from `orders` to `payments` in a mesh of real processes, with every decision durable
 * before it is forwarded, beside two forwarders that only do mutual TLS. The same application answers both, and alone.
 */
export async function benchSidecar(): Promise<Row[]> {
  const mesh = await startDevMesh(['--no-traffic']);
  const forwarders: ChildProcess[] = [];
  try {
    const application = { port: mesh.port(9103), host: 'application' };
    const pair = { port: mesh.port(9112), host: 'payments.shop.mesh' };
    const naive = { port: await startForwarders(application.port, forwarders), host: 'naive' };
    for (const target of [application, naive, pair]) await offered(target, 1);
    const alone = await offered(application, SECONDS);
    const byNaive = await offered(naive, SECONDS);
    const byPair = await offered(pair, SECONDS);
    const added = (samples: number[], fraction: number) => quantile(samples, fraction) - quantile(alone, fraction);
    const naiveAdds = (fraction: number) => ({ name: 'two naive forwarders add', figure: added(byNaive, fraction) });
    const naivePeak = await closedLoop(naive);
    const pairPeak = await closedLoop(pair);
    return [
      time(`sidecar pair adds, HTTP/1.1 at ${RATE}/s, p50`, added(byPair, 0.5), 'ms', naiveAdds(0.5), '≤ 1 ms'),
      time(`sidecar pair adds, HTTP/1.1 at ${RATE}/s, p99`, added(byPair, 0.99), 'ms', naiveAdds(0.99), '≤ 3 ms'),
      rate(
        'sidecar pair, 16 callers without pause',
        pairPeak,
        'calls/s',
        { name: 'two naive forwarders', figure: naivePeak },
        '≥ 3',
      ),
    ];
  } finally {
    for (const forwarder of forwarders) forwarder.kill();
    await mesh.dispose();
  }
}

interface Target {
  readonly port: number;
  readonly host: string;
}

/** Milliseconds of each call when calls come at a steady rate, whether or not earlier ones have been answered. */
async function offered(target: Target, seconds: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true });
  const samples: number[] = [];
  const start = performance.now();
  const calls: Promise<void>[] = [];
  for (let n = 0; n < RATE * seconds; n++) {
    const due = start + (n * 1000) / RATE;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const sent = performance.now();
    calls.push(
      call(target, agent).then(() => {
        samples.push(performance.now() - sent);
      }),
    );
  }
  await Promise.all(calls);
  agent.destroy();
  return samples;
}

async function closedLoop(target: Target): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const end = performance.now() + 5000;
  let count = 0;
  const caller = async () => {
    while (performance.now() < end) {
      await call(target, agent);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: 16 }, caller));
  agent.destroy();
  return count / 5;
}

function call({ port, host }: Target, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, path: '/charge', headers: { host }, agent }, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(`${host} answered ${answer.statusCode}`));
      answer.resume().on('end', resolve);
    });
    outgoing.on('error', reject).end();
  });
}

async function startForwarders(application: number, started: ChildProcess[]): Promise<number> {
  const authority = createTestAuthority();
  const start = async (role: 'in' | 'out', target: number): Promise<number> => {
    const { pem } = authority.issue(`spiffe://example.org/ns/bench/sa/${role}`);
    const child = fork(join(import.meta.dirname, 'naive-forwarder.ts'));
    started.push(child);
    child.send({ role, target, key: pem.key, certificate: pem.cert, ca: pem.ca } satisfies ForwarderRequest);
    const [port] = await once(child, 'message');
    return Number(port);
  };
  return await start('out', await start('in', application));
}
