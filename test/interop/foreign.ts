import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { it } from 'vitest';
import { eventually } from '../support/dev-mesh.ts';
import { isExecutable } from '../support/tools.ts';

/** Why programs below the folder that the variable names cannot be run, in words; '' when they can. See `install`. */
export function missingPrograms(variable: string, ...programs: readonly string[]): string {
  const folder = process.env[variable] ?? '';
  if (folder === '') return `${variable} is not set; see test/interop/install`;
  const missing = programs.filter((name) => !isExecutable(join(folder, name)));
  return missing.length === 0 ? '' : `${missing.join(', ')} not in ${variable}`;
}

/** Why what a program wants for itself cannot be had, in words; '' when it can. */
export async function takenPlaces(o: { readonly paths: readonly string[]; readonly ports: readonly number[] }) {
  const paths = o.paths.filter((path) => existsSync(path));
  const ports: number[] = [];
  for (const port of o.ports) if (!(await isFree(port))) ports.push(port);
  const taken = [...paths, ...ports.map((port) => `port ${port}`)];
  return taken.length === 0 ? '' : `in use: ${taken.join(', ')}`;
}

/** Declares a test; when there is a reason against it, as skipped, by name and with the reason. */
export function itUnless(reason: string, title: string, test: () => Promise<void>): void {
  const fullTitle = reason === '' ? title : `${title} [SKIPPED: ${reason}]`;
  // The default reporter only counts what is skipped.
  if (reason !== '') process.stderr.write(`${fullTitle}\n`);
  it.skipIf(reason !== '')(fullTitle, test);
}

/** A foreign program that runs beside a test. */
export class Foreign {
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | null>;
  output = '';

  constructor(program: string, args: readonly string[] = []) {
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#exit = new Promise((done, fail) => {
      this.#child.once('error', fail);
      this.#child.once('close', (code) => done(code));
    });
    this.#exit.catch(() => undefined);
  }

  /** Resolves with the exit status. */
  get exit(): Promise<number | null> {
    return this.#exit;
  }

  async printed(pattern: RegExp, timeoutMs = 15_000): Promise<RegExpExecArray> {
    return await eventually(
      `${pattern} in the output`,
      timeoutMs,
      async () => pattern.exec(this.output) ?? undefined,
    ).catch((cause: unknown) => {
      throw new Error(`no ${pattern} in:\n${this.output}`, { cause });
    });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await this.#exit.catch(() => undefined);
    clearTimeout(late);
  }
}

/** Resolves when somebody listens there. */
export async function listens(port: number): Promise<void> {
  await eventually(`somebody on port ${port}`, 15_000, async () => ((await isOpen(port)) ? true : undefined));
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    const end = (open: boolean) => {
      socket.destroy();
      done(open);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

/** On every address, as a program would take it. */
function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(false));
    server.listen(port, () => server.close(() => done(true)));
  });
}
