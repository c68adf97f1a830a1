import { readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isMissing, makePrivateDirectory, reason, syncDirectory, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Checkpoint } from '../../core/audit/checkpoint.ts';
import { checkpointIn, parseCheckpoint } from '../../core/audit/checkpoint.ts';
import { verifierOf } from '../../core/audit/cosignature.ts';
import { verifyConsistency } from '../../core/audit/merkle.ts';
import { parseNote, verifyNote } from '../../core/audit/note.ts';
import type { NoteKey } from '../../core/audit/note-key.ts';
import { keyTypes, parseVkey } from '../../core/audit/note-key.ts';
import type { LogPin, ShipLogged } from '../../core/audit/ship.ts';

/** Logs that a sidecar keeps in mind: one for each replica of the control plane. */
const MAX_LOGS = 64;
const FILE = 'log-pins.json';
const VERSION = 1;

interface Pin {
  readonly keys: readonly string[];
  /** The signed note, whole: should the log ever contradict it, this is the evidence. */
  readonly checkpoint: string;
}

export interface LogPinsStatus {
  readonly origin: string;
  readonly size: number;
}

/**
 * What this sidecar has seen of the audit log: the keys that it first had, and the newest checkpoint. A log that was rolled
 * back, rewritten, or signed by other keys contradicts that, whoever has done it: then nothing is shipped any more, and the
 * records stay here.
 *
 * Trust on first use: the first keys come from the control plane, over mTLS. What it shows to other sidecars is only
 * compared by witnesses, and by whoever verifies the log.
 */
export class LogPins {
  readonly #path: string;
  readonly #pins: Map<string, Pin>;
  readonly #logger: Logger;
  #last: LogPinsStatus | undefined;

  private constructor(path: string, pins: Map<string, Pin>, logger: Logger) {
    this.#path = path;
    this.#pins = pins;
    this.#logger = logger;
  }

  /**
   * @param directory created, 0700, where missing
   * @throws AppError `incompatible-data` when the file is there and damaged: forgetting what was seen would be what an
   *   attacker wants
   */
  static async open(directory: string, logger: Logger): Promise<LogPins> {
    await makePrivateDirectory(directory);
    const path = join(directory, FILE);
    return new LogPins(path, await readPins(path), logger);
  }

  /** Of the log that was seen last. */
  get status(): LogPinsStatus | undefined {
    return this.#last;
  }

  get known(): readonly LogPin[] {
    return [...this.#pins].map(([origin, { checkpoint }]) => ({ origin, size: sizeOf(checkpoint) }));
  }

  /** Takes what the control plane shows, if it continues what it has shown before; durable when this resolves. Throws `audit-fork`. */
  async accept(logged: ShipLogged): Promise<void> {
    const checkpoint = claimed(logged.checkpoint);
    const before = this.#pins.get(checkpoint.origin);
    const keys = before?.keys ?? firstKeys(logged.keys, checkpoint.origin);
    verifySignatures(logged.checkpoint, keys);
    if (before === undefined && this.#pins.size >= MAX_LOGS) throw fork(`it shows more than ${MAX_LOGS} logs`);
    if (before !== undefined)
      checkContinues(checkpointIn(parseNote(Buffer.from(before.checkpoint))), checkpoint, logged.consistency);
    else
      this.#logger[this.#pins.size === 0 ? 'info' : 'warn'](
        { origin: checkpoint.origin, size: checkpoint.size },
        'an audit log is seen for the first time',
      );
    const note = logged.checkpoint.toString('utf8');
    if (before?.checkpoint !== note) {
      this.#pins.set(checkpoint.origin, { keys, checkpoint: note });
      await this.#save();
    }
    this.#last = Object.freeze({ origin: checkpoint.origin, size: checkpoint.size });
  }

  /**
   * Begins anew: the next log that is shown is believed, as the very first was. What was seen is kept beside, under a name with
   * the time, since it is evidence. Durable when this resolves.
   */
  async forget(now: number): Promise<void> {
    const kept = `${this.#path}.${new Date(now).toISOString().replaceAll(':', '')}`;
    try {
      await rename(this.#path, kept);
      await syncDirectory(dirname(this.#path));
    } catch (cause) {
      if (!isMissing(cause)) throw new AppError('unavailable', `Cannot write ${kept}: ${reason(cause)}.`, { cause });
    }
    this.#pins.clear();
    this.#last = undefined;
    this.#logger.error({ kept }, 'what was seen of the audit log is forgotten, as the operator has said');
  }

  async #save(): Promise<void> {
    const text = JSON.stringify({ version: VERSION, logs: Object.fromEntries(this.#pins) });
    try {
      await writeFileDurably(this.#path, `${text}\n`);
    } catch (cause) {
      throw new AppError('unavailable', `Cannot write ${this.#path}: ${reason(cause)}.`, { cause });
    }
  }
}

/** What is claimed by a note, all of which comes from the control plane. */
function claimed(note: Buffer): Checkpoint {
  try {
    return checkpointIn(parseNote(note));
  } catch (cause) {
    throw fork('its checkpoint is malformed', cause);
  }
}

function firstKeys(keys: readonly string[], origin: string): readonly string[] {
  const parsed = keys.map(keyIn);
  const isWhole = parsed.every(({ name }) => name === origin) && parsed.some(({ type }) => type === keyTypes.ed25519);
  if (!isWhole) throw fork('it does not name the keys of its log');
  return keys;
}

/** By all of its keys: one that no longer signs is gone, and so is what it protected. */
function verifySignatures(note: Buffer, keys: readonly string[]): void {
  let signed: number;
  try {
    signed = verifyNote(parseNote(note), keys.map(keyIn).map(verifierOf)).length;
  } catch (cause) {
    throw fork('its checkpoint is not signed by the keys that the log had at first', cause);
  }
  if (signed !== keys.length) throw fork('its checkpoint is not signed by all the keys that the log had at first');
}

function checkContinues(before: Checkpoint, now: Checkpoint, consistency: readonly Buffer[]): void {
  if (now.size < before.size) throw fork(`the log was rolled back: it had ${before.size} batches, and has ${now.size}`);
  // Every log continues the empty one.
  if (before.size === 0) return;
  const continues = verifyConsistency({
    size1: before.size,
    size2: now.size,
    root1: before.root,
    root2: now.root,
    proof: consistency,
  });
  if (!continues)
    throw fork(`the log of ${now.size} batches does not continue the one of ${before.size} that it has shown before`);
}

function keyIn(text: string): NoteKey {
  try {
    return parseVkey(text);
  } catch (cause) {
    throw fork('it names a key that is none', cause);
  }
}

async function readPins(path: string): Promise<Map<string, Pin>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (isMissing(cause)) return new Map();
    throw new AppError('unavailable', `Cannot read ${path}: ${reason(cause)}.`, { cause });
  }
  try {
    const stored = JSON.parse(text) as { readonly version: unknown; readonly logs: Record<string, Pin> };
    const pins = new Map(Object.entries(stored.logs));
    for (const [origin, { keys, checkpoint }] of pins) {
      verifySignatures(Buffer.from(checkpoint), keys);
      if (checkpointIn(parseNote(Buffer.from(checkpoint))).origin !== origin) throw new Error('the origin is another');
    }
    if (stored.version === VERSION) return pins;
  } catch (cause) {
    throw damaged(path, cause);
  }
  throw damaged(path);
}

function sizeOf(checkpoint: string): number {
  return parseCheckpoint(parseNote(Buffer.from(checkpoint)).text).size;
}

function damaged(path: string, cause?: unknown): AppError {
  return new AppError(
    'incompatible-data',
    `${path}, which holds what was seen of the audit log, is damaged. Find out why; remove it to begin anew.`,
    { cause },
  );
}

function fork(why: string, cause?: unknown): AppError {
  return new AppError('audit-fork', `The control plane contradicts itself about the audit log: ${why}.`, { cause });
}
