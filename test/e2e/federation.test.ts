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
const page = readFileSync(resolve(root, 'docs/federation.md'), 'utf8');

/** The ports that the page names; here each stands for one that is free. */
const documentedPorts = [
  8081, 8082, 8443, 8444, 8445, 8543, 8544, 8545, 9090, 9190, 15000, 15001, 15006, 15100, 15101, 15106,
];

describe('the page on federation', { timeout: 120_000 }, () => {
  itWithTools(
    ['bash', 'curl', 'openssl', 'python3', 'sed'],
    'lets two trust domains call each other both ways as policy allows, and no longer when the federation ends',
    async () => {
      const directory = await tempDirectory();
      const ports = await freePorts(documentedPorts);
      const steps = [...page.matchAll(/^```console\n([\s\S]*?)^```/gm)].map((match) => match[1]).join('');
      const own = steps.replaceAll(/\b(\d{4,5})\b/g, (number) => String(ports.get(Number(number)) ?? number));
      const { code, output } = await run(directory, own);
      expect(output).toMatch(/^partner\.example +https_spiffe +fresh +\d+/m);
      expect(output).toMatch(/^example\.org +https_spiffe +fresh +\d+/m);
      expect(output).toMatch(/allow/);
      expect(output).toMatch(/federation\.delete +granted/);
      expect(code, output).toBe(0);
    },
  );
});

/** One shell for the whole page: what it starts in the background is stopped when it ends, however it ends. */
async function run(directory: string, steps: string): Promise<{ code: number; output: string }> {
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const program = `#!/bin/sh\nexec '${process.execPath}' '${resolve(root, 'src/main/cli.ts')}' "$@"\n`;
  await writeFile(join(bin, 'writ'), program, { mode: 0o755 });
  const script = `set -eu
stop() { code=$?; trap - EXIT INT TERM; kill $(jobs -p) || true; wait; [ $code -eq 0 ] || tail -n 20 *.log; exit $code; }
trap stop EXIT INT TERM
${steps}`;
  const child = spawn('bash', ['-c', script], {
    cwd: directory,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, HOME: directory, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const limit = setTimeout(() => child.kill('SIGTERM'), 100_000);
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
