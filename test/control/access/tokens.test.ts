import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AdminTokens } from '../../../src/control/access/tokens.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';

async function tokenFile(): Promise<string> {
  return join(await tempDirectory(), 'admin-token');
}

describe('The admin token', () => {
  it('is drawn at the first start into a file that only its owner can read', async () => {
    const file = await tokenFile();
    await AdminTokens.open({ file });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toMatch(/^writ_[A-Za-z0-9_-]{43}\n$/);
  });

  it('is another one in every data directory', async () => {
    const [one, two] = [await tokenFile(), await tokenFile()];
    await AdminTokens.open({ file: one });
    await AdminTokens.open({ file: two });
    expect(await readFile(one, 'utf8')).not.toBe(await readFile(two, 'utf8'));
  });

  it('authenticates, and after a restart still does', async () => {
    const file = await tokenFile();
    await AdminTokens.open({ file });
    const token = (await readFile(file, 'utf8')).trim();
    expect((await AdminTokens.open({ file })).authenticate(token)).toEqual({
      name: 'admin',
      role: 'admin',
      credential: 'bootstrap',
    });
  });

  it('is the only thing that authenticates', async () => {
    const file = await tokenFile();
    const tokens = await AdminTokens.open({ file });
    const token = (await readFile(file, 'utf8')).trim();
    for (const wrong of ['', 'admin', token.slice(0, -1), `${token} `, token.toUpperCase(), 'x'.repeat(100_000)]) {
      expect(tokens.authenticate(wrong), wrong.slice(0, 60)).toBeUndefined();
    }
  });

  it('is refused when others can read its file', async () => {
    const file = await tokenFile();
    await AdminTokens.open({ file });
    for (const mode of [0o640, 0o604]) {
      await chmod(file, mode);
      await expectAppError(AdminTokens.open({ file }), 'usage', /can be read by others .* chmod 600/);
    }
  });

  it.each(['', '\n', 'short', 'with a space in the middle of its thirty-two characters', 'ü'.repeat(40)])(
    'is refused when the file holds %j',
    async (content) => {
      const file = await tokenFile();
      await writeFile(file, content, { mode: 0o600 });
      await expectAppError(AdminTokens.open({ file }), 'usage', /holds no usable token/);
    },
  );

  it('cannot be drawn where the directory is missing', async () => {
    const file = join(await tempDirectory(), 'missing', 'admin-token');
    await expectAppError(AdminTokens.open({ file }), 'unavailable', /^Cannot write .*: ENOENT/);
  });
});
