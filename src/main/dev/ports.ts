import { createServer } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';

/** Everything listens here: nothing of the demo can be reached from another machine. */
export const LOOPBACK = '127.0.0.1';

export const DEFAULT_PORT_BASE = 8080;
export const MIN_PORT_BASE = 1024;

/** The demo mesh, in the order of its calls. */
export const serviceNames = ['web', 'orders', 'payments'] as const;
export type ServiceName = (typeof serviceNames)[number];

export interface ServicePorts {
  readonly application: number;
  readonly outbound: number;
  readonly inbound: number;
  readonly admin: number;
}

export interface Ports {
  readonly rest: number;
  readonly grpc: number;
  readonly health: number;
  readonly services: Readonly<Record<ServiceName, ServicePorts>>;
}

/** The ports at the default base; another base shifts all of them by the same distance. */
const plan = {
  rest: DEFAULT_PORT_BASE,
  grpc: 8444,
  health: 9090,
  application: 9100,
  outbound: 9110,
  inbound: 9120,
  admin: 9130,
};

const highest = plan.admin + serviceNames.length;
export const MAX_PORT_BASE = 65_535 - (highest - DEFAULT_PORT_BASE);

/** Ports that browsers and fetch refuse, since other protocols own them: https://fetch.spec.whatwg.org/#port-blocking */
const blockedByBrowsers: readonly number[] = [
  1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/** Throws `usage` for a base at which browsers could not open the page. */
export function planPorts(base: number): Ports {
  const shift = base - DEFAULT_PORT_BASE;
  for (const port of [plan.rest + shift, plan.health + shift]) {
    if (!blockedByBrowsers.includes(port)) continue;
    throw new AppError(
      'usage',
      `Browsers refuse port ${port}, since another protocol owns it. Choose another --port-base.`,
    );
  }
  const of = (i: number): ServicePorts => ({
    application: plan.application + i + shift,
    outbound: plan.outbound + i + shift,
    inbound: plan.inbound + i + shift,
    admin: plan.admin + i + shift,
  });
  return {
    rest: plan.rest + shift,
    grpc: plan.grpc + shift,
    health: plan.health + shift,
    services: { web: of(1), orders: of(2), payments: of(3) },
  };
}

/**
 * The Unix socket on which the agent serves the Workload API: in /tmp, where its path is short enough for every client, and
 * another one for every base. None where the agent cannot tell who calls.
 */
export function agentSocket(base: number, platform: NodeJS.Platform): string | undefined {
  if (platform !== 'linux') return undefined;
  return base === DEFAULT_PORT_BASE ? '/tmp/writ-agent.sock' : `/tmp/writ-agent-${base}.sock`;
}

/** Every port with what it is for. */
export function namedPorts(ports: Ports): readonly { readonly port: number; readonly use: string }[] {
  return [
    { port: ports.rest, use: 'REST and console' },
    { port: ports.grpc, use: 'gRPC' },
    { port: ports.health, use: 'health' },
    ...serviceNames.flatMap((name) => [
      { port: ports.services[name].application, use: name },
      { port: ports.services[name].outbound, use: `outbound of ${name}` },
      { port: ports.services[name].inbound, use: `inbound of ${name}` },
      { port: ports.services[name].admin, use: `sidecar admin of ${name}` },
    ]),
  ];
}

/**
 * Makes sure that every port is free, before anything is started. Throws `conflict` with all that are taken.
 *
 * @param patienceMs wait so long for ports that are taken: processes of a supervisor that was killed are on their way out
 */
export async function checkPorts(
  ports: Ports,
  o: { readonly clock: Clock; readonly patienceMs: number },
): Promise<void> {
  const until = o.clock.now() + o.patienceMs;
  for (;;) {
    const tries = await Promise.all(
      namedPorts(ports).map(async (each) => ({ ...each, problem: await problemWith(each.port) })),
    );
    const taken = tries.filter((each) => each.problem !== undefined);
    if (taken.length === 0) return;
    if (o.clock.now() >= until) throw takenError(taken);
    await sleep(o.clock, 100);
  }
}

function takenError(taken: readonly { port: number; use: string; problem: string | undefined }[]): AppError {
  const list = taken.map(
    ({ port, use, problem }) => `${port} (${use}${problem === 'EADDRINUSE' ? '' : `, ${problem}`})`,
  );
  const what = list.length === 1 ? `Port ${list[0]} is taken` : `The ports ${list.join(', ')} are taken`;
  return new AppError(
    'conflict',
    `${what}. Stop what listens there, or shift all ports: npm start -- --port-base 18080`,
  );
}

function problemWith(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(reason(error)));
    server.listen({ host: LOOPBACK, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
