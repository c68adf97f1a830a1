import { resolve } from 'node:path';
import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { DiskFindings } from '../../core/audit/disk-findings.ts';
import { describeProblem } from '../../core/audit/disk-findings.ts';
import type { GlobalOptions } from '../options.ts';
import type { Format } from '../output.ts';
import { safe, styleFor } from '../style.ts';
import type { World } from '../world.ts';

export interface DiskOptions {
  readonly data: string;
  readonly database?: string | undefined;
  readonly output: Format;
}

/** `writ audit verify --data`: what is on the disk of a control plane that is stopped, or in a copy of it. */
export async function verifyData(
  options: DiskOptions,
  policy: Uint8Array,
  command: Command,
  world: World,
): Promise<void> {
  const found = await world.verifyDisk({
    directory: resolve(world.cwd, options.data),
    ...(options.database !== undefined && { database: resolve(world.cwd, options.database) }),
    policy,
    signal: world.signal,
    progress: (done) => {
      if (world.interactive) world.stderr(`\r${done} batches`);
    },
  });
  if (options.output === 'json') world.stdout(`${JSON.stringify(found, null, 2)}\n`);
  else for (const remark of found.remarks) world.stderr(`${safe(remark)}\n`);
  if (found.problems.length > 0) throw refused(options.data, found);
  if (options.output === 'table') world.stdout(describe(found, command, world));
}

function describe(found: DiskFindings, command: Command, world: World): string {
  const { green } = styleFor(command.optsWithGlobals<GlobalOptions>().color, world);
  const rows = found.indexRows === null ? 'not checked' : `${found.indexRows} rows, each as the ledger has it`;
  const pending = found.batches - found.sealed;
  return (
    `${green('✓')} ${safe(found.origin)}: ${found.batches} batches with ${found.events} events, each as it was signed\n` +
    `  root       ${found.root}\n` +
    `  index      ${rows}\n` +
    (pending > 0 ? `  pending    ${pending} batches that no checkpoint covers yet\n` : '')
  );
}

function refused(directory: string, { problems }: DiskFindings): AppError {
  const things = problems.length === 1 ? 'One thing' : `${problems.length} things`;
  return new AppError(
    'proof-refused',
    `${things} in ${directory} ${problems.length === 1 ? 'is' : 'are'} not what was signed.`,
    {
      details: problems.map((problem) => ({
        code: 'proof-refused',
        file: problem.file,
        message: describeProblem(problem),
      })),
    },
  );
}
