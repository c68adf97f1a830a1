import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import { isErrorCode } from '../../wire/errors.ts';
import type { ChildFailed } from '../process.ts';
import { failureOf } from '../process.ts';

export interface ChildSpec {
  /** Short, and fit for a file name: `sidecar-web`. */
  readonly name: string;
  /** For people: `the sidecar of web`. */
  readonly title: string;
  /** Script and arguments; asked before every start. */
  command(): readonly string[] | Promise<readonly string[]>;
}

export interface ChildDeps {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly logs: string;
  readonly clock: Clock;
  /** Aborted when the supervisor is told to stop: from then on nothing is started again. */
  readonly signal: AbortSignal;
  /** Tells the user. */
  notify(text: string): void;
}

/** How long a child may take to close in order before it is killed, in milliseconds; a sidecar drains for ten seconds. */
const STOP_GRACE_MS = 15_000;
/** How long the first start may take until the child serves, in milliseconds. */
const START_LIMIT_MS = 30_000;
/**
 * A signal to the whole group of processes may end a child before the supervisor hears of it. An end in order is looked
 * into only after so long, in milliseconds: by then it is known whether everything was told to stop.
 */
const GROUP_SIGNAL_MS = 200;
/** A child that ran so long is well; its next start comes without delay. */
const WELL_AFTER_MS = 10_000;

interface End {
  readonly how: string;
  /** As a child ends that was told to stop. */
  readonly inOrder: boolean;
  readonly told: ChildFailed | undefined;
}

/**
 * One process of the demo: started, and started again whenever it ends before it was stopped. It is told to stop by
 * SIGTERM; should this process die without a word, the end of the channel between them tells it.
 */
export class Child {
  readonly spec: ChildSpec;
  readonly #deps: ChildDeps;
  readonly #stop = new AbortController();
  /** This child, or all of the demo, is to stop. */
  readonly #ending: AbortSignal;
  #process: ChildProcess | undefined;
  #running: Promise<void> | undefined;

  constructor(spec: ChildSpec, deps: ChildDeps) {
    this.spec = spec;
    this.#deps = deps;
    this.#ending = AbortSignal.any([this.#stop.signal, deps.signal]);
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Resolves once it serves for the first time; rejects when it ends before that, with what it said. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      let ready = false;
      const onReady = () => {
        ready = true;
        cancel();
        resolve();
      };
      const cancel = this.#deps.clock.after(START_LIMIT_MS, () => {
        reject(
          new AppError(
            'deadline-exceeded',
            `${this.#Title} does not serve after ${START_LIMIT_MS / 1000} s. Its log: ${this.#log}`,
          ),
        );
      });
      this.#running = this.#run(onReady, async (end) => {
        if (ready) return false;
        cancel();
        reject(await this.#startError(end));
        return true;
      })
        .catch(reject)
        .finally(cancel);
    });
  }

  /** Resolves when the process is gone. Safe at any time, and more than once. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  get #Title(): string {
    return this.spec.title.charAt(0).toUpperCase() + this.spec.title.slice(1);
  }

  get #log(): string {
    return join(this.#deps.logs, `${this.spec.name}.log`);
  }

  /** @param isFinal told about every end that was not asked for; true: do not start again */
  async #run(onReady: () => void, isFinal: (end: End) => Promise<boolean>): Promise<void> {
    const { clock, notify } = this.#deps;
    const signal = this.#ending;
    const backoff = new Backoff({ initialMs: 250, maxMs: 5_000 });
    let flags = 'w';
    while (!signal.aborted) {
      const startedAt = clock.now();
      const end = await this.#once(flags, onReady);
      const ranMs = clock.now() - startedAt;
      if (end.inOrder) await sleep(clock, GROUP_SIGNAL_MS, signal);
      if (signal.aborted || (await isFinal(end))) return;
      if (ranMs > WELL_AFTER_MS) backoff.reset();
      const delayMs = backoff.nextMs();
      notify(
        `${this.spec.title} stopped (${end.how}${end.told === undefined ? '' : `: ${end.told.message}`}); starting it again.`,
      );
      flags = 'a';
      await sleep(clock, delayMs, signal);
    }
  }

  async #once(flags: string, onReady: () => void): Promise<End> {
    let command: readonly string[];
    try {
      command = await this.spec.command();
    } catch (error) {
      return { how: 'it cannot be started now', inOrder: false, told: failureOf(error) };
    }
    return this.#ending.aborted
      ? { how: 'stopped', inOrder: true, told: undefined }
      : this.#spawn(command, flags, onReady);
  }

  #spawn(command: readonly string[], flags: string, onReady: () => void): Promise<End> {
    const { signal } = this.#stop;
    const log = openSync(this.#log, flags, 0o600);
    return new Promise((resolve) => {
      const child = spawn(process.execPath, command, {
        cwd: this.#deps.cwd,
        env: { ...this.#deps.env },
        stdio: ['ignore', log, log, 'ipc'],
      });
      closeSync(log);
      this.#process = child;
      let told: ChildFailed | undefined;
      let cancelKill: (() => void) | undefined;
      const terminate = () => {
        child.kill('SIGTERM');
        cancelKill = this.#deps.clock.after(STOP_GRACE_MS, () => child.kill('SIGKILL'));
      };
      const end = (how: string, inOrder: boolean) => {
        cancelKill?.();
        signal.removeEventListener('abort', terminate);
        this.#process = undefined;
        resolve({ how, inOrder: inOrder && told === undefined, told });
      };
      child.on('message', (message) => {
        if (isReady(message)) onReady();
        else if (isFailed(message)) told = message;
      });
      child.once('error', (error) => end(error.message, false));
      child.once('exit', (code, by) => {
        if (by === null) end(`exit status ${code}`, code === 0);
        else end(`signal ${by}`, ['SIGTERM', 'SIGINT', 'SIGHUP'].includes(by));
      });
      signal.addEventListener('abort', terminate, { once: true });
    });
  }

  async #startError(end: End): Promise<AppError> {
    if (end.told !== undefined) return new AppError(end.told.code, `${this.#Title} did not start: ${end.told.message}`);
    const lines = (await readFile(this.#log, 'utf8').catch(() => '')).trimEnd().split('\n');
    const last = lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? '';
    return new AppError(
      'unavailable',
      `${this.#Title} did not start (${end.how}). ${last.slice(0, 300)} Its log: ${this.#log}`,
    );
  }
}

function isReady(message: unknown): boolean {
  return typeof message === 'object' && message !== null && 'type' in message && message.type === 'ready';
}

function isFailed(message: unknown): message is ChildFailed {
  return (
    typeof message === 'object' &&
    message !== null &&
    'type' in message &&
    message.type === 'failed' &&
    'message' in message &&
    typeof message.message === 'string' &&
    'code' in message &&
    isErrorCode(message.code)
  );
}
