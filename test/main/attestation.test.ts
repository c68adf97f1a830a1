import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { JoinTokens } from '../../src/control/authority/attest/join-token.ts';
import { directGrants } from '../../src/control/authority/nodes/direct-grants.ts';
import { Enrollment } from '../../src/control/authority/nodes/enrollment.ts';
import { fingerprint } from '../../src/core/identity/bundle.ts';
import { startGrpcServer } from '../../src/edge/grpc/server.ts';
import { openAttestors } from '../../src/main/attestation.ts';
import { serverConfig } from '../../src/main/config.ts';
import { fetchDocument, readDocumentFile } from '../../src/main/documents.ts';
import type { AttestationProof } from '../../src/node/agent/attest-node/proof.ts';
import { controlPlaneIdentitySource } from '../../src/node/agent/enroll.ts';
import { SvidKeeper } from '../../src/node/agent/svid-keeper.ts';
import { absentServices } from '../edge/grpc/harness.ts';
import { DeviceAuthority } from '../support/devices.ts';
import { expectAppError } from '../support/errors.ts';
import { openIdentityState, TRUST_DOMAIN } from '../support/identity-world.ts';
import type { TestIssuer } from '../support/issuer.ts';
import { testIssuer } from '../support/issuer.ts';
import { hasOpenssl, opensslNote } from '../support/openssl.ts';
import { tempDirectory } from '../support/temp.ts';

const CONTROL_PLANE = `spiffe://${TRUST_DOMAIN}/writ/control-plane`;

/** A small web server of the test's own; what it answers can be changed. */
async function website(pages: Record<string, string>): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer((request, response) => {
    const page = pages[request.url ?? ''];
    if (page === undefined) response.writeHead(302, { location: '/elsewhere' }).end();
    else response.writeHead(200).end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

async function configFrom(yaml: string) {
  const directory = await tempDirectory();
  return serverConfig({
    flags: {},
    env: { CREDENTIALS_DIRECTORY: directory },
    file: { name: 'writ.yaml', text: `trustDomain: ${TRUST_DOMAIN}\n${yaml}` },
  });
}

/** A control plane that attests as its configuration says, over real TLS. */
async function startWorld(yaml: string) {
  const state = await openIdentityState();
  const { attestation } = await configFrom(yaml);
  const { authority, nodes, recorder, entrySet, clock, store } = state;
  const deps = { clock, logger: silentLogger };
  const joinTokens = new JoinTokens({ store, clock });
  const enrollment = new Enrollment({
    authority,
    attestors: await openAttestors(attestation, { trustDomain: TRUST_DOMAIN, joinTokens, ...deps }),
    nodes,
    grantsFor: directGrants(entrySet, clock, TRUST_DOMAIN),
    recorder,
    ...deps,
  });
  const server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    identity: authority.serverIdentity,
    bundle: authority.bundle,
    services: { ...absentServices, nodes, enrollment, identity: state.identities },
    limits: { stopGraceMs: 50 },
    ...deps,
  });
  onTestFinished(() => server.close());
  const trust = { fingerprint: fingerprint(authority.bundle.current.roots[0] ?? Buffer.alloc(0)) };
  const source = controlPlaneIdentitySource({ server: `127.0.0.1:${server.port}`, trust, clock });
  const open = async (proof: AttestationProof, agent: boolean, stateDirectory?: string) =>
    SvidKeeper.open({ stateDirectory: stateDirectory ?? (await tempDirectory()), source, proof, agent, ...deps });
  return { ...state, joinTokens, open };
}

/** Another certificate now; resolves with it. */
async function replaced(keeper: SvidKeeper) {
  const stop = new AbortController();
  const before = keeper.current.version;
  keeper.replace();
  const run = keeper.run(stop.signal);
  const { value } = await keeper.current.next(before);
  stop.abort();
  await run;
  return value;
}

const bound = {
  namespace: 'shop',
  pod: { name: 'web-0', uid: 'uid-0' },
  serviceaccount: { name: 'web', uid: 'x' },
  node: { name: 'node-1', uid: 'node-uid-1' },
};

describe('A control plane and a node', () => {
  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'writ-attest-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it.skipIf(!hasOpenssl)(
    `agree by x509pop; the agent attests again instead of renewing (S6) ${opensslNote}`,
    async () => {
      const authority = new DeviceAuthority(directory);
      const machine = authority.issue();
      const { open, nodes, identities } = await startWorld(
        `attestation:\n  x509pop:\n    caFile: ${authority.root.certificateFile}`,
      );
      const { certificateFile, keyFile } = machine;
      const keeper = await open({ method: 'x509pop', certificateFile, keyFile }, true);
      const first = keeper.current.current;
      expect(first.id.uri).toMatch(/^spiffe:\/\/example\.org\/writ\/agent\/x509pop\/[0-9a-f]{64}$/);
      const serialOf = async () => (await nodes.get(first.instanceId)).serial;
      const before = await serialOf();
      const caller = { ...first, serial: before, certificate: Buffer.alloc(0) };
      await expectAppError(identities.renew(caller, Buffer.from('x')), 'forbidden', /attest again instead of renewing/);
      const second = await replaced(keeper);
      expect(second.instanceId).toBe(first.instanceId);
      expect(second.chain[0]?.equals(first.chain[0] ?? Buffer.alloc(0))).toBe(false);

      await nodes.ban(first.instanceId, { actor: 'admin' });
      await expectAppError(open({ method: 'x509pop', certificateFile, keyFile }, true), 'forbidden', /is banned/);
      await expectAppError(
        open({ method: 'x509pop', certificateFile, keyFile: authority.issue().keyFile }, true),
        'usage',
        /is not the key of the certificate/,
      );
      await expectAppError(
        open({ method: 'x509pop', certificateFile: join(directory, 'none'), keyFile }, true),
        'unauthenticated',
        /The certificate of this machine, or its key/,
      );
    },
  );

  it('agree by service-account token: an agent by its node, a workload by its pod, which stays one instance', async () => {
    const issuer = await testIssuer('https://k8s.example', () => Date.now());
    const jwksFile = join(directory, 'jwks.json');
    await writeFile(jwksFile, issuer.jwks);
    const world = await startWorld(
      `attestation:\n  k8sPsat:\n    - cluster: prod\n      issuer: https://k8s.example\n      audience: writ\n      jwksFile: ${jwksFile}\n      agents: [shop/web]`,
    );
    const entry = await world.entries.create({
      spiffeId: `spiffe://${TRUST_DOMAIN}/ns/{{k8s.ns}}/sa/{{k8s.sa}}`,
      parentId: CONTROL_PLANE,
      selectors: ['k8s_psat:cluster:prod'],
      namespaces: ['shop'],
    });
    await world.entrySet.settled();
    const tokenFile = join(directory, 'sa-token');
    const put = async (issued: TestIssuer, change = {}) =>
      writeFile(
        tokenFile,
        await issued.sign({ aud: 'writ', sub: 'system:serviceaccount:shop:web', 'kubernetes.io': bound, ...change }),
      );
    await put(issuer);
    const agent = await world.open({ method: 'k8s_psat', tokenFile }, true);
    expect(agent.current.current.id.uri).toBe(`spiffe://${TRUST_DOMAIN}/writ/agent/k8s_psat/prod/node-uid-1`);

    const stateDirectory = await tempDirectory();
    const workload = await world.open({ method: 'k8s_psat', tokenFile }, false, stateDirectory);
    const first = workload.current.current;
    expect(first.id.uri).toBe(`spiffe://${TRUST_DOMAIN}/ns/shop/sa/web`);
    expect((await world.nodes.get(first.instanceId)).entryId).toBe(entry.id);
    await put(issuer);
    const second = await replaced(workload);
    expect(second.instanceId).toBe(first.instanceId);

    await writeFile(tokenFile, '');
    await expectAppError(world.open({ method: 'k8s_psat', tokenFile }, false), 'unauthenticated', /missing or empty/);
    await writeFile(tokenFile, 'x'.repeat(20_000));
    await expectAppError(world.open({ method: 'k8s_psat', tokenFile }, false), 'usage', /too large to be a token/);
  });

  it('agree by OpenID token, with keys that the provider’s discovery document names', async () => {
    const pages: Record<string, string> = {};
    const { url } = await website(pages);
    const issuer = await testIssuer(url, () => Date.now());
    pages['/.well-known/openid-configuration'] = JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` });
    pages['/keys'] = issuer.jwks;
    const world = await startWorld(
      `attestation:\n  joinToken: false\n  oidc:\n    - provider: ci\n      issuer: ${url}\n      audience: writ\n      conditions:\n        repository: [acme/shop]\n        ref: refs/heads/main`,
    );
    await world.entries.create({
      spiffeId: `spiffe://${TRUST_DOMAIN}/ns/ci/sa/deploy`,
      parentId: CONTROL_PLANE,
      selectors: ['oidc:ci:repository:acme/shop'],
    });
    await world.entrySet.settled();
    const tokenFile = join(directory, 'oidc-token');
    const put = async (change = {}) =>
      writeFile(
        tokenFile,
        await issuer.sign({ aud: 'writ', sub: 'job-1', repository: 'acme/shop', ref: 'refs/heads/main', ...change }),
      );
    await put();
    const keeper = await world.open({ method: 'oidc', tokenFile }, false);
    expect(keeper.current.current.id.uri).toBe(`spiffe://${TRUST_DOMAIN}/ns/ci/sa/deploy`);
    await put({ ref: 'refs/heads/evil' });
    await expectAppError(world.open({ method: 'oidc', tokenFile }, false), 'forbidden', /The claim ref/);
    const joinToken = join(directory, 'join-token');
    await writeFile(joinToken, 'wjt_x', { mode: 0o600 });
    await expectAppError(
      world.open({ method: 'join_token', tokenFile: joinToken }, false),
      'invalid',
      /not enabled here/,
    );
  });

  it('an agent with a join token renews; a restart needs no other token', async () => {
    const { open, joinTokens, nodes } = await startWorld('');
    const { id, token } = await joinTokens.create({ entryId: null });
    const tokenFile = join(directory, 'agent-token');
    await writeFile(tokenFile, token, { mode: 0o600 });
    const stateDirectory = await tempDirectory();
    const proof = { method: 'join_token', tokenFile } as const;
    const keeper = await open(proof, true, stateDirectory);
    expect(keeper.current.current.id.uri).toBe(`spiffe://${TRUST_DOMAIN}/writ/agent/join_token/${id}`);
    const second = await replaced(keeper);
    // As the crash of an agent between its renewal and its first call.
    const again = await open(proof, true, stateDirectory);
    expect(again.current.current.chain[0]?.equals(second.chain[0] ?? Buffer.alloc(0))).toBe(true);
    await replaced(again);
    await expectAppError(open(proof, true), 'join-token-refused');
    await nodes.evict(second.instanceId, { actor: 'admin' });
    const stop = new AbortController();
    keeper.replace();
    const run = keeper.run(stop.signal);
    await expect.poll(() => nodes.refusal({ ...second, serial: 'x' })).toMatchObject({ why: 'evicted' });
    stop.abort();
    await run;
  });
});

describe('The configuration of attestation', () => {
  it('says what is wrong, where', async () => {
    const base = { issuer: 'https://x.example', audience: 'a' };
    const asYaml = (kind: string, fields: Record<string, unknown>) =>
      `attestation:\n  ${kind}:\n    - ${JSON.stringify({ ...base, ...fields })}`;
    const cases: readonly [string, RegExp][] = [
      [asYaml('oidc', { provider: 'ci' }), /needs conditions/],
      [asYaml('oidc', { provider: 'ci', conditions: {} }), /must not be empty: everybody can be a customer/],
      [
        asYaml('oidc', { provider: 'ci', conditions: { sub: '*' } }),
        /\* may be the last character but not the only one/,
      ],
      [asYaml('oidc', { provider: 'ci', conditions: { sub: 'a*b' } }), /\* may be the last character/],
      [asYaml('oidc', { provider: 'a:b', conditions: { sub: 'x' } }), /lower-case letters, digits, dots and dashes/],
      [asYaml('k8sPsat', { cluster: 'c', issuer: 'http://x.example' }), /which is no https address/],
      [asYaml('k8sPsat', { cluster: 'c', jwksFile: 'f', jwksUrl: 'https://x' }), /jwksFile beside jwksUrl/],
      [asYaml('k8sPsat', { cluster: 'c', agents: ['shop'] }), /namespace\/serviceaccount/],
      [
        `${asYaml('k8sPsat', { cluster: 'c' })}\n    - ${JSON.stringify({ ...base, cluster: 'c' })}`,
        /uses a name twice/,
      ],
    ];
    for (const [yaml, message] of cases) {
      const error = await expectAppError(configFrom(yaml), 'invalid-document');
      expect(error.details.map((finding) => finding.message).join('\n')).toMatch(message);
    }
    const flags = { 'attestation-oidc': ['provider=ci,issuer=https://x,audience=a,conditions=sub:repo:a/b*;ref:main'] };
    const read = serverConfig({
      flags: { ...flags, 'trust-domain': 'example.org' },
      env: { CREDENTIALS_DIRECTORY: '/nowhere' },
    });
    expect(read.attestation.oidc[0]).toMatchObject({ provider: 'ci', keys: { discovery: 'https://x' } });
    expect([...(read.attestation.oidc[0]?.conditions ?? [])]).toEqual([
      ['sub', ['repo:a/b*']],
      ['ref', ['main']],
    ]);
  });

  it('names files that cannot be used before anything is started', async () => {
    const directory = await tempDirectory();
    const bad = join(directory, 'bad');
    await writeFile(bad, 'nothing');
    const { attestation } = await configFrom(`attestation:\n  x509pop:\n    caFile: ${bad}`);
    const store = await openIdentityState();
    const deps = {
      trustDomain: TRUST_DOMAIN,
      joinTokens: new JoinTokens({ store: store.store, clock: store.clock }),
      clock: store.clock,
      logger: silentLogger,
    };
    await expectAppError(openAttestors(attestation, deps), 'usage', /bad cannot be used: The PEM text must have/);
    const { attestation: missing } = await configFrom(
      `attestation:\n  k8sPsat:\n    - {cluster: c, issuer: 'https://x', audience: a, jwksFile: ${bad}2}`,
    );
    await expectAppError(openAttestors(missing, deps), 'usage', /bad2 cannot be used: Cannot read .*ENOENT/);
  });

  it('documents are small, whole, and not from anywhere else', async () => {
    const { url, server } = await website({ '/good': 'text', '/large': 'x'.repeat(300_000) });
    expect(await fetchDocument(`${url}/good`)).toBe('text');
    await expectAppError(fetchDocument(`${url}/moved`), 'unavailable', /answered 302, not 200\. Redirects are not/);
    await expectAppError(fetchDocument(`${url}/large`), 'unavailable', /more than 262144 bytes/);
    for (const other of ['http://192.0.2.1/x', 'file:///etc/passwd', 'https://u:p@x.example/', 'nothing']) {
      await expectAppError(fetchDocument(other), 'usage', /is not an https address/);
    }
    server.close();
    server.closeAllConnections();
    await expectAppError(fetchDocument(`${url}/good`), 'unavailable', /could not be reached: ECONNREFUSED/);
    const large = join(await tempDirectory(), 'large');
    await writeFile(large, 'x'.repeat(300_000));
    await expectAppError(readDocumentFile(large), 'unavailable', /has more than/);
  });
});
