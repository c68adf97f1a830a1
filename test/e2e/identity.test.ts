import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect } from 'vitest';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(resolve(root, 'docs/identity.md'), 'utf8');

describe('the page on identity', { timeout: 90_000 }, () => {
  itWithTools(
    ['bash', 'openssl', 'python3'],
    'shows steps for a process on a machine that all do what it says',
    async () => {
      const directory = await tempDirectory();
      await writeFile(join(directory, 'passphrase'), randomBytes(16).toString('hex'), { mode: 0o600 });
      const { code, output } = await run(directory, commands('A process on a machine'));
      expect(output).toMatch(/spiffe:\/\/example.org\/writ\/agent\/join_token\/\S+ +agent +join_token/);
      expect(output).toMatch(/spiffe:\/\/example.org\/ns\/shop\/sa\/billing +- +[0-9a-f]{16} +in (?:59|60)m/);
      expect(output).toContain('svid/svid.0.pem: OK');
      expect(output).toContain('valid  spiffe://example.org/ns/shop/sa/billing');
      expect(output).toMatch(/√ process \d+ \(uid \d+\) has 1 identity/);
      expect(output).toMatch(
        /shop\/sa\/reports +entry \S+\n +missing unix:path:\/opt\/reports\/bin\/reports; the process has unix:path:\//,
      );
      expect(code, output).toBe(0);
    },
  );
});

/** The blocks of a section, in order. */
function commands(title: string): string {
  const section = page.split(/^## /m).find((part) => part.startsWith(title)) ?? '';
  return [...section.matchAll(/^```console\n([\s\S]*?)^```/gm)].map((match) => match[1]).join('');
}

/** One shell for all of it, with a control plane on ports of its own; what runs in the background is stopped at the end. */
async function run(directory: string, steps: string): Promise<{ code: number; output: string }> {
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const program = `#!/bin/sh\nexec '${process.execPath}' '${resolve(root, 'src/main/cli.ts')}' "$@"\n`;
  await writeFile(join(bin, 'writ'), program, { mode: 0o755 });
  const script = `set -eu
stop() { code=$?; trap - EXIT INT TERM; kill $(jobs -p) || true; wait; exit $code; }
trap stop EXIT INT TERM
writ server --trust-domain example.org --data-dir data --rest-listen 127.0.0.1:0 --grpc-listen 127.0.0.1:0 \\
  --health-listen 127.0.0.1:0 --passphrase-file passphrase 2> server.log &
until grep -q 'the control plane serves' server.log; do sleep 0.1; done
served() { sed -n "s/.*\\"$1\\":\\"*\\([^\\",]*\\)\\"*,.*the control plane serves.*/\\1/p" server.log; }
export WRIT_ADDR="$(served rest)" WRIT_TOKEN_FILE=data/admin-token
grpc="$(served grpc)"
${steps.replaceAll('127.0.0.1:8444', '127.0.0.1:$grpc')}`;
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
  const limit = setTimeout(() => child.kill('SIGTERM'), 75_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(limit);
  return { code: code ?? -1, output };
}
