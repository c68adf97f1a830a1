import type { Command } from 'commander';

/** The option of every command that changes policies. */
export function addReason(command: Command): Command {
  return command.option('--reason <text>', 'why, for the history: one line, such as a ticket');
}

/** What a changing call says to the server about why. */
export function reasonQuery(o: { readonly reason?: string | undefined }): { readonly reason?: string } {
  return o.reason === undefined ? {} : { reason: o.reason };
}
