import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readAuthorizers } from '../../src/main/authorizers-config.ts';
import { serverConfig } from '../../src/main/config.ts';
import { encodeSnapshotContent } from '../../src/wire/policy.ts';
import { decodeSnapshotContent } from '../../src/wire/snapshot-content.ts';
import { expectAppError } from '../support/errors.ts';
import { createTestAuthority } from '../support/pki.ts';
import { tempDirectory } from '../support/temp.ts';
import { makeWebCertificate } from '../support/web-certificate.ts';

const flags = { 'trust-domain': 'example.org', 'passphrase-file': '/etc/writ/passphrase' };

function read(policy: string) {
  const file = { name: 'server.yaml', text: `policy:\n${policy.replaceAll(/^/gm, '  ')}\n` };
  return serverConfig({ flags, env: {}, file }).authorizers;
}

async function findings(policy: string): Promise<string> {
  const error = await expectAppError(() => read(policy), 'invalid-document');
  return error.details.map(({ message }) => message).join('\n');
}

describe('policy.authorizers', () => {
  it('are none, and no proxy is trusted, if nothing is said', () => {
    expect(serverConfig({ flags, env: {} }).authorizers).toEqual({ authorizers: [], trustedProxies: 0 });
  });

  it('have a timeout of a second, and bodies are not sent', () => {
    expect(read('authorizers: [{name: opa, address: "127.0.0.1:9191"}]\ntrustedProxies: 2')).toEqual({
      authorizers: [{ name: 'opa', address: '127.0.0.1:9191', timeoutMs: 1000, caFile: undefined, maxBodyBytes: 0 }],
      trustedProxies: 2,
    });
    const [slow] = read('authorizers: [{name: a, address: "[::1]:1", timeout: 200ms, maxBodyBytes: 0}]').authorizers;
    expect(slow).toMatchObject({ address: '[::1]:1', timeoutMs: 200 });
  });

  it('are refused in plain text beyond this machine, with bodies, with two of one name, without end', async () => {
    expect(await findings('authorizers: [{name: opa, address: "opa.example:9191"}]')).toContain('needs caFile for opa');
    expect(await findings('authorizers: [{name: opa, address: "127.0.0.1:1", maxBodyBytes: 1}]')).toContain(
      'Bodies are not sent to authorizers',
    );
    const two = 'authorizers: [{name: a, address: "127.0.0.1:1"}, {name: a, address: "127.0.0.1:2"}]';
    expect(await findings(two)).toContain('names a twice');
    expect(await findings('authorizers: [{name: a, address: "127.0.0.1:1", timeout: 61s}]')).toContain('over 60s');
    expect(await findings('authorizers: [{name: a, address: "127.0.0.1:1", timeout: 5}]')).toContain('timeout');
    expect(await findings('trustedProxies: 17')).toContain('from 0 to 16');
  });

  it('are sent the certificates of their file, and nothing else of it', async () => {
    const file = join(await tempDirectory(), 'ca.pem');
    const { cert, key } = await makeWebCertificate();
    await writeFile(file, `${key}${cert}${cert}`);
    const config = read(`authorizers: [{name: opa, address: "opa.example:443", caFile: ${file}}]`);
    const [authorizer] = await readAuthorizers(config);
    expect(authorizer?.ca?.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(authorizer?.ca).not.toContain('KEY');
    if (authorizer === undefined) throw new Error('none');
    // As a sidecar accepts it.
    const { bundle } = createTestAuthority();
    const content = { policies: [], services: [], bundle, authorizers: [authorizer], trustedProxies: 1 };
    expect(decodeSnapshotContent(encodeSnapshotContent(content))).toMatchObject({ authorizers: [authorizer] });
  });

  it('are refused with a file that is not there, or holds no certificate', async () => {
    const file = join(await tempDirectory(), 'ca.pem');
    const config = read(`authorizers: [{name: opa, address: "opa.example:443", caFile: ${file}}]`);
    await expectAppError(() => readAuthorizers(config), 'usage', /Cannot use .*ca\.pem, the CAs of the authorizer opa/);
    await writeFile(file, 'no PEM');
    await expectAppError(() => readAuthorizers(config), 'usage', /it holds no PEM certificate/);
    await writeFile(file, '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n');
    await expectAppError(() => readAuthorizers(config), 'usage', /cannot be read/);
  });
});
