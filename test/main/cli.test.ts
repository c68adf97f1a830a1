import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { demoPolicies } from '../../src/main/dev/demo.ts';
import { RollbackConsent } from '../../src/node/sidecar/rollback-consent.ts';
import { run } from '../support/dev-mesh.ts';
import { tempDirectory } from '../support/temp.ts';

const cli = resolve('src/main/cli.ts');

describe('the binary', () => {
  it('tells all that is wrong with a configuration at once, starts nothing, and ends with 2', async () => {
    const cwd = await tempDirectory();
    await writeFile(join(cwd, 'writ.yaml'), 'trustDomain: Example.Org\nrest:\n  lisen: x\n');
    const { code, stdout, stderr } = await run(
      process.execPath,
      [cli, 'server', '--config', 'writ.yaml', '--lifetime-jwt=1s'],
      { cwd },
    );
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr.split('\n').map((line) => line.slice(0, 60))).toEqual([
      'error: The configuration has 4 problems; nothing was started.'.slice(0, 60),
      '  writ.yaml:3:3: rest.lisen is unknown. Did you mean rest.li',
      '  writ.yaml:1:14: trustDomain cannot be "Example.Org": lower',
      '  --lifetime-jwt must be from 30s to 1h, not "1s".',
      '  --passphrase-file is missing: keys are never stored unseal',
      '  more: docs/errors.md#usage',
      '',
    ]);
  });

  it('finds the files of a user who called it by npm from another directory', async () => {
    const cwd = await tempDirectory();
    await mkdir(join(cwd, 'sub'));
    await writeFile(join(cwd, 'sub/p.yaml'), demoPolicies[0]?.source ?? '');
    const { stderr } = await run(process.execPath, [cli, '--addr', '127.0.0.1:1', 'apply', '-f', 'p.yaml'], {
      cwd,
      env: { npm_lifecycle_event: 'writ', INIT_CWD: join(cwd, 'sub') },
    });
    // The file was found and read; only the control plane is missing.
    expect(stderr).toMatch(/^error: policy\/shop\/orders \(p\.yaml:1\): Cannot reach the control plane/);
  });

  it('does not mind a reader that has seen enough', async () => {
    const { stdout, stderr } = await run('sh', [
      '-c',
      `"${process.execPath}" "${cli}" server --help | head -1; echo done`,
    ]);
    expect([stdout, stderr]).toEqual(['Usage: writ server [options]\ndone\n', '']);
  });

  it('lets a sidecar go on with a control plane that was restored', async () => {
    const directory = join(await tempDirectory(), 'sidecar');
    const { code, stdout } = await run(process.execPath, [cli, 'accept-rollback', `--state-dir=${directory}`], {});
    expect([code, stdout]).toEqual([0, expect.stringMatching(/goes on with it within an hour, once/)]);
    expect(await new RollbackConsent(directory, systemClock).isGiven()).toBe(true);
  });

  it('migrates a store and says from where to where', async () => {
    const cwd = await tempDirectory();
    const migrate = () =>
      run(process.execPath, [cli, 'migrate', `--store-path=${join(cwd, 'writ.db')}`, '--log-level=error'], { cwd });
    const first = await migrate();
    expect([first.code, first.stdout]).toEqual([0, expect.stringMatching(/^The store went from schema 0 to \d+\.\n$/)]);
    expect((await migrate()).stdout).toMatch(/^The store is at schema \d+ already\.\n$/);
  });
});
