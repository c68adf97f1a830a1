import type { Command } from 'commander';
import { stringify } from 'yaml';
import { AppError } from '../../base/errors.ts';
import type { CheckAnswer } from '../api.ts';
import { shortName } from '../api.ts';
import type { Client } from '../client.ts';
import { RemoteError } from '../client.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import type { Style } from '../style.ts';
import { safe } from '../style.ts';
import type { World } from '../world.ts';
import { addAnalyze } from './policy-analyze.ts';
import { addChanges } from './policy-changes.ts';
import { addHistory, addPolicyDiff, addRollback } from './policy-history.ts';

interface CheckOptions {
  readonly from: string;
  readonly to: string;
  readonly method?: string;
  readonly path?: string;
  readonly port?: string;
  readonly output: Format;
}

/** @param denied called when the verdict is deny, or a diff is not empty: the command did its work, and its exit status says so. */
export function addPolicy(program: Command, world: World, denied: (code?: number) => void): void {
  const policy = program.command('policy').description('Ask what policy would decide, and how it came to be.');
  addHistory(policy, world);
  addAnalyze(policy, world, denied);
  addPolicyDiff(policy, world, () => denied());
  addRollback(policy, world, denied);
  addChanges(policy, world, denied);
  policy
    .command('check')
    .description(
      'Would this call be allowed, and by which rule? Exit status 0: allowed, 1: denied, 2: the question has no answer.',
    )
    .requiredOption('--from <workload>', 'caller: NAMESPACE/SERVICE or SPIFFE ID')
    .requiredOption('--to <workload>', 'called workload')
    .option('--method <method>', 'HTTP method; without method and path: plain TCP')
    .option('--path <http-path>', 'HTTP path')
    .option('--port <number>', 'port of the application; needed where a rule names ports')
    .addOption(output('table', 'json', 'yaml'))
    .action(async (options: CheckOptions, command: Command) => {
      const format = options.output;
      const json = {
        from: options.from,
        to: options.to,
        ...(options.method !== undefined && { method: options.method }),
        ...(options.path !== undefined && { path: options.path }),
        ...(options.port !== undefined && { port: parsePort(options.port) }),
      };
      const { client, style } = await openSession(command, world);
      const body = await ask(client, json);
      if (format === 'json') world.stdout(`${JSON.stringify(body, null, 2)}\n`);
      else if (format === 'yaml') world.stdout(stringify(body));
      else world.stdout(explain(body, style));
      if (body.decision === 'deny') denied();
    });
}

/** The answer. Throws `usage` for a question that has none: with the exit status of its own code it would pass for a denial. */
async function ask(client: Client, json: object): Promise<CheckAnswer> {
  try {
    return (await client.call<CheckAnswer>({ method: 'POST', path: '/v1/policies:check', json })).body;
  } catch (error) {
    if (!(error instanceof RemoteError) || error.code !== 'invalid-document') throw error;
    throw error.as({ code: 'usage' });
  }
}

/** The verdict, the deciding rule, its source line, and what every other rule lacked. */
function explain(answer: CheckAnswer, style: Style): string {
  const { request } = answer;
  const what = request.method === null ? 'TCP' : `${request.method} ${request.path}`;
  const port = request.port === null ? '' : ` on port ${request.port}`;
  const verdict = answer.decision === 'allow' ? style.green('ALLOW') : style.red('DENY');
  const lines = [`${verdict}  ${safe(shortName(request.from))} → ${safe(shortName(request.to))}  ${safe(what)}${port}`];
  lines.push(`rule    ${safe(answer.rule)}${answer.rule === answer.reason ? '' : `  (${answer.reason})`}`);
  if (answer.source !== null) {
    lines.push(`source  ${safe(answer.source.policy)}, line ${answer.source.line}: ${safe(answer.source.text)}`);
  }
  const others = answer.considered.filter((one) => one.rule !== answer.rule);
  if (others.length > 0) lines.push(style.dim('considered'));
  for (const one of others) {
    const why = one.matched ? 'matched' : `did not match: ${one.failed.join(', ')}`;
    lines.push(style.dim(`  ${one.action.padEnd(5)}  ${safe(one.rule)}  ${safe(why)}`));
  }
  if (answer.reason === 'default-deny' && answer.considered.length === 0) {
    lines.push(`No policy applies to ${safe(shortName(request.to))}, and what no rule allows is denied.`);
  }
  for (const note of answer.notes) lines.push(`${style.yellow('note')}    ${safe(note)}`);
  return `${lines.join('\n')}\n`;
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535)
    throw new AppError('usage', `--port must be from 1 to 65535, not ${JSON.stringify(text)}.`);
  return port;
}
