import type { Command } from 'commander';
import { stringify } from 'yaml';
import { AppError } from '../../base/errors.ts';
import type { CheckAnswer } from '../api.ts';
import { shortName } from '../api.ts';
import type { Client } from '../client.ts';
import { RemoteError } from '../client.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { collect } from '../policy-files.ts';
import type { Style } from '../style.ts';
import { safe } from '../style.ts';
import type { World } from '../world.ts';

interface CheckOptions {
  readonly from?: string;
  readonly plaintext?: boolean;
  readonly egress?: boolean;
  readonly to: string;
  readonly method?: string;
  readonly path?: string;
  readonly port?: string;
  readonly host?: string;
  readonly header?: readonly string[];
  readonly sourceIp?: string;
  readonly output: Format;
}

/** @param denied called when the verdict is deny: the command did its work, and its exit status says so. */
export function addCheck(policy: Command, world: World, denied: () => void): void {
  policy
    .command('check')
    .description(
      'Would this call be allowed, and by which rule? Exit status 0: allowed, 1: denied, 2: the question has no answer.',
    )
    .option('--from <workload>', 'caller: NAMESPACE/SERVICE or SPIFFE ID')
    .option('--plaintext', 'in place of --from: a caller without a certificate')
    .requiredOption('--to <workload>', 'called workload')
    .option('--egress', 'whether the sidecar of the caller lets it out, in place of whether it is let in')
    .option('--method <method>', 'HTTP method; without method and path: plain TCP')
    .option('--path <http-path>', 'HTTP path')
    .option('--port <number>', 'port of the application; needed where a rule names ports')
    .option('--host <authority>', 'host that the request names, with its port where it has one')
    .option('--header <name:value>', 'field of the request; repeatable', collect)
    .option('--source-ip <address>', 'IP address of the caller')
    .addOption(output('table', 'json', 'yaml'))
    .action(async (options: CheckOptions, command: Command) => {
      const format = options.output;
      const json = questionOf(options);
      const { client, style } = await openSession(command, world);
      const body = await ask(client, json);
      if (format === 'json') world.stdout(`${JSON.stringify(body, null, 2)}\n`);
      else if (format === 'yaml') world.stdout(stringify(body));
      else world.stdout(explain(body, style));
      if (body.decision === 'deny') denied();
    });
}

function questionOf(options: CheckOptions): object {
  const { from, plaintext, to, egress, method, path, port, host, header, sourceIp } = options;
  if ((from === undefined) !== (plaintext === true)) {
    throw new AppError('usage', 'Name the caller with --from, or say --plaintext for one without a certificate.');
  }
  return {
    ...(from !== undefined && { from }),
    ...(plaintext === true && { plaintext }),
    to,
    ...(egress === true && { direction: 'Egress' }),
    ...(method !== undefined && { method }),
    ...(path !== undefined && { path }),
    ...(port !== undefined && { port: parsePort(port) }),
    ...(host !== undefined && { host }),
    ...(header !== undefined && { headers: Object.fromEntries(header.map(parseHeader)) }),
    ...(sourceIp !== undefined && { sourceIp }),
  };
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
  const lines = [
    `${verdict}  ${request.from === null ? 'plain text' : safe(shortName(request.from))} → ${safe(shortName(request.to))}  ${safe(what)}${port}`,
  ];
  if (request.direction === 'Egress') lines.push('asked   the sidecar of the caller, about what goes out');
  lines.push(`rule    ${safe(answer.rule)}${answer.rule === answer.reason ? '' : `  (${answer.reason})`}`);
  if (answer.source !== null) {
    lines.push(`source  ${safe(answer.source.policy)}, line ${answer.source.line}: ${safe(answer.source.text)}`);
  }
  const others = answer.considered.filter((one) => one.rule !== answer.rule);
  if (others.length > 0) lines.push(style.dim('considered'));
  for (const one of others) {
    const why = one.matched ? 'matched' : `did not match: ${one.failed.join(', ')}`;
    lines.push(style.dim(`  ${one.action.padEnd(6)}  ${safe(one.rule)}  ${safe(why)}`));
  }
  if (answer.reason === 'default-deny' && answer.considered.length === 0) {
    lines.push(
      `No policy applies to ${safe(shortName((request.direction === 'Egress' ? request.from : undefined) ?? request.to))}, and what no rule allows is denied.`,
    );
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

function parseHeader(text: string): readonly [string, string] {
  const colon = text.indexOf(':');
  if (colon < 1) throw new AppError('usage', `--header must be NAME:VALUE, not ${JSON.stringify(text)}.`);
  return [text.slice(0, colon), text.slice(colon + 1).trim()];
}
