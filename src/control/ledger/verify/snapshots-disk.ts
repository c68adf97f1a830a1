import { hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Sidecars } from '../sidecars.ts';
import { encodeSnapshot, SNAPSHOT } from '../snapshot.ts';
import type { DiskReport } from './report.ts';

interface StoredSnapshot {
  readonly file: string;
  readonly body: string;
}

/** `<SHA-256 in hex>\n<body>`. */
const BODY = 65;

/** The snapshots of a ledger: each must say what follows from the records up to its own. */
export class SnapshotsOnDisk {
  readonly #report: DiskReport;
  readonly #byRecord: Map<number, StoredSnapshot>;

  private constructor(report: DiskReport, byRecord: Map<number, StoredSnapshot>) {
    this.#report = report;
    this.#byRecord = byRecord;
  }

  static async open(directory: string, report: DiskReport): Promise<SnapshotsOnDisk> {
    const byRecord = new Map<number, StoredSnapshot>();
    for (const name of await readdir(directory)) {
      const record = SNAPSHOT.exec(name)?.[1];
      if (record === undefined) continue;
      const file = join(directory, name);
      const text = (await readFile(file)).toString('latin1');
      const body = text.slice(BODY);
      if (text.slice(0, BODY) === `${hash('sha256', Buffer.from(body, 'latin1'))}\n`)
        byRecord.set(Number(record), { file, body });
      else report.problem({ file, what: 'its checksum does not agree: it was changed, or a crash tore it' });
    }
    return new SnapshotsOnDisk(report, byRecord);
  }

  /** The records up to this one were read, and all of them were whole. */
  check(record: number, sidecars: Sidecars): void {
    const stored = this.#byRecord.get(record);
    if (stored === undefined) return;
    this.#byRecord.delete(record);
    const derived = Buffer.from(encodeSnapshot(sidecars.snapshot()).slice(BODY)).toString('latin1');
    if (comparable(stored.body) === comparable(derived)) return;
    this.#report.problem({ file: stored.file, record, what: 'it does not say what follows from the records' });
  }

  /** All records were read. */
  finish(isWhole: boolean): void {
    if (!isWhole) return;
    for (const [record, { file }] of this.#byRecord)
      this.#report.problem({ file, record, what: 'the ledger does not hold the record that it was made at' });
  }
}

/** Without what depends on who connected, and recorded nothing. */
function comparable(body: string): string {
  const {
    sidecars,
    streamId: _,
    ...rest
  } = JSON.parse(body) as {
    readonly sidecars: readonly { readonly instanceId: string }[];
    readonly streamId: number;
  };
  const sorted = sidecars.toSorted((a, b) => (a.instanceId < b.instanceId ? -1 : 1));
  return JSON.stringify({ ...rest, sidecars: sorted });
}
