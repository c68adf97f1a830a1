import type { Clock } from '../base/clock.ts';
import type { DiskFindings, VerifyDiskOptions } from '../core/audit/disk-findings.ts';

/** All that the command line touches; tests bring their own. */
export interface World {
  /** Data, and nothing else. */
  stdout(text: string): void;
  /** Everything that is not data: progress, notes, errors. */
  stderr(text: string): void;
  readStdin(): Promise<string>;
  /** Asks the person at the terminal; only called when `interactive`. */
  ask(question: string): Promise<string>;
  /** Whether standard input and standard error are a terminal. */
  readonly interactive: boolean;
  /** Whether standard output is a terminal. */
  readonly stdoutIsTerminal: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where the user stands: the paths that are typed start here. */
  readonly cwd: string;
  /** Where the program was started: `npm run` starts it in the clone, wherever the user stands. */
  readonly startedIn: string;
  readonly home: string;
  readonly clock: Clock;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly fetch: typeof fetch;
  /** Holds a data directory against what was signed; it comes from outside this room. Throws `conflict`, `usage`. */
  readonly verifyDisk: (options: VerifyDiskOptions) => Promise<DiskFindings>;
  /** Version of this program. */
  readonly version: string;
}
