import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { run } from '../support/dev-mesh.ts';
import { tempDirectory } from '../support/temp.ts';

const cli = resolve(import.meta.dirname, '../../src/main/cli.ts');

describe('processes that wait', { timeout: 60_000 }, () => {
  it('a sidecar that starts before the control plane waits for it, and then enrolls', async () => {
    const mesh = await makeMesh();
    const setUp = await mesh.server();
    for (const args of [
      ['entry', 'create', 'shop/web'],
      ['join-token', 'create', 'shop/web', '--out', 'token'],
    ])
      expect(await mesh.writ(args)).toMatchObject({ code: 0 });
    await end(setUp.child);

    const sidecar = mesh.start([
      'sidecar',
      `--server=127.0.0.1:${mesh.grpc}`,
      `--trust-bundle-file=${join(mesh.directory, 'data/bundle.pem')}`,
      `--state-dir=${join(mesh.directory, 'state')}`,
      `--join-token-file=${join(mesh.directory, 'token')}`,
      '--outbound-listen=127.0.0.1:0',
      '--admin-listen=127.0.0.1:0',
    ]);
    await sidecar.logged('could not be reached');
    await mesh.server();
    await sidecar.logged('sidecar is up');
    expect(sidecar.child.exitCode).toBeNull();
  });

  it('a command that waits for input ends at the first Ctrl-C', async () => {
    const child = spawn(process.execPath, [cli, 'apply', '-f', '-', '--addr=http://127.0.0.1:1', '--token-file=none'], {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      cwd: await tempDirectory(),
    });
    onTestFinished(() => end(child));
    // Once it reads its input, what is written to it is taken.
    await new Promise((taken) => child.stdin?.write('x'.repeat(1024 * 1024), taken));
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([130, null]);
  });
});

interface Started {
  readonly child: ChildProcess;
  logged(text: string): Promise<void>;
}

/** A place for a control plane of its own, on ports of its own, with what the command line needs to reach it. */
async function makeMesh() {
  const directory = await tempDirectory();
  const [rest = 0, grpc = 0] = await freePorts(2);
  await writeFile(join(directory, 'passphrase'), randomBytes(32).toString('hex'), { mode: 0o600 });
  const client = [`--addr=http://127.0.0.1:${rest}`, `--token-file=${join(directory, 'data/admin-token')}`];
  const start = (args: readonly string[]): Started => startProcess(directory, args);
  return {
    directory,
    grpc,
    client,
    start,
    writ: (args: readonly string[]) => run(process.execPath, [cli, ...args, ...client], { cwd: directory }),
    async server(): Promise<Started> {
      const server = start([
        'server',
        '--trust-domain=example.org',
        `--data-dir=${join(directory, 'data')}`,
        `--passphrase-file=${join(directory, 'passphrase')}`,
        `--rest-listen=127.0.0.1:${rest}`,
        `--grpc-listen=127.0.0.1:${grpc}`,
        '--health-listen=127.0.0.1:0',
      ]);
      await server.logged('the control plane serves');
      return server;
    },
  };
}

/** Without an IPC channel: nothing but its own work keeps the process alive. */
function startProcess(cwd: string, args: readonly string[]): Started {
  const child = spawn(process.execPath, [cli, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => end(child));
  let output = '';
  const added = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (const check of [...added]) check();
    });
  const logged = (text: string) =>
    new Promise<void>((done, fail) => {
      const check = () => {
        if (!output.includes(text)) return;
        added.delete(check);
        done();
      };
      added.add(check);
      child.once('exit', (code) => fail(new Error(`exit ${code} before ${text}:\n${output}`)));
      check();
    });
  return { child, logged };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}
