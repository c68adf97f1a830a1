import { describe, expect, it } from 'vitest';
import { retryConflicts } from '../../../src/control/store/retry.ts';
import { expectAppError } from '../../support/errors.ts';

const conflict = Object.assign(new Error('could not serialize access'), { code: '40001' });
const busy = Object.assign(new Error('database is locked'), { code: 'ERR_SQLITE_ERROR', errcode: 517 });

function failing(errors: readonly Error[]) {
  const left = [...errors];
  const run = async () => {
    const error = left.shift();
    if (error !== undefined) throw error;
    return 'done';
  };
  return { run, left };
}

describe('A transaction that is tried again', () => {
  it('succeeds after conflicts of any kind, waiting longer each time', async () => {
    const waits: number[] = [];
    const deadlock = Object.assign(new Error('deadlock detected'), { code: '40P01' });
    const { run } = failing([conflict, busy, deadlock, conflict]);
    expect(await retryConflicts(run, async (ms) => void waits.push(ms))).toBe('done');
    expect(waits).toHaveLength(4);
    expect(waits[3]).toBeGreaterThan(waits[0] ?? 0);
    expect(Math.max(...waits)).toBeLessThanOrEqual(250);
  });

  it('is not tried again after any other failure', async () => {
    const { run, left } = failing([new Error('syntax error'), conflict]);
    await expect(retryConflicts(run, async () => undefined)).rejects.toThrow('syntax error');
    expect(left).toHaveLength(1);
  });

  it('gives up with unavailable when conflicts do not end', async () => {
    const { run, left } = failing(Array.from({ length: 100 }, () => conflict));
    const error = await expectAppError(
      retryConflicts(run, async () => undefined),
      'unavailable',
      /busy/,
    );
    expect(error.retryAfterSeconds).toBe(1);
    expect(left).toHaveLength(75);
  });
});
