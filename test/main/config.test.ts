import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configFile, serverConfig } from '../../src/main/config.ts';
import { readPassphrase, resolveStore } from '../../src/main/secrets.ts';
import { sidecarConfig } from '../../src/main/sidecar-config.ts';
import { expectAppError } from '../support/errors.ts';
import { tempDirectory } from '../support/temp.ts';

const server = { 'trust-domain': 'example.org', 'passphrase-file': '/etc/writ/passphrase' };
const sidecar = {
  server: '127.0.0.1:8444',
  'trust-bundle-file': '/etc/writ/bundle.pem',
  'state-dir': '/var/lib/writ-sidecar',
};

describe('server', () => {
  it('has safe defaults: REST on loopback, sqlite in the data directory, keys sealed', () => {
    expect(serverConfig({ flags: server, env: {} })).toEqual({
      trustDomain: 'example.org',
      sinks: [],
      audit: { origin: 'example.org/writ/audit', isPublic: false, databaseRestored: false },
      policy: { namespaces: {} },
      authorizers: { authorizers: [], trustedProxies: 0 },
      tokenKeys: { caFile: undefined, hosts: undefined, allowLoopback: false },
      dataDir: '/var/lib/writ',
      rest: { host: '127.0.0.1', port: 8443 },
      grpc: { host: '0.0.0.0', port: 8444 },
      health: { host: '0.0.0.0', port: 9090 },
      store: { kind: 'sqlite', path: '/var/lib/writ/writ.db' },
      passphraseFile: '/etc/writ/passphrase',
      rootNamespace: 'writ-system',
      trustDomainAliases: [],
      lifetimes: { x509: 3600, jwt: 300, jwtKey: 604_800, intermediate: 86_400, root: 31_536_000 },
      attestation: { joinToken: true, x509pop: undefined, k8sPsat: [], oidc: [] },
      public: { federation: undefined, oidc: undefined, issuer: undefined },
      logLevel: 'info',
    });
  });

  it('takes the passphrase from a systemd credential when no file is named', () => {
    const env = { CREDENTIALS_DIRECTORY: '/run/credentials/writ.service' };
    const config = serverConfig({ flags: { 'trust-domain': 'example.org' }, env });
    expect(config.passphraseFile).toBe('/run/credentials/writ.service/writ-passphrase');
  });

  it('refuses to start without a passphrase', async () => {
    const error = await expectAppError(
      () => serverConfig({ flags: { 'trust-domain': 'example.org' }, env: {} }),
      'usage',
    );
    expect(error.details[0]?.message).toContain('--passphrase-file is missing: keys are never stored unsealed.');
  });

  it('refuses plain HTTP beyond loopback unless that is said', async () => {
    const open = { ...server, 'rest-listen': '0.0.0.0:8443' };
    const error = await expectAppError(() => serverConfig({ flags: open, env: {} }), 'usage');
    expect(error.details[0]?.message).toContain('tokens would cross the network unencrypted');
    expect(serverConfig({ flags: { ...open, 'rest-remote-plaintext': true }, env: {} }).rest.host).toBe('0.0.0.0');
  });

  it('tells a store that contradicts itself', async () => {
    const yaml = 'store:\n  kind: postgres\n  path: /x\n';
    const error = await expectAppError(
      () => serverConfig({ flags: server, env: {}, file: { name: 'writ.yaml', text: yaml } }),
      'usage',
    );
    expect(error.details.map((finding) => finding.message)).toEqual([
      '--store-url-file is missing: a postgres store needs the file that holds its URL.',
      'store.path is for store.kind sqlite; the store is postgres.',
    ]);
  });

  it("does not mind the CLI's own variables", () => {
    expect(serverConfig({ flags: server, env: { WRIT_ADDR: 'http://x', WRIT_TOKEN_FILE: '/x' } }).rest.port).toBe(8443);
  });
});

describe('what namespaces ask of changes', () => {
  const rules = (o: { flag?: string; text?: string }) =>
    serverConfig({
      flags: { ...server, ...(o.flag !== undefined && { 'policy-namespaces': o.flag }) },
      env: {},
      ...(o.text !== undefined && { file: { name: 'writ.yaml', text: o.text } }),
    }).policy.namespaces;

  it('stands in the file as a map, and in a flag as rules behind names', () => {
    const text =
      'policy:\n  namespaces:\n    shop: {requireApproval: true, requirePlan: false}\n    "*": {requirePlan: true}\n';
    const expected = {
      shop: { requireApproval: true, requirePlan: false },
      '*': { requireApproval: false, requirePlan: true },
    };
    expect(rules({ text })).toEqual(expected);
    expect(rules({ flag: 'shop:requireApproval; *:requirePlan' })).toEqual(expected);
    expect(rules({ flag: 'shop:requireApproval,requirePlan' }).shop).toEqual({
      requireApproval: true,
      requirePlan: true,
    });
  });

  it.each([
    ['policy:\n  namespaces:\n    shop: {requireAproval: true}\n', 'Did you mean'],
    ['policy:\n  namespaces:\n    shop: {requireApproval: yes}\n', 'must be true or false'],
    ['policy:\n  namespaces:\n    Shop: {requireApproval: true}\n', 'is no namespace'],
    ['policy:\n  namespaces: [shop]\n', 'must be a map'],
    ['policy:\n  namespaces:\n    shop: true\n', 'must be a map'],
  ])('refuses %j', async (text, message) => {
    const error = await expectAppError(() => rules({ text }), 'invalid-document');
    expect(error.details[0]?.message).toContain(message);
    expect(error.details[0]?.line).toBeGreaterThan(1);
  });
});

describe('sidecar', () => {
  it('reads everything from flags', () => {
    const flags = {
      ...sidecar,
      inbound: ['listen=127.0.0.1:9121,application=127.0.0.1:9101', 'listen=[::1]:7,application=[::1]:8,protocol=tcp'],
      'jwt-audiences': ['orders'],
    };
    expect(sidecarConfig({ flags, env: {} })).toEqual({
      server: '127.0.0.1:8444',
      trust: { bundleFile: '/etc/writ/bundle.pem' },
      stateDirectory: '/var/lib/writ-sidecar',
      inbound: [
        { host: '127.0.0.1', port: 9121, protocol: 'http', application: { host: '127.0.0.1', port: 9101 } },
        { host: '::1', port: 7, protocol: 'tcp', application: { host: '::1', port: 8 } },
      ],
      outbound: { host: '127.0.0.1', port: 15_001 },
      admin: { host: '127.0.0.1', port: 15_000 },
      jwtAudiences: ['orders'],
      logLevel: 'info',
    });
  });

  it('records calls strictly and refuses what cannot be recorded, unless a port says otherwise', async () => {
    const of = (options: string) => {
      const flags = { ...sidecar, inbound: [`listen=127.0.0.1:1,application=127.0.0.1:2${options}`] };
      return sidecarConfig({ flags, env: {} }).inbound[0];
    };
    expect(of('')).not.toHaveProperty('record');
    expect(of(',record=spool,whenFull=degrade')).toMatchObject({ record: 'spool', whenFull: 'degrade' });
    for (const [wrong, allowed] of [
      [',record=never', 'strict'],
      [',whenFull=drop', 'refuse'],
    ] as const) {
      const error = await expectAppError(() => of(wrong), 'usage');
      expect(error.details[0]?.message).toContain(allowed);
    }
  });

  it('needs exactly one source of trust', async () => {
    const { 'trust-bundle-file': _, ...none } = sidecar;
    const without = await expectAppError(() => sidecarConfig({ flags: none, env: {} }), 'usage');
    expect(without.details[0]?.message).toContain('never trusted on first use');
    const both = { ...sidecar, 'trust-fingerprint': 'sha256:00' };
    const two = await expectAppError(() => sidecarConfig({ flags: both, env: {} }), 'usage');
    expect(two.details[0]?.message).toContain('are both given');
  });

  it('refuses to lend its identity to the network', async () => {
    const flags = { ...sidecar, 'outbound-listen': '0.0.0.0:15001', 'admin-listen': '10.0.0.1:15000' };
    const error = await expectAppError(() => sidecarConfig({ flags, env: {} }), 'usage');
    expect(error.details.map((finding) => finding.message.split(' ')[0])).toEqual([
      '--outbound-listen',
      '--admin-listen',
    ]);
  });

  it('refuses to advertise a wildcard address', async () => {
    const flags = { ...sidecar, inbound: ['listen=0.0.0.0:15006,application=127.0.0.1:80'] };
    const error = await expectAppError(() => sidecarConfig({ flags, env: {} }), 'usage');
    expect(error.details[0]?.message).toContain('Add advertise=host:port');
  });
});

describe('what is served to anybody', () => {
  const refusals = async (more: Record<string, string>) => {
    const error = await expectAppError(() => serverConfig({ flags: { ...server, ...more }, env: {} }), 'usage');
    return error.details.map((finding) => finding.message);
  };

  it('https_web needs a certificate and its key, and https_spiffe none', async () => {
    const listen = { 'federation-listen': '0.0.0.0:8445' };
    expect(serverConfig({ flags: { ...server, ...listen }, env: {} }).public.federation).toEqual({
      host: '0.0.0.0',
      port: 8445,
      tls: 'svid',
    });
    expect(await refusals({ ...listen, 'federation-profile': 'https_web' })).toHaveLength(2);
    expect(await refusals({ ...listen, 'federation-key-file': 'k' })).toEqual([
      expect.stringContaining('is for federation.profile https_web'),
    ]);
    const files = {
      'federation-profile': 'https_web',
      'federation-certificate-file': '/c',
      'federation-key-file': '/k',
    };
    expect(serverConfig({ flags: { ...server, ...listen, ...files }, env: {} }).public.federation?.tls).toEqual({
      certificateFile: '/c',
      keyFile: '/k',
    });
  });

  it('discovery needs an issuer that is an https URL, and speaks plain HTTP only on loopback', async () => {
    expect(await refusals({ 'oidc-listen': '127.0.0.1:8446' })).toEqual([expect.stringContaining('about an issuer')]);
    const issuer = { 'oidc-issuer': 'https://issuer.example/writ' };
    expect(await refusals({ ...issuer, 'oidc-listen': '0.0.0.0:8446' })).toEqual([
      expect.stringContaining('only for a proxy on this machine'),
    ]);
    expect(await refusals({ ...issuer, 'oidc-certificate-file': 'c' })).toEqual([
      expect.stringContaining('belong together'),
    ]);
    for (const bad of ['http://issuer.example', 'https://u@issuer.example', 'https://issuer.example/?x', 'issuer'])
      expect(await refusals({ 'oidc-issuer': bad })).toHaveLength(1);
    const { public: open } = serverConfig({ flags: { ...server, ...issuer, 'oidc-listen': '127.0.0.1:0' }, env: {} });
    expect(open).toMatchObject({ issuer: 'https://issuer.example/writ', oidc: { host: '127.0.0.1', tls: undefined } });
  });
});

describe('configFile', () => {
  it('is the flag, else WRIT_CONFIG, else none; one that is named must be there', async () => {
    const name = join(await tempDirectory(), 'writ.yaml');
    await writeFile(name, 'trustDomain: a\n');
    expect(await configFile(name, { WRIT_CONFIG: '/nowhere' })).toEqual({ name, text: 'trustDomain: a\n' });
    expect((await configFile(undefined, { WRIT_CONFIG: name }))?.name).toBe(name);
    expect(await configFile(undefined, {})).toBeUndefined();
    await expectAppError(configFile('/nowhere/writ.yaml', {}), 'usage', /ENOENT/);
  });
});

describe('secrets', () => {
  it('reads a passphrase without its line end, from a file that only its owner can read', async () => {
    const file = join(await tempDirectory(), 'passphrase');
    await writeFile(file, `${'p'.repeat(32)}\n`, { mode: 0o600 });
    expect((await readPassphrase(file)).toString()).toBe('p'.repeat(32));
    await chmod(file, 0o644);
    await expectAppError(readPassphrase(file), 'usage', /can be read by others/);
  });

  it('refuses a passphrase that is missing or short', async () => {
    const file = join(await tempDirectory(), 'passphrase');
    await expectAppError(readPassphrase(file), 'usage', /There is no passphrase/);
    await writeFile(file, 'short\n', { mode: 0o600 });
    await expectAppError(readPassphrase(file), 'usage', /shorter than 16 bytes/);
  });

  it('reads the PostgreSQL URL from its file', async () => {
    const urlFile = join(await tempDirectory(), 'url');
    await writeFile(urlFile, 'postgres://u:p@h/d\n', { mode: 0o600 });
    expect(await resolveStore({ kind: 'postgres', urlFile })).toEqual({ kind: 'postgres', url: 'postgres://u:p@h/d' });
    await writeFile(urlFile, 'h:d', { mode: 0o600 });
    const error = await expectAppError(resolveStore({ kind: 'postgres', urlFile }), 'usage', /must hold a URL/);
    expect(error.message).not.toContain('h:d');
  });
});
