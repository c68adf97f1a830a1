import type { Command } from 'commander';
import { AppError } from '../base/errors.ts';
import type { PolicyObject } from './api.ts';
import type { Client } from './client.ts';
import { kinds, listAll } from './kinds.ts';
import type { Document } from './policy-files.ts';

export interface PruneOptions {
  readonly prune?: boolean;
  readonly namespace?: string;
  readonly selector?: string;
  readonly all?: boolean;
}

/** The options of commands that make the policies be those of a folder, and no others. */
export function addPrune(command: Command): Command {
  return command
    .option('--prune', 'delete the policies of the scope that are not in the files; -n, -l or --all is the scope')
    .option('-n, --namespace <namespace>', 'with --prune: only policies of this namespace')
    .option('-l, --selector <labels>', 'with --prune: only policies with these labels, such as app=web')
    .option('--all', 'with --prune: all policies of the mesh');
}

/** Throws `usage` for a scope without --prune, --prune without a scope, and files that reach beyond it. */
export function checkPrune(options: PruneOptions, documents: readonly Document[]): void {
  const { prune, namespace, selector, all } = options;
  const scoped = namespace !== undefined || selector !== undefined;
  if (prune !== true) {
    if (!scoped && all !== true) return;
    throw new AppError('usage', '-n, -l and --all say what --prune may delete. Add --prune, or leave them out.');
  }
  if (scoped === (all === true)) {
    throw new AppError(
      'usage',
      '--prune deletes what is not in the files, so it must be told how far it may go: give -n NAMESPACE, -l LABELS or both, ' +
        'or --all by itself for the whole mesh.',
    );
  }
  const beyond = documents.find(({ policy }) => namespace !== undefined && policy.namespace !== namespace);
  if (beyond === undefined) return;
  throw new AppError(
    'usage',
    `${beyond.file}:${beyond.line} is a policy of the namespace ${beyond.policy.namespace}, and the scope is ${namespace}. ` +
      'Give a folder of that namespace only, or --all.',
  );
}

/** What is there, within the scope, and not in the files. */
export async function findSuperfluous(
  client: Client,
  options: PruneOptions,
  documents: readonly Document[],
): Promise<readonly PolicyObject[]> {
  if (options.prune !== true) return [];
  const wanted = new Set(documents.map(({ policy }) => `${policy.namespace}/${policy.name}`));
  const there = await listAll(client, kinds.policy, { namespace: options.namespace, selector: options.selector });
  return there.filter(({ metadata }) => !wanted.has(`${metadata.namespace}/${metadata.name}`));
}
