import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import type { ServiceCommand } from '../../src/cli/run.ts';
import { runCli } from '../../src/cli/run.ts';
import type { World } from '../../src/cli/world.ts';
import { verifyDisk } from '../../src/control/ledger/verify/verify-disk.ts';
import { FakeClock } from '../support/clock.ts';
import { tempDirectory } from '../support/temp.ts';

/** A terminal of the test's own: what is typed goes in, what is printed comes out. */
export interface Terminal {
  readonly cwd: string;
  readonly world: World;
  /** Of all runs so far. */
  readonly printed: { stdout: string; stderr: string };
  /** Questions that were asked. */
  readonly questions: string[];
  readonly stop: AbortController;
  run(...argv: string[]): Promise<Outcome>;
  file(name: string, text: string, mode?: number): Promise<string>;
}

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function createTerminal(
  o: {
    readonly env?: Record<string, string>;
    readonly interactive?: boolean;
    readonly answer?: string;
    readonly stdin?: string;
    readonly stdoutIsTerminal?: boolean;
    readonly fetch?: typeof fetch;
    readonly services?: readonly ServiceCommand[];
    readonly clock?: FakeClock;
  } = {},
): Promise<Terminal> {
  const cwd = await tempDirectory();
  const printed = { stdout: '', stderr: '' };
  const questions: string[] = [];
  const stop = new AbortController();
  const world: World = {
    stdout: (text) => {
      printed.stdout += text;
    },
    stderr: (text) => {
      printed.stderr += text;
    },
    readStdin: async () => o.stdin ?? '',
    ask: async (question) => {
      questions.push(question);
      return o.answer ?? '';
    },
    interactive: o.interactive ?? false,
    stdoutIsTerminal: o.stdoutIsTerminal ?? false,
    env: { ...o.env },
    cwd,
    startedIn: cwd,
    home: join(cwd, 'home'),
    clock: o.clock ?? new FakeClock(),
    signal: stop.signal,
    fetch: o.fetch ?? globalThis.fetch,
    verifyDisk: (options) => verifyDisk(options, systemClock),
    version: '0.1.0',
  };
  return {
    cwd,
    world,
    printed,
    questions,
    stop,
    async run(...argv) {
      const before = { ...printed };
      const status = await runCli(argv, world, o.services ?? []);
      return {
        status,
        stdout: printed.stdout.slice(before.stdout.length),
        stderr: printed.stderr.slice(before.stderr.length),
      };
    },
    async file(name, text, mode = 0o600) {
      const path = join(cwd, name);
      await writeFile(path, text, { mode });
      return path;
    },
  };
}
