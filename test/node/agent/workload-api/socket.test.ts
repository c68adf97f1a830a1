import { spawnSync } from 'node:child_process';
import { chmod, lchown, lstat, mkdir, readdir, rename, symlink, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { listenOnUnixSocket } from '../../../../src/node/agent/workload-api/socket.ts';
import { expectAppError } from '../../../support/errors.ts';
import { tempDirectory } from '../../../support/temp.ts';

async function listen(path: string, mode = 0o777) {
  const connections: Socket[] = [];
  const listener = await listenOnUnixSocket({ path, mode, onConnection: (socket) => connections.push(socket) });
  onTestFinished(async () => {
    listener.cut();
    await listener.stop();
  });
  return { ...listener, connections };
}

function reach(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.once('error', reject);
    onTestFinished(() => void socket.destroy());
  });
}

/** What a process leaves that was killed. */
function leaveSocket(path: string): void {
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
}

describe('a Unix socket', () => {
  it('has the permissions that were asked for from its first moment, in a directory that is made for it', async () => {
    const directory = join(await tempDirectory(), 'run/writ');
    const { connections } = await listen(join(directory, 'a.sock'), 0o660);
    const found = await lstat(join(directory, 'a.sock'));
    expect([found.isSocket(), found.mode & 0o777]).toEqual([true, 0o660]);
    expect((await lstat(directory)).mode & 0o022).toBe(0);
    expect(await readdir(directory)).toEqual(['a.sock']);
    await reach(join(directory, 'a.sock'));
    expect(connections).toHaveLength(1);
  });

  it('that a killed process left is replaced', async () => {
    const path = join(await tempDirectory(), 'a.sock');
    leaveSocket(path);
    expect((await lstat(path)).isSocket()).toBe(true);
    await listen(path);
    await reach(path);
  });

  it('that another process serves is not touched: conflict', async () => {
    const path = join(await tempDirectory(), 'a.sock');
    const first = await listen(path);
    await expectAppError(
      listen(path),
      'conflict',
      `Another process serves ${path}. Stop it first, or choose another path.`,
    );
    await reach(path);
    expect(first.connections.length).toBeGreaterThan(0);
    const other = join(await tempDirectory(), 'b.sock');
    const server = createServer().listen(other);
    onTestFinished(() => void server.close());
    await expectAppError(listen(other), 'conflict', /Another process serves/);
  });

  it('is never put in the place of a file, a link or a directory', async () => {
    const directory = await tempDirectory();
    await writeFile(join(directory, 'file'), 'x');
    await symlink('/nonexistent', join(directory, 'link'));
    await mkdir(join(directory, 'directory'));
    for (const name of ['file', 'link', 'directory']) {
      await expectAppError(listen(join(directory, name)), 'conflict', /exists and is no socket/);
    }
  });

  it('is gone when it is stopped; one that a successor put there stays', async () => {
    const path = join(await tempDirectory(), 'a.sock');
    const first = await listen(path);
    await first.stop();
    await expect(lstat(path)).rejects.toThrow('ENOENT');
    const second = await listen(path);
    await rename(path, `${path}.moved`);
    const third = await listen(path);
    await second.stop();
    await reach(path);
    expect(third.connections).toHaveLength(1);
  });

  it('is not made where others could replace it', async () => {
    const directory = await tempDirectory();
    const open = join(directory, 'open');
    await mkdir(join(open, 'inner'), { recursive: true });
    await chmod(open, 0o777);
    await expectAppError(listen(join(open, 'a.sock')), 'usage', /Others can replace files in .*chmod go-w/);
    await expectAppError(listen(join(open, 'inner/a.sock')), 'usage', /Others can replace files in/);
    await symlink(join(open, 'inner'), join(directory, 'link'));
    await expectAppError(listen(join(directory, 'link/a.sock')), 'usage', /Others can replace files in/);
    await chmod(open, 0o770);
    await expectAppError(listen(join(open, 'a.sock')), 'usage', /Others can replace files in/);
    // As /tmp: there, a file belongs to who made it.
    await chmod(open, 0o1777);
    await listen(join(open, 'a.sock'));
  });

  it.runIf(process.geteuid?.() === 0)(
    'is not made behind a link of somebody else, who could point it elsewhere',
    async () => {
      const directory = await tempDirectory();
      await mkdir(join(directory, 'good'));
      await symlink('good', join(directory, 'link'));
      await symlink(join(directory, 'link'), join(directory, 'ours'));
      await listen(join(directory, 'ours/a.sock'));
      await lchown(join(directory, 'link'), 4711, 4711);
      for (const name of ['link', 'ours']) {
        await expectAppError(listen(join(directory, name, 'b.sock')), 'usage', /link \(owner 4711/);
      }
      // Relative to where the link really is, and with slashes that would follow it.
      await symlink('../link/', join(directory, 'good/up'));
      await symlink('good', join(directory, 'other'));
      for (const name of ['other/up', 'link//', 'good/../link/']) {
        await expectAppError(listen(`${directory}/${name}/b.sock`), 'usage', /link \(owner 4711/);
      }
      await symlink('loop', join(directory, 'loop'));
      await expectAppError(listen(join(directory, 'loop/a.sock')), 'usage', /too many symbolic links/);
    },
  );

  it('has an absolute path that fits into an address', async () => {
    await expectAppError(listen('a.sock'), 'usage', /must be absolute/);
    await expectAppError(listen('/tmp/'), 'usage', /must be absolute and name a file/);
    await expectAppError(listen('/tmp/a\0b'), 'usage', /must be absolute/);
    await expectAppError(listen(`/tmp/${'a'.repeat(100)}`), 'usage', /at most 94 bytes/);
    await writeFile(join(await tempDirectory(), 'f'), '');
    await expectAppError(listen('/proc/nothing/a.sock'), 'unavailable', /Cannot use the directory/);
  });
});
