import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { isMissing, makePrivateDirectory, readSecretFile, reason, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';

/** Where everything of one `writ dev` is. */
export interface DevDirectory {
  readonly path: string;
  readonly passphraseFile: string;
  readonly tokenFile: string;
  readonly bundleFile: string;
  /** For the CLI: where this control plane is. */
  readonly contextFile: string;
  /** There once the demo policies were put: from then on policies belong to the user. */
  readonly seededFile: string;
  readonly logs: string;
  readonly cache: string;
  /** State of the agent. */
  readonly agent: string;
  stateOf(service: string): string;
  /** Of a sidecar, by its service, or of the `agent`. */
  joinTokenOf(name: string): string;
  /** Whether the one who used it before had no chance to stop what it started. */
  readonly uncleanEnd: boolean;
  /** Lets the next one in; removes an ephemeral directory. */
  release(): Promise<void>;
}

/** Opens the directory for this process alone. Throws `conflict` when another `writ dev` uses it. */
export async function openDirectory(o: {
  readonly dataDir: string;
  readonly ephemeral: boolean;
}): Promise<DevDirectory> {
  const path = o.ephemeral ? await mkdtemp(join(tmpdir(), 'writ-dev-')) : resolve(o.dataDir);
  await checkIsDirectory(path);
  await makePrivateDirectory(path);
  const contextFile = join(path, 'dev.json');
  const unlock = await lock(path, contextFile);
  try {
    for (const name of ['logs', 'cache', 'sidecars', 'agent', 'join']) await makePrivateDirectory(join(path, name));
    const passphraseFile = join(path, 'passphrase');
    await makePassphrase(passphraseFile);
    return {
      path,
      passphraseFile,
      tokenFile: join(path, 'admin-token'),
      bundleFile: join(path, 'bundle.pem'),
      contextFile,
      seededFile: join(path, 'seeded'),
      logs: join(path, 'logs'),
      cache: join(path, 'cache'),
      agent: join(path, 'agent'),
      stateOf: (service) => join(path, 'sidecars', service),
      joinTokenOf: (name) => join(path, 'join', name),
      uncleanEnd: (await pidIn(contextFile)) !== undefined,
      release: async () => {
        unlock();
        if (o.ephemeral) await rm(path, { recursive: true, force: true });
      },
    };
  } catch (error) {
    unlock();
    if (o.ephemeral) await rm(path, { recursive: true, force: true });
    throw unusable(path, error);
  }
}

async function checkIsDirectory(path: string): Promise<void> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) {
      throw new AppError(
        'usage',
        `The data directory ${path} is a file. Remove it, or choose another with --data-dir.`,
      );
    }
    if (process.getuid !== undefined && found.uid !== process.getuid()) {
      throw new AppError(
        'usage',
        `The data directory ${path} belongs to somebody else. Choose another with --data-dir.`,
      );
    }
  } catch (error) {
    if (!isMissing(error)) throw unusable(path, error);
  }
}

/**
 * A lock that dies with its holder, however it ends: SQLite's, which is the operating system's lock on a file. A file with
 * a pid would need guessing whether that process is still the same one.
 */
async function lock(path: string, contextFile: string): Promise<() => void> {
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(join(path, 'lock.db'), { timeout: 0 });
  } catch (error) {
    throw unusable(path, error);
  }
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return () => database.close();
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw unusable(path, error);
    const pid = await pidIn(contextFile);
    const who = pid === undefined ? '' : ` (process ${pid})`;
    throw new AppError(
      'conflict',
      `\`writ dev\` is already running in ${path}${who}. Stop it first, or use another --data-dir and --port-base.`,
    );
  }
}

const SQLITE_BUSY = 5;

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
}

/** Makes the passphrase that seals the keys, once. */
async function makePassphrase(file: string): Promise<void> {
  if ((await readSecretFile(file)) !== undefined) return;
  await writeFileDurably(file, `${randomBytes(32).toString('hex')}\n`);
}

/** What the CLI reads to find this control plane, with or without the process that runs it. */
export async function writeContext(
  directory: Pick<DevDirectory, 'contextFile' | 'tokenFile'>,
  o: { readonly addr: string; readonly agentSocket?: string | undefined; readonly pid?: number },
): Promise<void> {
  const { addr, agentSocket, pid } = o;
  const context = {
    addr,
    tokenFile: directory.tokenFile,
    ...(agentSocket !== undefined && { agentSocket }),
    ...(pid !== undefined && { pid }),
  };
  await writeFileDurably(directory.contextFile, `${JSON.stringify(context, null, 2)}\n`);
}

async function pidIn(contextFile: string): Promise<number | undefined> {
  try {
    const { pid } = JSON.parse(await readFile(contextFile, 'utf8')) as { pid?: unknown };
    return typeof pid === 'number' ? pid : undefined;
  } catch {
    return undefined;
  }
}

function unusable(path: string, cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  const why = cause instanceof Error && 'errcode' in cause ? cause.message : reason(cause);
  return new AppError(
    'unavailable',
    `The data directory ${path} cannot be used: ${why}. Mend it, or choose another with --data-dir.`,
    {
      cause,
    },
  );
}
