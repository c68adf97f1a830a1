import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { Command } from 'commander';
import { isMissing, reason } from '../../base/durable.ts';
import type { Finding } from '../../base/errors.ts';
import { AppError } from '../../base/errors.ts';
import type { PolicyDocument } from '../../core/policy/parse.ts';
import { parsePolicies } from '../../core/policy/parse.ts';
import type { PolicyObject } from '../api.ts';
import type { Call, Client } from '../client.ts';
import { CurlShown, RemoteError } from '../client.ts';
import { addDryRun, dryRun as dryRunOf, tellWarnings } from '../dry-run.ts';
import { kinds } from '../kinds.ts';
import { openSession, wantsCurl } from '../options.ts';
import type { World } from '../world.ts';

export function addApply(program: Command, world: World): void {
  addDryRun(program.command('apply'))
    .summary('Create or replace policies.')
    .description(
      'Create or replace policies from files, directories (their .yaml, .yml and .json files) or standard input (-). ' +
        'Every document of every file is checked before the first is sent. Each is replaced only if nobody else changed it since it was read.',
    )
    .requiredOption('-f, --filename <path>', 'file, directory or -; repeatable', collect)
    .action(async (options: { filename: string[]; dryRun?: boolean }, command: Command) => {
      const files = await readSources(options.filename, world);
      const documents = parseAll(files);
      const { client } = await openSession(command, world);
      const dryRun = options.dryRun === true;
      if (wantsCurl(command)) return showCurl(client, documents, dryRun);
      const failures: AppError[] = [];
      for (const document of documents) {
        try {
          const result = await put(client, document, dryRun, world);
          world.stdout(`${nameOf(document)} ${result}${dryRun ? ' (dry run)' : ''}\n`);
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          failures.push(placed(error, document));
        }
      }
      if (failures.length > 0) throw summary(failures, documents.length);
    });
}

interface Source {
  /** As the user would name it. */
  readonly file: string;
  readonly text: string;
}

interface Document extends PolicyDocument {
  readonly file: string;
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** Largest file that is read, in bytes; the server takes 1 MiB for one document. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

async function readSources(names: readonly string[], world: World): Promise<readonly Source[]> {
  const sources: Source[] = [];
  for (const name of names) {
    if (name === '-') {
      sources.push({ file: 'standard input', text: await world.readStdin() });
      continue;
    }
    for (const path of await filesAt(resolve(world.cwd, name), name)) {
      sources.push({ file: relative(world.cwd, path) || path, text: await readFile(path, 'utf8') });
    }
  }
  return sources;
}

async function filesAt(path: string, name: string): Promise<readonly string[]> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) {
      if (found.size > MAX_FILE_BYTES)
        throw new AppError('too-large', `${name} is larger than ${MAX_FILE_BYTES} bytes.`);
      return [path];
    }
    const files = (await readdir(path)).filter((file) => /\.(ya?ml|json)$/.test(file)).sort();
    if (files.length === 0) throw new AppError('usage', `There is no .yaml, .yml or .json file in ${name}.`);
    return files.map((file) => join(path, file));
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    const why = isMissing(cause) ? 'there is no such file' : reason(cause);
    throw new AppError('usage', `Cannot read ${name}: ${why}.`, { cause });
  }
}

/** Every document of every file, or every finding of every file. */
function parseAll(files: readonly Source[]): readonly Document[] {
  const documents: Document[] = [];
  const findings: Finding[] = [];
  for (const { file, text } of files) {
    try {
      documents.push(...parsePolicies(text, { file }).map((document) => ({ ...document, file })));
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'invalid-document') throw error;
      findings.push(
        ...(error.details.length > 0 ? error.details : [{ code: error.code, message: error.message, file }]),
      );
    }
  }
  const seen = new Map<string, Document>();
  for (const document of documents) {
    const before = seen.get(nameOf(document));
    if (before !== undefined) {
      const message = `${nameOf(document)} stands here again; it is also at ${before.file}:${before.line}. Only one can be meant.`;
      findings.push({ code: 'duplicate', message, file: document.file, line: document.line, column: 1 });
    }
    seen.set(nameOf(document), document);
  }
  if (findings.length > 0)
    throw new AppError('invalid-document', `${count(findings.length, 'finding')}; nothing was applied.`, {
      details: findings,
    });
  if (documents.length === 0) throw new AppError('usage', 'There is no policy in what was given.');
  return documents;
}

async function put(
  client: Client,
  document: Document,
  dryRun: boolean,
  world: World,
): Promise<'created' | 'configured' | 'unchanged'> {
  const current = await read(client, document);
  if (current !== undefined && current.source.trim() === document.source.trim()) return 'unchanged';
  const { body } = await client.call<unknown>(replacing(current, document, dryRun));
  if (dryRun) tellWarnings(world, nameOf(document), body);
  return current === undefined ? 'created' : 'configured';
}

async function read(client: Client, document: Document): Promise<PolicyObject | undefined> {
  return (await client.find<PolicyObject>({ method: 'GET', path: pathOf(document) }))?.body;
}

/** The call that puts the document in the place of `current`, and of nothing else. */
function replacing(current: PolicyObject | undefined, document: Document, dryRun: boolean): Call {
  const precondition: Record<string, string> =
    current === undefined ? { 'if-none-match': '*' } : { 'if-match': `"${current.metadata.revision}"` };
  return {
    method: 'PUT',
    path: pathOf(document),
    headers: precondition,
    yaml: document.source,
    ...dryRunOf({ dryRun }),
  };
}

/** What is there is read, since the printed call must name it: a policy that is new takes another header than one that is not. */
async function showCurl(client: Client, documents: readonly Document[], dryRun: boolean): Promise<void> {
  for (const document of documents) {
    const current = await read(client.reader, document);
    try {
      await client.call(replacing(current, document, dryRun));
    } catch (error) {
      if (!(error instanceof CurlShown)) throw error;
    }
  }
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
  return new AppError(first.code, `${failures.length} of ${count(total, 'policy', 'policies')} were not applied.`, {
    details,
  });
}

function pathOf(document: Document): string {
  return kinds.policy.pathOf?.(`${document.policy.namespace}/${document.policy.name}`) ?? kinds.policy.path;
}

function nameOf(document: PolicyDocument): string {
  return `policy/${document.policy.namespace}/${document.policy.name}`;
}

function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}
