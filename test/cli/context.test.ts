import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findContext, targetOf } from '../../src/cli/context.ts';
import { expectAppError } from '../support/errors.ts';
import { connect } from './server.ts';
import { createTerminal } from './terminal.ts';

describe('which control plane', () => {
  it('is --addr, else WRIT_ADDR, else the saved context, else a dev directory here or above', async () => {
    const cli = await createTerminal();
    const dev = join(cli.cwd, '.writ/dev');
    await mkdir(join(cli.cwd, 'deep/er'), { recursive: true });
    await mkdir(dev, { recursive: true });
    await writeFile(
      join(dev, 'dev.json'),
      JSON.stringify({ addr: 'http://127.0.0.1:1', tokenFile: '/dev-token', pid: 1 }),
    );
    const world = { ...cli.world, env: {} as Record<string, string>, cwd: join(cli.cwd, 'deep/er') };
    // The token beside it, whatever it says.
    expect(await findContext({}, world)).toMatchObject({
      addr: 'http://127.0.0.1:1',
      tokenFile: join(dev, 'admin-token'),
    });

    await cli.run('context', 'save', '--addr', 'http://127.0.0.1:2');
    expect((await findContext({}, world)).addr).toBe('http://127.0.0.1:2');
    world.env.WRIT_ADDR = 'http://127.0.0.1:3';
    expect((await findContext({}, world)).addr).toBe('http://127.0.0.1:3');
    expect((await findContext({ addr: 'http://127.0.0.1:4' }, world)).addr).toBe('http://127.0.0.1:4');
  });

  it('gets no token of another one: an address given by hand comes without', async () => {
    const cli = await createTerminal();
    await mkdir(join(cli.cwd, '.writ/dev'), { recursive: true });
    await cli.file('.writ/dev/dev.json', JSON.stringify({ addr: 'http://127.0.0.1:1', tokenFile: '/dev-token' }));
    expect((await findContext({ addr: 'http://127.0.0.1:4' }, cli.world)).tokenFile).toBeUndefined();
    expect((await findContext({ tokenFile: 'mine' }, cli.world)).tokenFile).toBe(join(cli.cwd, 'mine'));
  });

  it('is never on another machine because a directory says so: whoever made it would get a token', async () => {
    const cli = await createTerminal();
    await mkdir(join(cli.cwd, '.writ/dev'), { recursive: true });
    await cli.file('.writ/dev/dev.json', JSON.stringify({ addr: 'https://elsewhere.example', tokenFile: '/secret' }));
    await expectAppError(
      findContext({}, cli.world),
      'usage',
      /https:\/\/elsewhere\.example, which is not on this machine/,
    );
  });

  it('is told when there is none, with what to do', async () => {
    const cli = await createTerminal();
    const { status, stderr } = await cli.run('get', 'policies');
    expect(status).toBe(2);
    expect(stderr).toBe(
      'error: No control plane is named, and no `writ dev` has run here. Start a local one with `npm start`, or name another with --addr.\n  more: docs/errors.md#usage\n',
    );
  });

  it('that does not answer is exit status 3, with what to do', async () => {
    const cli = await createTerminal();
    await mkdir(join(cli.cwd, '.writ/dev'), { recursive: true });
    const addr = `http://127.0.0.1:${await closedPort()}`;
    await cli.file('.writ/dev/dev.json', JSON.stringify({ addr }));
    await writeFile(join(cli.cwd, '.writ/dev/admin-token'), 'token', { mode: 0o600 });
    const { status, stderr } = await cli.run('get', 'policies');
    expect(status).toBe(3);
    expect(stderr).toBe(
      `error: Cannot reach the control plane at ${addr}: nothing listens there. \`writ dev\` is not running here. Start it: npm start\n  more: docs/errors.md#unavailable\n`,
    );
  });

  it.each([
    ['context', 'save'],
    ['context', 'show'],
    ['context', 'forget'],
    ['completion', 'bash'],
    ['version', '--client'],
  ])('%s %s calls nothing, so --curl is wrong usage and nothing happens', async (...argv) => {
    const cli = await connect();
    await cli.run('context', 'save');
    const file = join(cli.cwd, 'home/.config/writ/context.json');
    const before = await stat(file);
    const { status, stdout, stderr } = await cli.run(...argv, '--curl', '--addr', 'http://127.0.0.1:9');
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(`and \`writ ${argv.join(' ')}`.replace(' bash', ''));
    expect((await stat(file)).mtimeMs).toBe(before.mtimeMs);
  });

  it('is saved in a file that names the token file and holds no token', async () => {
    const cli = await connect();
    await cli.run('context', 'save');
    const file = join(cli.cwd, 'home/.config/writ/context.json');
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({ addr: cli.url, tokenFile: cli.tokenFile });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    Object.assign(cli.world.env, { WRIT_ADDR: '', WRIT_TOKEN_FILE: '' });
    expect((await cli.run('context', 'show')).stdout).toContain(`from        ${file}`);
    expect((await cli.run('get', 'policies')).status).toBe(0);
    await cli.run('context', 'forget');
    expect((await cli.run('get', 'policies')).status).toBe(2);
  });
});

describe('targets', () => {
  const found = { source: 'test', hint: '' };

  it('beyond this machine need https', async () => {
    await expectAppError(targetOf({ ...found, addr: 'http://10.0.0.1:8443' }, false), 'usage', /unencrypted/);
    await expectAppError(targetOf({ ...found, addr: 'http://localhost.example:8443' }, false), 'usage', /unencrypted/);
    expect((await targetOf({ ...found, addr: 'http://10.0.0.1:8443' }, true)).url.host).toBe('10.0.0.1:8443');
    expect((await targetOf({ ...found, addr: 'https://writ.example' }, false)).url.host).toBe('writ.example');
    expect((await targetOf({ ...found, addr: '[::1]:80' }, false)).url.href).toBe('http://[::1]/');
  });

  it.each(['ftp://x', 'http://', 'http://user:secret@127.0.0.1:1'])('%s is no address', async (addr) => {
    const error = await expectAppError(targetOf({ ...found, addr }, false), 'usage');
    expect(error.message.includes('secret')).toBe(false);
  });

  it('need a token file that only its owner can read, with one token in it', async () => {
    const cli = await createTerminal();
    const addr = 'http://127.0.0.1:1';
    const open = await cli.file('open', 'writ_x', 0o644);
    await expectAppError(targetOf({ ...found, addr, tokenFile: open }, false), 'usage', /can be read by others/);
    const missing = join(cli.cwd, 'missing');
    await expectAppError(targetOf({ ...found, addr, tokenFile: missing }, false), 'usage', /There is no token/);
    const strange = await cli.file('strange', 'a\nb');
    const error = await expectAppError(
      targetOf({ ...found, addr, tokenFile: strange }, false),
      'usage',
      /does not hold/,
    );
    expect(error.message).not.toContain('a\nb');
  });
});

/** A port where nothing listens any more. */
function closedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
