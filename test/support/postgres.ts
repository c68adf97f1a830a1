import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { isExecutable, searchPath } from './tools.ts';

/**
 * A PostgreSQL server of the test's own: `initdb` in a temporary directory, reachable only through a Unix socket in it, no
 * durability. PostgreSQL refuses to run as root: then it runs as the user `postgres`.
 */
export interface TemporaryPostgres {
  /** Of its database, as the superuser. */
  readonly url: string;
  /** A new, empty schema in the server's database, as a URL. */
  schema(): Promise<string>;
  /** Runs SQL as the superuser. */
  query(sql: string): Promise<readonly Record<string, unknown>[]>;
  /** Ends the server and deletes its directory. */
  stop(): Promise<void>;
}

interface Installation {
  readonly directory: string;
  /** Whom to run as; absent when we are not root. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
}

/** Why PostgreSQL cannot be run here, in words; `undefined` when it can. */
export const postgresMissing: string | undefined = (() => {
  const found = findInstallation();
  return typeof found === 'string' ? found : undefined;
})();

export async function startPostgres(): Promise<TemporaryPostgres> {
  const installation = findInstallation();
  if (typeof installation === 'string') throw new Error(installation);
  const directory = mkdtempSync(join(tmpdir(), 'writ-pg-'));
  const { user } = installation;
  if (user !== undefined) chownSync(directory, user.uid, user.gid);
  try {
    return await startIn(directory, installation);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

async function startIn(directory: string, { directory: bin, user }: Installation): Promise<TemporaryPostgres> {
  const data = join(directory, 'data');
  const as = { ...user, cwd: directory, env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' } };
  const initdb = ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
  execFileSync(join(bin, 'initdb'), [...initdb, '--no-instructions'], { ...as, stdio: 'pipe' });
  const settings = {
    listen_addresses: '',
    unix_socket_directories: directory,
    fsync: 'off',
    full_page_writes: 'off',
    max_connections: '200',
    shared_buffers: '16MB',
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = spawn(join(bin, 'postgres'), ['-D', data, ...flags], { ...as, stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = () => server.kill('SIGQUIT');
  process.once('exit', kill);
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  await readyToAccept(server);

  const url = `postgres://postgres@localhost/postgres?host=${encodeURIComponent(directory)}`;
  const { stop: disconnect, ...database } = await connected(url);
  return {
    ...database,
    async stop() {
      await disconnect();
      // Immediate: the data is thrown away.
      kill();
      await ended;
      process.removeListener('exit', kill);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A database of its own on a server that runs: `stop` drops it. */
export async function databaseOn(serverUrl: string): Promise<TemporaryPostgres> {
  const name = `d${randomBytes(8).toString('hex')}`;
  const server = await connected(serverUrl);
  await server.query(`create database ${name}`);
  const { stop: disconnect, ...database } = await connected(serverUrl.replace('/postgres?', `/${name}?`));
  return {
    ...database,
    async stop() {
      await disconnect();
      await server.query(`drop database ${name} with (force)`);
      await server.stop();
    },
  };
}

/** `stop` ends the connection. */
async function connected(url: string): Promise<TemporaryPostgres> {
  const admin = new pg.Client({ connectionString: url });
  // It goes away with the server.
  admin.on('error', () => undefined);
  await admin.connect();
  let schemas = 0;
  return {
    url,
    async schema() {
      schemas += 1;
      const name = `t${schemas}`;
      await admin.query(`create schema ${name}`);
      return `${url}&options=${encodeURIComponent(`-c search_path=${name}`)}`;
    },
    async query(sql) {
      return (await admin.query(sql)).rows as Record<string, unknown>[];
    },
    async stop() {
      await admin.end().catch(() => undefined);
    },
  };
}

function readyToAccept(server: ChildProcess): Promise<void> {
  const said: string[] = [];
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('exit', (code) => reject(new Error(`postgres ended with ${code}:\n${said.join('\n')}`)));
    if (server.stderr === null) throw new Error('postgres was started without stderr');
    createInterface(server.stderr).on('line', (line) => {
      said.push(line);
      if (line.includes('database system is ready to accept connections')) resolve();
    });
  });
}

function findInstallation(): Installation | string {
  const directory = candidates().find(
    (path) => isExecutable(join(path, 'initdb')) && isExecutable(join(path, 'postgres')),
  );
  if (directory === undefined) return 'PostgreSQL (initdb, postgres) is neither on PATH nor in /usr/lib/postgresql';
  if (process.getuid?.() !== 0) return { directory, user: undefined };
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((each) => each.startsWith('postgres:'));
  const [, , uid, gid] = line?.split(':') ?? [];
  if (uid === undefined || gid === undefined) return 'PostgreSQL does not run as root, and there is no user postgres';
  return { directory, user: { uid: Number(uid), gid: Number(gid) } };
}

function candidates(): readonly string[] {
  return [...searchPath(), ...debianVersions().map((version) => `/usr/lib/postgresql/${version}/bin`)];
}

/** Newest first. */
function debianVersions(): readonly string[] {
  try {
    return readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
  } catch {
    return [];
  }
}
