import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { isMissing, reason } from '../base/durable.ts';
import type { Finding } from '../base/errors.ts';
import { AppError } from '../base/errors.ts';
import { policyKinds } from '../core/policy/kinds.ts';
import type { ParsedDocument } from '../core/policy/parse.ts';
import { parseDocuments } from '../core/policy/parse.ts';
import { isPolicyTest } from '../core/policy/policy-test.ts';
import { documentKinds } from './policy-kinds.ts';
import type { World } from './world.ts';

/** `-f`, of every command that reads policies from files. */
export const FILENAME = '-f, --filename <path>';

/**
 * The objects of every kind in files, directories and standard input, all of them checked. Throws `usage` for what cannot be read, and
 * `invalid-document` with every finding of every file.
 *
 * @param done what was to be done with them, and then was not
 */
export async function readPolicyFiles(
  names: readonly string[],
  world: World,
  done: 'applied' | 'compared' | 'planned' | 'tested',
): Promise<readonly Document[]> {
  return parseAll(await readSources(names, world), done);
}

export interface Source {
  /** As the user would name it. */
  readonly file: string;
  readonly text: string;
}

/** One object of a file. */
export type Document = ParsedDocument & {
  readonly file: string;
  /** Whether it is the whole file. */
  readonly whole: boolean;
};

/** Of an option that may be given several times. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** Largest file that is read, in bytes; the server takes 1 MiB for one document. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/**
 * Of files, directories and standard input, unread. Expectations in a directory (`PolicyTest`) are left out: they are kept
 * beside policies and are none. Throws `usage` for what is not there.
 */
export async function readSources(names: readonly string[], world: World): Promise<readonly Source[]> {
  return (await readAllSources(names, world)).filter((each) => !each.isTest || !each.isFound);
}

/** What a file holds, and how it came to be read. */
export interface FoundSource extends Source {
  /** Expectations, and no policies. */
  readonly isTest: boolean;
  /** In a directory; nobody has named it. */
  readonly isFound: boolean;
}

/** As `readSources`, with the expectations. */
export async function readAllSources(names: readonly string[], world: World): Promise<readonly FoundSource[]> {
  const sources: FoundSource[] = [];
  const add = (file: string, text: string, isFound: boolean) =>
    sources.push({ file, text, isTest: isPolicyTest(text), isFound });
  for (const name of names) {
    if (name === '-') {
      add('standard input', await world.readStdin(), false);
      continue;
    }
    const named = resolve(world.cwd, name);
    for (const path of await filesAt(named, name)) {
      add(relative(world.cwd, path) || path, await readFile(path, 'utf8'), path !== named);
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
export function parseAll(files: readonly Source[], done: string): readonly Document[] {
  const documents: Document[] = [];
  const findings: Finding[] = [];
  for (const { file, text } of files) {
    try {
      documents.push(...documentsOf(text, file));
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
    throw new AppError('invalid-document', `${count(findings.length, 'finding')}; nothing was ${done}.`, {
      details: findings,
    });
  if (documents.length === 0) throw new AppError('usage', 'There is no policy in what was given.');
  return documents;
}

/** A file that is one policy is sent as it is, byte for byte; of several, or of a List, each by itself. */
function documentsOf(text: string, file: string): readonly Document[] {
  const documents = parseDocuments(text, { file });
  const [only, second] = documents;
  if (only !== undefined && second === undefined && only.pointer === '') {
    return [{ ...only, file, whole: true, source: text, line: 1 }];
  }
  return documents.map((document) => ({ ...document, file, whole: false }));
}

/** Whether `source` is what the file says. What stands between several documents of a file belongs to none of them. */
export function isSame(document: Document, source: string): boolean {
  if (document.whole) return document.source === source;
  return document.source.trim() === source.trim();
}

export function pathOf(document: Document): string {
  const kind = documentKinds[document.kind];
  return kind.pathOf?.(`${document.object.namespace}/${document.object.name}`) ?? kind.path;
}

/** As the command line names it, such as `policy/shop/web`. */
export function nameOf({ kind, object }: ParsedDocument): string {
  return `${policyKinds[kind].singular}/${object.namespace}/${object.name}`;
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}
