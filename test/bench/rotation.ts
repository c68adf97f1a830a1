import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../../src/base/clock.ts';
import { inState } from '../../src/control/authority/authorities.ts';
import type { Authority } from '../../src/control/authority/authority.ts';
import type { IdentitiesOptions } from '../../src/control/authority/identities.ts';
import { isAgentId } from '../../src/core/identity/agent-id.ts';
import { Child } from './child.ts';
import type { Plane } from './control-plane.ts';
import { createAll, input, startControlPlane, TRUST_DOMAIN } from './control-plane.ts';
import type { Row } from './report.ts';
import { alone, amount, quantile, time } from './report.ts';
import type { RotationAgentsDone, RotationAgentsRequest } from './rotation-agents.ts';
import type { RotationPairDone, RotationPairRequest } from './rotation-pair.ts';

const AGENTS = 1_000;
/** Half of them servers, half clients. */
const CALLING = 8;
/** Instead of an hour, so that everything is renewed within a minute. */
const LIFE_SECONDS = 60;
/** Of the agents' own, each of which costs two connections as well. */
const AGENT_LIFE_SECONDS = 120;
const HALF_LIFE_MS = (AGENT_LIFE_SECONDS / 2) * 1000;
const STEADY_MS = 15_000;
/** In which everybody re-keys after a taint, as the product has it. */
const SPREAD_MS = 30_000;
const admin = { name: 'bench', source: '' };

/**
 * The root is rotated while 1,000 agents are connected, each with a certificate of its own that it renews and one workload, and
 * while workloads beside eight of them keep opening new mTLS connections to each other, with what the Workload API pushes to
 * them: prepare, acknowledged, activate, everything renewed, the old root retired. Then the root is rotated again and the one
 * before is tainted. Certificates live a minute or two; the calendar of the authorities is put forward to the end of the old root.
 */
export async function benchRotation(directory: string): Promise<Row[]> {
  const closers: (() => unknown)[] = [];
  try {
    const signatures = new Signatures();
    let calendarMs = 0;
    const own = join(directory, 'rotation');
    await mkdir(own);
    const plane = await startControlPlane(own, closers, {
      issuing: (authority) => signatures.of(authority),
      rotationClock: { ...systemClock, now: () => Date.now() + calendarMs },
    });
    const { agents, pair } = await startWorkloads(plane, directory, closers);
    await pause(5_000);

    // As it is when nothing happens.
    await pair.ask({ kind: 'count' });
    const before = await signatures.during(() => pause(STEADY_MS));
    const calm = await pair.ask({ kind: 'count' });

    let times = { acknowledgedMs: 0, renewedMs: 0 };
    const during = await signatures.during(async () => {
      times = await rotate(plane, agents);
      calendarMs = 4 * 24 * 3_600_000;
      await retired(plane);
      // What is made from now on is valid by everybody's clocks.
      calendarMs = 0;
      // One more life, in which what was renewed because of the rotation, if anything was, comes again.
      signatures.lifeSeconds = 3_600;
      await pause((LIFE_SECONDS / 2) * 1.15 * 1000);
    });
    const rotated = await pair.ask({ kind: 'count' });

    const { rekeyedMs, tainting } = await taint(plane, agents, signatures);
    const tainted = await pair.ask({ kind: 'count' });
    const { verified, refused } = await agents.ask({ kind: 'count' });
    for (const { why } of [calm, rotated, tainted])
      if (why !== '') process.stderr.write(`a handshake failed: ${why}\n`);
    agents.end();
    pair.end();
    return report({ before, during, tainting, calm, rotated, tainted, ...times, rekeyedMs, verified, refused });
  } finally {
    for (const close of closers) await close();
  }
}

type AgentsChild = Child<RotationAgentsRequest, RotationAgentsDone>;
type PairChild = Child<RotationPairRequest, RotationPairDone>;

async function startWorkloads(
  plane: Plane,
  directory: string,
  closers: (() => unknown)[],
): Promise<{ readonly agents: AgentsChild; readonly pair: PairChild }> {
  // All at moments of their own from the beginning, as those that have run for a while are.
  const withinMs = HALF_LIFE_MS;
  const ids = await plane.admit(
    AGENTS,
    'r',
    (i) => AGENT_LIFE_SECONDS + Math.round((AGENT_LIFE_SECONDS * ((i * 7) % AGENTS)) / AGENTS),
  );
  await createAll(
    plane.entries,
    ids.map(({ spiffeId }, i) => input(spiffeId, `w/${i}`)),
  );
  await plane.entrySet.settled();
  const sockets = Array.from({ length: CALLING }, (_, i) => join(directory, `agent-${i}.sock`));
  const agents: AgentsChild = new Child('rotation-agents.ts', closers);
  const agentsDirectory = await memoryDirectory(directory, closers);
  await agents.ask({
    kind: 'start',
    ...plane.connection(),
    agents: ids,
    directory: agentsDirectory,
    sockets,
    withinMs,
  });
  const pair: PairChild = new Child('rotation-pair.ts', closers);
  await pair.ask({ kind: 'start', sockets, trustDomain: TRUST_DOMAIN });
  return { agents, pair };
}

/** Where what the agents keep is written: each has a disk of its own in life, and 1,000 on one would wait for each other. */
async function memoryDirectory(directory: string, closers: (() => unknown)[]): Promise<string> {
  try {
    const made = await mkdtemp('/dev/shm/writ-bench-');
    closers.push(() => rm(made, { recursive: true, force: true }));
    return made;
  } catch {
    return join(directory, 'rotation-agents');
  }
}

/** Up to the moment when nobody has anything from the root before. */
async function rotate(plane: Plane, agents: AgentsChild) {
  const { rotation } = plane;
  const start = performance.now();
  const { id, sequence, name } = await rotation.prepare('x509', admin);
  while (plane.agents.missing(sequence).length > 0) await pause(20);
  const acknowledgedMs = performance.now() - start;
  await rotation.activate(id, admin);
  const activated = performance.now();
  await agents.ask({ kind: 'await', root: name });
  return { acknowledgedMs, renewedMs: performance.now() - activated };
}

/** The schedule runs until the old root has left the bundle. */
async function retired({ rotation, authorities, agents, authority }: Plane): Promise<void> {
  const stop = new AbortController();
  const running = rotation.run(stop.signal);
  while (inState(await authorities.read(), 'x509', 'old') !== undefined) await pause(20);
  stop.abort();
  await running;
  while (agents.missing(authority.bundle.current.sequence).length > 0) await pause(20);
}

/** A root that has signed everything is replaced, and then tainted. */
async function taint(plane: Plane, agents: AgentsChild, signatures: Signatures) {
  const { rotation, authorities } = plane;
  const before = inState(await authorities.read(), 'x509', 'active');
  const { id, sequence, name } = await rotation.prepare('x509', admin);
  while (plane.agents.missing(sequence).length > 0) await pause(20);
  await rotation.activate(id, admin);
  let rekeyedMs = 0;
  const tainting = await signatures.during(async () => {
    const start = performance.now();
    await rotation.taint(before?.id ?? '', admin);
    await agents.ask({ kind: 'await', root: name });
    rekeyedMs = performance.now() - start;
  });
  return { rekeyedMs, tainting };
}

function report(o: {
  readonly before: Rate;
  readonly during: Rate;
  readonly tainting: Rate;
  readonly calm: RotationPairDone;
  readonly rotated: RotationPairDone;
  readonly tainted: RotationPairDone;
  readonly acknowledgedMs: number;
  readonly renewedMs: number;
  readonly rekeyedMs: number;
  readonly verified: number;
  readonly refused: number;
}): Row[] {
  const { before, during, tainting, calm, rotated, tainted } = o;
  const count = AGENTS.toLocaleString('en-US');
  const steady = { name: 'steady renewals before it', figure: before.mean };
  const evenly = { name: `${2 * AGENTS} evenly in ${SPREAD_MS / 1000} s`, figure: (2 * AGENTS) / (SPREAD_MS / 1000) };
  const usual = { name: 'before it', figure: quantile([...calm.samples], 0.99) };
  return [
    alone(`rotation, ${count} agents: handshakes made`, rotated.made, 'handshakes'),
    alone(`rotation, ${count} agents: handshakes failed`, rotated.failed + calm.failed, 'handshakes', '0'),
    time(`rotation: handshake p99`, quantile([...rotated.samples], 0.99), 'ms', usual),
    alone('rotation: prepare → the last agent has acknowledged', o.acknowledgedMs, 'ms'),
    alone('rotation: activate → everything renewed', o.renewedMs / 1000, `s of a half life of ${HALF_LIFE_MS / 1000}`),
    amount('rotation: signatures, peak before it', before.peak, '/s', steady),
    amount('rotation: signatures, peak during and after', during.peak, '/s', steady, '≤ 2 × steady'),
    amount('rotation: signatures, in the busiest second', during.second, '/s', {
      name: 'in the busiest before it',
      figure: before.second,
    }),
    alone('taint: handshakes made while everybody re-keys', tainted.made, 'handshakes'),
    alone('taint: handshakes failed', tainted.failed, 'handshakes', '0'),
    time('taint → everything re-keyed', o.rekeyedMs / 1000, 's', { name: 'the spread', figure: SPREAD_MS / 1000 }),
    amount('taint: signatures, peak', tainting.peak, '/s', evenly),
    alone('new certificates verified beside another agent', o.verified, 'certificates'),
    alone('of them refused', o.refused, 'certificates', '0'),
  ];
}

/** All per second. */
interface Rate {
  readonly mean: number;
  /** In the busiest five seconds. One process here is 1,000 machines: what it misses while it is behind, it makes up at once. */
  readonly peak: number;
  /** In the busiest second. */
  readonly second: number;
}

/** Counts what is signed, and says how long it lives. */
class Signatures {
  /** Instead of what they have otherwise. */
  lifeSeconds: number | undefined;
  #times: number[] = [];

  of(authority: Authority): IdentitiesOptions['authority'] {
    return {
      lifetimes: authority.lifetimes,
      issue: (request) => {
        this.#times.push(performance.now());
        const usual = isAgentId(request.id) ? AGENT_LIFE_SECONDS : LIFE_SECONDS;
        return authority.issue({ ...request, ttlSeconds: this.lifeSeconds ?? usual });
      },
      signJwt: (request) => authority.signJwt(request),
      signWit: (request) => authority.signWit(request),
    };
  }

  async during(work: () => Promise<unknown>): Promise<Rate> {
    this.#times = [];
    const start = performance.now();
    await work();
    const seconds = (performance.now() - start) / 1000;
    return { mean: this.#times.length / seconds, peak: this.#most(5), second: this.#most(1) };
  }

  /** Per second, in any so many of them, not only those that begin with one. */
  #most(seconds: number): number {
    let most = 0;
    for (let first = 0, last = 0; last < this.#times.length; last++) {
      while ((this.#times[last] ?? 0) - (this.#times[first] ?? 0) >= seconds * 1000) first++;
      most = Math.max(most, last - first + 1);
    }
    return most / seconds;
  }
}
