import { describe, expect, it } from 'vitest';
import { toAuditRecord, toRecordRow } from '../../../src/control/ledger/rows.ts';
import type { TailItem } from '../../../src/control/ledger/tail.ts';
import { Tail } from '../../../src/control/ledger/tail.ts';
import { encodeEvent } from '../../../src/core/audit/canonical.ts';
import type { AuditRecord } from '../../../src/core/audit/event.ts';
import { matches } from '../../../src/core/audit/query.ts';
import { decision } from '../../support/audit.ts';

function records(from: number, to: number) {
  return Array.from({ length: to - from + 1 }, (_, i) => {
    const at = { sidecar: 's', epoch: 1, seq: from + i, leaf: 0, index: i };
    const event = decision();
    return toAuditRecord(
      {
        ...toRecordRow(event, encodeEvent(event), at, event.time),
        status: null,
        duration_ms: null,
      },
      0,
    );
  });
}

async function take(items: AsyncIterator<TailItem<AuditRecord>>, count: number): Promise<(number | string)[]> {
  const taken: (number | string)[] = [];
  for (let i = 0; i < count; i++) {
    const { value } = await items.next();
    if (value === undefined) break;
    taken.push(value.type === 'record' ? value.record.sequence : `lost ${value.count}`);
  }
  return taken;
}

describe('a live view', () => {
  it('gets everything from the call on, before it has asked for the first record', async () => {
    const tail = new Tail(matches);
    tail.publish(records(1, 2));
    const items = tail.follow({}, new AbortController().signal);
    tail.publish(records(3, 4));
    expect(await take(items, 2)).toEqual([3, 4]);
    const next = take(items, 1);
    tail.publish(records(5, 5));
    expect(await next).toEqual([5]);
    await items.return();
    expect(tail.isWatched).toBe(false);
  });

  it('that is too slow loses the oldest records and is told how many', async () => {
    const tail = new Tail(matches);
    const slow = tail.follow({}, new AbortController().signal);
    tail.publish(records(1, 1200));
    expect(await take(slow, 3)).toEqual(['lost 200', 201, 202]);
    tail.publish(records(1201, 1210));
    expect(await take(slow, 2)).toEqual(['lost 8', 211]);
    await slow.return();
  });

  it('does not slow down or starve another', async () => {
    const tail = new Tail(matches);
    const slow = tail.follow({}, new AbortController().signal);
    const fast = tail.follow({}, new AbortController().signal);
    for (let i = 1; i <= 1500; i++) {
      tail.publish(records(i, i));
      expect(await take(fast, 1)).toEqual([i]);
    }
    expect(await take(slow, 1)).toEqual(['lost 500']);
    await slow.return();
    await fast.return();
  });

  it('ends when its signal aborts, also while it waits, and keeps nothing', async () => {
    const tail = new Tail(matches);
    const stop = new AbortController();
    const items = tail.follow({}, stop.signal);
    const waiting = items.next();
    stop.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(tail.isWatched).toBe(false);
    const late = tail.follow({}, stop.signal);
    expect(tail.isWatched).toBe(false);
    expect(await late.next()).toEqual({ done: true, value: undefined });
  });
});
