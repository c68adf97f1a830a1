import { describe, expect, it } from 'vitest';
import { WatchSource } from '../../src/base/watch.ts';

describe('WatchSource', () => {
  it('gives the latest value and how often it changed', () => {
    const watch = new WatchSource('a');
    watch.set('b');
    watch.set('c');
    expect([watch.current, watch.version]).toEqual(['c', 2]);
  });

  it('tells subscribers of changes until they unsubscribe, also while they are being told', () => {
    const watch = new WatchSource(0);
    const seen: string[] = [];
    const stopFirst = watch.subscribe((v) => {
      seen.push(`first ${v}`);
      stopFirst();
    });
    watch.subscribe((v) => seen.push(`second ${v}`));
    watch.set(1);
    watch.set(2);
    expect(seen).toEqual(['first 1', 'second 1', 'second 2']);
  });

  it('counts the same function subscribed twice as two subscriptions', () => {
    const watch = new WatchSource(0);
    let calls = 0;
    const count = () => {
      calls += 1;
    };
    const stop = watch.subscribe(count);
    watch.subscribe(count);
    stop();
    watch.set(1);
    expect(calls).toBe(1);
  });

  it('next resolves at once with the latest when the reader is behind, and skips what lies between', async () => {
    const watch = new WatchSource('a');
    watch.set('b');
    watch.set('c');
    expect(await watch.next(0)).toEqual({ value: 'c', version: 2 });
  });

  it('next waits for the change after the one that the reader has', async () => {
    const watch = new WatchSource('a');
    const next = watch.next(0);
    watch.set('b');
    expect(await next).toEqual({ value: 'b', version: 1 });
  });

  it('next rejects with the reason of the signal, before and while it waits', async () => {
    const watch = new WatchSource('a');
    const stop = new AbortController();
    const waiting = watch.next(0, stop.signal);
    stop.abort(new Error('stopped'));
    await expect(waiting).rejects.toThrow('stopped');
    await expect(watch.next(0, stop.signal)).rejects.toThrow('stopped');
  });
});
