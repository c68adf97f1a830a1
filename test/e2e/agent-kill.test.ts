import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { World } from '../interop/world.ts';
import { startWorld } from '../interop/world.ts';
import { answer, clientOf, Received, secured } from '../node/agent/workload-client.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';
const cli = resolve(import.meta.dirname, '../../src/main/cli.ts');
const own = [`unix:uid:${process.geteuid?.()}`];

/** A control plane and an agent that are killed and started again, while a workload goes on. */
describe.runIf(process.platform === 'linux')('kill -9', { timeout: 90_000 }, () => {
  let world: World;
  const started: ChildProcess[] = [];

  beforeAll(async () => {
    world = await startWorld();
  }, 60_000);
  afterAll(async () => {
    for (const child of started) {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'close');
    }
    await world.stop();
  });

  const lines = (name: string) =>
    world
      .output()
      .split('\n')
      .filter((text) => text.includes(`"name":"${name}"`))
      .map((text) => JSON.parse(text) as { pid: number; msg: string; grpc?: number; rest?: string });
  const kill = (name: string) => process.kill(lines(name)[0]?.pid ?? 0, 'SIGKILL');
  const path = (name: string) => join(world.directory, name);
  const start = async (...args: string[]) => {
    const child = fork(cli, args, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], execArgv: [] });
    started.push(child);
    expect(await once(child, 'message')).toMatchObject([{ type: 'ready' }, undefined]);
  };
  const serials = (message: { svids: readonly { x509Svid: Buffer }[] }) =>
    message.svids.map(({ x509Svid }) => new X509Certificate(x509Svid).serialNumber);

  it('of the control plane, then of the agent, leaves workloads with their identities, and both recover by themselves', async () => {
    await world.entry(WEB, own);
    const client = clientOf(world.socketPath);
    const stream = new Received(client.fetchX509Svid({}, secured));
    const first = await stream.next();
    const token = () => answer<{ svids: object[] }>((done) => client.fetchJwtsvid({ audience: ['a'] }, secured, done));
    const before = await token();

    const served = lines('writ-server').find(({ msg }) => msg === 'the control plane serves');
    kill('writ-server');
    expect(serials(await new Received(client.fetchX509Svid({}, secured)).next())).toEqual(serials(first));
    expect(await token()).toEqual(before);

    await start(
      'server',
      '--trust-domain=example.org',
      `--data-dir=${path('data')}`,
      `--rest-listen=${new URL(served?.rest ?? '').host}`,
      `--grpc-listen=127.0.0.1:${served?.grpc}`,
      '--health-listen=127.0.0.1:0',
      `--passphrase-file=${path('passphrase')}`,
    );
    await world.entry(ORDERS, own);
    const second = await stream.next();
    expect(second.svids.map(({ spiffeId }) => spiffeId)).toEqual([WEB, ORDERS]);
    expect(serials(second)[0]).toBe(serials(first)[0]);

    kill('writ-agent');
    expect(await stream.status()).toMatchObject({ code: status.UNAVAILABLE });
    await start(
      'agent',
      `--server=127.0.0.1:${served?.grpc}`,
      `--trust-bundle-file=${path('data/bundle.pem')}`,
      `--state-dir=${path('agent')}`,
      `--socket=${world.socketPath}`,
      `--admin-socket=${path('admin.sock')}`,
    );
    const again = await new Received(clientOf(world.socketPath).fetchX509Svid({}, secured)).next();
    expect(again.svids.map(({ spiffeId }) => spiffeId)).toEqual([WEB, ORDERS]);
  });
});
