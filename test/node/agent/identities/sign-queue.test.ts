import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { SignQueue } from '../../../../src/node/agent/identities/sign-queue.ts';
import type { ItemResult } from '../../../../src/wire/identity-sign.ts';
import { expectAppError } from '../../../support/errors.ts';

type Send = (items: readonly number[]) => Promise<readonly ItemResult<string>[]>;

function start(send: Send, maxItems = 100) {
  const calls: (readonly number[])[] = [];
  const queue = new SignQueue<number, string>({
    maxItems,
    send: (items) => {
      calls.push(items);
      return send(items);
    },
  });
  return { calls, queue, all: (count: number) => Array.from({ length: count }, (_, i) => queue.add(i)) };
}

const granted: Send = async (items) => items.map((item) => ({ value: `signed ${item}` }));

describe('orders that are signed together', () => {
  it('a burst becomes one call, and no call is longer than allowed', async () => {
    const { calls, all } = start(granted);
    expect(await Promise.all(all(250))).toEqual(Array.from({ length: 250 }, (_, i) => `signed ${i}`));
    expect(calls.map((call) => call.length)).toEqual([100, 100, 50]);
  });

  it('what comes while calls are under way goes with the next one', async () => {
    const gates: (() => void)[] = [];
    const { calls, queue } = start(async (items) => {
      await new Promise<void>((resolve) => gates.push(resolve));
      return granted(items);
    });
    const answers = [queue.add(0)];
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    await turn();
    answers.push(queue.add(1));
    await turn();
    for (let i = 2; i < 20; i += 1) {
      answers.push(queue.add(i));
      await turn();
    }
    expect(calls).toEqual([[0], [1]]);
    gates.shift()?.();
    await answers[0];
    await turn();
    expect(calls).toHaveLength(3);
    expect(calls[2]).toHaveLength(18);
    for (const open of gates) open();
    await Promise.all(answers);
  });

  it('one that is refused fails alone', async () => {
    const { all } = start(async (items) =>
      items.map((item) => (item === 1 ? { error: new AppError('not-found', 'No.') } : { value: 'ok' })),
    );
    const [first, second, third] = await Promise.allSettled(all(3));
    expect([first?.status, second?.status, third?.status]).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('a call that fails for one of its items is made again in halves, until that one is alone', async () => {
    const { calls, all } = start(async (items) => {
      if (items.includes(5)) throw new AppError('invalid', 'One of them is bad.');
      return granted(items);
    });
    const results = await Promise.allSettled(all(8));
    expect(results.map((result) => result.status)).toEqual(results.map((_, i) => (i === 5 ? 'rejected' : 'fulfilled')));
    expect(calls.map((call) => call.length)).toEqual([8, 4, 4, 2, 1, 1, 2]);
  });

  it('when the control plane is away, busy, or has had enough, nothing is tried again: who asked knows when', async () => {
    for (const code of ['unavailable', 'deadline-exceeded', 'exhausted', 'forbidden', 'unauthenticated'] as const) {
      const { calls, all } = start(() => Promise.reject(new AppError(code, 'No.')));
      for (const each of all(4)) await expectAppError(each, code);
      expect(calls).toHaveLength(1);
    }
  });
});
