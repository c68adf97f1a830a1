/** What is on the disk of a control plane, held against what was signed. */
export interface DiskFindings {
  readonly origin: string;
  /** Batches in the ledger, and how many of them the checkpoint covers. */
  readonly batches: number;
  readonly sealed: number;
  readonly events: number;
  /** Of the checkpoint, base64. */
  readonly root: string;
  /** Rows of the search index that were compared; null where there is none in this directory. */
  readonly indexRows: number | null;
  /** What differs. None: every byte that counts is the one that was signed. */
  readonly problems: readonly DiskProblem[];
  /** What was not checked, and what a crash has left behind that nobody reads. */
  readonly remarks: readonly string[];
}

/** One thing that is not what was signed, as exactly as it is known. */
export interface DiskProblem {
  readonly file: string;
  /** In bytes. */
  readonly offset?: number;
  /** Number of the record in the ledger. */
  readonly record?: number;
  /** Number of the batch: in the ledger, and in the log. */
  readonly leaf?: number;
  /** Instance id of who recorded it. */
  readonly sidecar?: string;
  readonly epoch?: number;
  readonly firstSeq?: number;
  readonly lastSeq?: number;
  /** A clause: what is wrong. */
  readonly what: string;
}

/** In one line, for people. */
export function describeProblem(problem: DiskProblem): string {
  const { offset, record, leaf, sidecar, epoch, firstSeq, lastSeq, what } = problem;
  const place = [
    offset === undefined ? '' : `offset ${offset}`,
    record === undefined ? '' : `record ${record}`,
    leaf === undefined ? '' : `batch ${leaf}`,
    sidecar === undefined ? '' : `sidecar ${sidecar}`,
    firstSeq === undefined ? '' : `epoch ${epoch}, events ${firstSeq} to ${lastSeq}`,
  ].filter((part) => part !== '');
  return `${place.length === 0 ? '' : `${place.join(', ')}: `}${what}`;
}

export interface VerifyDiskOptions {
  /** The data directory of a control plane that is stopped, or a copy of one. */
  readonly directory: string;
  /** The SQLite file, where it is elsewhere. Default: `writ.db` in the data directory. */
  readonly database?: string;
  /** Text of a c2sp.org/tlog-policy: whom to trust. */
  readonly policy: Uint8Array;
  /** Batches that were checked. */
  readonly progress: (done: number) => void;
  readonly signal: AbortSignal;
}
