import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openDirectory, writeContext } from '../../../src/main/dev/directory.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';

const holder = `
import { openDirectory, writeContext } from ${JSON.stringify(resolve('src/main/dev/directory.ts'))};
const directory = await openDirectory({ dataDir: process.argv[1], ephemeral: false });
await writeContext(directory, { addr: 'http://127.0.0.1:1', pid: process.pid });
process.send('held');
setInterval(() => {}, 1000);
`;

async function holdElsewhere(dataDir: string) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', holder, dataDir], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'message');
  return child;
}

describe('the data directory', () => {
  it('is for its owner only, with a passphrase of its own that stays', async () => {
    const dataDir = join(await tempDirectory(), 'a/b');
    const directory = await openDirectory({ dataDir, ephemeral: false });
    expect((await stat(directory.path)).mode & 0o777).toBe(0o700);
    expect((await stat(directory.passphraseFile)).mode & 0o777).toBe(0o600);
    const passphrase = await readFile(directory.passphraseFile, 'utf8');
    expect(passphrase).toMatch(/^[0-9a-f]{64}\n$/);
    await directory.release();
    const again = await openDirectory({ dataDir, ephemeral: false });
    expect(await readFile(again.passphraseFile, 'utf8')).toBe(passphrase);
    await again.release();
  });

  it('is one process at a time: the second is told which has it', async () => {
    const dataDir = await tempDirectory();
    const child = await holdElsewhere(dataDir);
    const error = await expectAppError(openDirectory({ dataDir, ephemeral: false }), 'conflict');
    expect(error.message).toBe(
      `\`writ dev\` is already running in ${dataDir} (process ${child.pid}). Stop it first, or use another --data-dir and --port-base.`,
    );
  });

  it('is free again the moment its holder was killed, and says that the end was unclean', async () => {
    const dataDir = await tempDirectory();
    const child = await holdElsewhere(dataDir);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const directory = await openDirectory({ dataDir, ephemeral: false });
    expect(directory.uncleanEnd).toBe(true);
    await writeContext(directory, { addr: 'http://127.0.0.1:1' });
    await directory.release();
    const next = await openDirectory({ dataDir, ephemeral: false });
    expect(next.uncleanEnd).toBe(false);
    await next.release();
  });

  it('is gone at the end when it is ephemeral', async () => {
    const directory = await openDirectory({ dataDir: 'unused', ephemeral: true });
    expect((await stat(directory.path)).mode & 0o777).toBe(0o700);
    await directory.release();
    await expect(stat(directory.path)).rejects.toThrow('ENOENT');
  });

  it('that is a file is told as such', async () => {
    const dataDir = join(await tempDirectory(), 'file');
    await writeFile(dataDir, '');
    await expectAppError(
      openDirectory({ dataDir, ephemeral: false }),
      'usage',
      /is a file\. Remove it, or choose another/,
    );
  });

  it('with a lock that is no lock is told as such', async () => {
    const dataDir = await tempDirectory();
    await writeFile(join(dataDir, 'lock.db'), 'x'.repeat(4096));
    await expectAppError(
      openDirectory({ dataDir, ephemeral: false }),
      'unavailable',
      /cannot be used: file is not a database/,
    );
    const other = await tempDirectory();
    await mkdir(join(other, 'lock.db'));
    await expectAppError(openDirectory({ dataDir: other, ephemeral: false }), 'unavailable', /cannot be used: /);
  });

  it('with a passphrase that others can read is refused', async () => {
    const dataDir = await tempDirectory();
    const directory = await openDirectory({ dataDir, ephemeral: false });
    await directory.release();
    await chmod(directory.passphraseFile, 0o644);
    await expectAppError(openDirectory({ dataDir, ephemeral: false }), 'usage', /can be read by others/);
  });
});
