import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makePrivateDirectory, readSecretFile, writeFileDurably } from '../../src/base/durable.ts';
import { expectAppError } from '../support/errors.ts';
import { tempDirectory } from '../support/temp.ts';

describe('writeFileDurably', () => {
  it('replaces a file, with mode 0600 and nothing left beside it', async () => {
    const directory = await tempDirectory();
    const path = join(directory, 'state');
    await writeFileDurably(path, 'one');
    await writeFileDurably(path, 'two');
    expect(await readFile(path, 'utf8')).toBe('two');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['state']);
  });

  it('leaves the old file and no temporary one when it fails', async () => {
    const directory = await tempDirectory();
    const path = join(directory, 'state');
    await makePrivateDirectory(path);
    await expect(writeFileDurably(path, 'a file cannot replace a directory')).rejects.toThrow();
    expect(await readdir(directory)).toEqual(['state']);
  });
});

describe('readSecretFile', () => {
  it('reads a file that only its owner can read', async () => {
    const path = join(await tempDirectory(), 'secret');
    await writeFileDurably(path, 'value');
    expect((await readSecretFile(path))?.toString()).toBe('value');
  });

  it('refuses one that others can read, and says what to run', async () => {
    const path = join(await tempDirectory(), 'secret');
    await writeFile(path, 'value');
    await chmod(path, 0o644);
    await expectAppError(readSecretFile(path), 'usage', /can be read by others \(mode 644\). Run: chmod 600/);
  });

  it('gives undefined when there is none', async () => {
    expect(await readSecretFile(join(await tempDirectory(), 'none'))).toBeUndefined();
  });
});

describe('makePrivateDirectory', () => {
  it('creates parents too, for the owner only, and takes what is there already', async () => {
    const path = join(await tempDirectory(), 'a', 'b', 'c');
    await Promise.all([makePrivateDirectory(path), makePrivateDirectory(path)]);
    await makePrivateDirectory(path);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect((await stat(join(path, '..'))).mode & 0o777).toBe(0o700);
  });

  it.skipIf(process.platform !== 'linux')('gives up where nothing can be created (Linux: below /proc)', async () => {
    await expectAppError(
      makePrivateDirectory('/proc/writ/x'),
      'unavailable',
      /Cannot create the directory \/proc\/writ\/x: /,
    );
  });

  it('says which directory it cannot create and why', async () => {
    const file = join(await tempDirectory(), 'file');
    await writeFile(file, '');
    await expectAppError(
      makePrivateDirectory(join(file, 'below')),
      'unavailable',
      /Cannot create the directory .*ENOTDIR/,
    );
  });
});
