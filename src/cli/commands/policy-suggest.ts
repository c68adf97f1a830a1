import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { count } from '../policy-files.ts';
import { safe } from '../style.ts';
import type { World } from '../world.ts';
import { REPLAY_TIMEOUT_MS } from './policy-plan.ts';

interface SuggestOptions {
  readonly for: string;
  readonly since: string;
  readonly until?: string;
  readonly templates?: boolean;
  readonly withDenied?: boolean;
  readonly output: Format;
}

interface SuggestAnswer {
  readonly policy: string;
  readonly deniedByDefault: number;
  readonly inForce: readonly string[];
}

export function addSuggest(policy: Command, world: World): void {
  policy
    .command('suggest')
    .summary('The least-privilege policy that admits the calls that were recorded.')
    .description(
      'Writes, as YAML with counts as comments, the narrowest ALLOW policy that admits every recorded call that was let in to a ' +
        'service: each caller may do what it did, and nothing else. Nothing comes into force: look at it, plan it, apply it.',
    )
    .requiredOption('--for <namespace/service>', 'called service')
    .option('--since <time>', 'calls from then on: RFC 3339, or an age such as 15m, 2h, 7d', '7d')
    .option('--until <time>', 'calls before then; default now')
    .option('--templates', 'let paths that differ in ids alone be one, with {*}: shorter and wider')
    .option('--with-denied', 'admit calls that were denied since no rule matched, too')
    .addOption(output('yaml', 'json'))
    .action(async (options: SuggestOptions, self: Command) => {
      const [namespace, service, more] = options.for.split('/');
      if (namespace === undefined || service === undefined || service === '' || more !== undefined)
        throw new AppError('usage', `--for must be NAMESPACE/SERVICE, not ${JSON.stringify(options.for)}.`);
      const json = {
        namespace,
        service,
        since: options.since,
        ...(options.until !== undefined && { until: options.until }),
        ...(options.templates === true && { templates: true }),
        ...(options.withDenied === true && { withDenied: true }),
      };
      const { client } = await openSession(self, world);
      const path = '/v1/policies:suggest';
      const { body } = await client.call<SuggestAnswer>({ method: 'POST', path, json, timeoutMs: REPLAY_TIMEOUT_MS });
      if (options.output === 'json') world.stdout(`${JSON.stringify(body, null, 2)}\n`);
      else world.stdout(body.policy);
      const { deniedByDefault, inForce } = body;
      if (deniedByDefault > 0 && options.withDenied !== true) {
        world.stderr(
          `${count(deniedByDefault, 'call')} that no rule matched are not in it; --with-denied admits them.\n`,
        );
      }
      if (inForce.length > 0) {
        world.stderr(`It takes nothing away as long as these are in force: ${safe(inForce.join(', '))}\n`);
      }
    });
}
