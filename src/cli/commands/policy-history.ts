import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import { policyKinds } from '../../core/policy/kinds.ts';
import type { FullRevisionObject, PageOf, PolicyObject, RevisionObject } from '../api.ts';
import type { Client } from '../client.ts';
import { addDryRun, dryRun } from '../dry-run.ts';
import { openSession, output, wantsCurl } from '../options.ts';
import type { Format, View } from '../output.ts';
import { printList } from '../output.ts';
import { ANY_REFERENCE, parseReference } from '../policy-kinds.ts';
import { aboveOne, difference } from '../show-diff.ts';
import { relative } from '../table.ts';
import type { World } from '../world.ts';
import { addYes } from './delete.ts';

interface HistoryOptions {
  readonly namespace?: string;
  readonly author?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit: string;
  readonly output: Format;
}

export function addHistory(policy: Command, world: World): void {
  policy
    .command('history')
    .description(
      'Who changed a policy or an object of another kind, when and why, newest first; without a name: everything.',
    )
    .argument('[policy]', ANY_REFERENCE)
    .option('-n, --namespace <namespace>', 'only of this namespace, when no policy is named')
    .option('--author <name>', 'only by this author')
    .option('--since <time>', 'at or after: RFC 3339, or an age such as 15m, 2h, 7d')
    .option('--until <time>', 'before')
    .option('--limit <number>', 'most changes to show', '50')
    .addOption(output('table', 'wide', 'json', 'yaml', 'name'))
    .action(async (reference: string | undefined, options: HistoryOptions, command: Command) => {
      if (reference !== undefined && options.namespace !== undefined)
        throw new AppError('usage', '-n chooses among all policies, and one is named already. Leave it out.');
      const limit = parseNumber(options.limit, '--limit');
      const path = reference === undefined ? '/v1/revisions' : `${parseReference(reference).path}/revisions`;
      const { client } = await openSession(command, world);
      const { namespace, author, since, until } = options;
      const items = await readRevisions(client, path, { namespace, author, since, until }, limit);
      printList(world, options.output, view, items);
    });
}

const view: View<RevisionObject> = {
  columns: [
    { head: 'REVISION', cell: (r) => String(r.revision) },
    { head: 'OBJECT', cell: (r) => objectOf(r) },
    { head: 'CHANGE', cell: changeOf },
    { head: 'AGE', cell: (r, now) => relative(r.time, now) },
    { head: 'AUTHOR', cell: (r) => r.author },
    { head: 'REASON', cell: (r) => r.reason ?? '' },
    { head: 'TIME', wide: true, cell: (r) => r.time },
    { head: 'PREVIOUS', wide: true, cell: (r) => String(r.previous ?? '') },
  ],
  name: (r) => `${policyKinds[r.kind]?.singular ?? r.kind}/${r.namespace}/${r.name}@${r.revision}`,
};

/** As the commands take it: the kind goes without saying for a policy. */
function objectOf({ kind, namespace, name }: RevisionObject): string {
  return `${kind === 'AuthorizationPolicy' ? '' : `${policyKinds[kind]?.singular ?? kind}/`}${namespace}/${name}`;
}

function changeOf({ operation, previous, restores }: RevisionObject): string {
  if (operation === 'delete') return 'deleted';
  if (restores !== null) return `rolled back to ${restores}`;
  return previous === null ? 'created' : 'changed';
}

interface DiffOptions {
  readonly from?: string;
  readonly to?: string;
}

/** @param differs called when there is a difference: the command did its work, and its exit status says so. */
export function addPolicyDiff(policy: Command, world: World, differs: () => void): void {
  policy
    .command('diff')
    .description(
      'What a change of a policy, or several, made different, as a unified diff. Exit status 0: no difference, 1: ' +
        'differences, 2 or more: the comparison failed.',
    )
    .argument('<policy>', ANY_REFERENCE)
    .option('--from <revision>', 'the older one; default: the one before --to')
    .option('--to <revision>', 'the newer one; default: the newest')
    .action((reference: string, options: DiffOptions, command: Command) =>
      aboveOne(diff(reference, options, { command, world, differs })),
    );
}

async function diff(
  reference: string,
  options: DiffOptions,
  o: { readonly command: Command; readonly world: World; readonly differs: () => void },
): Promise<void> {
  const { path } = parseReference(reference);
  const [from, to] = [parseRevision(options.from, '--from'), parseRevision(options.to, '--to')];
  const { client, style } = await openSession(o.command, o.world);
  const newer = to === undefined ? await newest(client, path) : await one(client, path, to);
  const before = from ?? newer.previous;
  const older = before === null ? undefined : await one(client, path, before);
  const text = difference(sideOf(older), sideOf(newer), o.world, style);
  if (text !== '') o.differs();
  o.world.stdout(text);
}

interface RollbackOptions {
  readonly to: string;
  readonly reason: string;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

/** @param failed called when the user left the policy as it was. */
export function addRollback(policy: Command, world: World, failed: () => void): void {
  addYes(addDryRun(policy.command('rollback')))
    .description(
      'Give a policy the content of an earlier revision, as a new revision; also one that was deleted. Shows the ' +
        'difference and asks first; --yes answers for scripts. Refused when somebody else changes it meanwhile.',
    )
    .argument('<policy>', ANY_REFERENCE)
    .requiredOption('--to <revision>', 'the revision to go back to')
    .requiredOption('--reason <text>', 'why, for the history: one line, such as a ticket')
    .action(async (reference: string, options: RollbackOptions, command: Command) => {
      const { path, name } = parseReference(reference);
      const to = parseRevision(options.to, '--to') ?? 0;
      const sure = options.yes === true || options.dryRun === true || wantsCurl(command);
      if (!sure && !world.interactive)
        throw new AppError(
          'usage',
          'Rolling back needs a confirmation, and there is no terminal to ask on. Add --yes.',
        );
      const { client, style } = await openSession(command, world);
      const current = await newest(client.reader, path);
      if (!sure) {
        const target = await one(client.reader, path, to);
        world.stderr(difference(sideOf(current), sideOf(target), { stdoutIsTerminal: true }, style));
        const answer = await world.ask(`Roll ${name} back to revision ${to}? [y/N] `);
        if (!/^y(es)?$/i.test(answer.trim())) {
          world.stderr(`Not confirmed: ${name} was left as it is.\n`);
          return failed();
        }
      }
      const { body } = await client.call<PolicyObject>({
        method: 'POST',
        path: `${path}:rollback`,
        headers: { 'if-match': `"${current.revision}"` },
        json: { revision: to, reason: options.reason },
        ...dryRun(options),
      });
      world.stdout(`${name} ${outcomeOf(body, current, to)}${options.dryRun === true ? ' (dry run)' : ''}\n`);
    });
}

function outcomeOf({ metadata }: PolicyObject, before: RevisionObject, to: number): string {
  if (metadata.revision === before.revision) return `is like revision ${to} already`;
  const now = metadata.revision === 0 ? '' : `, as revision ${metadata.revision}`;
  return `rolled back to revision ${to}${now}`;
}

function sideOf(revision: FullRevisionObject | undefined) {
  const name = revision === undefined ? '' : `${revision.namespace}/${revision.name}@${revision.revision}`;
  return { name, text: revision?.source ?? undefined };
}

async function one(client: Client, path: string, revision: number): Promise<FullRevisionObject> {
  return (await client.call<FullRevisionObject>({ method: 'GET', path: `${path}/revisions/${revision}` })).body;
}

async function newest(client: Client, path: string): Promise<FullRevisionObject> {
  const [last] = await readRevisions(client, `${path}/revisions`, {}, 1);
  if (last === undefined) throw new AppError('not-found', 'The policy has no history.');
  return await one(client, path, last.revision);
}

async function readRevisions(
  client: Client,
  path: string,
  filter: Readonly<Record<string, string | undefined>>,
  limit: number,
): Promise<readonly RevisionObject[]> {
  const items: RevisionObject[] = [];
  let cursor: string | undefined;
  do {
    const query = { ...filter, limit: Math.min(500, limit - items.length), cursor };
    const { body } = await client.call<PageOf<RevisionObject>>({ method: 'GET', path, query });
    items.push(...body.items);
    cursor = body.nextCursor ?? undefined;
  } while (cursor !== undefined && items.length < limit);
  return items;
}

function parseRevision(text: string | undefined, option: string): number | undefined {
  return text === undefined ? undefined : parseNumber(text, option);
}

function parseNumber(text: string, option: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
  throw new AppError('usage', `${option} must be a whole number from 1, not ${JSON.stringify(text)}.`);
}
