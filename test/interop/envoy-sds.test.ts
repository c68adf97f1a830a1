import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { request } from 'node:https';
import { join } from 'node:path';
import { connect } from 'node:tls';
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { afterAll, beforeAll, describe, expect, onTestFinished } from 'vitest';
import { spiffeBundle } from '../../src/core/identity/bundle.ts';
import { sdsClient, WholeStream } from '../node/agent/sds-client.ts';
import { eventually } from '../support/dev-mesh.ts';
import type { TestAuthority } from '../support/pki.ts';
import { createTestAuthority } from '../support/pki.ts';
import type { ApiType, Envoy } from './envoy.ts';
import { asProgram, envoyProgram, startBack, startFront } from './envoy.ts';
import { itUnless } from './foreign.ts';
import type { World } from './world.ts';
import { startWorld } from './world.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';
const STRANGER = 'spiffe://example.org/ns/shop/sa/stranger';

const envoy = envoyProgram();
const unavailable = envoy === undefined ? 'no Envoy in INTEROP_VENV; see test/interop/install' : '';

/** Envoy itself, with what docs/identity.md shows, beside a real `writ agent`. */
describe('Envoy with secrets from the agent', { timeout: 60_000 }, () => {
  let world: World;
  let frontProgram: string;
  let backProgram: string;
  let orders: string;
  let web: string;

  beforeAll(async () => {
    if (envoy === undefined) return;
    world = await startWorld();
    frontProgram = await asProgram(envoy, join(world.directory, 'front'));
    backProgram = await asProgram(envoy, join(world.directory, 'back'));
    orders = await world.entry(ORDERS, [`unix:path:${frontProgram}`]);
    web = await world.entry(WEB, [`unix:path:${backProgram}`]);
    await world.entry(STRANGER, [`unix:path:${process.execPath}`]);
  });
  afterAll(async () => {
    if (envoy !== undefined) await world.stop();
  });

  const front = (api: ApiType) => startFront({ ...world, program: frontProgram, api, caller: WEB });
  const back = (api: ApiType, to: Envoy, server = ORDERS) =>
    startBack({ ...world, program: backProgram, api, server, port: to.port });

  for (const [first, second] of [
    ['GRPC', 'DELTA_GRPC'],
    ['DELTA_GRPC', 'GRPC'],
  ] as const) {
    itUnless(
      unavailable,
      `passes calls from one to the other, each by its own identity: ${first} to ${second}`,
      async () => {
        const server = await front(first);
        const client = await back(second, server);
        const answer = await fetch(client.url);
        expect([answer.status, await answer.text(), answer.headers.get('x-caller')]).toEqual([200, 'hello', WEB]);
        expect(server.process.output).toBe('');
        expect(client.process.output).toBe('');
      },
    );
  }

  itUnless(
    unavailable,
    'refuses a caller with another identity of the same trust domain, and one without any',
    async () => {
      const server = await front('GRPC');
      const { chain, key } = await ownSecret(world.socketPath, 'default');
      await expect(call(server, { cert: chain, key })).rejects.toThrow();
      expect(await server.counter('fail_verify_san')).toBe(1);
      await expect(call(server, {})).rejects.toThrow();
      expect(await server.counter('fail_verify_no_cert')).toBe(1);
      const client = await back('DELTA_GRPC', server);
      expect((await fetch(client.url)).status).toBe(200);
    },
  );

  itUnless(unavailable, 'does not call a server with another identity', async () => {
    const server = await front('GRPC');
    const client = await back('DELTA_GRPC', server, STRANGER);
    expect((await fetch(client.url)).status).toBe(503);
    expect(await client.counter('fail_verify_san')).toBeGreaterThan(0);
  });

  itUnless(unavailable, 'takes over a renewed SVID without losing a call', async () => {
    const server = await front('GRPC');
    const client = await back('DELTA_GRPC', server);
    const before = [...(await server.leafSerials()), ...(await client.leafSerials())];
    const calls = keepCalling(client.url);
    await world.update(orders, { dnsNames: ['orders.example'] });
    await world.update(web, { dnsNames: ['web.example'] });
    await eventually('new certificates', 10_000, async () => {
      const now = [...(await server.leafSerials()), ...(await client.leafSerials())];
      return now.length === 2 && now.every((serial) => !before.includes(serial)) ? true : undefined;
    });
    const { failures, count } = await calls.stop();
    expect(failures).toEqual([]);
    expect(count).toBeGreaterThan(10);
  });

  itUnless(unavailable, 'goes over to a new root without losing a call', async () => {
    const server = await front('GRPC');
    const client = await back('DELTA_GRPC', server);
    const calls = keepCalling(client.url);
    const [before] = await world.roots();
    expect([await server.rootCount(), await client.rootCount()]).toEqual([1, 1]);
    expect(await isVerifiedBy(server, before ?? '')).toBe(true);

    const { id } = await world.rest<{ id: string }>('POST', '/v1/authorities:prepare', { kind: 'x509' });
    await eventually('the new root beside the old one in both', 10_000, async () =>
      (await server.rootCount()) === 2 && (await client.rootCount()) === 2 ? true : undefined,
    );
    await eventually('everybody has acknowledged the new root', 10_000, async () =>
      world.rest('POST', `/v1/authorities/${id}:activate`),
    );
    await world.update(orders, { dnsNames: ['orders.new.example'] });
    await world.update(web, { dnsNames: ['web.new.example'] });
    const [, after] = await world.roots();
    await eventually('a certificate below the new root', 10_000, async () =>
      (await isVerifiedBy(server, after ?? '')) ? true : undefined,
    );
    expect(await isVerifiedBy(server, before ?? '')).toBe(false);
    expect((await fetch(client.url)).status).toBe(200);
    const { failures, count } = await calls.stop();
    expect(failures).toEqual([]);
    expect(count).toBeGreaterThan(20);
  });

  itUnless(
    unavailable,
    'lets callers of a federated trust domain in, and never an identity of ours that it has minted',
    async () => {
      const other = createTestAuthority({ trustDomain: 'other.example' });
      const buyer = 'spiffe://other.example/ns/market/sa/buyer';
      await world.rest('PUT', '/v1/federation/other.example', {
        // Nobody is there; what is known of the other trust domain is the bundle that comes along.
        bundleEndpoint: { url: 'https://127.0.0.1:1/', profile: 'https_web' },
        bundle: JSON.stringify(spiffeBundle(other.bundle)),
      });
      const program = await asProgram(envoy ?? '', join(world.directory, 'partner'));
      await world.entry('spiffe://example.org/ns/shop/sa/partner', [`unix:path:${program}`], {
        federatesWith: ['other.example'],
      });
      const own = (await world.roots()).length;
      const server = await startFront({ ...world, program, api: 'DELTA_GRPC', caller: 'anybody' });
      await eventually('the roots of both trust domains', 10_000, async () =>
        (await server.rootCount()) === own + 1 ? true : undefined,
      );
      expect(await call(server, await minted(other, buyer))).toBe('hello');
      await expect(call(server, await minted(other, WEB))).rejects.toThrow();
      expect(await server.counter('fail_verify_error')).toBe(1);
      expect(await server.counter('fail_verify_san')).toBe(0);
    },
  );

  itUnless(unavailable, 'gets its secrets when its entry is made after it has started', async () => {
    const program = await asProgram(envoy ?? '', join(world.directory, 'late'));
    const starting = startFront({ ...world, program, api: 'GRPC', caller: WEB });
    await eventually('the agent to say why there is nothing', 15_000, async () =>
      world.output().includes('"name":"ALL","why":"the workload has no identity here"') ? true : undefined,
    );
    await world.entry(ORDERS, [`unix:path:${program}`]);
    const client = await back('DELTA_GRPC', await starting);
    expect((await fetch(client.url)).status).toBe(200);
  });

  itUnless(unavailable, 'never makes the agent write a key into its log', async () => {
    const { key } = await ownSecret(world.socketPath, 'default');
    expect(key).toContain('PRIVATE KEY');
    expect(world.output()).not.toMatch(/PRIVATE KEY|BEGIN CERTIFICATE/);
  });
});

/** A secret for this very process. */
async function ownSecret(socketPath: string, name: string): Promise<{ chain: string; key: string }> {
  const stream = new WholeStream(sdsClient(socketPath).streamSecrets());
  stream.send({ resourceNames: [name] });
  const [secret] = (await stream.next()).secrets;
  return { chain: secret?.chain ?? '', key: secret?.key ?? '' };
}

/** What no authority of ours would sign: a certificate for whatever SPIFFE ID, right below the root. */
async function minted(authority: TestAuthority, uri: string): Promise<{ cert: string; key: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const { publicKey, privateKey } = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const rootKey = authority.root.privateKey.export({ type: 'pkcs8', format: 'der' });
  const certificate = await X509CertificateGenerator.create({
    serialNumber: '01',
    issuer: new X509Certificate(authority.root.certificate).issuerName,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 60_000),
    publicKey,
    signingKey: await webcrypto.subtle.importKey('pkcs8', rootKey, algorithm, false, ['sign']),
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new SubjectAlternativeNameExtension([{ type: 'url', value: uri }], true),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey));
  return { cert: certificate.toString('pem'), key: pem('PRIVATE KEY', key) };
}

function pem(label: string, der: Buffer): string {
  return `-----BEGIN ${label}-----\n${der.toString('base64')}\n-----END ${label}-----\n`;
}

/** Resolves with the answer of an Envoy that speaks TLS; rejects when it refuses. Whom we talk to is not looked at. */
function call(server: Envoy, { cert, key }: { readonly cert?: string; readonly key?: string }): Promise<string> {
  return new Promise((done, fail) => {
    const asked = request(server.url.replace('http:', 'https:'), {
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      rejectUnauthorized: false,
      agent: false,
    });
    asked.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      response.on('end', () => done(body));
    });
    asked.on('error', fail);
    asked.end();
  });
}

/** Whether what it shows hangs from this root, PEM. That it refuses us then is another matter. */
function isVerifiedBy(server: Envoy, root: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host: '127.0.0.1', port: server.port, ca: root, checkServerIdentity: () => undefined });
    socket.once('secureConnect', () => done(socket.authorized));
    socket.once('error', () => done(false));
    socket.once('close', () => done(false));
    onTestFinished(() => {
      socket.destroy();
    });
  });
}

/** One call after the other, each over new connections, until it is stopped. */
function keepCalling(url: string): { stop(): Promise<{ failures: readonly string[]; count: number }> } {
  const failures: string[] = [];
  let count = 0;
  let stopped = false;
  const one = async () => {
    while (!stopped) {
      const answer = await fetch(url, { headers: { connection: 'close' } }).catch((error: unknown) => error);
      count += 1;
      if (!(answer instanceof Response)) failures.push(String(answer));
      else if (answer.status !== 200) failures.push(`${answer.status} ${await answer.text()}`);
    }
  };
  const running = Promise.all([one(), one()]);
  const stop = async () => {
    stopped = true;
    await running;
    return { failures, count };
  };
  onTestFinished(async () => {
    await stop();
  });
  return { stop };
}
