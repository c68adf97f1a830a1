import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { PolicyObject } from '../api.ts';
import type { Call, Client } from '../client.ts';
import { CurlShown, RemoteError } from '../client.ts';
import { addDryRun, dryRun as dryRunOf, tellWarnings } from '../dry-run.ts';
import { openSession, wantsCurl } from '../options.ts';
import type { Document } from '../policy-files.ts';
import { collect, count, FILENAME, isSame, nameOf, pathOf, readPolicyFiles } from '../policy-files.ts';
import { kindOfObject } from '../policy-kinds.ts';
import type { Proposal } from '../propose.ts';
import { propose } from '../propose.ts';
import type { PruneOptions } from '../prune.ts';
import { addPrune, checkPrune, findSuperfluous } from '../prune.ts';
import { addReason, reasonQuery } from '../reason.ts';
import { safe } from '../style.ts';
import type { World } from '../world.ts';
import { addYes } from './delete.ts';

interface ApplyOptions extends PruneOptions {
  readonly filename: string[];
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly reason?: string;
  readonly propose?: boolean;
}

/** @param failed called when the user kept what was to be deleted. */
export function addApply(program: Command, world: World, failed: () => void): void {
  addYes(addPrune(addReason(addDryRun(program.command('apply')))))
    .summary('Create or replace policies.')
    .description(
      'Create or replace policies, request and peer authentications and rate limits from files, directories (their .yaml, .yml ' +
        'and .json files) or standard input (-), whatever stands beside what in them. ' +
        'Every document of every file is checked before the first is sent. Each is replaced only if nobody else changed it since it was read. ' +
        'With --prune, what is there and not in the files is deleted when all of them are applied; that is asked first.',
    )
    .requiredOption(FILENAME, 'file, directory or -; repeatable', collect)
    .option('--propose', 'write it down as one change, to be approved and rolled out; nothing comes into force yet')
    .action((options: ApplyOptions, command: Command) => apply(options, command, world, failed));
}

async function apply(options: ApplyOptions, command: Command, world: World, failed: () => void): Promise<void> {
  const documents = await readPolicyFiles(options.filename, world, 'applied');
  checkPrune(options, documents);
  const { client } = await openSession(command, world);
  const superfluous = await findSuperfluous(client.reader, options, documents);
  if (options.propose === true) return propose(client, proposalOf(documents, superfluous, options), world);
  if (wantsCurl(command)) return showCurl(client, documents, superfluous, options);
  if (!(await confirmed(superfluous, options, world))) return failed();
  const failures: AppError[] = [];
  for (const document of documents) {
    try {
      const result = await put(client, document, options, world);
      world.stdout(`${nameOf(document)} ${result}${suffix(options)}\n`);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      failures.push(placed(error, document));
    }
  }
  // What the files say is not there yet, so nothing goes.
  if (failures.length > 0) throw summary(failures, documents.length);
  await prune(client, superfluous, options, world);
}

function proposalOf(
  documents: readonly Document[],
  superfluous: readonly PolicyObject[],
  options: ApplyOptions,
): Proposal {
  return {
    put: documents.map(({ source }) => source),
    delete: superfluous.map(({ kind, metadata: { namespace, name } }) => ({ kind, namespace, name })),
    reason: options.reason,
    dryRun: options.dryRun === true,
  };
}

/** Nothing is changed before the answer: half of a folder is no state that anybody wants. */
async function confirmed(superfluous: readonly PolicyObject[], options: ApplyOptions, world: World): Promise<boolean> {
  if (superfluous.length === 0 || options.yes === true || options.dryRun === true) return true;
  const names = superfluous.map((object) => safe(kindOfObject(object).view.name(object)));
  const what = count(names.length, 'object');
  if (!world.interactive) {
    throw new AppError(
      'usage',
      `--prune would delete ${what}: ${names.join(', ')}. That needs a confirmation, and there is no terminal to ask on. ` +
        'Look with --dry-run, then add --yes.',
    );
  }
  world.stderr(`Not in the files:\n${names.map((name) => `  ${name}\n`).join('')}`);
  if (/^y(es)?$/i.test((await world.ask(`Apply, and delete ${what}? [y/N] `)).trim())) return true;
  world.stderr('Not confirmed: nothing was changed.\n');
  return false;
}

async function prune(
  client: Client,
  superfluous: readonly PolicyObject[],
  options: ApplyOptions,
  world: World,
): Promise<void> {
  const failures: AppError[] = [];
  for (const object of superfluous) {
    const name = kindOfObject(object).view.name(object);
    try {
      const { body } = await client.call<unknown>(deleting(object, options));
      if (options.dryRun === true) tellWarnings(world, name, body);
      world.stdout(`${safe(name)} deleted${suffix(options)}\n`);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // Somebody deleted it meanwhile: it is as it should be.
      if (error.code !== 'not-found') failures.push(renamed(error, `${name}: ${error.message}`));
    }
  }
  if (failures.length > 0) throw summary(failures, superfluous.length);
}

/** What was looked at is deleted, and nothing that somebody made of it since. */
function deleting(object: PolicyObject, options: ApplyOptions): Call {
  const kind = kindOfObject(object);
  return {
    method: 'DELETE',
    path: kind.deletePath?.(object) ?? kind.path,
    headers: { 'if-match': `"${object.metadata.revision}"` },
    query: { ...dryRunOf(options).query, ...reasonQuery(options) },
  };
}

function suffix(options: ApplyOptions): string {
  return options.dryRun === true ? ' (dry run)' : '';
}

async function put(
  client: Client,
  document: Document,
  options: ApplyOptions,
  world: World,
): Promise<'created' | 'configured' | 'unchanged'> {
  const current = await read(client, document);
  if (current !== undefined && isSame(document, current.source)) return 'unchanged';
  const { body } = await client.call<unknown>(replacing(current, document, options));
  if (options.dryRun === true) tellWarnings(world, nameOf(document), body);
  return current === undefined ? 'created' : 'configured';
}

async function read(client: Client, document: Document): Promise<PolicyObject | undefined> {
  return (await client.find<PolicyObject>({ method: 'GET', path: pathOf(document) }))?.body;
}

/** The call that puts the document in the place of `current`, and of nothing else. */
function replacing(current: PolicyObject | undefined, document: Document, options: ApplyOptions): Call {
  const precondition: Record<string, string> =
    current === undefined ? { 'if-none-match': '*' } : { 'if-match': `"${current.metadata.revision}"` };
  return {
    method: 'PUT',
    path: pathOf(document),
    headers: precondition,
    yaml: document.source,
    query: { ...dryRunOf(options).query, ...reasonQuery(options) },
  };
}

/** What is there is read, since the printed call must name it: a policy that is new takes another header than one that is not. */
async function showCurl(
  client: Client,
  documents: readonly Document[],
  superfluous: readonly PolicyObject[],
  options: ApplyOptions,
): Promise<void> {
  const show = async (call: Call) => {
    try {
      await client.call(call);
    } catch (error) {
      if (!(error instanceof CurlShown)) throw error;
    }
  };
  for (const document of documents) await show(replacing(await read(client.reader, document), document, options));
  for (const object of superfluous) await show(deleting(object, options));
}

/** The server counts lines within the document; a user counts them within the file. */
function placed(error: AppError, document: Document): AppError {
  const details = error.details.map((finding) => ({
    ...finding,
    file: document.file,
    ...(finding.line !== undefined && { line: finding.line + document.line - 1 }),
  }));
  const stale =
    error.code === 'precondition-failed' ? ' Somebody else changed it in the meantime; run apply again.' : '';
  const message = `${nameOf(document)} (${document.file}:${document.line}): ${error.message}${stale}`;
  return renamed(error, message, details);
}

function renamed(error: AppError, message: string, details = error.details): AppError {
  if (error instanceof RemoteError) return error.as({ message, details });
  return new AppError(error.code, message, { cause: error, details });
}

function summary(failures: readonly AppError[], total: number): AppError {
  const [first, ...others] = failures;
  if (first === undefined || others.length === 0) return first ?? new AppError('internal', 'No failure to report.');
  const details = failures.flatMap((failure) => {
    const id = failure instanceof RemoteError ? failure.requestId : undefined;
    const message = id === undefined ? failure.message : `${failure.message} (request id ${id})`;
    return [{ code: failure.code, message }, ...failure.details];
  });
  return new AppError(first.code, `${failures.length} of ${count(total, 'object')} were not applied.`, {
    details,
  });
}
