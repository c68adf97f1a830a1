import { spawnSync } from 'node:child_process';

/** Runs the `openssl` command: an opinion on our certificates that is not ours. */
export function openssl(args: readonly string[], input: string | Buffer = ''): { status: number; output: string } {
  const run = spawnSync('openssl', args, { input, encoding: 'utf8' });
  return { status: run.status ?? -1, output: `${run.stdout}${run.stderr}` };
}

const version = spawnSync('openssl', ['version'], { encoding: 'utf8' });

/** Whether there is such a command. Where there is none, tests that need it say so by name. */
export const hasOpenssl = version.status === 0;

/** For titles: `it.skipIf(!hasOpenssl)(\`… ${opensslNote}\`)`. */
export const opensslNote = hasOpenssl ? '' : '(skipped: no openssl command on PATH)';
