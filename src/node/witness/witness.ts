import { AppError, unreachable } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { AddCheckpoint } from '../../core/audit/add-checkpoint.ts';
import { parseAddCheckpoint } from '../../core/audit/add-checkpoint.ts';
import type { Checkpoint } from '../../core/audit/checkpoint.ts';
import { checkpointIn } from '../../core/audit/checkpoint.ts';
import { cosigner, verifierOf } from '../../core/audit/cosignature.ts';
import type { LogPolicy } from '../../core/audit/log-policy.ts';
import type { Note, NoteSigner } from '../../core/audit/note.ts';
import { encodeNote, encodeSignature, parseNote, signWith, verifiedSigners } from '../../core/audit/note.ts';
import type { NoteKey } from '../../core/audit/note-key.ts';
import { ed25519PrivateKey, formatVkey, keyIdOf, keyTypes, rawPublicKey } from '../../core/audit/note-key.ts';
import type { Verdict, WatchedLogs } from '../../core/audit/witness-verdict.ts';
import { checkpointAsked, judge } from '../../core/audit/witness-verdict.ts';
import type { WitnessFiles } from './witness-files.ts';
import { nameOf } from './witness-files.ts';

export interface WitnessOptions {
  /** Of its key, as verifiers know it. */
  readonly name: string;
  readonly files: Pick<WitnessFiles, 'seed' | 'origins' | 'load' | 'save' | 'keepFork'>;
  /** Which logs it follows, and by which keys it knows them. */
  readonly logs: LogPolicy['logs'];
  /** Milliseconds since the epoch: cosignatures say when. */
  readonly now: () => number;
  readonly logger: Logger;
}

/** As c2sp.org/tlog-witness has it. */
export interface WitnessReply {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422 | 429;
  readonly contentType: 'text/plain; charset=utf-8' | 'text/x.tlog.size';
  readonly body: string;
}

interface Known {
  readonly checkpoint: Checkpoint;
  readonly note: Buffer;
}

/** Requests of one log that wait for each other; a log sends one at a time. */
const MAX_WAITING = 32;

/**
 * Cosigns of each log one history only: what it has seen, and what is proved to continue it. Requests of a log are judged one
 * after the other, and what is cosigned is durable before anybody sees the cosignature.
 */
export class Witness {
  readonly #o: WitnessOptions;
  readonly #logs: WatchedLogs;
  readonly #signer: NoteSigner;
  /** By origin. */
  readonly #known: Map<string, Known>;
  readonly #origins: ReadonlyMap<string, string>;
  readonly #queues = new Map<string, { last: Promise<unknown>; waiting: number }>();
  /** Its public key, as others are told to trust it. */
  readonly vkey: string;

  private constructor(o: WitnessOptions, signer: NoteSigner, key: NoteKey, known: Map<string, Known>) {
    this.#o = o;
    this.#signer = signer;
    this.vkey = formatVkey(key);
    this.#known = known;
    this.#logs = byOrigin(o.logs);
    this.#origins = new Map([...this.#logs.keys()].map((origin) => [nameOf(origin), origin]));
  }

  /** @throws AppError `incompatible-data` when what it has cosigned is gone or damaged */
  static async open(o: WitnessOptions): Promise<Witness> {
    const { seed } = o.files;
    const key: NoteKey = { name: o.name, type: keyTypes.cosignature, publicKey: rawPublicKey(ed25519PrivateKey(seed)) };
    const known = new Map<string, Known>();
    for (const origin of new Set([...o.files.origins, ...o.logs.map(({ key: log }) => log.name)])) {
      const note = await o.files.load(origin);
      if (note !== undefined) known.set(origin, { note, checkpoint: ownCheckpoint(note, origin, key) });
    }
    return new Witness(o, cosigner(o.name, seed, o.now), key, known);
  }

  /** Answers `POST /add-checkpoint`. The body is anybody's. Rejects when nothing can be made durable. */
  async addCheckpoint(body: Uint8Array): Promise<WitnessReply> {
    let request: AddCheckpoint;
    let origin: string;
    try {
      request = parseAddCheckpoint(body);
      ({ origin } = checkpointAsked(request).checkpoint);
    } catch (error) {
      if (error instanceof AppError) return plain(400, error.message);
      throw error;
    }
    if (!this.#logs.has(origin)) return this.#answer({ kind: 'unknown-log' }, origin);
    return this.#inTurn(origin, async () => {
      const known = this.#known.get(origin);
      return this.#answer(judge(request, this.#logs, known?.checkpoint), origin);
    });
  }

  /** The largest checkpoint that was cosigned, with the cosignature, of the log with this name (`nameOf`). */
  latest(name: string): Buffer | undefined {
    const origin = this.#origins.get(name);
    return origin === undefined ? undefined : this.#known.get(origin)?.note;
  }

  /** Judging and remembering is one step: nobody else's request of this log comes in between. */
  async #inTurn(origin: string, act: () => Promise<WitnessReply>): Promise<WitnessReply> {
    const queue = this.#queues.get(origin) ?? { last: Promise.resolve(), waiting: 0 };
    this.#queues.set(origin, queue);
    if (queue.waiting >= MAX_WAITING) return plain(429, 'Too many requests of this log at once.');
    queue.waiting += 1;
    const turn = queue.last.then(act);
    queue.last = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      queue.waiting -= 1;
    }
  }

  async #answer(verdict: Verdict, origin: string): Promise<WitnessReply> {
    switch (verdict.kind) {
      case 'cosign':
        return this.#cosign(verdict.checkpoint, verdict.note);
      case 'malformed':
        return plain(400, verdict.why);
      case 'unknown-log':
        return plain(404, 'This witness does not follow a log of this origin.');
      case 'not-signed':
        return plain(403, 'No key that this witness knows the log by has signed the checkpoint.');
      case 'stale':
        return { status: 409, contentType: 'text/x.tlog.size', body: `${verdict.size}\n` };
      case 'not-shown':
        return this.#refuse(origin, verdict.why);
      case 'fork':
        return this.#fork(origin, verdict.note);
      default:
        return unreachable(verdict);
    }
  }

  async #cosign(checkpoint: Checkpoint, { text, signatures }: Note): Promise<WitnessReply> {
    const { origin, size } = checkpoint;
    const cosignature = signWith(this.#signer, text);
    const note = encodeNote({ text, signatures: [...this.#ofTheLog(origin, signatures), cosignature] });
    await this.#o.files.save(origin, note);
    this.#known.set(origin, Object.freeze({ checkpoint, note }));
    this.#o.logger.debug({ origin, size }, 'cosigned a checkpoint');
    return { status: 200, contentType: 'text/plain; charset=utf-8', body: encodeSignature(cosignature) };
  }

  async #fork(origin: string, { text, signatures }: Note): Promise<WitnessReply> {
    const evidence = await this.#o.files.keepFork(origin, { text, signatures: this.#ofTheLog(origin, signatures) });
    this.#o.logger.error(
      { origin, evidence },
      'a log has signed two histories: what it shows here contradicts what it has shown before',
    );
    return this.#refuse(origin, 'The log has signed another history of the same size.');
  }

  /** Whatever else somebody has put below a checkpoint is not of our keeping. */
  #ofTheLog(origin: string, signatures: Note['signatures']): Note['signatures'] {
    const keys = new Set(this.#logs.get(origin)?.map(keyIdOf));
    return signatures.filter(({ name, keyId }) => name === origin && keys.has(keyId));
  }

  #refuse(origin: string, why: string): WitnessReply {
    const note = this.#known.get(origin)?.note.toString('utf8') ?? '';
    return { ...plain(422, why), body: `${why}\nThe latest checkpoint that this witness has cosigned:\n\n${note}` };
  }
}

function byOrigin(logs: LogPolicy['logs']): WatchedLogs {
  const keys = new Map<string, NoteKey[]>();
  for (const { key } of logs) keys.set(key.name, [...(keys.get(key.name) ?? []), key]);
  return keys;
}

/** What is on the disk counts only with our own cosignature below it. */
function ownCheckpoint(note: Buffer, origin: string, key: NoteKey): Checkpoint {
  try {
    const parsed = parseNote(note);
    const checkpoint = checkpointIn(parsed);
    if (checkpoint.origin === origin && verifiedSigners(parsed, [verifierOf(key)]).length === 1) return checkpoint;
  } catch {
    // Told below.
  }
  throw new AppError(
    'incompatible-data',
    `What this witness has cosigned of ${origin} (${nameOf(origin)}) is damaged. Give it a new directory, and with it a new key.`,
  );
}

function plain(status: WitnessReply['status'], why: string): WitnessReply {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${why}\n` };
}
