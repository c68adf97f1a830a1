import type { Command } from 'commander';
import { stringify } from 'yaml';
import { AppError } from '../../base/errors.ts';
import { isPolicyKind, policyKindNames, policyKinds } from '../../core/policy/kinds.ts';
import { parsePolicyTests } from '../../core/policy/policy-test.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { collect, FILENAME, parseAll, readAllSources } from '../policy-files.ts';
import type { PlanAnswer } from '../policy-plan.ts';
import { isHarmless, showPlan } from '../policy-plan.ts';
import type { PruneOptions } from '../prune.ts';
import { addPrune, checkPrune, findSuperfluous } from '../prune.ts';
import type { World } from '../world.ts';

interface PlanOptions extends PruneOptions {
  readonly filename?: string[];
  readonly delete?: string[];
  readonly expect?: string[];
  readonly since?: string;
  readonly until?: string;
  readonly output: Format;
}

/** A replay of millions of calls takes so long. */
export const REPLAY_TIMEOUT_MS = 120_000;

/** @param flips called when a recorded call would be decided otherwise, or may be, or an expectation is not met. */
export function addPlan(policy: Command, world: World, flips: () => void): void {
  const command = policy
    .command('plan')
    .summary('What a change would have done to the calls that were recorded.')
    .description(
      'Replays the recorded calls over the policies as they would be, and shows which would be decided otherwise: newly denied, ' +
        'newly allowed, and those of which it depends on what was not recorded. Expectations (PolicyTest) that lie beside the ' +
        'policies are run too. Nothing comes into force. ' +
        'Exit status 0: nothing would be decided otherwise, 1: something would, or an expectation is not met, 2: no answer.',
    )
    .option(FILENAME, 'file, directory or - with what would be put; repeatable', collect)
    .option('--delete <kind/namespace/name>', 'what would be deleted, such as policy/shop/web; repeatable', collect)
    .option('--expect <path>', 'file or directory with expectations; repeatable', collect)
    .option('--since <time>', 'calls from then on: RFC 3339, or an age such as 15m, 2h, 7d', '24h')
    .option('--until <time>', 'calls before then; default now');
  addPrune(command)
    .addOption(output('table', 'json', 'yaml'))
    .action(async (options: PlanOptions, self: Command) => {
      const sources = await readAllSources([...(options.filename ?? []), ...(options.expect ?? [])], world);
      const policies = sources.filter((each) => !each.isTest);
      const documents = policies.length === 0 ? [] : parseAll(policies, 'planned');
      checkPrune(options, documents);
      const cases = sources.filter((each) => each.isTest);
      for (const { file, text } of cases) parsePolicyTests(text, { file });
      const { client, style } = await openSession(self, world);
      const superfluous = await findSuperfluous(client.reader, options, documents);
      const gone = superfluous.map(({ kind, metadata: { namespace, name } }) => ({ kind, namespace, name }));
      const deletions = [...(options.delete ?? []).map(keyOfName), ...gone];
      const json = {
        ...(documents.length > 0 && { put: documents.map((each) => each.source) }),
        ...(deletions.length > 0 && { delete: deletions }),
        ...(cases.length > 0 && { cases: cases.map((each) => each.text) }),
        since: options.since,
        ...(options.until !== undefined && { until: options.until }),
      };
      const path = '/v1/policies:plan';
      const { body } = await client.call<PlanAnswer>({ method: 'POST', path, json, timeoutMs: REPLAY_TIMEOUT_MS });
      if (options.output === 'json') world.stdout(`${JSON.stringify(body, null, 2)}\n`);
      else if (options.output === 'yaml') world.stdout(stringify(body));
      else world.stdout(showPlan(body, style, world.clock.now()));
      if (!isHarmless(body)) flips();
    });
}

function keyOfName(text: string): { readonly kind: string; readonly namespace: string; readonly name: string } {
  const [word = '', namespace, name, more] = text.split('/');
  const kind = policyKindNames.find((each) => policyKinds[each].singular === word) ?? word;
  if (isPolicyKind(kind) && namespace !== undefined && name !== undefined && more === undefined) {
    return { kind, namespace, name };
  }
  const known = policyKindNames.map((each) => policyKinds[each].singular).join(', ');
  throw new AppError('usage', `${JSON.stringify(text)} is not KIND/NAMESPACE/NAME. The kinds are ${known}.`);
}
