import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import { stringify } from 'yaml';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import { labelsIn, runCase } from '../../core/policy/policy-case.ts';
import type { PolicyTests } from '../../core/policy/policy-test.ts';
import { parsePolicyTests } from '../../core/policy/policy-test.ts';
import { junitXml } from '../junit.ts';
import type { GlobalOptions } from '../options.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import type { Source } from '../policy-files.ts';
import { collect, count, FILENAME, parseAll, readAllSources } from '../policy-files.ts';
import type { CaseAnswer } from '../policy-plan.ts';
import { showFailure } from '../policy-plan.ts';
import type { Style } from '../style.ts';
import { safe, styleFor } from '../style.ts';
import type { World } from '../world.ts';

interface TestOptions {
  readonly filename: string[];
  readonly policies?: string[];
  readonly trustDomain?: string;
  readonly rootNamespace: string;
  readonly junit?: string;
  readonly output: Format;
}

type Placed = CaseAnswer & { readonly file: string };

/** @param failed called when a case is decided otherwise than expected. */
export function addTest(policy: Command, world: World, failed: () => void): void {
  policy
    .command('test')
    .summary('Do the policies decide as is expected?')
    .description(
      'Runs expectations (documents of the kind PolicyTest) over the policies in force; with --policies over those of files, ' +
        'without asking a control plane. The format is explained in docs/policy-tests.md. ' +
        'Exit status 0: all are met, 1: some are not, 2: no answer.',
    )
    .requiredOption(FILENAME, 'file, directory or - with expectations; repeatable', collect)
    .option('--policies <path>', 'file or directory with policies; repeatable', collect)
    .option('--trust-domain <name>', 'with --policies: the own one, where the expectations do not say')
    .addOption(
      new Option('--root-namespace <namespace>', 'with --policies: policies of it hold in every namespace').default(
        'writ-system',
      ),
    )
    .option('--junit <file>', 'write the results as JUnit XML, too')
    .addOption(output('table', 'json', 'yaml'))
    .action(async (options: TestOptions, self: Command) => {
      const tests = (await readAllSources(options.filename, world))
        .filter((each) => each.isTest || !each.isFound)
        .map((source) => ({ source, tests: parsePolicyTests(source.text, { file: source.file }) }));
      if (tests.length === 0) throw new AppError('usage', 'There are no expectations (PolicyTest) in what was given.');
      const results =
        options.policies === undefined ? await ask(tests, self, world) : await runHere(tests, options, world);
      if (options.junit !== undefined) await writeJunit(options.junit, results, world);
      const style = styleFor(self.optsWithGlobals<GlobalOptions>().color, world);
      if (options.output === 'json') world.stdout(`${JSON.stringify(results, null, 2)}\n`);
      else if (options.output === 'yaml') world.stdout(stringify(results));
      else world.stdout(listed(results, style));
      if (results.some((each) => !each.passed)) failed();
    });
}

interface ReadSource {
  readonly source: Source;
  readonly tests: PolicyTests;
}

/** File by file, so that each result can be told with its place. */
async function ask(files: readonly ReadSource[], command: Command, world: World): Promise<readonly Placed[]> {
  const { client } = await openSession(command, world);
  const results: Placed[] = [];
  for (const { source } of files) {
    const json = { cases: [source.text] };
    const { body } = await client.call<{ readonly cases: readonly CaseAnswer[] }>({
      method: 'POST',
      path: '/v1/policies:test',
      json,
    });
    results.push(...body.cases.map((each) => ({ ...each, file: source.file })));
  }
  return results;
}

async function runHere(files: readonly ReadSource[], options: TestOptions, world: World): Promise<readonly Placed[]> {
  const sources = (await readAllSources(options.policies ?? [], world)).filter((each) => !each.isTest);
  const policies = parseAll(sources, 'tested').flatMap((each) =>
    each.kind === 'AuthorizationPolicy' ? [each.object] : [],
  );
  const { rootNamespace } = options;
  return files.flatMap(({ source, tests }) => {
    const trustDomain = options.trustDomain ?? tests.trustDomain;
    if (trustDomain === undefined) {
      throw new AppError('usage', `${source.file} names no trustDomain. Write it there, or give --trust-domain.`);
    }
    const labelsOf = (spiffeId: string) => labelsIn(tests.workloads, spiffeId, trustDomain);
    const context = { policies, rootNamespace, trustDomain, now: world.clock.now(), labelsOf };
    return tests.cases.map((one) => ({ ...toAnswer(runCase(one, context)), file: source.file }));
  });
}

function toAnswer({ file: _, line, ...result }: ReturnType<typeof runCase>): CaseAnswer {
  return { ...result, line: line ?? null };
}

function listed(results: readonly Placed[], style: Style): string {
  const failed = results.filter((each) => !each.passed);
  const lines = results.flatMap((each) =>
    each.passed ? [`  ${style.green('✓')} ${safe(each.name)}`] : showFailure(each, style, each.file),
  );
  const sum = `${count(results.length, 'case')}: ${results.length - failed.length} met, ${failed.length} not.`;
  return `${lines.join('\n')}\n${failed.length > 0 ? style.red(sum) : style.green(sum)}\n`;
}

async function writeJunit(name: string, results: readonly Placed[], world: World): Promise<void> {
  const cases = results.map((each) => ({
    name: each.name,
    file: each.file,
    line: each.line,
    ...(!each.passed && {
      failure: {
        message: `expected ${each.expected.decision}, got ${each.decision} by ${each.rule}`,
        text: each.considered
          .map((rule) => `${rule.rule} ${rule.matched ? 'matched' : `did not match: ${rule.failed.join(', ')}`}`)
          .join('\n'),
      },
    }),
  }));
  try {
    await writeFile(resolve(world.cwd, name), junitXml('writ policy test', cases));
  } catch (cause) {
    throw new AppError('usage', `Cannot write ${name}: ${reason(cause)}.`, { cause });
  }
}
