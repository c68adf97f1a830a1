import { expect } from 'vitest';
import type { Logger } from '../../../../src/base/log.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { AdminFacts } from '../../../../src/control/ledger/admin-recorder.ts';
import type { SinkMemory } from '../../../../src/control/ledger/sinks/cursor.ts';
import type { SinkFollowerOptions } from '../../../../src/control/ledger/sinks/follower.ts';
import { SinkFollower } from '../../../../src/control/ledger/sinks/follower.ts';
import type { SinkItem, SinkPosition } from '../../../../src/control/ledger/sinks/item.ts';
import type { Sink } from '../../../../src/control/ledger/sinks/sink.ts';
import { FakeClock } from '../../../support/clock.ts';
import { TestLedger } from '../test-ledger.ts';

/** A receiver in this process, which can be told what to do wrong. */
export class TestSink implements Sink {
  readonly taken: SinkItem[] = [];
  readonly groups: number[] = [];
  /** Called before anything is taken. */
  before: (items: readonly SinkItem[], signal: AbortSignal) => Promise<void> | void = () => undefined;

  async deliver(items: readonly SinkItem[], signal: AbortSignal): Promise<void> {
    await this.before(items, signal);
    this.groups.push(items.length);
    this.taken.push(...items);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  get ids(): readonly string[] {
    return this.taken.map(({ id }) => id);
  }
}

export class TestMemory implements SinkMemory {
  at: SinkPosition | undefined;
  readonly rejected: string[] = [];
  /** Makes writing fail. */
  failure: Error | undefined;

  read(): Promise<SinkPosition | undefined> {
    return Promise.resolve(this.at);
  }

  write(at: SinkPosition): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    this.at = at;
    return Promise.resolve();
  }

  reject({ id }: SinkItem): Promise<void> {
    this.rejected.push(id);
    return Promise.resolve();
  }
}

/** A ledger, a receiver, and what stays when a process ends. */
export function sinkWorld(logger: Logger = silentLogger) {
  const ledger = new TestLedger();
  const sink = new TestSink();
  const memory = new TestMemory();
  const clock = new FakeClock();
  const reports: AdminFacts[] = [];
  const trail = {
    report: (facts: AdminFacts) => {
      reports.push(facts);
      return Promise.resolve();
    },
  };
  const about = { name: 'siem', type: 'file', format: 'ocsf', guarantee: 'at-least-once' } as const;
  /** As after a start of the process. */
  const start = (change: Partial<SinkFollowerOptions> = {}) => {
    const follower = new SinkFollower({ ...about, sink, memory, ledger, trail, clock, logger, ...change });
    const stop = new AbortController();
    const ended = follower.run(stop.signal);
    return {
      follower,
      stop: async () => {
        stop.abort();
        await ended;
      },
    };
  };
  /** Lets it do what it can without time going by. */
  const settle = () => clock.advance(0);
  const untilTaken = async (count: number) => {
    await expect.poll(() => sink.taken.length, { interval: 2, timeout: 3_000 }).toBe(count);
    await settle();
  };
  return { ledger, sink, memory, clock, reports, start, settle, untilTaken };
}
