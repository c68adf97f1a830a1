import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { spiffeBundle } from '../../src/core/identity/bundle.ts';
import { createTestAuthority } from '../support/pki.ts';
import { tempDirectory } from '../support/temp.ts';
import { makeWebCertificate } from '../support/web-certificate.ts';
import { connect } from './server.ts';

const partner = createTestAuthority({ trustDomain: 'partner.example' });
const bundle = JSON.stringify(spiffeBundle({ ...partner.bundle, sequence: 4 }));
const relationship = `trustDomain: partner.example
bundleEndpoint:
  url: https://partner.example/bundle
  profile: https_spiffe
  spiffeId: spiffe://partner.example/writ/control-plane
bundleFile: bundle.json
`;

async function files(content: Readonly<Record<string, string>>): Promise<string> {
  const directory = await tempDirectory();
  for (const [name, text] of Object.entries(content)) await writeFile(join(directory, name), text);
  return join(directory, 'partner.yaml');
}

describe('federation', () => {
  it('set creates, and replaces what it looked at; files beside it are sent', async () => {
    const cli = await connect();
    const file = await files({ 'partner.yaml': relationship, 'bundle.json': bundle });
    expect(await cli.run('federation', 'set', '-f', file, '--dry-run')).toMatchObject({
      status: 0,
      stderr: 'Dry run: nothing was changed.\n',
    });
    expect((await cli.run('federation', 'list', '-o', 'name')).stdout).toBe('');
    expect((await cli.run('federation', 'set', '-f', file, '-o', 'name')).stdout).toBe('federation/partner.example\n');
    expect((await cli.run('federation', 'list')).stdout).toMatch(/^partner\.example +https_spiffe +fresh +4 /m);
    await writeFile(file, relationship.replace('/bundle\n', '/other\n'));
    await cli.run('federation', 'set', '-f', file);
    const shown = (await cli.run('federation', 'show', 'partner.example')).stdout;
    expect(shown).toContain('url: https://partner.example/other');
    expect(shown).toContain(partner.jwt.kid);
  });

  it('set reads authorities from caFile, and a bundle that stands in the file', async () => {
    const cli = await connect();
    const { cert } = await makeWebCertificate();
    const text = `trustDomain: partner.example
bundleEndpoint: { url: "https://partner.example/", profile: https_web, caFile: ca.pem }
bundle: ${bundle}
`;
    const file = await files({ 'partner.yaml': text, 'ca.pem': cert });
    expect(await cli.run('federation', 'set', '-f', file)).toMatchObject({ status: 0 });
    expect((await cli.run('federation', 'show', 'partner.example', '-o', 'json')).stdout).toContain(
      'BEGIN CERTIFICATE',
    );
  });

  it('refresh shows why there is nothing; delete asks and ends it', async () => {
    const cli = await connect();
    const file = await files({ 'partner.yaml': relationship, 'bundle.json': bundle });
    await cli.run('federation', 'set', '-f', file);
    expect(await cli.run('federation', 'refresh', 'partner.example')).toMatchObject({
      stderr: expect.stringMatching(/could not be reached/),
    });
    cli.rest.partner.answer = async () => Buffer.from(bundle);
    const tried = await cli.run('federation', 'refresh', 'partner.example', '--dry-run');
    expect([tried.status, tried.stderr]).toEqual([
      0,
      'partner.example: Its bundle holds the same keys: nobody would be told anything new.\nDry run: nothing was changed.\n',
    ]);
    expect((await cli.run('federation', 'list')).stdout).toMatch(/ stale +4 .*unavailable: The bundle endpoint/);
    expect(await cli.run('federation', 'delete', 'partner.example')).toMatchObject({ status: 2 });
    expect(await cli.run('federation', 'delete', 'partner.example', '--yes')).toMatchObject({ status: 0 });
    expect(await cli.run('federation', 'show', 'partner.example')).toMatchObject({
      stderr: expect.stringMatching(/no federation with partner.example/),
    });
  });

  it.each([
    ['nothing: 1\n', /has no field "nothing"/],
    ['bundleEndpoint: {}\n', /trustDomain is missing/],
    ['- a\n', /must have the fields/],
    ['{', /neither YAML nor JSON/],
    [relationship.replace('bundle.json', 'nowhere.json'), /Cannot read .*nowhere.json/],
    [
      relationship.replace('partner.example\n', '../entries\n').replace('bundleFile: bundle.json\n', ''),
      /no name of a trust domain/,
    ],
  ])('set of %j is wrong usage', async (text, message) => {
    const cli = await connect();
    const file = await files({ 'partner.yaml': text });
    const { status, stderr } = await cli.run('federation', 'set', '-f', file);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });
});
