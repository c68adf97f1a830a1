import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { Child } from '../../../src/main/dev/child.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';

/** A child that runs `script`, in which `ready()` tells that it serves. */
async function childOf(script: string, command?: () => Promise<readonly string[]>) {
  const logs = await tempDirectory();
  const file = join(logs, 'script.mjs');
  await writeFile(file, `const ready = () => process.send({ type: 'ready' });\n${script}`);
  const notes: string[] = [];
  const all = new AbortController();
  const { signal } = all;
  const child = new Child(
    { name: 'it', title: 'the thing', command: command ?? (() => [file]) },
    { env: process.env, cwd: logs, logs, clock: systemClock, signal, notify: (text) => notes.push(text) },
  );
  onTestFinished(() => child.stop());
  return { child, notes, all, log: join(logs, 'it.log'), file };
}

const forever = 'setInterval(() => {}, 1000);';
const polite = `process.on('SIGTERM', () => process.exit(0)); ${forever} ready();`;

function alive(pid: number | undefined): boolean {
  try {
    process.kill(pid ?? 0, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error('it did not happen');
    await new Promise((done) => setTimeout(done, 10));
  }
}

describe('a child', () => {
  it('has started when it says so, and is gone when stop returns', async () => {
    const { child } = await childOf(polite);
    await child.start();
    const { pid } = child;
    expect(alive(pid)).toBe(true);
    await child.stop();
    expect(alive(pid)).toBe(false);
    await child.stop();
  });

  it('that ends before it serves is told with what it said', async () => {
    const { child, notes } = await childOf(
      `process.send({ type: 'failed', code: 'incompatible-data', message: 'The store is broken.' }, () => process.exit(1));`,
    );
    await expectAppError(child.start(), 'incompatible-data', 'The thing did not start: The store is broken.');
    expect(notes).toEqual([]);
  });

  it('that says nothing is told with its exit status, the error in its log, and where that is', async () => {
    const { child, log } = await childOf(
      `console.log('a'); console.error('Error: boom'); console.log('b'); process.exit(7);`,
    );
    const error = await expectAppError(child.start(), 'unavailable');
    expect(error.message).toBe(`The thing did not start (exit status 7). Error: boom Its log: ${log}`);
  });

  it('that cannot be prepared does not start', async () => {
    const { child } = await childOf('', async () => {
      throw new TypeError('secret detail');
    });
    const error = await expectAppError(child.start(), 'internal', /did not start/);
    expect(error.message).not.toContain('secret detail');
  });

  it('that dies is started again, and that is said; its log goes on', async () => {
    const { child, notes, log } = await childOf(`console.log('start'); ${polite}`);
    await child.start();
    const first = child.pid;
    process.kill(first ?? 0, 'SIGKILL');
    await until(() => child.pid !== undefined && child.pid !== first);
    expect(notes).toEqual(['the thing stopped (signal SIGKILL); starting it again.']);
    await until(() => alive(child.pid));
    await child.stop();
    expect((await readFile(log, 'utf8')).startsWith('start\n')).toBe(true);
  });

  it('that ends in order and was not told to is started again', async () => {
    const { child, notes } = await childOf(polite);
    await child.start();
    const first = child.pid;
    process.kill(first ?? 0, 'SIGTERM');
    await until(() => child.pid !== undefined && child.pid !== first);
    expect(notes).toEqual(['the thing stopped (exit status 0); starting it again.']);
  });

  it('that a signal to the whole group ends just before its supervisor hears of it is neither told nor started again', async () => {
    const { child, notes, all } = await childOf(polite);
    await child.start();
    process.kill(child.pid ?? 0, 'SIGTERM');
    await until(() => child.pid === undefined);
    all.abort();
    await child.stop();
    expect([child.pid, notes]).toEqual([undefined, []]);
  });

  it('that dies while everything stops is neither told nor started again', async () => {
    const { child, notes, all } = await childOf(polite);
    await child.start();
    all.abort();
    expect(alive(child.pid)).toBe(true);
    process.kill(child.pid ?? 0, 'SIGKILL');
    await until(() => child.pid === undefined);
    await child.stop();
    expect([child.pid, notes]).toEqual([undefined, []]);
  });

  it('that is stopped between two starts stays stopped', async () => {
    const { child, notes } = await childOf(polite);
    await child.start();
    process.kill(child.pid ?? 0, 'SIGKILL');
    await until(() => notes.length === 1);
    await child.stop();
    expect(child.pid).toBeUndefined();
  });

  it('does not outlive a supervisor that is killed', async () => {
    const directory = await tempDirectory();
    const source = (path: string) => JSON.stringify(resolve(path));
    const childScript = join(directory, 'child.mjs');
    await writeFile(
      childScript,
      `import { stopSignal, tellParent } from ${source('src/main/process.ts')};
       const timer = setInterval(() => {}, 1000);
       stopSignal(true).addEventListener('abort', () => clearInterval(timer));
       await tellParent({ type: 'ready' });`,
    );
    const supervisorScript = `
      import { Child } from ${source('src/main/dev/child.ts')};
      import { systemClock } from ${source('src/base/clock.ts')};
      const { signal } = new AbortController();
      const logs = ${JSON.stringify(directory)};
      const deps = { env: process.env, cwd: '.', logs, clock: systemClock, signal, notify() {} };
      const child = new Child({ name: 'c', title: 'c', command: () => [${JSON.stringify(childScript)}] }, deps);
      await child.start();
      process.send(child.pid);`;
    const supervisor = spawn(process.execPath, ['--input-type=module', '-e', supervisorScript], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    onTestFinished(() => void supervisor.kill('SIGKILL'));
    const [pid] = (await once(supervisor, 'message')) as [number];
    expect(alive(pid)).toBe(true);
    supervisor.kill('SIGKILL');
    await until(() => !alive(pid));
  });

  it('leaves Ctrl-C to its supervisor, and stops at SIGTERM', async () => {
    const script = `import { stopSignal } from ${JSON.stringify(resolve('src/main/process.ts'))};
       const timer = setInterval(() => {}, 1000);
       process.on('message', () => process.send('pong'));
       stopSignal(true).addEventListener('abort', () => { clearInterval(timer); process.disconnect(); });
       process.send('ready');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const exit = once(child, 'exit');
    expect(await once(child, 'message')).toEqual(['ready', undefined]);
    for (const signal of ['SIGINT', 'SIGHUP'] as const) {
      const pong = once(child, 'message');
      child.kill(signal);
      child.send('ping');
      expect((await Promise.race([pong, exit]))[0], `after ${signal}`).toBe('pong');
    }
    child.kill('SIGTERM');
    expect(await exit).toEqual([0, null]);
  });
});
