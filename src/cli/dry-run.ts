import type { Command } from 'commander';
import { safe } from './style.ts';
import type { World } from './world.ts';

/** The option of every command that changes something. */
export function addDryRun(command: Command): Command {
  return command.option('--dry-run', 'let the server check everything and change nothing');
}

/** What a changing call says to the server when it is only to be checked. */
export function dryRun(o: { readonly dryRun?: boolean }): { readonly query?: { readonly dryRun: true } } {
  return o.dryRun === true ? { query: { dryRun: true } } : {};
}

/** What the server wants to be known before it is done for real. `body` is its answer to a dry run. */
export function tellWarnings(world: World, name: string, body: unknown): void {
  const warnings = typeof body === 'object' && body !== null && 'warnings' in body ? body.warnings : [];
  for (const warning of Array.isArray(warnings) ? warnings : []) {
    world.stderr(`${safe(name)}: ${safe(String((warning as { detail?: unknown } | null)?.detail ?? ''))}\n`);
  }
}
