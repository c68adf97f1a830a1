import type { Command } from 'commander';
import { sleep } from '../../base/clock.ts';
import { parseDuration } from '../../base/config-types.ts';
import { AppError } from '../../base/errors.ts';
import type { Client } from '../client.ts';
import { addDryRun, dryRun } from '../dry-run.ts';
import { openSession } from '../options.ts';
import type { ChangeObject } from '../policy-change.ts';
import { isOver, parseChange, pathOf, progressOf } from '../policy-change.ts';
import { addReason, reasonQuery } from '../reason.ts';
import { safe } from '../style.ts';
import type { World } from '../world.ts';

interface RolloutOptions {
  readonly steps?: string;
  readonly bake?: string;
  readonly maxDenials?: string;
  readonly maxErrors?: string;
  readonly reason?: string;
  readonly wait?: boolean;
  readonly dryRun?: boolean;
}

/** How often a rollout that is waited for is looked at. */
const LOOK_MS = 1_000;

/** @param failed called when the change that was waited for is not in force in the end. */
export function addRollout(policy: Command, world: World, failed: () => void): void {
  addReason(addDryRun(policy.command('rollout')))
    .description(
      'Put a change into force step by step: for a share of the sidecars that it concerns, which grows while calls do not ' +
        'fail there more than before and than elsewhere. Otherwise it goes back by itself, and says why.',
    )
    .argument('<change>', 'number of the change')
    .option('--steps <percentages>', 'shares of the sidecars, such as 1%,10%,50%,100% (the default)')
    .option('--bake <duration>', 'how long each step must hold, 1s to 24h (default 2m)')
    .option('--max-denials <percent>', 'calls that may be denied beyond what was to be expected (default 1%)')
    .option('--max-errors <percent>', 'calls that may end in a status from 500 beyond that (default 1%)')
    .option('--wait', 'show how it goes until it is over; the exit status is 1 when it was rolled back')
    .action(async (change: string, options: RolloutOptions, command: Command) => {
      const revision = parseChange(change);
      const json = planOf(options);
      const { client } = await openSession(command, world);
      const query = { ...dryRun(options).query, ...reasonQuery(options) };
      await client.call<ChangeObject>({ method: 'POST', path: `${pathOf(revision)}:rollout`, query, json });
      const dry = options.dryRun === true;
      world.stdout(`policy change ${revision} is rolling out${dry ? ' (dry run)' : ''}\n`);
      if (options.wait === true && !dry) await follow(client, revision, world, failed);
      else if (!dry) world.stderr(`See how it goes: writ policy status ${revision} --wait\n`);
    });
  policy
    .command('status')
    .description('How far the rollout of a change is. Exit status 1: it was rolled back, rejected, or has expired.')
    .argument('<change>', 'number of the change')
    .option('--wait', 'until it is over')
    .action(async (change: string, options: { readonly wait?: boolean }, command: Command) => {
      const revision = parseChange(change);
      const { client } = await openSession(command, world);
      if (options.wait === true) return await follow(client, revision, world, failed);
      show(await read(client, revision), world, failed);
    });
}

/** Every line once, until nothing more can become of it. */
async function follow(client: Client, revision: number, world: World, failed: () => void): Promise<void> {
  let last = '';
  for (;;) {
    const change = await read(client, revision);
    if (isOver(change)) return show(change, world, failed);
    const line = progressOf(change, world.clock.now());
    if (line !== last) world.stderr(`${safe(line)}\n`);
    last = line;
    await sleep(world.clock, LOOK_MS, world.signal);
    if (world.signal.aborted) return;
  }
}

function show(change: ChangeObject, world: World, failed: () => void): void {
  world.stdout(`policy change ${change.revision} ${safe(progressOf(change, world.clock.now()))}\n`);
  if (isOver(change) && change.state !== 'applied') failed();
}

async function read(client: Client, revision: number): Promise<ChangeObject> {
  return (await client.call<ChangeObject>({ method: 'GET', path: pathOf(revision) })).body;
}

function planOf({ steps, bake, maxDenials, maxErrors }: RolloutOptions) {
  return {
    ...(steps !== undefined && { steps: steps.split(',').map((step) => parsePercent(step, '--steps')) }),
    ...(bake !== undefined && { bakeSeconds: parseBake(bake) }),
    ...(maxDenials !== undefined && { maxDenials: parsePercent(maxDenials, '--max-denials') }),
    ...(maxErrors !== undefined && { maxErrors: parsePercent(maxErrors, '--max-errors') }),
  };
}

function parsePercent(text: string, option: string): number {
  const number = /^\s*(\d{1,3}(?:\.\d{1,6})?)\s*%?\s*$/.exec(text)?.[1];
  if (number !== undefined && Number(number) <= 100) return Number(number);
  throw new AppError('usage', `${option} takes percentages from 0 to 100, such as 10%, not ${JSON.stringify(text)}.`);
}

function parseBake(text: string): number {
  const seconds = parseDuration(text);
  if (seconds !== undefined && Number.isInteger(seconds) && seconds >= 1 && seconds <= 86_400) return seconds;
  throw new AppError('usage', `--bake must be a duration from 1s to 24h, such as 2m, not ${JSON.stringify(text)}.`);
}
