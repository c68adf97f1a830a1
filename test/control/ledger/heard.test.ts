import { describe, expect, it } from 'vitest';
import { noteHeard } from '../../../src/control/ledger/heard.ts';

const now = 1_000_000_000;

describe('what a sidecar has recorded', () => {
  it('is all here as of an event that came promptly, even if its clock is a little off', () => {
    const heard = new Map<string, number>();
    noteHeard(heard, 'a', { time: now - 30_000 }, now);
    noteHeard(heard, 'b', { time: now + 30_000 }, now);
    expect([...heard]).toEqual([
      ['a', now],
      ['b', now],
    ]);
  });

  it('is here only up to the time of an old event: the rest of the backlog may be on its way', () => {
    const heard = new Map<string, number>();
    noteHeard(heard, 'a', { time: now - 30_001 }, now);
    expect(heard.get('a')).toBe(now - 30_001);
    noteHeard(heard, 'a', { time: now + 3_600_000 }, now);
    expect(heard.get('a')).toBe(now);
  });
});
