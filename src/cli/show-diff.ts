import { AppError } from '../base/errors.ts';
import { unifiedDiff } from '../base/unified-diff.ts';
import { exitCode } from '../wire/errors.ts';
import { RemoteError } from './client.ts';
import type { Style } from './style.ts';
import { safe } from './style.ts';
import type { World } from './world.ts';

/** One text, or that there is none, and what it is called. */
export interface Side {
  readonly name: string;
  readonly text: string | undefined;
}

/**
 * The difference as `diff -u` writes it; empty when there is none. Byte for byte for a file or a pipe; on a terminal in
 * colours, and with what could steer it made visible.
 */
export function difference(from: Side, to: Side, world: Pick<World, 'stdoutIsTerminal'>, style: Style): string {
  const text = unifiedDiff(from.text, to.text, { from: from.name, to: to.name });
  if (text === '' || !world.stdoutIsTerminal) return text;
  return text
    .trimEnd()
    .split('\n')
    .map((line, index) => `${coloured(safeLine(line), index < 2 ? 'head' : line[0], style)}\n`)
    .join('');
}

function safeLine(line: string): string {
  return line.split('\t').map(safe).join('\t');
}

function coloured(line: string, kind: string | undefined, style: Style): string {
  switch (kind) {
    case 'head':
      return style.bold(line);
    case '-':
      return style.red(line);
    case '+':
      return style.green(line);
    case '@':
      return style.dim(line);
    default:
      return line;
  }
}

/**
 * Exit status 1 of a diff means that there are differences. A failure that has the same becomes one of usage (2), as `diff`
 * itself has it.
 */
export async function aboveOne<T>(diffing: Promise<T>): Promise<T> {
  try {
    return await diffing;
  } catch (error) {
    if (!(error instanceof AppError) || exitCode(error.code) !== 1) throw error;
    if (error instanceof RemoteError) throw error.as({ code: 'usage' });
    throw new AppError('usage', error.message, { cause: error, details: error.details });
  }
}
