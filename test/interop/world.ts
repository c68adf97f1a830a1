import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from '../support/dev-mesh.ts';

const cli = resolve(import.meta.dirname, '../../src/main/cli.ts');

export interface World {
  readonly directory: string;
  /** Of the agent: the Workload API and SDS. */
  readonly socketPath: string;
  /** SPIFFE ID of the agent: the parent of entries. */
  readonly agentId: string;
  /** The answer's JSON. Throws when it is no success. */
  rest<T = Record<string, unknown>>(method: string, path: string, body?: object, headers?: object): Promise<T>;
  /** An entry below the agent, which has it when this resolves with the entry's id. */
  entry(spiffeId: string, selectors: readonly string[], more?: object): Promise<string>;
  /** Likewise: the same entry, with something else about it. */
  update(id: string, change: object): Promise<void>;
  remove(id: string): Promise<void>;
  /** Of the trust domain, PEM each, oldest first. */
  roots(): Promise<readonly string[]>;
  /** Everything that both processes printed. */
  output(): string;
  /** Ends both and deletes the directory. */
  stop(): Promise<void>;
}

/** A real control plane and a real agent of the trust domain example.org, as two processes, the agent attested by a join token. */
export async function startWorld(o: { readonly socketPath?: string } = {}): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), 'writ-interop-'));
  const path = (name: string) => join(directory, name);
  const processes: Running[] = [];
  const stop = async () => {
    for (const each of processes.toReversed()) await each.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await writeFile(path('passphrase'), randomBytes(16).toString('hex'), { mode: 0o600 });
    const server = new Running('server', [
      '--trust-domain=example.org',
      `--data-dir=${path('data')}`,
      '--rest-listen=127.0.0.1:0',
      '--grpc-listen=127.0.0.1:0',
      '--health-listen=127.0.0.1:0',
      `--passphrase-file=${path('passphrase')}`,
    ]);
    processes.push(server);
    await server.ready;
    const served = server.line('the control plane serves');
    const token = (await readFile(path('data/admin-token'), 'utf8')).trim();
    const rest: World['rest'] = async (method, to, body, headers) => {
      const answer = await fetch(new URL(to, String(served.rest)), {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${method} ${to}: ${answer.status} ${text}`);
      return text === '' ? {} : JSON.parse(text);
    };

    const joinToken = await rest<{ token: string }>('POST', '/v1/join-tokens', { agent: true });
    await writeFile(path('join-token'), joinToken.token, { mode: 0o600 });
    const socketPath = o.socketPath ?? path('agent.sock');
    const agent = new Running('agent', [
      `--server=127.0.0.1:${served.grpc}`,
      `--trust-bundle-file=${path('data/bundle.pem')}`,
      `--state-dir=${path('agent')}`,
      `--socket=${socketPath}`,
      `--admin-socket=${path('admin.sock')}`,
      `--join-token-file=${path('join-token')}`,
      '--log-level=debug',
    ]);
    processes.push(agent);
    await agent.ready;
    const agentId = String(agent.line('the agent has its identity').spiffeId);
    /** Resolves when the agent has what comes of a write. */
    const taken = async <T>(write: () => Promise<T>): Promise<T> => {
      const updates = () => agent.lines('entries and bundles taken over').length;
      const before = updates();
      const answer = await write();
      await eventually('the agent to hear of it', 10_000, async () => (updates() > before ? true : undefined));
      return answer;
    };
    return {
      directory,
      socketPath,
      agentId,
      rest,
      async entry(spiffeId, selectors, more = {}) {
        const body = { spiffeId, parentId: agentId, selectors, ...more };
        return (await taken(() => rest<{ id: string }>('POST', '/v1/entries', body))).id;
      },
      async update(id, change) {
        const { spiffeId, parentId, selectors } = await rest('GET', `/v1/entries/${id}`);
        const body = { spiffeId, parentId, selectors, ...change };
        await taken(() => rest('PUT', `/v1/entries/${id}`, body, { 'if-match': '*' }));
      },
      async remove(id) {
        await taken(() => rest('DELETE', `/v1/entries/${id}`, undefined, { 'if-match': '*' }));
      },
      async roots() {
        const pem = await readFile(path('data/bundle.pem'), 'utf8');
        return pem.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----\n/g) ?? [];
      },
      output: () => processes.map((each) => each.output).join('\n'),
      stop,
    };
  } catch (error) {
    const said = processes.map((each) => each.output).join('\n');
    await stop();
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${said}`);
  }
}

/** One `writ …` that serves. */
class Running {
  readonly #child: ChildProcess;
  readonly #exit: Promise<void>;
  /** Resolves when it says that it serves; rejects when it ends before. */
  readonly ready: Promise<void>;
  output = '';

  constructor(command: string, args: readonly string[]) {
    this.#child = fork(cli, [command, ...args], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], execArgv: [] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#exit = new Promise((done) => this.#child.once('close', () => done()));
    this.ready = new Promise((done, fail) => {
      this.#child.on('message', (message: { type?: string; message?: string }) => {
        if (message.type === 'ready') done();
        else fail(new Error(`writ ${command}: ${message.message}`));
      });
      this.#child.once('close', () => fail(new Error(`writ ${command} ended`)));
    });
    this.ready.catch(() => undefined);
  }

  /** The fields of a line of its log. */
  line(message: string): Readonly<Record<string, unknown>> {
    const [first] = this.lines(message);
    if (first === undefined) throw new Error(`no line "${message}" in:\n${this.output}`);
    return first;
  }

  lines(message: string): readonly Readonly<Record<string, unknown>>[] {
    return this.output
      .split('\n')
      .filter((text) => text.includes(`"msg":"${message}"`))
      .map((text) => JSON.parse(text));
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await this.#exit;
    clearTimeout(late);
  }
}
