import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DevMesh } from '../../support/dev-mesh.ts';
import { eventually, run, startDevMesh, writ } from '../../support/dev-mesh.ts';
import { getByNode } from '../../support/http.ts';
import { runningProcesses } from '../../support/processes.ts';
import { tempDirectory } from '../../support/temp.ts';

const cli = resolve('src/main/cli.ts');

/** Processes whose parent is `pid`, by their command line. */
async function childrenOf(pid: number): Promise<Map<number, string>> {
  const children = (await runningProcesses()).filter(({ parent }) => parent === pid);
  return new Map(children.map((child) => [child.pid, child.command]));
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function supervisorOf(mesh: Pick<DevMesh, 'directory'>): Promise<number> {
  const { pid } = JSON.parse(await readFile(join(mesh.directory, '.writ/dev/dev.json'), 'utf8'));
  return pid;
}

/** A start that is expected to fail: exit status, and what it said. */
function failToStart(cwd: string, base: number, ...argv: string[]) {
  return run(process.execPath, [cli, 'dev', '--port-base', String(base), ...argv], { cwd });
}

/** The steps build on each other: one data directory, started, disturbed, killed, started again. */
describe('writ dev', { timeout: 120_000 }, () => {
  let mesh: DevMesh;
  let base: number;
  const stops: (() => Promise<unknown>)[] = [];

  const call = async (path: string) =>
    (await getByNode(`http://127.0.0.1:${mesh.port(9111)}${path}`, { Host: 'orders.shop.mesh' })).status;

  /** Starts one on the ports of the mesh, which must have ended, and waits for its banner. */
  const start = async (cwd: string, ...argv: string[]) => {
    const child = spawn(process.execPath, [cli, 'dev', '--port-base', String(base), '--no-traffic', ...argv], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exit = once(child, 'exit');
    stops.push(async () => {
      child.kill('SIGTERM');
      await exit;
    });
    let said = '';
    await new Promise<void>((done, fail) => {
      const add = (text: string) => {
        said += text;
        if (said.includes('audit search')) done();
      };
      child.stdout.setEncoding('utf8').on('data', add);
      child.stderr.setEncoding('utf8').on('data', add);
      void exit.then(() => fail(new Error(`it ended: ${said}`)));
    });
    return { child, exit, said: () => said };
  };
  const startAgain = () => start(mesh.directory);

  beforeAll(async () => {
    mesh = await startDevMesh(['--no-traffic']);
    base = mesh.port(8080);
  }, 120_000);
  afterAll(async () => {
    for (const stop of stops) await stop();
    await mesh?.dispose();
  });

  it('01 runs each part as a process of its own, with nothing secret in a command line', async () => {
    const children = await childrenOf(await supervisorOf(mesh));
    const lines = [...children.values()];
    expect(lines.filter((line) => / server /.test(line))).toHaveLength(1);
    expect(lines.filter((line) => / sidecar /.test(line))).toHaveLength(3);
    expect(lines.filter((line) => /service\.ts /.test(line))).toHaveLength(3);
    const passphrase = (await readFile(join(mesh.directory, '.writ/dev/passphrase'), 'utf8')).trim();
    const joinToken = (await readFile(join(mesh.directory, '.writ/dev/join/web'), 'utf8')).trim();
    for (const secret of [mesh.token, passphrase, joinToken]) {
      expect(lines.some((line) => line.includes(secret))).toBe(false);
    }
    for (const name of ['admin-token', 'passphrase', 'join/web', 'dev.json']) {
      expect((await stat(join(mesh.directory, '.writ/dev', name))).mode & 0o077, name).toBe(0);
    }
    expect((await stat(join(mesh.directory, '.writ/dev'))).mode & 0o777).toBe(0o700);
  });

  it('02 prints what was promised, and the commands work as they stand', async () => {
    expect(mesh.output()).toContain('not for production');
    expect(mesh.output()).toContain('.writ/dev/admin-token');
    const denied = await writ(mesh, [
      'policy',
      'check',
      '--from',
      'shop/web',
      '--to',
      'shop/payments',
      '--method',
      'GET',
      '--path',
      '/',
    ]);
    expect([denied.code, denied.stdout]).toEqual([
      1,
      expect.stringMatching(/^DENY {2}shop\/web → shop\/payments {2}GET \/\n/),
    ]);
    expect((await writ(mesh, ['audit', 'search', '--decision', 'deny'])).code).toBe(0);
    expect((await writ(mesh, ['check'])).stdout).toMatch(/Status: √ well/);
  });

  it('03 shows a call as it is recorded', async () => {
    expect(await call('/step-03')).toBe(200);
    await mesh.printed(/shop\/web → shop\/orders +GET \/step-03 +ALLOW {2}200 {2}shop\/orders@\d+#0/);
  });

  it('04 started twice gives one line and leaves the first alone', async () => {
    const { code, stdout, stderr } = await failToStart(mesh.directory, base);
    expect([code, stdout]).toEqual([5, '']);
    expect(stderr).toMatch(/^error: `writ dev` is already running in \S+ \(process \d+\)\. [^\n]*\n$/);
    expect(await call('/step-04')).toBe(200);
  });

  it('05 on a port that is taken gives one line and starts nothing', async () => {
    const cwd = await tempDirectory();
    const { code, stdout, stderr } = await failToStart(cwd, base);
    expect([code, stdout]).toEqual([5, '']);
    expect(stderr).toMatch(
      /^error: The ports \d+ \(REST and console\), .* are taken\. Stop what listens there, [^\n]*\n$/,
    );
    expect(await readdir(join(cwd, '.writ/dev/logs'))).toEqual([]);
  });

  it('06 starts a process again that dies, and says so', async () => {
    const children = await childrenOf(await supervisorOf(mesh));
    const victims = [...children].filter(([, line]) => /sidecars\/web|--name=payments/.test(line));
    expect(victims).toHaveLength(2);
    for (const [pid] of victims) process.kill(pid, 'SIGKILL');
    await mesh.printed(/! The sidecar of web stopped \(signal SIGKILL\); starting it again\./);
    await mesh.printed(/! The service payments stopped \(signal SIGKILL\); starting it again\./);
    await eventually('calls pass again', 30_000, async () => ((await call('/step-06')) === 200 ? true : undefined));
  });

  it('07 leaves nothing behind when it is killed itself', async () => {
    const supervisor = await supervisorOf(mesh);
    const children = [...(await childrenOf(supervisor)).keys()];
    expect(children).toHaveLength(8);
    process.kill(supervisor, 'SIGKILL');
    await eventually('all have ended', 20_000, async () => (children.some(alive) ? undefined : true));
  });

  it('08 starts again in the same directory, and does not bring back what the user deleted', async () => {
    const first = await startAgain();
    expect(await call('/step-08')).toBe(200);
    expect((await writ(mesh, ['delete', 'policy', 'shop/orders', '--yes'])).code).toBe(0);
    first.child.kill('SIGTERM');
    expect(await first.exit).toEqual([0, null]);
    const second = await startAgain();
    const { stdout } = await writ(mesh, ['get', 'policies', '-o', 'name']);
    expect(stdout).toBe('policy/shop/payments\n');
    expect(await call('/step-08')).toBe(403);
    const children = [...(await childrenOf(second.child.pid ?? 0)).keys()];
    second.child.kill('SIGHUP');
    expect(await second.exit).toEqual([0, null]);
    expect(children.filter(alive)).toEqual([]);
  });

  it('09 says that it is not running, to whoever asks', async () => {
    const { code, stderr } = await writ(mesh, ['get', 'policies']);
    expect(code).toBe(3);
    expect(stderr).toContain('`writ dev` is not running here. Start it: npm start');
  });

  it('10 on a store that cannot be read gives one line, and nothing stays running', async () => {
    const database = join(mesh.directory, '.writ/dev/writ.db');
    for (const more of ['-wal', '-shm']) await rm(`${database}${more}`, { force: true });
    await writeFile(database, 'x'.repeat(8192));
    const { code, stdout, stderr } = await failToStart(mesh.directory, base);
    expect(stdout).toBe('');
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/^error: The control plane did not start: [^\n]*\n$/);
    // Whatever had been started would still hold its port.
    const free = createServer();
    await new Promise<void>((done, fail) => {
      free.once('error', fail).listen(mesh.port(9101), '127.0.0.1', () => free.close(() => done()));
    });
  });

  it('11 in an ephemeral directory leaves no trace, and its commands name it', async () => {
    const cwd = await tempDirectory();
    const { child, exit, said } = await start(cwd, '--ephemeral');
    const [, tokenFile = ''] = /admin token +(\S+)/.exec(said()) ?? [];
    expect((await stat(tokenFile)).mode & 0o777).toBe(0o600);
    const [, argv = ''] = /npm run -s writ -- (.*audit search.*)/.exec(said()) ?? [];
    expect((await run(process.execPath, [cli, ...argv.split(' ')], { cwd })).code).toBe(0);
    child.kill('SIGINT');
    expect(await exit).toEqual([0, null]);
    await expect(stat(tokenFile)).rejects.toThrow('ENOENT');
    expect(await readdir(cwd)).toEqual([]);
  });

  it('12 told to stop while it starts, stops what it has started', async () => {
    const child = spawn(process.execPath, [cli, 'dev', '--port-base', String(base)], {
      cwd: await tempDirectory(),
      stdio: 'ignore',
    });
    const exit = once(child, 'exit');
    const children = await eventually('the first child', 20_000, async () => {
      const found = [...(await childrenOf(child.pid ?? 0)).keys()];
      return found.length > 0 ? found : undefined;
    });
    child.kill('SIGINT');
    expect(await exit).toEqual([0, null]);
    expect(children.filter(alive)).toEqual([]);
  });
});
