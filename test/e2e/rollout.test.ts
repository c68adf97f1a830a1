import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serverConfig } from '../../src/main/config.ts';
import type { DevMesh } from '../support/dev-mesh.ts';
import { startDevMesh } from '../support/dev-mesh.ts';
import { blocks, followGuide, freePorts, withPorts } from '../support/guide.ts';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

const page = 'docs/rollout.md';

interface Change {
  readonly state: string;
  readonly author: string;
  readonly approver: string;
  readonly why: string | null;
  readonly rollout: { readonly chosen: number } | null;
}

/** The control plane of docs/operations.md, with two people. */
const setUp = `(umask 077; openssl rand -hex 32 > writ-passphrase)
writ server --config server.yaml 2> server.log &
until curl -sf http://127.0.0.1:9090/readyz; do sleep 0.2; done
writ context save --addr http://127.0.0.1:8443 --token-file ./writ-data/admin-token
writ token create ann --role editor --expires-in 1h --out ann.token
writ token create bob --role editor --expires-in 1h --out bob.token
`;

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
      const own = blocks(page, 'console').replaceAll(
        /127\.0\.0\.1:(\d+)/g,
        (_, port) => `127.0.0.1:${mesh.port(Number(port))}`,
      );
      const { code, output } = await followGuide(mesh.directory, own, 100);
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
    const { policy } = serverConfig({ flags, env: {}, file: { name: 'writ.yaml', text: blocks(page, 'yaml') } });
    expect(policy.namespaces).toEqual({
      shop: { requireApproval: true, requirePlan: false },
      bank: { requireApproval: true, requirePlan: true },
    });
  });
});

describe('where a namespace needs a second person and a plan', { timeout: 90_000 }, () => {
  itWithTools(
    ['bash', 'curl', 'openssl', 'timeout'],
    'docs/rollout.md: nothing comes into force without either',
    async () => {
      const directory = await tempDirectory();
      const ports = await freePorts([8443, 8444, 9090]);
      const config = `${blocks('docs/operations.md', 'yaml')}${blocks(page, 'yaml')}`;
      await writeFile(join(directory, 'server.yaml'), withPorts(config, ports));
      const { code, output } = await followGuide(directory, withPorts(`${setUp}${blocks(page, 'sh')}`, ports), 60);
      expect(code, output).toBe(0);
      expect(output.match(/^ {2}more: .*#approval-required$/gm)).toHaveLength(2);
      expect(output.match(/^ {2}more: .*#plan-required$/gm)).toHaveLength(1);
      expect(output).toMatch(/^policy change \d+ applied$/m);
      expect(output).toMatch(/^\d+ +bank\/teller +created +\d+s +ann +BANK-3: tellers$/m);
    },
  );
});
