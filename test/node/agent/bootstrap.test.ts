import { writeFile } from 'node:fs/promises';
import { createServer as createNet } from 'node:net';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { bootstrapTrust } from '../../../src/node/agent/bootstrap.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { tempDirectory } from '../../support/temp.ts';
import { serve } from '../sidecar/mesh.ts';
import { TestControlPlane, WEB } from '../world.ts';

const clock = systemClock;

async function fileWith(pem: string): Promise<string> {
  const path = join(await tempDirectory(), 'bundle.pem');
  await writeFile(path, pem);
  return path;
}

test('a pinned root, by fingerprint or as a file, gives the bundle of its trust domain', async () => {
  const plane = await new TestControlPlane().start();
  const colons = `SHA256:${(plane.fingerprint.toUpperCase().match(/../g) ?? []).join(':')}`;
  for (const trust of [
    { fingerprint: plane.fingerprint },
    { fingerprint: colons },
    { bundleFile: await fileWith(plane.rootPem) },
  ]) {
    const bundle = await bootstrapTrust({ server: plane.address, trust, clock });
    expect(bundle.trustDomain).toBe('example.org');
    expect(bundle.roots.map((root) => root.toString('hex'))).toEqual(
      plane.authority.bundle.roots.map((root) => root.toString('hex')),
    );
  }
});

test('a server that another root vouches for is refused, whatever it calls itself', async () => {
  const plane = await new TestControlPlane().start();
  const impostor = await new TestControlPlane(createTestAuthority()).start();
  const trusts = [{ fingerprint: plane.fingerprint }, { bundleFile: await fileWith(plane.rootPem) }];
  for (const trust of trusts) {
    await expectAppError(bootstrapTrust({ server: impostor.address, trust, clock }), 'peer-refused');
  }
});

test('showing the pinned root is not enough: the server must be the control plane below it', async () => {
  const plane = new TestControlPlane();
  const workload = plane.authority.issue(WEB);
  const server = await serve(
    createServer({ key: workload.pem.key, cert: workload.pem.cert + plane.rootPem, ALPNProtocols: ['h2'] }),
  );
  const address = `127.0.0.1:${server.port}`;
  await expectAppError(
    bootstrapTrust({ server: address, trust: { fingerprint: plane.fingerprint }, clock }),
    'peer-refused',
    /and not the control plane/,
  );
  const stranger = createTestAuthority().issue('spiffe://example.org/writ/control-plane');
  const other = await serve(
    createServer({ key: stranger.pem.key, cert: stranger.pem.cert + plane.rootPem, ALPNProtocols: ['h2'] }),
  );
  await expectAppError(
    bootstrapTrust({ server: `127.0.0.1:${other.port}`, trust: { fingerprint: plane.fingerprint }, clock }),
    'peer-refused',
  );
});

test('nothing but a TLS handshake is sent to a server that is not the pinned one', async () => {
  const received: Buffer[] = [];
  const impostor = createTestAuthority().issue('spiffe://example.org/writ/control-plane');
  const server = createServer({ ...impostor.pem, ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('data', (data: Buffer) => received.push(data));
    socket.on('error', () => undefined);
  });
  const { port } = await serve(server);
  const trust = { fingerprint: 'ab'.repeat(32) };
  await expectAppError(
    bootstrapTrust({ server: `127.0.0.1:${port}`, trust, clock }),
    'peer-refused',
    /did not present the pinned root/,
  );
  expect(received).toEqual([]);
});

test('what is wrong with the pin or the server is said in one line', async () => {
  const trust = { fingerprint: 'ab'.repeat(32) };
  await expectAppError(bootstrapTrust({ server: '127.0.0.1:1', trust, clock }), 'unavailable', /ECONNREFUSED/);
  await expectAppError(bootstrapTrust({ server: 'nowhere', trust, clock }), 'invalid', /host:port/);
  await expectAppError(bootstrapTrust({ server: '127.0.0.1:1', trust: { fingerprint: 'ab' }, clock }), 'invalid');
  await expectAppError(
    bootstrapTrust({ server: '127.0.0.1:1', trust: { bundleFile: '/nowhere' }, clock }),
    'usage',
    /ENOENT/,
  );
  const silent = await serve(createNet(() => undefined));
  await expectAppError(
    bootstrapTrust({ server: `127.0.0.1:${silent.port}`, trust, clock, timeoutMs: 100 }),
    'unavailable',
  );
});
