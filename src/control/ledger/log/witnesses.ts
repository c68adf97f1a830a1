import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { isAbort } from '../../../base/tasks.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import { checkpointIn, isSameCheckpoint } from '../../../core/audit/checkpoint.ts';
import { verifierOf } from '../../../core/audit/cosignature.ts';
import type { LogPolicy } from '../../../core/audit/log-policy.ts';
import { isReached } from '../../../core/audit/log-policy.ts';
import type { NoteSignature } from '../../../core/audit/note.ts';
import { encodeNote, parseNote, verifiedSigners, verifyNote } from '../../../core/audit/note.ts';
import type { LogKeys } from './keys.ts';
import type { Published } from './recover.ts';
import type { AskWitness, WitnessState } from './witness-client.ts';
import { WitnessClient } from './witness-client.ts';

/** Keeps the newest checkpoint that the witnesses have cosigned. */
export interface WitnessedNote {
  load(): Promise<Buffer | undefined>;
  /** Durable when it resolves. */
  save(note: Buffer): Promise<void>;
}

export interface WitnessesOptions {
  /** Whom to ask, where, and how many of them it takes: its witnesses, groups and quorum. */
  readonly policy: LogPolicy;
  readonly ask: AskWitness;
  readonly published: Watch<Published>;
  /** That the log of `to` begins with the one of `size` leaves. */
  readonly consistency: (size: number, to: Published) => Promise<readonly Buffer[]>;
  /** Of the log when it had `size` leaves. */
  readonly rootAt: (size: number) => Promise<Buffer>;
  readonly saved: WitnessedNote;
  readonly keys: Pick<LogKeys, 'origin' | 'publicKeys'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<WitnessLimits>;
}

export interface WitnessLimits {
  /** Between two checkpoints that are shown to witnesses, in milliseconds. Default 1,000. */
  readonly periodMs: number;
  /** How long one may take to answer, in milliseconds. Default 10,000. */
  readonly timeoutMs: number;
  /** How long the slower ones are waited for once there are enough, in milliseconds. Default 500. */
  readonly graceMs: number;
  /** After so long without a new entry they cosign again, so that their word is not old, in milliseconds. Default 1 h. */
  readonly refreshMs: number;
}

const DEFAULT_LIMITS: WitnessLimits = { periodMs: 1_000, timeoutMs: 10_000, graceMs: 500, refreshMs: 3_600_000 };
/** Their signatures stand below those of the log: verifiers take 64. */
export const MAX_WITNESSES = 32;

/**
 * Has witnesses cosign the checkpoints of a log. What is recorded never waits for them, but what is shown does: `served` is the
 * newest checkpoint that the quorum has cosigned. While the quorum cannot be had, the last one stays; before there has
 * ever been one, the plain checkpoint is served.
 */
export class Witnesses {
  readonly #o: WitnessesOptions;
  readonly #limits: WitnessLimits;
  readonly #clients: readonly WitnessClient[];
  readonly #served: WatchSource<Published>;
  readonly #underWay = new Set<Promise<unknown>>();
  #shown: Shown | undefined;
  /** Whether the quorum was ever had: from then on nothing is served without it. */
  #hadEnough: boolean;
  #saving: Promise<unknown> = Promise.resolve();
  #problem: string | undefined;

  private constructor(o: WitnessesOptions, saved: Saved | undefined) {
    this.#o = o;
    this.#limits = { ...DEFAULT_LIMITS, ...o.limits };
    this.#hadEnough = saved !== undefined;
    this.#served = new WatchSource(saved?.served ?? o.published.current);
    const { timeoutMs } = this.#limits;
    const { ask, consistency, clock } = o;
    this.#clients = o.policy.witnesses.flatMap(({ url, ...witness }) =>
      url === undefined
        ? []
        : [
            new WitnessClient(
              { witness: { ...witness, url }, ask, consistency, clock, timeoutMs },
              saved?.witnesses.includes(witness.name) ? saved.served.checkpoint.size : 0,
            ),
          ],
    );
  }

  /** @throws AppError `incompatible-data` when the log is not the one that witnesses have cosigned: it was rolled back or rewritten */
  static async open(o: WitnessesOptions): Promise<Witnesses> {
    return new Witnesses(o, await readSaved(o));
  }

  /** What everybody is shown. */
  get served(): Watch<Published> {
    return this.#served;
  }

  get policy(): LogPolicy {
    return this.#o.policy;
  }

  get states(): readonly WitnessState[] {
    return this.#clients.map(({ state }) => state);
  }

  /** Why the newest checkpoint is not shown, if it is not. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Until `signal` aborts. No failure of a witness ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { published, clock } = this.#o;
    try {
      while (!signal.aborted) {
        const { version, current } = published;
        await this.#show(current, signal);
        await sleep(clock, this.#limits.periodMs, signal);
        if (this.#isCosignedByAll(current)) await this.#nextOrRefresh(version, signal);
      }
    } catch (error) {
      if (!isAbort(error, signal)) throw error;
    } finally {
      await Promise.allSettled(this.#underWay);
    }
  }

  /** Resolves when enough have cosigned and the others had their time, or nobody is left to wait for. */
  async #show(target: Published, signal: AbortSignal): Promise<void> {
    const now = this.#o.clock.now();
    const isNew =
      this.#shown === undefined ||
      !isSameCheckpoint(this.#shown.target.checkpoint, target.checkpoint) ||
      now - this.#shown.at >= this.#limits.refreshMs;
    if (isNew) this.#shown = { target, signatures: new Map(), at: now };
    const shown = this.#shown as Shown;
    await this.#offer(shown);
    const enough = Promise.withResolvers<void>();
    const asked = this.#clients
      .filter((client) => client.isReady && !shown.signatures.has(client.name))
      .map((client) => this.#askOne(client, shown, enough.resolve, signal));
    const grace = enough.promise.then(() => sleep(this.#o.clock, this.#limits.graceMs, signal));
    await Promise.race([Promise.all(asked), grace]);
    this.#problem = isReached(this.#o.policy, new Set(shown.signatures.keys()))
      ? undefined
      : `The quorum ${this.#o.policy.quorum} has not cosigned ${target.checkpoint.size} entries: ${this.#missing(shown.signatures)}`;
  }

  #askOne(client: WitnessClient, shown: Shown, enough: () => void, signal: AbortSignal): Promise<void> {
    const before = client.state;
    const asking = client
      .cosign(shown.target, signal)
      .then(async (signature) => {
        shown.signatures.set(client.name, signature);
        await this.#offer(shown);
        if (isReached(this.#o.policy, new Set(shown.signatures.keys()))) enough();
        if (before.problem !== undefined) this.#o.logger.info({ witness: client.name }, 'the witness cosigns again');
      })
      .catch((error: unknown) => {
        if (signal.aborted || client.state.problem === before.problem) return;
        const told = { err: error, witness: client.name, size: shown.target.checkpoint.size };
        if (client.state.isContradicted) this.#o.logger.error(told, 'a witness contradicts the audit log');
        else this.#o.logger.warn(told, 'a witness does not cosign');
      });
    this.#underWay.add(asking);
    return asking.finally(() => this.#underWay.delete(asking));
  }

  /** Serves what was shown, with the cosignatures that are there, if they are enough and nothing newer is served. */
  #offer(shown: Shown): Promise<void> {
    const { target, signatures } = shown;
    const turn = this.#saving.then(async () => {
      const { checkpoint } = target;
      if (shown !== this.#shown && checkpoint.size <= this.#served.current.checkpoint.size) return;
      if (checkpoint.size < this.#served.current.checkpoint.size) return;
      const isEnough = isReached(this.#o.policy, new Set(signatures.keys()));
      if (!isEnough && this.#hadEnough) return;
      const { text, signatures: own } = parseNote(target.note);
      const note = encodeNote({ text, signatures: [...own, ...signatures.values()] });
      // Otherwise it would be forgotten by the next start, and something older served again.
      if (isEnough && signatures.size > 0) {
        await this.#o.saved.save(note);
        this.#hadEnough = true;
      }
      this.#served.set(Object.freeze({ checkpoint, note }));
    });
    this.#saving = turn.catch(() => undefined);
    return turn;
  }

  #missing(signatures: ReadonlyMap<string, unknown>): string {
    const missing = this.#clients.filter(({ name }) => !signatures.has(name));
    return missing.map(({ name, state }) => `${name}: ${state.problem ?? 'No answer yet.'}`).join(' ');
  }

  #isCosignedByAll({ checkpoint }: Published): boolean {
    const shown = this.#shown;
    return (
      shown !== undefined &&
      isSameCheckpoint(shown.target.checkpoint, checkpoint) &&
      this.#clients.every(({ name }) => shown.signatures.has(name))
    );
  }

  async #nextOrRefresh(version: number, signal: AbortSignal): Promise<void> {
    const { published, clock } = this.#o;
    const done = new AbortController();
    const either = AbortSignal.any([signal, done.signal]);
    try {
      await Promise.race([published.next(version, either), sleep(clock, this.#limits.refreshMs, either)]);
    } finally {
      done.abort();
    }
  }
}

/** What witnesses are asked to cosign, and who has. */
interface Shown {
  readonly target: Published;
  readonly signatures: Map<string, NoteSignature>;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

interface Saved {
  readonly served: Published;
  readonly witnesses: readonly string[];
}

/** What was served before, if it has what is asked for now. */
async function readSaved(o: WitnessesOptions): Promise<Saved | undefined> {
  const bytes = await o.saved.load();
  if (bytes === undefined) return undefined;
  const note = parseSaved(bytes, o);
  const served: Published = Object.freeze({ checkpoint: checkpointIn(note), note: bytes });
  const { size, root } = served.checkpoint;
  const log = o.published.current.checkpoint;
  const isSame = size <= log.size && (await o.rootAt(size)).equals(root);
  if (!isSame)
    throw new AppError(
      'incompatible-data',
      `The audit log ${log.origin} is not opened: witnesses have cosigned ${size} entries of it, and it holds ${size > log.size ? log.size : 'others'}. It was rolled back or rewritten; nothing was changed, and docs/decisions/one-log.md says what to do.`,
    );
  const witnesses = o.policy.witnesses
    .filter(({ key }) => verifiedSigners(note, [verifierOf(key)]).length === 1)
    .map(({ name }) => name);
  return isReached(o.policy, new Set(witnesses)) ? { served, witnesses } : undefined;
}

function parseSaved(bytes: Buffer, { keys }: WitnessesOptions) {
  try {
    const note = parseNote(bytes);
    const signers = verifyNote(note, keys.publicKeys.map(verifierOf));
    if (signers.length === keys.publicKeys.length && checkpointIn(note).origin === keys.origin) return note;
  } catch {
    // Told below.
  }
  throw new AppError(
    'incompatible-data',
    'The checkpoint that witnesses have cosigned, in the directory of the audit log, is damaged. Remove it: they are asked again.',
  );
}
