import type { Command } from 'commander';
import { checks, failure } from '../check/checks.ts';
import type { Check, CheckState, Result, Status } from '../check/result.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import type { Style } from '../style.ts';
import { safe } from '../style.ts';
import type { World } from '../world.ts';

/** @param unwell called when a check failed. */
export function addCheck(program: Command, world: World, unwell: () => void): void {
  program
    .command('check')
    .description('Check that the control plane and its sidecars are well. Exit status 1 if something failed.')
    .addOption(output('table', 'json'))
    .action(async ({ output: format }: { output: Format }, command: Command) => {
      const { client, style } = await openSession(command, world);
      const state: CheckState = { world, client };
      const results: { check: Check; result: Result }[] = [];
      for (const check of checks) {
        const result = await check.run(state).catch(failure);
        if (format === 'table') world.stdout(show(check, result, results.at(-1)?.check.group, style));
        results.push({ check, result });
      }
      const bad = results.filter(({ result }) => result.status === 'failed').length;
      if (format === 'json')
        world.stdout(`${JSON.stringify({ ok: bad === 0, checks: results.map(toJson) }, null, 2)}\n`);
      else
        world.stdout(
          bad === 0 ? `\nStatus: ${style.green('√')} well\n` : `\nStatus: ${style.red('×')} ${bad} failed\n`,
        );
      if (bad > 0) unwell();
    });
}

function show(check: Check, result: Result, group: string | undefined, style: Style): string {
  const head = group === check.group ? '' : `${group === undefined ? '' : '\n'}${style.bold(check.group)}\n`;
  const detail = result.detail === undefined ? '' : `: ${safe(result.detail)}`;
  const hint = result.hint === undefined || result.hint === '' ? '' : `    ${style.dim(`→ ${result.hint}`)}\n`;
  return `${head}${mark(result.status, style)} ${check.title}${detail}\n${hint}`;
}

function mark(status: Status, style: Style): string {
  switch (status) {
    case 'ok':
      return style.green('√');
    case 'warning':
      return style.yellow('‼');
    case 'failed':
      return style.red('×');
    case 'skipped':
      return style.dim('-');
  }
}

function toJson({ check, result }: { check: Check; result: Result }) {
  return { group: check.group, title: check.title, ...result };
}
