import type { Command } from 'commander';
import { AppError } from '../base/errors.ts';
import { keyOf, keyText, policyKindNames } from '../core/policy/kinds.ts';
import type { PolicyObject } from './api.ts';
import type { Client } from './client.ts';
import { listAll } from './kinds.ts';
import type { Document } from './policy-files.ts';
import { documentKinds } from './policy-kinds.ts';

export interface PruneOptions {
  readonly prune?: boolean;
  readonly namespace?: string;
  readonly selector?: string;
  readonly all?: boolean;
}

/** The options of commands that make what is there be what is in a folder, and nothing else. */
export function addPrune(command: Command): Command {
  return command
    .option('--prune', 'delete what is in the scope, of every kind, and not in the files; -n, -l or --all is the scope')
    .option('-n, --namespace <namespace>', 'with --prune: only what is of this namespace')
    .option('-l, --selector <labels>', 'with --prune: only what has these labels, such as app=web')
    .option('--all', 'with --prune: the whole mesh');
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
  const beyond = documents.find(({ object }) => namespace !== undefined && object.namespace !== namespace);
  if (beyond === undefined) return;
  throw new AppError(
    'usage',
    `${beyond.file}:${beyond.line} is of the namespace ${beyond.object.namespace}, and the scope is ${namespace}. ` +
      'Give a folder of that namespace only, or --all.',
  );
}

/** What is there, of every kind, within the scope and not in the files. */
export async function findSuperfluous(
  client: Client,
  options: PruneOptions,
  documents: readonly Document[],
): Promise<readonly PolicyObject[]> {
  if (options.prune !== true) return [];
  const wanted = new Set(documents.map((document) => keyText(keyOf(document))));
  const superfluous: PolicyObject[] = [];
  for (const kind of policyKindNames) {
    const limits = { namespace: options.namespace, selector: options.selector };
    const there = await listAll(client, documentKinds[kind], limits);
    superfluous.push(...there.filter(({ metadata }) => !wanted.has(keyText({ kind, ...metadata }))));
  }
  return superfluous;
}
