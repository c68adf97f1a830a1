import { describe, expect, it, onTestFinished } from 'vitest';
import type { AskWitness } from '../../../src/control/ledger/log/witness-client.ts';
import { verifyCheckpoint } from '../../../src/core/audit/log-policy.ts';
import { parseNote } from '../../../src/core/audit/note.ts';
import type { Witness } from '../../../src/node/witness/witness.ts';
import type { LogWorld } from '../../support/audit-log.ts';
import { logWorld, SignedLedger } from '../../support/audit-log.ts';
import { expectAppError } from '../../support/errors.ts';
import type { WitnessedLog, WitnessedOptions } from '../../support/witness.ts';
import { askDirectly, MemoryNote, openWitness, openWitnessedLog, witnessPolicy } from '../../support/witness.ts';

const a = 'https://a.example';
const b = 'https://b.example';

async function twoWitnesses(): Promise<Record<string, Witness>> {
  return {
    [a]: await openWitness(undefined, { name: 'witness.example/a' }),
    [b]: await openWitness(undefined, { name: 'witness.example/b' }),
  };
}

interface Running extends WitnessedLog {
  readonly world: LogWorld;
  /** Records some batches and has them in the log. */
  grow(count: number): Promise<void>;
  /** Lets time go by until it is so. */
  until(condition: () => boolean): Promise<void>;
  stop(): Promise<void>;
}

async function run(o: WitnessedOptions, world: LogWorld = logWorld()): Promise<Running> {
  const opened = await openWitnessedLog(world, o);
  const stop = new AbortController();
  const running = opened.witnesses.run(stop.signal);
  const end = async () => {
    stop.abort();
    await running;
  };
  onTestFinished(end);
  return {
    ...opened,
    world,
    grow: async (count) => {
      world.ledger.addMany(count);
      while (await opened.sequencer.step());
    },
    until: async (condition) => {
      for (let i = 0; i < 2_000 && !condition(); i++) await world.clock.advance(100);
      expect(condition()).toBe(true);
    },
    stop: end,
  };
}

const sizeOf = ({ log }: WitnessedLog) => log.served.current.checkpoint.size;

describe('the witnesses of a log', () => {
  it('audit 21: cosign what is published, and what is shown has their quorum', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'all');
    const log = await run({ policy, ask: askDirectly(witnesses) });
    await log.grow(3);
    await log.until(() => sizeOf(log) === 3);
    const shown = verifyCheckpoint(log.log.served.current.note, policy);
    expect(shown).toMatchObject({ size: 3, witnesses: ['w1', 'w2'] });
    await log.grow(300);
    await log.until(() => sizeOf(log) === 303);
    expect(verifyCheckpoint(log.log.served.current.note, policy).witnesses).toEqual(['w1', 'w2']);
    expect(log.witnesses.states).toMatchObject([
      { name: 'w1', url: a, size: 303, cosignedAt: Date.UTC(2026, 0, 5), problem: undefined, isContradicted: false },
      { name: 'w2', size: 303 },
    ]);
    expect(log.witnesses.problem).toBeUndefined();
  });

  it('never hold up what is recorded; without the quorum nothing newer is shown', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'all');
    let isAway = false;
    const direct = askDirectly(witnesses);
    const ask: AskWitness = async (url, ...rest) => {
      if (isAway && url === b) throw new Error('ECONNREFUSED');
      return direct(url, ...rest);
    };
    const log = await run({ policy, ask });
    await log.grow(2);
    await log.until(() => sizeOf(log) === 2);
    isAway = true;
    await log.grow(5);
    await log.until(() => log.witnesses.problem !== undefined);
    expect(log.log.published.current.checkpoint.size).toBe(7);
    expect(sizeOf(log)).toBe(2);
    expect(log.witnesses.problem).toBe('The quorum enough has not cosigned 7 entries: w2: It does not answer.');
    const batch = log.world.ledger.batches[5];
    await expectAppError(
      log.log.prove(`${batch?.instanceId}.1.${batch?.header.firstSeq}`),
      'unavailable',
      /not in a published checkpoint yet\. The quorum enough has not cosigned/,
    );
    isAway = false;
    await log.until(() => sizeOf(log) === 7);
    expect(log.witnesses.problem).toBeUndefined();
  });

  it('are shown at once where no quorum is asked for, and their cosignatures as they come', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'none');
    const direct = askDirectly(witnesses);
    const ask: AskWitness = (url, ...rest) => (url === b ? new Promise(() => undefined) : direct(url, ...rest));
    const log = await run({ policy, ask: honouring(ask) });
    await log.grow(4);
    await log.until(() => sizeOf(log) === 4);
    await log.until(() => verifyCheckpoint(log.log.served.current.note, policy).witnesses.length === 1);
    expect(verifyCheckpoint(log.log.served.current.note, policy).witnesses).toEqual(['w1']);
  });

  it('of which one hangs are not waited for by the others', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'any');
    const direct = askDirectly(witnesses);
    const ask: AskWitness = (url, ...rest) => (url === a ? new Promise(() => undefined) : direct(url, ...rest));
    const log = await run({ policy, ask: honouring(ask) });
    const started = log.world.clock.now();
    for (const size of [1, 2, 3]) {
      await log.grow(1);
      await log.until(() => sizeOf(log) === size);
    }
    expect(log.world.clock.now() - started).toBeLessThan(8_000);
    await log.until(() => log.witnesses.states[0]?.problem !== undefined);
    expect(log.witnesses.states[0]?.problem).toBe('It did not answer within 10 s.');
    expect(log.witnesses.problem).toBeUndefined();
  });

  it.each([
    [
      'cosigns something else',
      (lines: Buffer, other: Buffer) => (lines.length > 0 ? other : lines),
      /no cosignature by its key|not cosigned with the key/,
    ],
    ['answers nonsense', () => Buffer.from('— x y\n'), /no cosignature by its key/],
    ['answers nothing', () => Buffer.alloc(0), /no cosignature by its key/],
  ])('are believed nothing: one that %s does not count', async (_, lie, message) => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy({ [a]: witnesses[a] as Witness }, 'all');
    const direct = askDirectly(witnesses);
    const ask: AskWitness = async (url, ...rest) => {
      const answer = await direct(url, ...rest);
      const other = await direct(b, ...rest);
      return answer.kind === 'cosigned' && other.kind === 'cosigned'
        ? { kind: 'cosigned', lines: lie(answer.lines, other.lines) }
        : answer;
    };
    const log = await run({ policy, ask });
    await log.until(() => log.witnesses.states[0]?.problem !== undefined);
    expect(log.witnesses.states[0]?.problem).toMatch(message);
    expect(verifyCheckpoint(log.log.served.current.note, { ...policy, quorum: 'none' }).witnesses).toEqual([]);
  });

  it('audit T29: tell of a log that was rolled back below what they have cosigned', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'all');
    const before = await run({ policy, ask: askDirectly(witnesses) });
    await before.grow(6);
    await before.until(() => sizeOf(before) === 6);
    await before.stop();
    // Everything was restored from a backup, also what witnesses had said.
    const ledger = new SignedLedger();
    ledger.take(before.world.ledger, 4);
    const log = await run({ policy, ask: askDirectly(witnesses) }, logWorld({ ledger }));
    await log.grow(0);
    const alarm = 'It has cosigned 6 entries, and the log has 4: the log was rolled back, or the witness is wrong.';
    await log.until(() => log.witnesses.states.every(({ problem }) => problem === alarm));
    expect(log.witnesses.states).toMatchObject([{ isContradicted: true }, { isContradicted: true }]);
  });

  it('audit T29: tell of a log with another history, of the same size and larger', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'all');
    const before = await run({ policy, ask: askDirectly(witnesses) });
    await before.grow(4);
    await before.until(() => sizeOf(before) === 4);
    await before.stop();
    const log = await run({ policy, ask: askDirectly(witnesses) });
    await log.grow(2);
    // Other batches than those: the same sidecar, at other times.
    await log.grow(3);
    await log.until(() => log.witnesses.states.every(({ isContradicted }) => isContradicted));
    expect(log.witnesses.states[0]?.problem).toMatch(
      /does not continue: one of the two was rewritten|has cosigned 4 entries/,
    );
    expect(sizeOf(log)).toBeLessThanOrEqual(5);
    expect(parseNote(log.log.served.current.note).signatures.map(({ name }) => name)).not.toContain(
      'witness.example/a',
    );
  });

  it('audit 21: are taken at their word when they refuse the very size that they name', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'any');
    const ask: AskWitness = async () => ({ kind: 'stale', size: 0 });
    const log = await run({ policy, ask });
    await log.until(() => log.witnesses.states.every(({ isContradicted }) => isContradicted));
    expect(log.witnesses.states[0]?.problem).toBe('It has cosigned another log of 0 entries than this one.');
  });

  it('that name another size each time are asked three times and then left alone', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'any');
    let asked = 0;
    const ask: AskWitness = async (_, request) => {
      asked += 1;
      const old = Number(/^old (\d+)/.exec(request.toString('latin1'))?.[1]);
      return { kind: 'stale', size: (old + 1) % 3 };
    };
    const log = await run({ policy, ask });
    await log.grow(5);
    await log.until(() => log.witnesses.states.every(({ problem }) => /something else each time/.test(problem ?? '')));
    const sofar = asked;
    await log.world.clock.advance(400);
    expect(asked - sofar).toBeLessThan(7);
  });

  it('are asked from where they are after a restart, and what was shown is shown again', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'all');
    const saved = new MemoryNote();
    const before = await run({ policy, ask: askDirectly(witnesses), saved });
    await before.grow(6);
    await before.until(() => sizeOf(before) === 6);
    await before.stop();
    before.world.ledger.addMany(3);
    const { files, lock, ledger } = before.world;
    const ask: AskWitness = async () => ({ kind: 'refused', why: 'It answered 503.' });
    const away = await run({ policy, ask, saved }, { ...before.world, files, lock, ledger });
    await away.sequencer.step();
    await away.until(() => away.witnesses.problem !== undefined);
    expect(away.log.served.current.note).toEqual(saved.note);
    expect(sizeOf(away)).toBe(6);
    await away.stop();
    const oldSizes: string[] = [];
    const direct = askDirectly(witnesses);
    const log = await run(
      {
        policy,
        saved,
        ask: (url, request, signal) => {
          oldSizes.push(request.toString('latin1').split('\n', 1)[0] ?? '');
          return direct(url, request, signal);
        },
      },
      before.world,
    );
    await log.until(() => sizeOf(log) === 9);
    expect(oldSizes).toEqual(['old 6', 'old 6']);
  });

  it('audit T29: a log behind what was shown with cosignatures is not opened, nor one with another history', async () => {
    const witnesses = await twoWitnesses();
    const policy = await witnessPolicy(witnesses, 'all');
    const saved = new MemoryNote();
    const before = await run({ policy, ask: askDirectly(witnesses), saved });
    await before.grow(6);
    await before.until(() => sizeOf(before) === 6);
    await before.stop();
    const o = { policy, ask: askDirectly(witnesses), saved };
    await expectAppError(
      openWitnessedLog(logWorld(), o),
      'incompatible-data',
      /witnesses have cosigned 6 entries of it, and it holds 0\. It was rolled back/,
    );
    const other = logWorld();
    other.ledger.addMany(8);
    const { sequencer } = await openWitnessedLog(other, { ...o, saved: new MemoryNote() });
    while (await sequencer.step());
    await expectAppError(openWitnessedLog(other, o), 'incompatible-data', /and it holds others/);
    saved.note = Buffer.from('damaged');
    await expectAppError(openWitnessedLog(before.world, o), 'incompatible-data', /is damaged\. Remove it/);
  });

  it('cosign again after an hour in which nothing was recorded', async () => {
    const times = [Date.UTC(2026, 0, 5), Date.UTC(2026, 0, 5, 1)];
    const witness = await openWitness(undefined, { now: () => times[0] ?? 0 });
    const policy = await witnessPolicy({ [a]: witness }, 'all');
    const log = await run({ policy, ask: askDirectly({ [a]: witness }) });
    await log.grow(1);
    await log.until(() => sizeOf(log) === 1);
    expect(log.witnesses.states[0]?.cosignedAt).toBe(Date.UTC(2026, 0, 5));
    times.shift();
    await log.world.clock.advance(3_500_000);
    await log.until(() => log.witnesses.states[0]?.cosignedAt === Date.UTC(2026, 0, 5, 1));
    expect(log.witnesses.problem).toBeUndefined();
  });
});

/** As a network does: it gives up when it is told to. */
function honouring(ask: AskWitness): AskWitness {
  return (url, request, signal) =>
    Promise.race([
      ask(url, request, signal),
      new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted')))),
    ]);
}
