import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { eventually } from '../support/dev-mesh.ts';
import { EndUsers } from '../support/end-users.ts';
import { freePorts } from '../support/guide.ts';
import { tempDirectory } from '../support/temp.ts';

const cli = resolve(import.meta.dirname, '../../src/main/cli.ts');

interface Keys {
  readonly state: string;
  readonly keyIds: readonly string[];
  readonly fetchedAt: string | null;
  readonly lastError: string | null;
}

it('a running control plane fetches the keys of issuers, keeps the last good ones when an issuer is away, also over a restart, and says so', {
  timeout: 60_000,
}, async () => {
  const users = new EndUsers();
  const asked: string[] = [];
  const issuer = createServer((req, res) => {
    asked.push(req.url ?? '');
    const { port } = issuer.address() as AddressInfo;
    const self = `http://127.0.0.1:${port}`;
    const isDiscovery = req.url === '/.well-known/openid-configuration';
    res.end(isDiscovery ? JSON.stringify({ issuer: self, jwks_uri: `${self}/keys` }) : users.jwks);
  });
  await new Promise<void>((done) => issuer.listen(0, '127.0.0.1', done));
  onTestFinished(() => void issuer.close());
  const self = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`;

  const directory = await tempDirectory();
  const passphrase = join(directory, 'passphrase');
  await writeFile(passphrase, 'a passphrase of this test alone\n', { mode: 0o600 });
  const ports = await freePorts([1, 2, 3]);
  const at = (index: number) => `127.0.0.1:${ports.get(index)}`;
  const start = () => {
    const options = [
      `--data-dir=${join(directory, 'data')}`,
      `--passphrase-file=${passphrase}`,
      ...['--trust-domain=example.org', `--rest-listen=${at(1)}`, `--grpc-listen=${at(2)}`],
      ...[`--health-listen=${at(3)}`, '--token-keys-allow-loopback', '--exit-with-parent'],
    ];
    const child = spawn(process.execPath, [cli, 'server', ...options], { stdio: 'ignore' });
    const exit = new Promise((done) => child.once('exit', done));
    const stop = () => {
      child.kill('SIGTERM');
      return exit;
    };
    onTestFinished(async () => void (await stop()));
    return stop;
  };
  const rest = async (method: string, path: string, body?: string) => {
    const token = (await readFile(join(directory, 'data/admin-token'), 'utf8')).trim();
    return await fetch(`http://${at(1)}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/yaml' },
      ...(body !== undefined && { body }),
    });
  };
  const one = '/v1/request-authentications/shop/users';
  const keys = async (): Promise<Keys | undefined> =>
    ((await (await rest('GET', one)).json()) as { status: { keys: Keys[] } }).status.keys[0];

  const stop = start();
  const body = `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: users, namespace: shop}\nspec: {jwtRules: [{issuer: "${self}", audiences: [shop]}]}\n`;
  await eventually('a stored document', 20_000, async () => (await rest('PUT', one, body)).ok || undefined);
  const fetched = await eventually('its keys', 10_000, async () => {
    const found = await keys();
    return found?.state === 'fresh' ? found : undefined;
  });
  expect(fetched).toMatchObject({ state: 'fresh', keyIds: [users.kid], lastError: null });
  expect(asked).toEqual(['/.well-known/openid-configuration', '/keys']);

  await stop();
  issuer.closeAllConnections();
  await new Promise((done) => issuer.close(done));
  start();
  const kept = await eventually('the keys of before', 20_000, async () => {
    const found = await keys();
    return found?.lastError == null ? undefined : found;
  });
  expect(kept).toMatchObject({ state: 'stale', keyIds: [users.kid], fetchedAt: fetched.fetchedAt });
});
