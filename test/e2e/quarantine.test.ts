import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditRecord } from '../../src/core/audit/event.ts';
import type { DevMesh } from '../support/dev-mesh.ts';
import { eventually, run, startDevMesh } from '../support/dev-mesh.ts';
import { getByNode } from '../support/http.ts';
import { itWithTools } from '../support/tools.ts';

const root = resolve(import.meta.dirname, '../..');
const web = 'spiffe://example.org/ns/shop/sa/web';
const page = readFileSync(resolve(root, 'docs/quarantine.md'), 'utf8');
const steps = [...page.matchAll(/^```console\n([\s\S]*?)^```/gm)].flatMap((match) =>
  (match[1] ?? '').split('\n').filter((line) => line !== ''),
);

/** What each command of the page must do, in its order. */
const expected: readonly { readonly command: RegExp; readonly output: RegExp }[] = [
  { command: /^curl /, output: /^200$/m },
  { command: /^writ quarantine shop\/web --reason/, output: /shop\/web quarantined\n3 of 3 connected sidecars obey\./ },
  { command: /^curl /, output: /"reason":"quarantined"/ },
  { command: /^writ quarantine list$/, output: /shop\/web .* admin +INC-7: .* 3\/3/ },
  { command: /^writ get proxies$/, output: /shop\/web +synced, quarantined/ },
  { command: /^writ audit identity --action quarantine\.put$/, output: /quarantine\.put/ },
  { command: /^writ quarantine show shop\/web$/, output: /released: null/ },
  { command: /^writ quarantine release shop\/web/, output: /shop\/web released\n3 of 3 connected sidecars obey\./ },
  { command: /^curl /, output: /^200$/m },
  { command: /^writ quarantine list --released$/, output: /shop\/web/ },
];

/** Real processes: the control plane, three sidecars, three services, the command line. */
describe('quarantine in a running mesh', { timeout: 120_000 }, () => {
  let mesh: DevMesh;

  beforeAll(async () => {
    mesh = await startDevMesh(['--no-traffic']);
  }, 120_000);
  afterAll(() => mesh?.dispose());

  itWithTools(['sh', 'curl'], 'the page can be followed from top to bottom', async () => {
    expect(steps).toHaveLength(expected.length);
    for (const [i, step] of steps.entries()) {
      const wanted = expected[i];
      if (wanted === undefined) continue;
      expect(step).toMatch(wanted.command);
      const command = step
        .replace(/^writ /, `'${process.execPath}' '${resolve(root, 'src/main/cli.ts')}' `)
        .replace('127.0.0.1:9111', `127.0.0.1:${mesh.port(9111)}`);
      const { code, stdout, stderr } = await run('sh', ['-c', command], { cwd: mesh.directory });
      expect(`${stdout}${stderr}`).toMatch(wanted.output);
      expect(code).toBe(0);
    }
  });

  it('refusals on both sides are on the record, with the revision of the list', async () => {
    const rest = (method: string, path: string, body?: unknown) =>
      mesh.rest(method, path, {
        ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      });
    const call = (path: string) =>
      getByNode(`http://127.0.0.1:${mesh.port(9111)}${path}`, { Host: 'orders.shop.mesh' });
    const made = await rest('POST', '/v1/quarantines', { spiffeId: web, reason: 'INC-8' });
    expect(made.status).toBe(201);
    const { id, revision } = (await made.json()) as { id: string; revision: number };
    const refused = await eventually('refused', 2_000, async () => {
      const answer = await call('/e2e-quarantine');
      return answer.status === 403 ? answer : undefined;
    });
    expect(refused.headers['x-writ-rule']).toBe(`quarantine@${revision}`);
    const records = await eventually('the refusal on the record', 5_000, async () => {
      const found = await rest('GET', '/v1/audit/events?path=/e2e-quarantine&decision=deny');
      const { items } = (await found.json()) as { items: AuditRecord[] };
      return items.length > 0 ? items : undefined;
    });
    expect(records[0]).toMatchObject({ source: web, reason: 'quarantined', rule: `quarantine@${revision}` });
    // The application beside the sidecar gets no new token either.
    const token = await getByNode(`http://127.0.0.1:${mesh.port(9131)}/v1/jwt?audience=https://new.example`);
    expect(token.status).toBe(403);
    expect((await rest('POST', `/v1/quarantines/${id}:release`, { reason: 'done' })).status).toBe(200);
    await eventually('let in again', 2_000, async () => ((await call('/')).status === 200 ? true : undefined));
  });
});
