import { createHash } from 'node:crypto';
import { appendFile, copyFile, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openProcess } from '../../../../src/node/agent/attest-workload/process-view.ts';
import { UnixAttestor } from '../../../../src/node/agent/attest-workload/unix.ts';
import { expectAppError } from '../../../support/errors.ts';
import { tempDirectory } from '../../../support/temp.ts';
import type { FakeProcess } from './proc.ts';
import { everything, nothingCostly, writeProcess } from './proc.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

async function world(o: FakeProcess = {}) {
  const directory = await tempDirectory();
  const passwdFile = join(directory, 'passwd');
  const groupFile = join(directory, 'group');
  const program = join(directory, 'program');
  await writeFile(passwdFile, 'web:x:1000:1000::/:\n');
  await writeFile(groupFile, 'web:x:1000:\nssl:x:77:\n');
  await writeFile(program, 'code');
  await writeProcess(directory, 7, { exe: program, ...o });
  const opened = openProcess(7, directory);
  onTestFinished(() => opened.close());
  return { directory, passwdFile, groupFile, program, opened, view: opened.view };
}

describe('the unix attestor', () => {
  it('finds user, groups, program and digest, with names', async () => {
    const { view, program, ...files } = await world({ groups: [77, 88] });
    expect(await new UnixAttestor(files).attest(view, everything)).toEqual([
      'unix:uid:1000',
      'unix:user:web',
      'unix:gid:1000',
      'unix:group:web',
      'unix:supplementary_gid:77',
      'unix:supplementary_group:ssl',
      'unix:supplementary_gid:88',
      `unix:path:${program}`,
      `unix:sha256:${sha256('code')}`,
    ]);
  });

  it('leaves out what no entry asks for, and names that the files do not have', async () => {
    const { view, directory } = await world({ uid: 5, gid: 6 });
    const attestor = new UnixAttestor({ passwdFile: join(directory, 'none'), groupFile: join(directory, 'none') });
    expect(await attestor.attest(view, nothingCostly)).toEqual(['unix:uid:5', 'unix:gid:6']);
  });

  it('reads account files again when they change', async () => {
    const { view, ...files } = await world();
    const attestor = new UnixAttestor(files);
    await attestor.attest(view, nothingCostly);
    await writeFile(files.passwdFile, 'orders:x:1000:1000::/:\n');
    expect(await attestor.attest(view, nothingCostly)).toContain('unix:user:orders');
  });

  it('has a new digest for a program whose content changed, also when its time was set back', async () => {
    const { view, program, ...files } = await world();
    const attestor = new UnixAttestor(files);
    const past = new Date(1_000_000);
    await utimes(program, past, past);
    expect(await attestor.attest(view, everything)).toContain(`unix:sha256:${sha256('code')}`);
    await writeFile(program, 'evil');
    await utimes(program, past, past);
    expect(await attestor.attest(view, everything)).toContain(`unix:sha256:${sha256('evil')}`);
  });

  it('reads a program once, however often it is asked for', async () => {
    const { view, program, ...files } = await world();
    const attestor = new UnixAttestor({ ...files, maxProgramBytes: 4 });
    const digests = await Promise.all(Array.from({ length: 20 }, () => attestor.attest(view, everything)));
    expect(new Set(digests.map((each) => each.at(-1)))).toEqual(new Set([`unix:sha256:${sha256('code')}`]));
    await appendFile(program, '!');
    expect((await attestor.attest(view, everything)).some((each) => each.startsWith('unix:sha256:'))).toBe(false);
  });

  it('has no path for a program that is another file under that name here, as in a container or after an upgrade', async () => {
    const { view, program, directory, ...files } = await world();
    const attestor = new UnixAttestor(files);
    const before = openProcess(7, directory);
    onTestFinished(() => before.close());
    // The process still runs what it began with, under a name that now means another file.
    const replaced = { ...view, executable: join(directory, 'old'), executableName: async () => program };
    await copyFile(program, join(directory, 'old'));
    await writeFile(join(directory, 'new'), 'newer');
    await rename(join(directory, 'new'), program);
    const selectors = await attestor.attest(replaced, everything);
    expect(selectors.some((each) => each.startsWith('unix:path:'))).toBe(false);
    expect(selectors).toContain(`unix:sha256:${sha256('code')}`);
    const gone = { ...replaced, executableName: async () => `${join(directory, 'gone')} (deleted)` };
    expect((await attestor.attest(gone, everything)).some((each) => each.startsWith('unix:path:'))).toBe(false);
  });

  it('has neither path nor digest for a process that has no program, such as a kernel thread', async () => {
    const { directory, ...files } = await world();
    await writeProcess(directory, 8, {});
    const thread = openProcess(8, directory);
    onTestFinished(() => thread.close());
    expect(await new UnixAttestor(files).attest(thread.view, everything)).toEqual([
      'unix:uid:1000',
      'unix:user:web',
      'unix:gid:1000',
      'unix:group:web',
    ]);
  });
});

describe('digests', () => {
  it('are made one at a time for each user: who has large programs holds up himself', async () => {
    const directory = await tempDirectory();
    const attestor = new UnixAttestor();
    const order: string[] = [];
    const attest = async (pid: number, uid: number, program: string | Buffer) => {
      const exe = join(directory, `program-${pid}`);
      await writeFile(exe, program);
      await writeProcess(directory, pid, { uid, exe });
      const opened = openProcess(pid, directory);
      onTestFinished(() => opened.close());
      return async () => {
        const selectors = await attestor.attest(opened.view, everything);
        order.push(`${pid}`);
        return selectors;
      };
    };
    const large = await attest(7, 1000, Buffer.alloc(64 * 1024 * 1024));
    const small = await attest(8, 1000, 'code');
    const others = await attest(9, 1001, 'code too');
    const [, found] = await Promise.all([large(), small(), others()]);
    expect(order).toEqual(['9', '7', '8']);
    expect(found).toContain(`unix:sha256:${sha256('code')}`);
  });
});

describe('a process that was opened', () => {
  it('is not there: forbidden', async () => {
    await expectAppError(
      async () => openProcess(7, await tempDirectory()),
      'forbidden',
      'The process that called has ended.',
    );
  });

  it('is noticed when it has become another, or another user', async () => {
    const { opened, directory } = await world();
    opened.recheck();
    await writeProcess(directory, 7, { startTime: 99_999 });
    await expectAppError(() => opened.recheck(), 'forbidden', 'The process that called has ended.');
    await writeProcess(directory, 7, { uid: 0 });
    await expectAppError(() => opened.recheck(), 'forbidden', /has changed its user or group/);
  });

  it('has files of at most 64 KiB', async () => {
    const { view, directory } = await world();
    await writeFile(join(directory, '7/cgroup'), 'x'.repeat(64 * 1024 + 1));
    await expectAppError(view.read('cgroup'), 'too-large', 'cgroup has more than 65536 bytes.');
  });
});
