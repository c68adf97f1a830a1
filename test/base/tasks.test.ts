import { describe, expect, it } from 'vitest';
import { Lifetime, runTasks } from '../../src/base/tasks.ts';

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));

describe('runTasks', () => {
  it('stops all tasks when one fails, and throws that failure', async () => {
    let stopped = false;
    const tasks = [
      { name: 'fails', run: () => Promise.reject(new Error('broken')) },
      {
        name: 'waits',
        run: async (signal: AbortSignal) => {
          await untilAborted(signal).catch(() => undefined);
          stopped = true;
        },
      },
    ];
    await expect(runTasks(tasks, new AbortController().signal)).rejects.toThrow('broken');
    expect(stopped).toBe(true);
  });

  it('ends without an error when it is told to stop', async () => {
    const stop = new AbortController();
    const running = runTasks([{ name: 'waits', run: untilAborted }], stop.signal);
    stop.abort(new Error('enough'));
    await expect(running).resolves.toBeUndefined();
  });

  it('reports a failure that happens while stopping', async () => {
    const stop = new AbortController();
    const task = {
      name: 'fails late',
      run: async (signal: AbortSignal) => {
        await untilAborted(signal).catch(() => undefined);
        throw new Error('could not flush');
      },
    };
    const running = runTasks([task], stop.signal);
    stop.abort(new Error('enough'));
    await expect(running).rejects.toThrow('could not flush');
  });

  it('a task that ends early leaves the others running', async () => {
    const stop = new AbortController();
    let ended = false;
    const running = runTasks(
      [
        { name: 'short', run: async () => undefined },
        { name: 'long', run: untilAborted },
      ],
      stop.signal,
    ).then(() => {
      ended = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    stop.abort(new Error('enough'));
    await running;
  });
});

describe('Lifetime', () => {
  it('closes in reverse order, once, and goes on past a closer that throws', async () => {
    const closed: string[] = [];
    const lifetime = new Lifetime();
    lifetime.defer('store', () => void closed.push('store'));
    lifetime.defer('server', () => {
      closed.push('server');
      throw new Error('busy');
    });
    lifetime.defer('listener', async () => void closed.push('listener'));
    await expect(lifetime.close()).rejects.toThrow('closing server failed');
    await expect(lifetime.close()).rejects.toThrow('closing server failed');
    expect(closed).toEqual(['listener', 'server', 'store']);
  });
});
