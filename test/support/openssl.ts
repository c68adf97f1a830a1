import { spawnSync } from 'node:child_process';
import { missingTools } from './tools.ts';

/** Runs the `openssl` command: an opinion on our certificates that is not ours. */
export function openssl(args: readonly string[], input: string | Buffer = ''): { status: number; output: string } {
  const run = spawnSync('openssl', args, { input, encoding: 'utf8' });
  return { status: run.status ?? -1, output: `${run.stdout}${run.stderr}` };
}

const missing = missingTools('openssl');

/** Whether there is such a command. Where there is none, tests that need it say so by name. */
export const hasOpenssl = missing === '';

/** For titles: `it.skipIf(!hasOpenssl)(\`… ${opensslNote}\`)`. */
export const opensslNote = hasOpenssl ? '' : `[SKIPPED: ${missing}]`;

// The default reporter only counts what is skipped.
if (!hasOpenssl) process.stderr.write(`Tests with openssl ${opensslNote}\n`);
