import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lockDirectory } from '../../../src/base/journal/lock.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';

const lockModule = resolve(import.meta.dirname, '../../../src/base/journal/lock.ts');

/** Takes the lock in a process of its own, which then kills itself; gives what it printed. */
function lockElsewhere(directory: string): string {
  const source = `import { lockDirectory } from ${JSON.stringify(lockModule)};
    try { lockDirectory(${JSON.stringify(directory)}); process.stdout.write('locked'); }
    catch (error) { process.stdout.write(error.code); }
    process.kill(process.pid, 'SIGKILL');`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' }).stdout;
}

describe('the lock of a directory', () => {
  it('is given to one owner at a time, in this process and in others', async () => {
    const directory = await tempDirectory();
    const unlock = lockDirectory(directory);
    await expectAppError(
      () => lockDirectory(directory),
      'conflict',
      `Another process is using ${directory}. Stop it first, or choose another directory.`,
    );
    expect(lockElsewhere(directory)).toBe('conflict');
    unlock();
    unlock();
    expect(lockElsewhere(directory)).toBe('locked');
  });

  it('is free again when its owner was killed', async () => {
    const directory = await tempDirectory();
    expect(lockElsewhere(directory)).toBe('locked');
    lockDirectory(directory)();
  });

  it('cannot be taken where nothing can be written', async () => {
    const missing = join(await tempDirectory(), 'missing');
    await expectAppError(() => lockDirectory(missing), 'unavailable', /cannot be written/);
  });
});
