import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { it } from 'vitest';

/** The folders in which a command is looked for, in order. */
export function searchPath(): readonly string[] {
  return (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Why the commands cannot all be used here, in words; '' when they can. */
export function missingTools(...names: readonly string[]): string {
  const missing = names.filter((name) => !searchPath().some((folder) => isExecutable(join(folder, name))));
  if (missing.length === 0) return '';
  return `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not on PATH`;
}

/**
 * Declares a test that needs commands from outside: Node and npm are all that the tests as a whole may ask for, so where
 * one is absent, this one is skipped, by name and with the reason.
 */
export function itWithTools(names: readonly string[], title: string, test: () => Promise<void> | void): void {
  const missing = missingTools(...names);
  const available = missing === '';
  const fullTitle = available ? title : `${title} [SKIPPED: ${missing}]`;
  // The default reporter only counts what is skipped.
  if (!available) process.stderr.write(`${fullTitle}\n`);
  it.skipIf(!available)(fullTitle, test);
}
