import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const cli = resolve(import.meta.dirname, '../../src/main/cli.ts');
const DEFAULT_BASE = 8080;

/** A `writ dev` of its own: its own directory, its own ports, real processes. */
export interface DevMesh {
  readonly directory: string;
  /** What a port of the documentation is here: every port is shifted by the same distance. */
  port(documented: number): number;
  url(path: string): string;
  readonly token: string;
  /** Everything it printed so far. */
  output(): string;
  /** Resolves when the output matches; rejects with the output when it does not in time. */
  printed(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  rest(method: string, path: string, options?: RestOptions): Promise<Response>;
  /** Ctrl-C, then waits. Returns the exit code. */
  stop(): Promise<number | null>;
  /** Stops it if it still runs, and deletes its directory. */
  dispose(): Promise<void>;
}

export interface RestOptions {
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

export async function startDevMesh(options: readonly string[] = []): Promise<DevMesh> {
  const directory = await mkdtemp(join(tmpdir(), 'writ-e2e-'));
  const base = await freePortBase();
  const child = spawn(process.execPath, [cli, 'dev', '--port-base', String(base), ...options], {
    cwd: directory,
    env: { ...process.env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exit = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  const output = collect(child);
  const port = (documented: number) => documented - DEFAULT_BASE + base;
  const url = (path: string) => `http://127.0.0.1:${port(DEFAULT_BASE)}${path}`;
  const stop = () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGINT');
    return exit;
  };
  const dispose = async () => {
    await stop();
    await rm(directory, { recursive: true, force: true });
  };
  const printed = (pattern: RegExp, timeoutMs = 60_000) => output.matches(pattern, timeoutMs, exit);
  try {
    // The last line of the banner: everything serves.
    await printed(/\(Ctrl-C stops everything\)/);
    const token = (await readFile(join(directory, '.writ/dev/admin-token'), 'utf8')).trim();
    const rest: DevMesh['rest'] = (method, path, { body, headers } = {}) =>
      fetch(url(path), {
        method,
        headers: { authorization: `Bearer ${token}`, ...headers },
        ...(body === undefined ? {} : { body }),
      });
    return { directory, port, url, token, output: output.text, printed, rest, stop, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Runs `writ …` as a user in the folder of a mesh would. */
export function writ(mesh: Pick<DevMesh, 'directory'>, args: readonly string[]): Promise<Finished> {
  return run(process.execPath, [cli, ...args], { cwd: mesh.directory });
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(
  command: string,
  args: readonly string[],
  o: { cwd?: string; input?: string; env?: Readonly<Record<string, string>>; timeoutMs?: number } = {},
): Promise<Finished> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, {
      cwd: o.cwd,
      env: { ...process.env, NO_COLOR: '1', ...o.env },
      timeout: o.timeoutMs ?? 60_000,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', fail);
    child.on('close', (code) => done({ code, stdout, stderr }));
    // A program that has seen enough closes its input.
    child.stdin.on('error', () => undefined).end(o.input ?? '');
  });
}

/** Tries until `attempt` gives something, at most `timeoutMs`. The last failure is the message. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  let last: unknown = 'nothing yet';
  do {
    try {
      const value = await attempt();
      if (value !== undefined) return value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  } while (Date.now() < end);
  throw new Error(`${what}: not within ${timeoutMs} ms (${String(last)})`);
}

function collect(child: ChildProcess) {
  let text = '';
  const waiting = new Set<() => void>();
  const add = (chunk: string) => {
    text += chunk;
    for (const check of [...waiting]) check();
  };
  child.stdout?.setEncoding('utf8').on('data', add);
  child.stderr?.setEncoding('utf8').on('data', add);
  const matches = (pattern: RegExp, timeoutMs: number, exit: Promise<unknown>) =>
    new Promise<RegExpExecArray>((done, fail) => {
      const end = (finish: () => void) => {
        clearTimeout(timer);
        waiting.delete(check);
        finish();
      };
      const giveUp = (why: string) => end(() => fail(new Error(`${why}: no ${pattern} in:\n${text}`)));
      const timer = setTimeout(() => giveUp(`${timeoutMs} ms are over`), timeoutMs);
      const check = () => {
        const found = pattern.exec(text);
        if (found !== null) end(() => done(found));
      };
      waiting.add(check);
      check();
      void exit.then(() => giveUp('the process ended'));
    });
  return { text: () => text, matches };
}

/** A base at which every port of a dev mesh is free right now. */
async function freePortBase(): Promise<number> {
  const offsets = [8080, 8444, 9090, ...[1, 2, 3].flatMap((i) => [9100 + i, 9110 + i, 9120 + i, 9130 + i])].map(
    (port) => port - DEFAULT_BASE,
  );
  for (let tries = 0; tries < 50; tries++) {
    // Below the range from which the system picks ports for outgoing connections.
    const base = 12_000 + Math.floor(Math.random() * 18_000);
    const free = await Promise.all(offsets.map((offset) => isFree(base + offset)));
    if (free.every((yes) => yes)) return base;
  }
  throw new Error('no free range of ports');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(false));
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
  });
}
