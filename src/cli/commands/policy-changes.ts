import type { Command } from 'commander';
import type { PageOf } from '../api.ts';
import type { Client } from '../client.ts';
import { addDryRun, dryRun } from '../dry-run.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList } from '../output.ts';
import type { ChangeObject, FullChangeObject } from '../policy-change.ts';
import { changeView, nameOf, parseChange, parseNumber, pathOf, progressOf } from '../policy-change.ts';
import { addReason, reasonQuery } from '../reason.ts';
import type { Style } from '../style.ts';
import { safe } from '../style.ts';
import { relative } from '../table.ts';
import type { World } from '../world.ts';
import { addRollout } from './policy-rollout.ts';

interface ListOptions {
  readonly namespace?: string;
  readonly state?: string;
  readonly author?: string;
  readonly limit: string;
  readonly output: Format;
}

interface DecideOptions {
  readonly reason?: string;
  readonly dryRun?: boolean;
}

/** @param failed called when a rollout that was waited for did not end with the change in force. */
export function addChanges(policy: Command, world: World, failed: () => void): void {
  policy
    .command('changes')
    .description('Proposed changes of policies, and what became of them, newest first; with a number: one, in full.')
    .argument('[change]', 'number of a change')
    .option('-n, --namespace <namespace>', 'only those that change something in this namespace')
    .option(
      '--state <state>',
      'only in this state: proposed, approved, rolling, applied, rejected, rolled-back, expired',
    )
    .option('--author <name>', 'only by this author')
    .option('--limit <number>', 'most changes to show', '50')
    .addOption(output(...formats))
    .action(async (change: string | undefined, options: ListOptions, command: Command) => {
      const { client, style } = await openSession(command, world);
      if (change === undefined) printList(world, options.output, changeView, await readChanges(client, options));
      else await showOne(client, parseChange(change), options.output, world, style);
    });
  decision(policy, world, 'approve', 'Agree to a change that somebody else has proposed.');
  decision(policy, world, 'reject', 'Refuse a change; its author withdraws it so.');
  decision(policy, world, 'apply', 'Put a change into force for every sidecar at once.');
  decision(policy, world, 'abort', 'Stop a rollout: every sidecar has what was in force before it.');
  addRollout(policy, world, failed);
}

const done = { approve: 'approved', reject: 'rejected', apply: 'applied', abort: 'rolled back' } as const;

function decision(policy: Command, world: World, verb: keyof typeof done, description: string): void {
  addReason(addDryRun(policy.command(verb)))
    .description(description)
    .argument('<change>', 'number of the change')
    .action(async (change: string, options: DecideOptions, command: Command) => {
      const revision = parseChange(change);
      const { client } = await openSession(command, world);
      const query = { ...dryRun(options).query, ...reasonQuery(options) };
      await client.call<ChangeObject>({ method: 'POST', path: `${pathOf(revision)}:${verb}`, query });
      world.stdout(`policy change ${revision} ${done[verb]}${options.dryRun === true ? ' (dry run)' : ''}\n`);
    });
}

async function readChanges(client: Client, options: ListOptions): Promise<readonly ChangeObject[]> {
  const limit = parseNumber(options.limit, '--limit');
  const { namespace, state, author } = options;
  const items: ChangeObject[] = [];
  let cursor: string | undefined;
  do {
    const query = { namespace, state, author, limit: Math.min(500, limit - items.length), cursor };
    const { body } = await client.call<PageOf<ChangeObject>>({ method: 'GET', path: '/v1/policy-changes', query });
    items.push(...body.items);
    cursor = body.nextCursor ?? undefined;
  } while (cursor !== undefined && items.length < limit);
  return items;
}

async function showOne(client: Client, revision: number, format: Format, world: World, style: Style): Promise<void> {
  const { body } = await client.call<FullChangeObject>({ method: 'GET', path: pathOf(revision) });
  if (format === 'json') world.stdout(`${JSON.stringify(body, null, 2)}\n`);
  else if (format === 'table' || format === 'wide') world.stdout(describe(body, world, style));
  else printList(world, format, changeView, [body]);
}

/** Everything that somebody who is to approve it wants to see. Texts of others: nothing in them may steer a terminal. */
function describe(change: FullChangeObject, world: World, style: Style): string {
  const now = world.clock.now();
  const lines = [
    `${style.bold(`policy change ${change.revision}`)}  ${safe(progressOf(change, now))}`,
    `by       ${safe(change.author)}, ${relative(change.createdAt, now)} ago: ${safe(change.reason)}`,
  ];
  if (change.approver !== null) lines.push(`approved by ${safe(change.approver)}`);
  for (const document of change.documents) {
    lines.push('', safe(nameOf(document)));
    for (const line of document.diff.trimEnd().split('\n')) lines.push(coloured(line, style));
  }
  lines.push('');
  for (const { time, actor, action, detail } of change.events) {
    lines.push(
      `${relative(time, now).padStart(4)} ago  ${safe(actor)} ${safe(action)}${detail === '' ? '' : `: ${safe(detail)}`}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

function coloured(line: string, style: Style): string {
  const shown = line.split('\t').map(safe).join('\t');
  if (line.startsWith('+')) return style.green(shown);
  return line.startsWith('-') ? style.red(shown) : shown;
}
