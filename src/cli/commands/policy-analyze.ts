import type { Command } from 'commander';
import { Option } from 'commander';
import { stringify } from 'yaml';
import { AppError } from '../../base/errors.ts';
import { parseSpiffeId, workloadOf } from '../../core/identity/spiffe-id.ts';
import type { AnalysisContext, AnalyzedPolicy, KnownWorkload } from '../../core/policy/analyze.ts';
import { analyze } from '../../core/policy/analyze.ts';
import type { AnalyzedObject } from '../../core/policy/analyze-objects.ts';
import { analyzeObjects } from '../../core/policy/analyze-objects.ts';
import type { PolicyFinding } from '../../core/policy/findings.ts';
import { readDocuments } from '../../core/policy/parse.ts';
import type { EntryObject } from '../api.ts';
import type { Client } from '../client.ts';
import { serverInfo } from '../info.ts';
import { kinds, listAll } from '../kinds.ts';
import type { GlobalOptions } from '../options.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import type { Source } from '../policy-files.ts';
import { collect, count, FILENAME, readSources } from '../policy-files.ts';
import { documentKinds } from '../policy-kinds.ts';
import { reportFinding } from '../report.ts';
import type { Style } from '../style.ts';
import { styleFor } from '../style.ts';
import type { World } from '../world.ts';

/** Of a run that found something. The command did its work, so it is no error. */
const FOUND = 79;

interface AnalyzeOptions {
  readonly filename?: string[];
  readonly live?: boolean;
  readonly rootNamespace: string;
  readonly output: Format;
}

/** @param found called with the exit status when there is anything to say. */
export function addAnalyze(policy: Command, world: World, found: (code: number) => void): void {
  policy
    .command('analyze')
    .summary('What is wrong with policies, and what they probably do not mean.')
    .description(
      'Everything that is wrong with policies, and what of them is probably not meant: rules that can never match, that a wider ' +
        'rule shadows or a DENY undoes, names of nobody. With -f of files, without asking a control plane; else of the policies ' +
        'and entries that are there. Each code is explained in docs/policy-findings.md. ' +
        `Exit status 0: nothing found, ${FOUND}: something, 2: no answer.`,
    )
    .option(FILENAME, 'file, directory or -; repeatable', collect)
    .option('--live', 'with -f: look names and labels up among the entries of the control plane')
    .addOption(
      new Option('--root-namespace <namespace>', 'policies of it hold in every namespace').default('writ-system'),
    )
    .addOption(output('table', 'json', 'yaml'))
    .action(async (options: AnalyzeOptions, command: Command) => {
      const findings = await examine(options, command, world);
      if (options.output === 'json') world.stdout(`${JSON.stringify(findings, null, 2)}\n`);
      else if (options.output === 'yaml') world.stdout(stringify(findings));
      else world.stdout(listed(findings, styleFor(command.optsWithGlobals<GlobalOptions>().color, world)));
      if (findings.length > 0) found(FOUND);
    });
}

async function examine(options: AnalyzeOptions, command: Command, world: World): Promise<readonly PolicyFinding[]> {
  const { filename, live, rootNamespace } = options;
  if (filename === undefined && live === true) {
    throw new AppError('usage', '--live says what to do with -f. Without -f everything is live: leave it out.');
  }
  const client = filename !== undefined && live !== true ? undefined : (await openSession(command, world)).client;
  const sources = filename === undefined ? await storedSources(client) : await readSources(filename, world);
  const read = sources.map(({ file, text }) => ({ file, ...readDocuments(text, { file }) }));
  const policies: AnalyzedPolicy[] = [];
  const objects: AnalyzedObject[] = [];
  for (const { file, documents } of read) {
    for (const one of documents) {
      if (one.kind === 'AuthorizationPolicy') policies.push({ ...one, policy: one.object, file });
      else objects.push({ ...one, file });
    }
  }
  const context = {
    rootNamespace,
    now: world.clock.now(),
    ...(client !== undefined && (await knownMesh(client))),
  };
  const said = read.flatMap(({ errors, warnings }) => [...errors, ...warnings]);
  return [...said, ...analyze(policies, context), ...analyzeObjects(objects, context)];
}

async function storedSources(client: Client | undefined): Promise<readonly Source[]> {
  if (client === undefined) return [];
  const sources: Source[] = [];
  for (const kind of Object.values(documentKinds)) {
    const stored = await listAll(client, kind, {});
    sources.push(...stored.map((object) => ({ file: kind.view.name(object), text: object.source })));
  }
  return sources;
}

async function knownMesh(client: Client): Promise<Omit<AnalysisContext, 'rootNamespace' | 'now'>> {
  const { body: server } = await serverInfo(client.reader);
  const federated = (await listAll(client, kinds.federation, {})).map((each) => each.trustDomain);
  return {
    workloads: await knownWorkloads(client),
    trustDomains: [server.trustDomain, ...server.trustDomainAliases, ...federated],
    providers: server.authorizers,
  };
}

/** Those of entries. What a template may stand for is not known, so with one nothing is said about names. */
async function knownWorkloads(client: Client): Promise<readonly KnownWorkload[] | undefined> {
  const entries = await listAll(client, kinds.entry, {});
  if (entries.some((entry) => entry.spiffeId.includes('{'))) return undefined;
  const protocols = new Map<string, ReadonlyMap<number, 'http' | 'tcp'>>();
  for (const { spiffeId, ports } of await listAll(client, kinds.proxy, {})) {
    const known = protocols.get(spiffeId) ?? new Map<number, 'http' | 'tcp'>();
    protocols.set(spiffeId, new Map([...known, ...ports.map(({ port, protocol }) => [port, protocol] as const)]));
  }
  return entries.flatMap((entry) => toWorkload(entry, protocols.get(entry.spiffeId)) ?? []);
}

function toWorkload(
  { spiffeId, labels }: EntryObject,
  protocols: ReadonlyMap<number, 'http' | 'tcp'> | undefined,
): KnownWorkload | undefined {
  const workload = workloadOf(parseSpiffeId(spiffeId));
  if (workload === undefined) return undefined;
  const principal = spiffeId.replace('spiffe://', '');
  return { ...workload, principal, labels, ...(protocols !== undefined && { protocols }) };
}

function listed(findings: readonly PolicyFinding[], style: Style): string {
  if (findings.length === 0) return 'Nothing found.\n';
  const lines = findings.map((finding) => {
    const severity = finding.severity === 'error' ? style.red('error  ') : style.yellow('warning');
    return `${severity}  ${reportFinding(finding)} ${style.dim(`[${finding.code}]`)}`;
  });
  return `${lines.join('\n')}\n${count(findings.length, 'finding')}.\n`;
}
