import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { Checkpoint } from '../../../core/audit/checkpoint.ts';
import { verifierOf } from '../../../core/audit/cosignature.ts';
import type { DiskProblem } from '../../../core/audit/disk-findings.ts';
import type { LogPolicy } from '../../../core/audit/log-policy.ts';
import { verifyCheckpoint } from '../../../core/audit/log-policy.ts';
import { HASH_BYTES, leafHash } from '../../../core/audit/merkle.ts';
import { parseNote, verifyNote } from '../../../core/audit/note.ts';
import { hashesAt, levelsOf } from '../../../core/audit/tile.ts';
import { TreeEdge } from '../../../core/audit/tree-edge.ts';
import { CHECKPOINT, endsFile, entriesFile, hashesFile, SEGMENT, STAGING } from '../log/log-files.ts';
import { decodeStaged } from '../log/staged.ts';
import type { DiskReport } from './report.ts';

const LENGTH_BYTES = 2;
const END_BYTES = 4;

/** The checkpoint that witnesses have cosigned. */
const WITNESSED = 'witnessed';

interface DiskCheckpoint {
  readonly file: string;
  readonly checkpoint: Checkpoint;
}

/** Where a leaf stands in the files of a log, as they say themselves. */
interface DiskEntry {
  readonly entry: Buffer;
  readonly offset: number;
}

/**
 * The files of a log, leaf by leaf. An entry stands there three times: as it is, by its hash, and in the ledger from which it
 * was made; where one differs from the two others, it is the one that was changed.
 */
export class LogOnDisk {
  readonly #directory: string;
  readonly #report: DiskReport;
  readonly #checkpoints: readonly DiskCheckpoint[];
  /** Cosigned: behind the newest, mostly. */
  readonly #witnessed: DiskCheckpoint | undefined;
  readonly #names: readonly string[];
  readonly #isStaged: boolean;
  readonly #edge = TreeEdge.empty();
  readonly #contents = new Map<string, Buffer>();
  /** Where the next entry begins in its file. */
  #start = 0;

  private constructor(directory: string, report: DiskReport, names: readonly string[], found: Found) {
    this.#directory = directory;
    this.#report = report;
    this.#names = names;
    this.#checkpoints = found.checkpoints;
    this.#witnessed = found.witnessed;
    this.#isStaged = found.isStaged;
  }

  static async open(directory: string, policy: LogPolicy, report: DiskReport): Promise<LogOnDisk> {
    const names = (await readdir(directory)).toSorted();
    const checkpoints: DiskCheckpoint[] = [];
    let isStaged = false;
    let witnessed: DiskCheckpoint | undefined;
    for (const name of names) {
      const file = join(directory, name);
      if (CHECKPOINT.test(name)) {
        const checkpoint = await readCheckpoint(file, unwitnessed(policy), report);
        if (checkpoint === undefined) continue;
        checkpoints.push({ file, checkpoint });
        if (Number(CHECKPOINT.exec(name)?.[1]) !== checkpoint.size)
          report.problem({ file, what: `its name is not that of a checkpoint of ${checkpoint.size} batches` });
      } else if (name === WITNESSED) {
        const checkpoint = await readCheckpoint(file, policy, report);
        if (checkpoint !== undefined) witnessed = { file, checkpoint };
      } else if (name === STAGING) {
        isStaged = true;
        report.remark(`${file} is a step that was not finished: the next start finishes or forgets it.`);
        if (decodeStaged(await readFile(file)) === undefined)
          report.problem({ file, what: 'it is not whole: it was changed, or a crash tore it while it was written' });
      } else if (!/^(hashes-\d\d|entries|ends)-\d{8}$/.test(name)) report.remark(`${file} is no file of the log.`);
    }
    checkWitnessed(directory, witnessed, { policy, newest: checkpoints.at(-1)?.checkpoint }, report);
    return new LogOnDisk(directory, report, names, { checkpoints, witnessed, isStaged });
  }

  /** The newest that the policy takes. */
  get checkpoint(): Checkpoint | undefined {
    return this.#checkpoints.at(-1)?.checkpoint;
  }

  /** Leaves that were taken. */
  get size(): number {
    return this.#edge.size;
  }

  /**
   * The next leaf. `made` is what the ledger makes of it, if it can be read; `at` is where that stands. Returns the entry that
   * is right as far as can be known.
   */
  async take(made: Buffer | undefined, at: Omit<DiskProblem, 'what'> | undefined) {
    const leaf = this.size;
    const stored = await this.#storedHash(0, leaf);
    const found = await this.#entry(leaf, stored);
    const isSealed = (entry: Buffer | undefined) => entry !== undefined && leafHash(entry).equals(stored);
    const right = [made, found?.entry].find(isSealed) ?? made ?? found?.entry;
    if (right === undefined || found?.entry.equals(right) !== true)
      this.#differs(entriesFile(leaf), found?.offset, leaf, 'the entry is not the one that was sealed');
    if (!isSealed(right))
      this.#differs(
        hashesFile(0, leaf),
        (leaf % SEGMENT) * HASH_BYTES,
        leaf,
        right !== undefined && right === made && found?.entry.equals(right) === true
          ? 'the hash is not that of its entry'
          : 'neither the entry nor the ledger has this hash',
      );
    if (made !== undefined && right !== undefined && !made.equals(right))
      this.#report.problem({
        file: '',
        ...at,
        leaf,
        what: 'the batch is not the one that was sealed in the log',
      });
    for (const { level, index, hash } of this.#edge.append(right === undefined ? stored : leafHash(right))) {
      if (level === 0) continue;
      if (!(await this.#storedHash(level, index)).equals(hash))
        this.#differs(
          hashesFile(level, index),
          (index % SEGMENT) * HASH_BYTES,
          undefined,
          `hash ${index} of level ${level} is not that of the hashes below it`,
        );
    }
    this.#checkRoots();
    return right;
  }

  /** All leaves were taken: nothing may stand behind them. */
  async finish(): Promise<void> {
    const size = this.#checkpoints.at(-1)?.checkpoint.size ?? 0;
    if (size === 0) this.#checkRoots();
    if (this.#isStaged) return;
    for (const name of this.#names) {
      const expected = await this.#lengthOf(name, size);
      const { length } = await this.#read(name);
      if (expected === undefined || expected >= length) continue;
      this.#differs(
        name,
        expected,
        undefined,
        `the ${length - expected} bytes from here on are covered by no checkpoint`,
      );
    }
  }

  #checkRoots(): void {
    const all = this.#witnessed === undefined ? this.#checkpoints : [...this.#checkpoints, this.#witnessed];
    for (const { file, checkpoint } of all) {
      if (checkpoint.size !== this.size || checkpoint.root.equals(this.#edge.root())) continue;
      this.#report.problem({
        file,
        what: `the ${checkpoint.size} entries do not have the root that the checkpoint signs`,
      });
    }
  }

  /** The entry as the ends and as the lengths tell; where they differ, the one that has the hash. */
  async #entry(leaf: number, stored: Buffer): Promise<DiskEntry | undefined> {
    const isFirst = leaf % SEGMENT === 0;
    const name = entriesFile(leaf);
    const start = isFirst ? 0 : this.#start;
    const bytes = await this.#read(name);
    const length = start + LENGTH_BYTES <= bytes.length ? bytes.readUInt16BE(start) : undefined;
    const byLength =
      length === undefined ? undefined : bytes.subarray(start + LENGTH_BYTES, start + LENGTH_BYTES + length);
    const ends = await this.#read(endsFile(leaf));
    const at = (leaf % SEGMENT) * END_BYTES;
    const end = at + END_BYTES <= ends.length ? ends.readUInt32BE(at) : undefined;
    const byEnd = end === undefined ? undefined : bytes.subarray(start + LENGTH_BYTES, end);
    const endIsRight = end !== undefined && length !== undefined && end === start + LENGTH_BYTES + length;
    if (!endIsRight) {
      const lengthIsRight = byLength !== undefined && leafHash(byLength).equals(stored);
      if (lengthIsRight) this.#differs(endsFile(leaf), at, leaf, 'the end of the entry is wrong');
      else this.#differs(name, start, leaf, 'the length of the entry is wrong');
      this.#start = lengthIsRight || end === undefined ? start + LENGTH_BYTES + (length ?? 0) : end;
      const entry = lengthIsRight ? byLength : byEnd;
      return entry === undefined ? undefined : { entry, offset: start };
    }
    this.#start = end;
    return byLength === undefined ? undefined : { entry: byLength, offset: start };
  }

  async #storedHash(level: number, index: number): Promise<Buffer> {
    const at = (index % SEGMENT) * HASH_BYTES;
    return (await this.#read(hashesFile(level, index))).subarray(at, at + HASH_BYTES);
  }

  /** How long a file is in a log of `size` leaves; undefined for what is no such file. */
  async #lengthOf(name: string, size: number): Promise<number | undefined> {
    const [, level, segment] = /^(?:hashes-(\d\d)|entries|ends)-(\d{8})$/.exec(name) ?? [];
    if (segment === undefined) return undefined;
    const first = Number(segment) * SEGMENT;
    const inLevel =
      level === undefined ? size : levelsOf(size).includes(Number(level)) ? hashesAt(Number(level), size) : 0;
    const count = Math.min(Math.max(inLevel - first, 0), SEGMENT);
    if (level !== undefined) return count * HASH_BYTES;
    if (name.startsWith('ends-')) return count * END_BYTES;
    if (count === 0) return 0;
    const ends = await this.#read(endsFile(first));
    return count * END_BYTES <= ends.length ? ends.readUInt32BE((count - 1) * END_BYTES) : undefined;
  }

  /** The files that were read last are kept: leaves come in order. */
  async #read(name: string): Promise<Buffer> {
    const known = this.#contents.get(name);
    if (known !== undefined) return known;
    const content = await readFile(join(this.#directory, name)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
      this.#differs(name, undefined, undefined, 'it is missing');
      return Buffer.alloc(0);
    });
    if (this.#contents.size >= MAX_CONTENTS) this.#contents.delete(this.#contents.keys().next().value ?? '');
    this.#contents.set(name, content);
    return content;
  }

  #differs(name: string, offset: number | undefined, leaf: number | undefined, what: string): void {
    const file = join(this.#directory, name);
    this.#report.problem({ file, ...(offset !== undefined && { offset }), ...(leaf !== undefined && { leaf }), what });
  }
}

/** Entries, ends, and the hashes of each level: more than are in use at a time. */
const MAX_CONTENTS = 12;

interface Found {
  readonly checkpoints: readonly DiskCheckpoint[];
  readonly witnessed: DiskCheckpoint | undefined;
  readonly isStaged: boolean;
}

/** Everything in it must be vouched for: by the keys of the log, all of them. */
async function readCheckpoint(file: string, policy: LogPolicy, report: DiskReport): Promise<Checkpoint | undefined> {
  try {
    const bytes = await readFile(file);
    const checkpoint = verifyCheckpoint(bytes, policy);
    const note = parseNote(bytes);
    const ours = policy.logs.filter(({ key }) => key.name === checkpoint.origin).map(({ key }) => verifierOf(key));
    const signers = verifyNote(note, ours);
    if (signers.length !== ours.length)
      report.problem({
        file,
        what: `${ours.length - signers.length} of the keys of the log in the policy have not signed it`,
      });
    const known = [...ours, ...policy.witnesses.map(({ key }) => verifierOf(key))];
    const strange = note.signatures.filter((s) => !known.some((k) => k.name === s.name && k.keyId === s.keyId));
    if (strange.length > 0)
      report.remark(
        `${file}: ${strange.length} signatures are by keys that the policy does not name, and were not checked.`,
      );
    return checkpoint;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    report.problem({ file, offset: 0, what: error.message });
    return undefined;
  }
}

/** What the log has signed is not cosigned yet: the file `witnessed` holds the last that is. */
export function unwitnessed(policy: LogPolicy): LogPolicy {
  return { ...policy, quorum: 'none' };
}

function checkWitnessed(
  directory: string,
  witnessed: DiskCheckpoint | undefined,
  { policy, newest }: { readonly policy: LogPolicy; readonly newest: Checkpoint | undefined },
  report: DiskReport,
): void {
  if (newest === undefined) return;
  if (witnessed === undefined) {
    if (policy.quorum !== 'none')
      report.problem({
        file: join(directory, WITNESSED),
        what: 'no checkpoint is there that the witnesses of the policy have cosigned',
      });
    return;
  }
  const { file, checkpoint } = witnessed;
  if (checkpoint.origin !== newest.origin || checkpoint.size > newest.size)
    report.problem({
      file,
      what: `witnesses have seen ${checkpoint.size} batches, and the log has ${newest.size}: it was rolled back`,
    });
  else if (checkpoint.size < newest.size)
    report.remark(`Witnesses have seen ${checkpoint.size} of the ${newest.size} batches.`);
}
