import { Backoff } from '../../../base/backoff.ts';
import type { Clock } from '../../../base/clock.ts';
import { AppError, unreachable } from '../../../base/errors.ts';
import { encodeAddCheckpoint } from '../../../core/audit/add-checkpoint.ts';
import { cosignatureTime, verifierOf } from '../../../core/audit/cosignature.ts';
import type { PolicyWitness } from '../../../core/audit/log-policy.ts';
import type { NoteSignature, NoteVerifier } from '../../../core/audit/note.ts';
import { parseNote, verifiedSigners } from '../../../core/audit/note.ts';
import type { Published } from './recover.ts';

/** What a witness has answered (c2sp.org/tlog-witness). None of it is verified. */
export type WitnessAnswer =
  /** 200: signature lines. */
  | { readonly kind: 'cosigned'; readonly lines: Buffer }
  /** 409: how much of the log it has cosigned. */
  | { readonly kind: 'stale'; readonly size: number }
  /** 422: what it was shown does not continue what it has cosigned. */
  | { readonly kind: 'contradicted' }
  /** Everything else, in words of ours. */
  | { readonly kind: 'refused'; readonly why: string };

/** Posts a request of add-checkpoint. Rejects when there is no answer. */
export type AskWitness = (url: string, request: Buffer, signal: AbortSignal) => Promise<WitnessAnswer>;

export interface WitnessClientOptions {
  readonly witness: PolicyWitness & { readonly url: string };
  readonly ask: AskWitness;
  /** That the log of `to` begins with the one of `size` leaves. */
  readonly consistency: (size: number, to: Published) => Promise<readonly Buffer[]>;
  readonly clock: Clock;
  /** For one question, in milliseconds. */
  readonly timeoutMs: number;
}

/** How a witness is doing, for people. */
export interface WitnessState {
  readonly name: string;
  readonly url: string;
  /** Leaves that it has cosigned, as far as we know: 0 for none. */
  readonly size: number;
  /** When it says that it has: milliseconds since the epoch. */
  readonly cosignedAt: number | undefined;
  /** Why it has not cosigned the newest checkpoint that it was asked to. */
  readonly problem: string | undefined;
  /** It has cosigned something else than what this log holds now: one of the two has lost its memory or lies. */
  readonly isContradicted: boolean;
}

/** It may be somewhere else than we remember, and once more when two of us ask. */
const MAX_QUESTIONS = 3;

/** Asks one witness. It is trusted to say when it has seen something, and with nothing else: what it answers is verified. */
export class WitnessClient {
  readonly #o: WitnessClientOptions;
  readonly #verifier: NoteVerifier;
  readonly #backoff = new Backoff({ initialMs: 1_000, maxMs: 60_000 });
  #size: number;
  #cosignedAt: number | undefined;
  #problem: string | undefined;
  #isContradicted = false;
  #notBefore = 0;
  #isBusy = false;

  /** @param size leaves that it has cosigned, if that is known; if not, it says so when it is asked */
  constructor(o: WitnessClientOptions, size = 0) {
    this.#o = o;
    this.#verifier = verifierOf(o.witness.key);
    this.#size = size;
  }

  get name(): string {
    return this.#o.witness.name;
  }

  get state(): WitnessState {
    const { name, url } = this.#o.witness;
    return Object.freeze({
      name,
      url,
      size: this.#size,
      cosignedAt: this.#cosignedAt,
      problem: this.#problem,
      isContradicted: this.#isContradicted,
    });
  }

  /** Whether it may be asked now: it is not being asked, and not left alone after a failure. */
  get isReady(): boolean {
    return !this.#isBusy && this.#o.clock.now() >= this.#notBefore;
  }

  /** Its cosignature below a checkpoint, verified. Rejects with `unavailable` or `proof-refused`; `state` says the same. */
  async cosign(target: Published, signal: AbortSignal): Promise<NoteSignature> {
    this.#isBusy = true;
    try {
      const signature = await this.#ask(target, signal);
      this.#size = target.checkpoint.size;
      this.#cosignedAt = cosignatureTime(signature.signature);
      this.#problem = undefined;
      this.#isContradicted = false;
      this.#backoff.reset();
      return signature;
    } catch (error) {
      if (!signal.aborted) {
        this.#problem = error instanceof AppError ? error.message : 'It does not answer.';
        this.#isContradicted = error instanceof AppError && error.code === 'proof-refused';
        this.#notBefore = this.#o.clock.now() + this.#backoff.nextMs();
      }
      throw error;
    } finally {
      this.#isBusy = false;
    }
  }

  async #ask(target: Published, signal: AbortSignal): Promise<NoteSignature> {
    const { size } = target.checkpoint;
    // A size of before the log was rolled back, or one that it has made up.
    let oldSize = Math.min(this.#size, size);
    for (let question = 0; question < MAX_QUESTIONS; question++) {
      const proof = await this.#o.consistency(oldSize, target);
      const request = encodeAddCheckpoint({ oldSize, proof, checkpoint: target.note });
      const answer = await this.#askOnce(request, signal);
      switch (answer.kind) {
        case 'cosigned':
          return this.#verified(answer.lines, target);
        case 'stale':
          if (answer.size > size)
            throw contradicted(
              `It has cosigned ${answer.size} entries, and the log has ${size}: the log was rolled back, or the witness is wrong.`,
            );
          if (answer.size === oldSize)
            throw contradicted(`It has cosigned another log of ${oldSize} entries than this one.`);
          oldSize = answer.size;
          break;
        case 'contradicted':
          throw contradicted('It has cosigned a log that this one does not continue: one of the two was rewritten.');
        case 'refused':
          throw new AppError('unavailable', answer.why);
        default:
          unreachable(answer);
      }
    }
    throw new AppError('unavailable', 'It says something else each time of how much it has cosigned.');
  }

  async #askOnce(request: Buffer, signal: AbortSignal): Promise<WitnessAnswer> {
    const { ask, witness, clock, timeoutMs } = this.#o;
    const timeout = new AbortController();
    const cancel = clock.after(timeoutMs, () => timeout.abort());
    try {
      return await ask(witness.url, request, AbortSignal.any([signal, timeout.signal]));
    } catch (cause) {
      if (timeout.signal.aborted) throw new AppError('unavailable', `It did not answer within ${timeoutMs / 1000} s.`);
      throw cause;
    } finally {
      cancel();
    }
  }

  /** The line of its key; others are passed over (c2sp.org/tlog-witness). */
  #verified(lines: Buffer, { note }: Published): NoteSignature {
    try {
      const { text } = parseNote(note);
      const { signatures } = parseNote(Buffer.concat([Buffer.from(`${text}\n`, 'utf8'), lines]));
      const own = signatures.filter(
        ({ name, keyId }) => name === this.#verifier.name && keyId === this.#verifier.keyId,
      );
      if (verifiedSigners({ text, signatures: own }, [this.#verifier]).length === 1) return own[0] as NoteSignature;
    } catch (cause) {
      throw new AppError('unavailable', 'What it answers is no cosignature by its key.', { cause });
    }
    throw new AppError('unavailable', 'It has not cosigned with the key that it is known by.');
  }
}

function contradicted(message: string): AppError {
  return new AppError('proof-refused', message);
}
