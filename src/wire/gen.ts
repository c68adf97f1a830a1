import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { allProtoFiles, protoDirectory } from './proto-files.ts';

/**
 * Writes the TypeScript types of our protocol messages into `src/wire/gen`: `npm run gen`, after every change to `proto/`.
 * A test fails while they are out of date. Types only: what loads the files at run time is `loader.ts`.
 */
export async function generate(outDirectory: string): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'writ-gen-'));
  try {
    await runGenerator(scratch);
    await rm(outDirectory, { recursive: true, force: true });
    for (const path of await messageFiles(scratch)) {
      const text = await readFile(join(scratch, path), 'utf8');
      await mkdir(dirname(join(outDirectory, path)), { recursive: true });
      await writeFile(join(outDirectory, path), tidy(text));
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The same options as in `loader.ts`: what the types say is what the loader returns. */
async function runGenerator(outDirectory: string): Promise<void> {
  const loader = createRequire(import.meta.url).resolve('@grpc/proto-loader/package.json');
  await promisify(execFile)(process.execPath, [
    join(dirname(loader), 'build/bin/proto-loader-gen-types.js'),
    '--longs=String',
    '--enums=String',
    '--defaults',
    '--oneofs',
    '--grpcLib=@grpc/grpc-js',
    '--importFileExtension=.ts',
    '--targetFileExtension=.ts',
    `--includeDirs=${protoDirectory}`,
    `--outDir=${outDirectory}`,
    ...allProtoFiles,
  ]);
}

/** One file per message, enum and service; not those that only gather them per .proto file. */
async function messageFiles(directory: string): Promise<string[]> {
  const gathering = allProtoFiles.map((path) => basename(path).replace(/\.proto$/, '.ts'));
  const paths = await readdir(directory, { recursive: true });
  return paths.filter((path) => path.endsWith('.ts') && !gathering.includes(path)).sort();
}

/** The generator notes the path of each .proto file as seen from where it ran, which differs between machines. */
function tidy(text: string): string {
  const source = /^\/\/ Original file: .*?([^/\n]+\.proto)$/m.exec(text)?.[1] ?? 'the proto files';
  const body = text.replaceAll(/^\/\/ Original file: .*\n\n?/gm, '').trim();
  return `// Generated from ${source} by \`npm run gen\`. Do not edit.\n\n${body}\n`;
}

if (import.meta.main) await generate(join(dirname(fileURLToPath(import.meta.url)), 'gen'));
