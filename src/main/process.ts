import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';
import { systemClock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import { toAppError } from '../base/errors.ts';
import type { World } from '../cli/world.ts';

/** The real world, as far as the command line touches it. */
export function realWorld(signal: AbortSignal): World {
  const { env, stdin, stdout, stderr } = process;
  const startedIn = process.cwd();
  return {
    stdout: (data) => void stdout.write(data),
    stderr: (data) => void stderr.write(data),
    readStdin: () => text(stdin),
    ask: async (question) => {
      const terminal = createInterface({ input: stdin, output: stderr });
      try {
        return await terminal.question(question, { signal });
      } finally {
        terminal.close();
      }
    },
    interactive: stdin.isTTY === true && stderr.isTTY === true,
    stdoutIsTerminal: stdout.isTTY === true,
    env,
    // `npm run writ` changes the directory to the clone and keeps the user's here.
    cwd: env.npm_lifecycle_event === 'writ' && env.INIT_CWD !== undefined ? env.INIT_CWD : startedIn,
    startedIn,
    home: homedir(),
    clock: systemClock,
    signal,
    fetch: globalThis.fetch,
    verifyDisk: async (options) => {
      const { verifyDisk } = await import('../control/ledger/verify/verify-disk.ts');
      return verifyDisk(options, systemClock);
    },
    version: packageVersion(),
  };
}

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  return version;
}

/** How long a child may take to close in order once its parent is gone, in milliseconds. */
const ORPHAN_GRACE_MS = 15_000;

/**
 * What tells this process to stop. Alone: Ctrl-C, SIGTERM or a closed terminal; a second one ends it at once.
 *
 * Under a supervisor (`withParent`, and there is a channel to it): SIGTERM, or the end of the channel to the parent, which comes also when that was
 * killed. Ctrl-C reaches the whole group of processes; then it is for the parent to stop its children in order.
 */
export function stopSignal(withParent: boolean): AbortSignal {
  const stop = new AbortController();
  if (!withParent || process.send === undefined) {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(name, () => {
        if (stop.signal.aborted) process.exit(130);
        stop.abort();
      });
    }
    return stop.signal;
  }
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  process.on('SIGTERM', () => stop.abort());
  process.on('disconnect', () => {
    stop.abort();
    setTimeout(() => process.exit(1), ORPHAN_GRACE_MS).unref();
  });
  return stop.signal;
}

/** What a child tells its supervisor over the channel between them: that it serves, or why it ends. */
export interface ChildReady {
  readonly type: 'ready';
}
export interface ChildFailed {
  readonly type: 'failed';
  readonly code: ErrorCode;
  readonly message: string;
}

/** Tells the supervisor, if there is one, why this process is about to end. */
export async function tellParent(told: ChildReady | ChildFailed): Promise<void> {
  // A parent that is gone is no reason to fail; the channel's end is heard elsewhere.
  await new Promise<void>((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else process.send(told, undefined, undefined, () => resolve());
  });
}

/** What the supervisor is told about a failure: never the cause. */
export function failureOf(error: unknown): ChildFailed {
  const { code, message, details } = toAppError(error);
  return { type: 'failed', code, message: [message, ...details.map((finding) => finding.message)].join(' ') };
}

/** What a command may still say after Ctrl-C, in milliseconds. */
const LAST_WORDS_MS = 200;

/** For commands of people: Ctrl-C ends them now, whatever they wait for. Servers and sidecars close in order instead. */
export function endAtOnce(signal: AbortSignal): void {
  signal.addEventListener('abort', () => setTimeout(() => process.exit(130), LAST_WORDS_MS), { once: true });
}

/** How long what is left open may keep a finished process alive, in milliseconds. */
const EXIT_GRACE_MS = 2_000;

/** Ends the process with this status once standard output is written. */
export function endWith(status: number): void {
  process.exitCode = status;
  if (process.connected) process.disconnect();
  setTimeout(() => process.exit(), EXIT_GRACE_MS).unref();
}
