import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { NodeObject, PageOf } from '../api.ts';
import { shortName } from '../api.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { findOne, kinds } from '../kinds.ts';
import { choice, openSession, output, wantsCurl } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList, printOne } from '../output.ts';
import type { World } from '../world.ts';

/** @param failed called when the user kept what was to be evicted. */
export function addNode(program: Command, world: World, failed: () => void): void {
  const node = program
    .command('node')
    .description('Nodes: what attested itself with the control plane. Agents, and workloads without one.');
  node
    .command('list')
    .description('List nodes.')
    .addOption(choice('--kind <kind>', 'only those of this kind', ['agent', 'workload']))
    .option('--method <method>', 'only those that attested so: join_token, x509pop, k8s_psat, oidc')
    .option('--banned', 'only those that are banned')
    .addOption(output(...formats))
    .action(async (options: ListOptions, command: Command) => {
      const { client } = await openSession(command, world);
      const { kind, method, banned } = options;
      const filter = { ...(kind && { kind }), ...(method && { method }), ...(banned && { banned: true }) };
      const items: NodeObject[] = [];
      let cursor: string | undefined;
      do {
        const query = { ...filter, limit: 500, ...(cursor !== undefined && { cursor }) };
        const { body } = await client.call<PageOf<NodeObject>>({ method: 'GET', path: '/v1/nodes', query });
        items.push(...body.items);
        cursor = body.nextCursor ?? undefined;
      } while (cursor !== undefined);
      printList(world, options.output, kinds.node.view, items);
    });
  node
    .command('show')
    .description('Show one node.')
    .argument('<node>', kinds.node.reference)
    .addOption(output('yaml', ...formats.filter((format) => format !== 'yaml')))
    .action(async (reference: string, options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      printOne(world, options.output, kinds.node.view, await findOne(client, kinds.node, reference));
    });
  addChange(node, world, 'ban', 'Take access away at once, and the right to attest again. Lifted by: writ node unban');
  addChange(node, world, 'unban', 'Lift a ban.');
  addDryRun(node.command('evict'))
    .description('Take access away at once: the node comes back only by attesting again. Asks first.')
    .argument('<node>', kinds.node.reference)
    .option('-y, --yes', 'do not ask')
    .action(async (reference: string, options: EvictOptions, command: Command) => {
      const sure = options.yes === true || options.dryRun === true || wantsCurl(command);
      if (!sure && !world.interactive) {
        throw new AppError('usage', 'Evicting needs a confirmation, and there is no terminal to ask on. Add --yes.');
      }
      const { client } = await openSession(command, world);
      const found = await findOne(client.reader, kinds.node, reference);
      const name = describe(found);
      if (!sure && !/^y(es)?$/i.test((await world.ask(`Evict ${name}? [y/N] `)).trim())) {
        world.stderr(`Not confirmed: ${name} was kept.\n`);
        failed();
        return;
      }
      const path = pathOf(found);
      const { body } = await client.call<unknown>({ method: 'DELETE', path, ...dryRun(options) });
      if (options.dryRun === true) tellWarnings(world, name, body);
      world.stdout(`${name} evicted${options.dryRun === true ? ' (dry run)' : ''}\n`);
    });
}

interface ListOptions {
  readonly kind?: string;
  readonly method?: string;
  readonly banned?: boolean;
  readonly output: Format;
}

interface EvictOptions {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

function addChange(node: Command, world: World, verb: 'ban' | 'unban', description: string): void {
  addDryRun(node.command(verb))
    .description(description)
    .argument('<node>', kinds.node.reference)
    .action(async (reference: string, options: { readonly dryRun?: boolean }, command: Command) => {
      const { client } = await openSession(command, world);
      const found = await findOne(client.reader, kinds.node, reference);
      const name = describe(found);
      const call = { method: 'POST' as const, path: `${pathOf(found)}:${verb}`, ...dryRun(options) };
      const { body } = await client.call<unknown>(call);
      if (options.dryRun === true) tellWarnings(world, name, body);
      world.stdout(`${name} ${verb}ned${options.dryRun === true ? ' (dry run)' : ''}\n`);
    });
}

function pathOf(node: NodeObject): string {
  return `/v1/nodes/${encodeURIComponent(node.instanceId)}`;
}

function describe(node: NodeObject): string {
  return `node/${node.instanceId} (${shortName(node.spiffeId)})`;
}
