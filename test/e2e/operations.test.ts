import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { describe, expect } from 'vitest';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

const root = resolve(import.meta.dirname, '../..');
const guide = readFileSync(resolve(root, 'docs/operations.md'), 'utf8');

/** What the guide's commands are, beside those that every Unix has. */
const tools = ['bash', 'curl', 'openssl', 'python3'];

/** The ports that the guide names; here each stands for one that is free. */
const documentedPorts = [8080, 8443, 8444, 9090, 15000, 15001, 15006, 15010, 15011];

describe('the operator guide', { timeout: 90_000 }, () => {
  itWithTools(tools, 'can be followed from top to bottom', async () => {
    const directory = await tempDirectory();
    const ports = await freePorts(documentedPorts);
    const own = (text: string) =>
      text.replaceAll(/\b(\d{4,5})\b/g, (number) => String(ports.get(Number(number)) ?? number));
    await writeFile(join(directory, 'server.yaml'), own(block('yaml')));
    const { code, output } = await runScript(directory, own(block('console')));
    expect(output).toMatch(/shop\/orders created/);
    expect(output).toMatch(/^allow\b/im);
    expect(output).toMatch(/shop\/web +synced/);
    expect(output).toMatch(/ attestation +granted +shop\/orders /);
    expect(code, output).toBe(0);
  });
});

/** Every block of that kind, in order. */
function block(kind: string): string {
  return [...guide.matchAll(new RegExp(`^\`\`\`${kind}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1]).join('');
}

/** One shell for the whole guide: what it starts in the background is stopped when it ends, however it ends. */
async function runScript(directory: string, commands: string): Promise<{ code: number; output: string }> {
  // A program of its own, so that what runs in the background is the process itself.
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const program = `#!/bin/sh\nexec '${process.execPath}' '${resolve(root, 'src/main/cli.ts')}' "$@"\n`;
  await writeFile(join(bin, 'writ'), program, { mode: 0o755 });
  const script = `set -eu
stop() { code=$?; trap - EXIT INT TERM; kill $(jobs -p) || true; wait; exit $code; }
trap stop EXIT INT TERM
${commands}`;
  const child = spawn('bash', ['-c', script], {
    cwd: directory,
    env: {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      HOME: directory,
      XDG_CONFIG_HOME: join(directory, 'config'),
      NO_COLOR: '1',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  const limit = setTimeout(() => child.kill('SIGTERM'), 75_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(limit);
  return { code: code ?? -1, output };
}

async function freePorts(wanted: readonly number[]): Promise<Map<number, number>> {
  const servers = wanted.map(() => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const free = servers.map((server) => {
    const address = server.address();
    return address === null || typeof address === 'string' ? 0 : address.port;
  });
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return new Map(wanted.map((port, i) => [port, free[i] ?? 0]));
}
