import { chmod, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  MemoryKeyStore,
  SealedFileKeyStore,
  type SecretStore,
} from '../../../../src/control/authority/keys/key-store.ts';
import { expectAppError } from '../../../support/errors.ts';
import { tempDirectory } from '../../../support/temp.ts';

const passphrase = Buffer.from('correct horse battery staple');
const secret = Buffer.from('a secret, with \u0000 in it');
/** The cheapest that the format allows: tests pay it a hundred times. */
const cost = { logN: 14, r: 8, p: 1 };

async function sealedStore(o: { passphrase?: Buffer; directory?: string } = {}) {
  const directory = o.directory ?? join(await tempDirectory(), 'keys');
  const store = new SealedFileKeyStore({ directory, passphrase: o.passphrase ?? passphrase, cost });
  return { store, directory, file: join(directory, 'root.sealed') };
}

const stores: Record<string, () => Promise<SecretStore>> = {
  memory: () => Promise.resolve(new MemoryKeyStore()),
  'sealed files': async () => (await sealedStore()).store,
};

describe.each(Object.entries(stores))('a key store (%s)', (_name, open) => {
  it('gives back what was saved, under its name', async () => {
    const store = await open();
    await store.save('root', secret);
    await store.save('jwt', Buffer.from('other'));
    expect(await store.load('root')).toEqual(secret);
    expect(await store.load('jwt')).toEqual(Buffer.from('other'));
  });

  it('has nothing under a name that was never saved', async () => {
    expect(await (await open()).load('root')).toBeUndefined();
  });

  it('replaces what had the name', async () => {
    const store = await open();
    await store.save('root', secret);
    await store.save('root', Buffer.from('new'));
    expect(await store.load('root')).toEqual(Buffer.from('new'));
  });

  it('keeps its own copy', async () => {
    const store = await open();
    const mine = Buffer.from(secret);
    await store.save('root', mine);
    mine.fill(0);
    (await store.load('root'))?.fill(0);
    expect(await store.load('root')).toEqual(secret);
  });

  it.each(['', '../root', 'a/b', 'Root', '.', 'a\u0000'])('takes no name like %j', async (name) => {
    const store = await open();
    await expectAppError(async () => store.load(name), 'internal', /name of a secret/);
    await expectAppError(async () => store.save(name, secret), 'internal', /name of a secret/);
  });
});

describe('sealed files', () => {
  it('only the owner can read them, or list them', async () => {
    const { store, directory, file } = await sealedStore();
    await store.save('root', secret);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect(await readdir(directory)).toEqual(['root.sealed']);
  });

  it('do not hold the secret in the clear, and never look the same twice', async () => {
    const { store, file } = await sealedStore();
    await store.save('root', secret);
    const first = await readFile(file);
    expect(first.includes(secret)).toBe(false);
    expect(first.includes(secret.toString('base64'))).toBe(false);
    await store.save('root', secret);
    expect((await readFile(file)).equals(first)).toBe(false);
  });

  it('say what they are and what they were sealed with', async () => {
    const { store, file } = await sealedStore();
    await store.save('root', secret);
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({
      format: 'writ-sealed',
      version: 1,
      kdf: 'scrypt',
      ...cost,
      cipher: 'aes-256-gcm',
    });
  });

  it('a wrong passphrase is told, and nothing is lost by it', async () => {
    const { store, directory, file } = await sealedStore();
    await store.save('root', secret);
    const wrong = await sealedStore({ directory, passphrase: Buffer.from('incorrect horse battery') });
    const error = await expectAppError(wrong.store.load('root'), 'usage', /The passphrase does not open/);
    expect(error.message).toContain(file);
    expect(error.message).not.toContain('horse');
    expect(await store.load('root')).toEqual(secret);
  });

  it('a short passphrase is refused', () =>
    expectAppError(
      () => new SealedFileKeyStore({ directory: '/nowhere', passphrase: Buffer.from('short') }),
      'usage',
      /shorter than 12 bytes/,
    ));

  it('a file that others can read is refused', async () => {
    const { store, file } = await sealedStore();
    await store.save('root', secret);
    for (const mode of [0o640, 0o604, 0o620]) {
      await chmod(file, mode);
      await expectAppError(store.load('root'), 'usage', /can be read by others .* chmod 600/);
    }
  });

  it('a file cut off anywhere is refused', async () => {
    const { store, file } = await sealedStore();
    await store.save('root', secret);
    const whole = await readFile(file);
    for (const length of [0, 1, 20, 100, 200, whole.length - 10, whole.length - 3]) {
      await writeFile(file, whole.subarray(0, length));
      await expectAppError(store.load('root'), 'incompatible-data', /is damaged: .* Restore it from a backup/);
    }
  });

  it('a file that was changed in any field is refused', async () => {
    const { store, file } = await sealedStore();
    await store.save('root', secret);
    const whole = JSON.parse(await readFile(file, 'utf8'));
    const flip = (base64: string) => {
      const bytes = Buffer.from(base64, 'base64');
      bytes[0] = (bytes[0] ?? 0) ^ 1;
      return bytes.toString('base64');
    };
    const load = async (changes: object) => {
      await writeFile(file, JSON.stringify({ ...whole, ...changes }));
      return store.load('root');
    };
    expect(await load({})).toEqual(secret);
    for (const field of ['ciphertext', 'tag', 'nonce']) {
      await expectAppError(load({ [field]: flip(whole[field]) }), 'incompatible-data', /its content was changed/);
    }
    for (const changes of [
      { logN: 30 },
      { logN: 1 },
      { r: 1_000_000 },
      { p: 0 },
      { p: 17 },
      { logN: '14' },
      { kdf: 'none' },
      { cipher: 'aes-256-cbc' },
      { format: 'x' },
      { salt: '' },
      { tag: whole.tag.slice(0, 8) },
      { nonce: undefined },
      { ciphertext: 7 },
    ]) {
      await expectAppError(load(changes), 'incompatible-data', /is damaged/);
    }
    await expectAppError(load({ version: 2 }), 'incompatible-data', /sealed by a version of Writ/);
    // Another salt or another cost makes another key, which is what a wrong passphrase does.
    for (const changes of [{ salt: flip(whole.salt) }, { check: flip(whole.check) }, { logN: 15 }, { p: 2 }]) {
      await expectAppError(load(changes), 'usage', /passphrase does not open/);
    }
  });

  it('a file under the name of another is refused', async () => {
    const { store, directory, file } = await sealedStore();
    await store.save('jwt', secret);
    await rename(join(directory, 'jwt.sealed'), file);
    await expectAppError(store.load('root'), 'incompatible-data', /its content was changed/);
  });

  it('what is not a sealed file is refused', async () => {
    const { store, directory, file } = await sealedStore();
    await mkdir(directory, { recursive: true });
    for (const text of [
      'null',
      '[]',
      '"x"',
      '{}',
      'hello',
      '\u0000',
      `{"format":"writ-sealed"${' '.repeat(70_000)}}`,
    ]) {
      await writeFile(file, text, { mode: 0o600 });
      await expectAppError(store.load('root'), 'incompatible-data', /is damaged/);
    }
  });

  it('a directory that cannot be made is told', async () => {
    const occupied = join(await tempDirectory(), 'file');
    await writeFile(occupied, '');
    const { store } = await sealedStore({ directory: join(occupied, 'keys') });
    await expectAppError(store.save('root', secret), 'unavailable', /Cannot create the directory .* ENOTDIR/);
  });

  it('the default cost is 64 MiB of scrypt, twice over', async () => {
    const directory = await tempDirectory();
    const store = new SealedFileKeyStore({ directory, passphrase });
    await store.save('root', secret);
    expect(JSON.parse(await readFile(join(directory, 'root.sealed'), 'utf8'))).toMatchObject({ logN: 16, r: 8, p: 2 });
    expect(await store.load('root')).toEqual(secret);
  });
});
