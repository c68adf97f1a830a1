import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import type { Finished } from './dev-mesh.ts';
import { run } from './dev-mesh.ts';

/** Pages whose commands are run from top to bottom, as a person at a shell would. */

const root = resolve(import.meta.dirname, '../..');

/** Every block of that kind of a page such as `docs/operations.md`, in order. */
export function blocks(page: string, kind: string): string {
  const text = readFileSync(resolve(root, page), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${kind}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1]).join('');
}

export interface GuideRun {
  readonly code: number | null;
  /** Both streams, standard output first. */
  readonly output: string;
}

/**
 * One shell for the whole page, with `writ` on its path and the directory as its home. The first command that fails ends it, and so
 * do `seconds`; what it starts in the background is stopped when it ends, however it ends, with everything that this has started.
 */
export async function followGuide(directory: string, commands: string, seconds: number): Promise<GuideRun> {
  // A program of its own, so that what runs in the background is the process itself.
  const bin = join(directory, 'bin');
  await mkdir(bin, { recursive: true });
  const program = `#!/bin/sh\nexec '${process.execPath}' '${resolve(root, 'src/main/cli.ts')}' "$@"\n`;
  await writeFile(join(bin, 'writ'), program, { mode: 0o755 });
  const script = `set -eum
stop() { code=$?; trap - EXIT INT TERM; for job in $(jobs -p); do kill -- -$job 2>/dev/null || true; done; wait; exit $code; }
trap stop EXIT INT TERM
${commands}`;
  const finished: Finished = await run('timeout', [String(seconds), 'bash', '-c', script], {
    cwd: directory,
    env: { PATH: `${bin}:${process.env.PATH}`, HOME: directory, XDG_CONFIG_HOME: join(directory, 'config') },
    timeoutMs: (seconds + 15) * 1_000,
  });
  return { code: finished.code, output: `${finished.stdout}${finished.stderr}` };
}

/** For each port that a page names, one that is free. */
export async function freePorts(wanted: readonly number[]): Promise<Map<number, number>> {
  const servers = wanted.map(() => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const free = servers.map((server) => {
    const address = server.address();
    return address === null || typeof address === 'string' ? 0 : address.port;
  });
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return new Map(wanted.map((port, i) => [port, free[i] ?? 0]));
}

/** The text with every number that is one of those ports replaced by what stands for it here. */
export function withPorts(text: string, ports: ReadonlyMap<number, number>): string {
  return text.replaceAll(/\b(\d{4,5})\b/g, (number) => String(ports.get(Number(number)) ?? number));
}
