import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DevMesh, Finished } from '../support/dev-mesh.ts';
import { eventually, run, startDevMesh } from '../support/dev-mesh.ts';
import { itWithTools } from '../support/tools.ts';

const root = resolve(import.meta.dirname, '../..');
const readme = readFileSync(resolve(root, 'README.md'), 'utf8');

/** What each command of "Next steps" must do, in the order in which the README shows them. */
const expected: readonly { readonly command: RegExp; readonly code: number; readonly output: RegExp }[] = [
  { command: /^curl .*orders\.shop\.mesh/, code: 0, output: /^HTTP\/1\.1 200 / },
  { command: /^curl .*payments\.shop\.mesh/, code: 0, output: /^HTTP\/1\.1 403 [\s\S]*x-writ-rule: default-deny/i },
  { command: /policy check/, code: 1, output: /deny[\s\S]*default-deny/i },
  { command: /apply -f deploy\/examples/, code: 0, output: /shop\/allow-web-payments created/ },
  { command: /^curl .*payments\.shop\.mesh/, code: 0, output: /^HTTP\/1\.1 200 / },
  { command: /delete policy shop\/allow-web-payments --yes/, code: 0, output: /deleted/ },
  { command: /audit search/, code: 0, output: /payments.*default-deny/ },
  { command: /get proxies/, code: 0, output: /shop\/web +synced/ },
  { command: /check$/, code: 0, output: /√|ok/ },
  { command: /^curl .*\/v1\/jwt/, code: 0, output: /"token":"ey/ },
  { command: /identity fetch x509$/, code: 0, output: /spiffe:\/\/example\.org\/ns\/dev\/sa\// },
  { command: /identity why --pid \$\$/, code: 0, output: /has 1 identity[\s\S]*unix:uid:/ },
  { command: /audit identity/, code: 0, output: /x509-svid|attestation/ },
];

describe('the README', { timeout: 120_000 }, () => {
  let mesh: DevMesh;
  let startedAt: number;

  beforeAll(async () => {
    startedAt = Date.now();
    mesh = await startDevMesh();
  }, 120_000);
  afterAll(() => mesh?.dispose());

  it('names the two commands, and nothing else, as its set-up', () => {
    const setUp = section('Start');
    expect(commands(setUp)).toEqual(['npm ci && npm start', 'npm ci && npm test']);
    const scripts = (JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as { scripts: object }).scripts;
    expect(scripts).toMatchObject({ start: 'node src/main/cli.ts dev', test: 'vitest run' });
  });

  it('says what is true of the first minute: audited calls, allowed and denied, by themselves', async () => {
    await mesh.printed(/shop\/web → shop\/orders .*ALLOW .*200/);
    await mesh.printed(/shop\/orders → shop\/payments .*ALLOW .*200/);
    await mesh.printed(/shop\/web → shop\/payments .*DENY .*403 .*default-deny/);
    expect(Date.now() - startedAt).toBeLessThan(60_000);
  });

  itWithTools(['sh', 'curl'], 'shows next steps that all do what it says', async () => {
    const steps = commands(section('Next steps'));
    expect(steps.map((step, i) => expected[i]?.command.test(step))).toEqual(steps.map(() => true));
    expect(steps).toHaveLength(expected.length);
    for (const [i, step] of steps.entries()) {
      const wanted = expected[i];
      if (wanted === undefined) continue;
      // A changed policy is in force within a second.
      const finished = await eventually(step, 5_000, async () => {
        const result = await shell(step);
        return result.code === wanted.code && wanted.output.test(result.stdout) ? result : fail(result);
      });
      expect(finished.code).toBe(wanted.code);
    }
  });

  /** As in the folder of the clone, but with the ports and the data of this mesh. */
  function shell(command: string): Promise<Finished> {
    const own = command
      .replaceAll(/127\.0\.0\.1:(\d+)/g, (_, port: string) => `127.0.0.1:${mesh.port(Number(port))}`)
      .replaceAll('npm run -s writ --', `'${process.execPath}' '${resolve(root, 'src/main/cli.ts')}'`)
      .replaceAll('deploy/examples/', `'${root}'/deploy/examples/`);
    return run('sh', ['-c', own], { cwd: mesh.directory });
  }
});

function fail(result: Finished): never {
  throw new Error(`exit ${result.code}\n${result.stdout}\n${result.stderr}`);
}

function section(title: string): string {
  return readme.split(/^## /m).find((part) => part.startsWith(title)) ?? '';
}

function commands(text: string): string[] {
  return [...text.matchAll(/```console\n([\s\S]*?)```/g)].flatMap((match) =>
    (match[1] ?? '').split('\n').filter((line) => line !== ''),
  );
}
