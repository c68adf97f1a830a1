import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serverConfig } from '../../src/main/config.ts';
import type { DevMesh } from '../support/dev-mesh.ts';
import { run, startDevMesh } from '../support/dev-mesh.ts';
import { itWithTools } from '../support/tools.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(resolve(root, 'docs/rollout.md'), 'utf8');

/** Every block of that kind, in order. */
function blocks(kind: string): string {
  return [...page.matchAll(new RegExp(`^\`\`\`${kind}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1]).join('');
}

interface Change {
  readonly state: string;
  readonly author: string;
  readonly approver: string;
  readonly why: string | null;
  readonly rollout: { readonly chosen: number } | null;
}

/** A control plane, three sidecars and three services, each a process of its own. */
describe('changes of policies, in a mesh', { timeout: 150_000 }, () => {
  let mesh: DevMesh;

  beforeAll(async () => {
    mesh = await startDevMesh(['--no-traffic']);
  }, 120_000);
  afterAll(() => mesh?.dispose());

  itWithTools(
    ['bash', 'curl', 'timeout'],
    'docs/rollout.md can be followed: a bad one goes back by itself',
    async () => {
      const { directory } = mesh;
      const bin = join(directory, 'bin');
      await mkdir(bin, { recursive: true });
      const program = `#!/bin/sh\nexec '${process.execPath}' '${resolve(root, 'src/main/cli.ts')}' "$@"\n`;
      await writeFile(join(bin, 'writ'), program, { mode: 0o755 });
      const own = blocks('console').replaceAll(
        /127\.0\.0\.1:(\d+)/g,
        (_, port) => `127.0.0.1:${mesh.port(Number(port))}`,
      );
      const script = `set -eum
export PATH='${bin}':"$PATH" HOME='${directory}' XDG_CONFIG_HOME='${directory}/config' NO_COLOR=1
stop() { code=$?; trap - EXIT INT TERM; for job in $(jobs -p); do kill -- -$job 2>/dev/null || true; done; wait; exit $code; }
trap stop EXIT INT TERM
${own}`;
      const { code, stdout, stderr } = await run('timeout', ['100', 'bash', '-c', script], { cwd: directory });
      const output = `${stdout}${stderr}`;
      expect(code, output).toBe(0);
      expect(output).toMatch(/^policy change \d+ proposed: \+shop\/web-pays$/m);
      expect(output).toMatch(/^\+ {4}- from: \[\{source: \{serviceAccounts: \[shop\/web\]\}\}\]$/m);
      expect(output).toMatch(/step 2 of 2: 100% \(1 sidecar\), baking/);
      expect(output).toMatch(/^policy change \d+ applied, as revision \d+$/m);
      expect(output).toMatch(
        /^policy change \d+ rolled-back: \d+ of \d+ calls \([\d.]+ %\) were denied where the candidate/m,
      );
      expect(output).toMatch(/Denied by: shop\/no-admin@\d+#0 \(\d+\)\.$/m);
      expect(output.match(/^200$/gm)).toHaveLength(2);

      const { items } = (await (await mesh.rest('GET', '/v1/policy-changes')).json()) as { items: readonly Change[] };
      expect(items).toMatchObject([
        { state: 'rolled-back', author: 'ann', approver: 'bob', rollout: { chosen: 1 } },
        { state: 'applied', author: 'ann', approver: 'bob' },
      ]);
      expect((await mesh.rest('GET', '/v1/policies/shop/no-admin')).status).toBe(404);
      expect((await mesh.rest('GET', '/v1/policies/shop/web-pays')).status).toBe(200);
    },
  );

  it('are asked for by the configuration that docs/rollout.md shows', () => {
    const flags = { 'trust-domain': 'example.org', 'passphrase-file': '/x' };
    const { policy } = serverConfig({ flags, env: {}, file: { name: 'writ.yaml', text: blocks('yaml') } });
    expect(policy.namespaces).toEqual({
      shop: { requireApproval: true, requirePlan: false },
      bank: { requireApproval: true, requirePlan: true },
    });
  });
});
