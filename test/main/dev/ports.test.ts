import type { AddressInfo, Server } from 'node:net';
import { createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { nextCommands } from '../../../src/main/dev/banner.ts';
import { devOptions } from '../../../src/main/dev/options.ts';
import type { Ports } from '../../../src/main/dev/ports.ts';
import { checkPorts, MAX_PORT_BASE, MIN_PORT_BASE, namedPorts, planPorts } from '../../../src/main/dev/ports.ts';
import { expectAppError } from '../../support/errors.ts';

describe('ports', () => {
  it('are those of the documentation', () => {
    expect(planPorts(8080)).toEqual({
      rest: 8080,
      grpc: 8444,
      health: 9090,
      services: {
        web: { application: 9101, outbound: 9111, inbound: 9121, admin: 9131 },
        orders: { application: 9102, outbound: 9112, inbound: 9122, admin: 9132 },
        payments: { application: 9103, outbound: 9113, inbound: 9123, admin: 9133 },
      },
    });
  });

  it('shift together, are all different, and stay in range at both ends', () => {
    const distances = (base: number) => namedPorts(planPorts(base)).map(({ port }) => port - base);
    expect(distances(18_080)).toEqual(distances(8080));
    for (const base of [MIN_PORT_BASE, 8080, MAX_PORT_BASE]) {
      const ports = namedPorts(planPorts(base)).map(({ port }) => port);
      expect(new Set(ports).size).toBe(15);
      expect(Math.min(...ports)).toBeGreaterThanOrEqual(1024);
      expect(Math.max(...ports)).toBeLessThanOrEqual(65_535);
    }
  });

  it('that browsers refuse are refused here', async () => {
    await expectAppError(() => planPorts(10_080), 'usage', /Browsers refuse port 10080/);
    await expectAppError(() => planPorts(6665 - 1010), 'usage', /Browsers refuse port 6665/);
  });

  it('that are taken are all named, with what they are for', async () => {
    const { ports } = await portsWith(3);
    const [first, second] = namedPorts(ports).filter((_, i) => i === 0 || i === 2);
    const error = await expectAppError(checkPorts(ports, { clock: systemClock, patienceMs: 0 }), 'conflict');
    expect(error.message).toContain(`The ports ${first?.port} (REST and console), ${second?.port} (health)`);
    expect(error.message).toContain('are taken. Stop what listens there, or shift all ports: npm start -- --port-base');
  });

  it('are waited for when those who hold them are on their way out', async () => {
    const { ports, servers } = await portsWith(1);
    const checking = checkPorts(ports, { clock: systemClock, patienceMs: 10_000 });
    servers[0]?.close();
    await checking;
  });
});

/** Ports of which the first `busy` and every second of them are taken, by servers of the test's own. */
async function portsWith(busy: number): Promise<{ ports: Ports; servers: Server[] }> {
  const all = await Promise.all(Array.from({ length: 15 }, () => listen()));
  onTestFinished(() => all.forEach((server) => void server.close()));
  const numbers = all.map((server) => (server.address() as AddressInfo).port);
  const free = all.filter((_, i) => i >= busy || i % 2 === 1);
  await Promise.all(free.map((server) => new Promise((resolve) => server.close(resolve))));
  const at = (i: number) => numbers[i] ?? 0;
  const of = (i: number) => ({ application: at(i), outbound: at(i + 1), inbound: at(i + 2), admin: at(i + 3) });
  const ports = { rest: at(0), grpc: at(1), health: at(2), services: { web: of(3), orders: of(7), payments: of(11) } };
  return { ports, servers: all };
}

function listen(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
  });
}

describe('options', () => {
  it('need nothing', () => {
    expect(devOptions({ flags: {}, env: {} })).toEqual({
      portBase: 8080,
      traffic: true,
      ephemeral: false,
      dataDir: '.writ/dev',
    });
  });

  it('that contradict are wrong usage: data cannot be both temporary and in a directory', async () => {
    for (const dataDir of ['mine', '.writ/dev']) {
      const flags = { ephemeral: true, 'data-dir': dataDir };
      await expectAppError(() => devOptions({ flags, env: {} }), 'usage', /--ephemeral .* --data-dir .* only one/);
    }
    expect(devOptions({ flags: { ephemeral: true }, env: {} }).ephemeral).toBe(true);
  });

  it.each([['80'], ['65535'], ['x']])('--port-base %s is wrong usage', async (base) => {
    await expectAppError(() => devOptions({ flags: { 'port-base': base }, env: {} }), 'usage');
  });
});

describe('next commands', () => {
  it('name the control plane only where the command line would not find it', () => {
    const ports = planPorts(8080);
    expect(nextCommands({ ports, tokenFile: '.writ/dev/admin-token', found: true })).toEqual([
      "curl -i -H 'Host: payments.shop.mesh' http://127.0.0.1:9111/",
      'npm run -s writ -- policy check --from shop/web --to shop/payments --method GET --path /',
      'npm run -s writ -- audit search --decision deny',
    ]);
    expect(nextCommands({ ports, tokenFile: '/tmp/x y/admin-token', found: false })[2]).toBe(
      "npm run -s writ -- --addr http://127.0.0.1:8080 --token-file '/tmp/x y/admin-token' audit search --decision deny",
    );
  });
});
