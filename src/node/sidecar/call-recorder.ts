import type { Clock } from '../../base/clock.ts';
import type { AppendOptions } from '../../base/journal/journal.ts';
import type { Logger } from '../../base/log.ts';
import type { AuditEvent, DecisionEvent } from '../../core/audit/event.ts';
import type { Recorder } from './enforce.ts';
import { Degraded } from './spool/degraded.ts';
import type { Spool } from './spool.ts';

/** What the operator says of the calls of one port. */
export interface RecordingRule {
  /** Port of the local application. */
  readonly port: number;
  /** `strict`: a call is forwarded when its record is durable; `spool`: when it is written, and durable within 5 ms. */
  readonly record: 'strict' | 'spool';
  /** What happens to calls that would be let in when the spool is full: refused, or only counted (`degrade`). */
  readonly whenFull: 'refuse' | 'degrade';
}

export interface CallRecorderOptions {
  readonly spool: Pick<Spool, 'append' | 'isFull'>;
  readonly rules: readonly RecordingRule[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Records calls as their route asks for. What is not a call that comes in, and what no rule names, is durable before
 * anything goes on, and is refused when there is no room.
 */
export class CallRecorder implements Recorder {
  readonly #spool: CallRecorderOptions['spool'];
  readonly #rules: ReadonlyMap<number, RecordingRule>;
  /** Some calls do not wait for the disk. */
  readonly #isLoose: boolean;
  readonly #degraded: Degraded;
  /** Calls in flight that were only counted: their end is not on record either. Bounded by the connections. */
  readonly #counted = new Set<string>();

  constructor(o: CallRecorderOptions) {
    this.#spool = o.spool;
    this.#rules = strictest(o.rules);
    this.#isLoose = [...this.#rules.values()].some((rule) => rule.record === 'spool');
    this.#degraded = new Degraded({ recorder: o.spool, clock: o.clock, logger: o.logger });
  }

  /** Calls that were only counted, since the start. */
  get degradedCalls(): number {
    return this.#degraded.calls;
  }

  async append(event: AuditEvent, o: AppendOptions = {}): Promise<unknown> {
    if (event.kind === 'completion' && this.#counted.delete(event.call)) return;
    const rule = event.kind === 'decision' && event.direction === undefined ? this.#rules.get(event.port) : undefined;
    // Nobody waits for a completion, and it must not make those wait that it is written with.
    if (event.kind === 'completion' && this.#isLoose) return this.#spool.append(event, { ...o, durability: 'write' });
    if (event.kind !== 'decision' || rule === undefined) return this.#spool.append(event, o);
    return this.#call(event, rule);
  }

  /** Records what was counted. Before the spool is closed. */
  async close(): Promise<void> {
    await this.#degraded.settle();
  }

  async #call(event: DecisionEvent, rule: RecordingRule): Promise<void> {
    const mayDegrade = rule.whenFull === 'degrade' && event.decision === 'allow';
    try {
      await this.#spool.append(event, { durability: rule.record === 'spool' ? 'write' : 'fsync' });
    } catch (error) {
      // A disk that fails is another matter than one without room: there nothing could be admitted either.
      if (!mayDegrade || !this.#spool.isFull) throw error;
      await this.#degraded.count(event);
      this.#counted.add(event.call);
      return;
    }
    if (event.decision === 'allow') void this.#degraded.settle();
  }
}

/** Of several rules for one port, what is asked for by any is done. */
function strictest(rules: readonly RecordingRule[]): ReadonlyMap<number, RecordingRule> {
  const found = new Map<number, RecordingRule>();
  for (const rule of rules) {
    const other = found.get(rule.port) ?? rule;
    found.set(rule.port, {
      port: rule.port,
      record: other.record === 'strict' ? 'strict' : rule.record,
      whenFull: other.whenFull === 'refuse' ? 'refuse' : rule.whenFull,
    });
  }
  return found;
}
