import { createHash } from 'node:crypto';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished } from 'vitest';
import { Foreign, itUnless, listens, missingPrograms, takenPlaces } from './foreign.ts';
import type { World } from './world.ts';
import { startWorld } from './world.ts';

/** What the authors of the examples wrote into them. */
const SOCKET = '/tmp/agent.sock';
const TLS_PORT = 55555;
const HTTP_PORT = 8443;
const GRPC_PORT = 50051;
const SERVER_ID = 'spiffe://example.org/server';
const CLIENT_ID = 'spiffe://example.org/client';

const pairs = ['tls', 'http', 'grpc', 'jwt'] as const;
const programs = ['spiffe-watcher', ...pairs.flatMap((pair) => [`spiffe-${pair}-client`, `spiffe-${pair}-server`])];

const unavailable =
  missingPrograms('INTEROP_GO_CLIENTS', ...programs) ||
  (await takenPlaces({ paths: [SOCKET], ports: [TLS_PORT, HTTP_PORT, GRPC_PORT] }));

/** The example programs of go-spiffe, as their authors wrote them, beside a real `writ agent` on the path that they name. */
describe("go-spiffe's examples, unmodified", { timeout: 60_000 }, () => {
  const folder = process.env.INTEROP_GO_CLIENTS ?? '';
  let world: World;

  beforeAll(async () => {
    if (unavailable !== '') return;
    world = await startWorld({ socketPath: SOCKET });
    for (const pair of pairs) {
      // By name, and by what is in the file: either way of telling programs of one user apart.
      await world.entry(SERVER_ID, [`unix:path:${program(`spiffe-${pair}-server`)}`]);
      await world.entry(CLIENT_ID, [`unix:sha256:${await digest(program(`spiffe-${pair}-client`))}`]);
    }
  });
  afterAll(async () => {
    if (unavailable === '') await world.stop();
  });

  const program = (name: string) => join(folder, name);
  const started = (path: string) => {
    const running = new Foreign(path);
    onTestFinished(() => running.stop());
    return running;
  };
  /** Another program of the same user: the same code under another name and with other bytes. */
  const stranger = async (name: string) => {
    const path = join(world.directory, `${name}-stranger`);
    await copyFile(program(name), path);
    return path;
  };

  itUnless(unavailable, 'the watcher gets its SVID and JWT bundle, and every SVID after that', async () => {
    const id = await world.entry(CLIENT_ID, [`unix:path:${program('spiffe-watcher')}`], { dnsNames: ['one.example'] });
    const watcher = started(program('spiffe-watcher'));
    await watcher.printed(/SVID updated for "spiffe:\/\/example.org\/client"/);
    await watcher.printed(/jwt bundle updated "example.org": \{"keys":\[\{/);
    expect(watcher.output.match(/SVID updated/g)).toHaveLength(1);
    await world.update(id, { dnsNames: ['two.example'] });
    await watcher.printed(/(SVID updated[\s\S]*){2}/);
    await world.remove(id);
    await watcher.printed(/OnX509ContextWatchError error: rpc error: code = PermissionDenied/);
  });

  itUnless(unavailable, 'a program without an entry is told that it has no identity', async () => {
    const watcher = started(program('spiffe-watcher'));
    await watcher.printed(/code = PermissionDenied desc = There is no identity for this process\./);
    expect(watcher.output).not.toContain('SVID updated');
  });

  itUnless(unavailable, 'the TLS pair talks, and a client with another identity is refused', async () => {
    const server = started(program('spiffe-tls-server'));
    await listens(TLS_PORT);
    const client = started(program('spiffe-tls-client'));
    expect(await client.exit, client.output).toBe(0);
    expect(client.output).toContain('Server says: "Hello client\\n"');
    await server.printed(/Client says: "Hello server\\n"/);

    const path = await stranger('spiffe-tls-server');
    await world.entry('spiffe://example.org/stranger', [`unix:path:${path}`]);
    await server.stop();
    started(path);
    await listens(TLS_PORT);
    const refusing = started(program('spiffe-tls-client'));
    expect(await refusing.exit).toBe(1);
    expect(refusing.output).toMatch(/unexpected ID "spiffe:\/\/example.org\/stranger"/);
  });

  itUnless(unavailable, 'the HTTP pair talks', async () => {
    const server = started(program('spiffe-http-server'));
    await listens(HTTP_PORT);
    const client = started(program('spiffe-http-client'));
    expect(await client.exit, client.output).toBe(0);
    expect(client.output).toContain('Success!!!');
    await server.printed(/Request received/);
  });

  itUnless(unavailable, 'the gRPC pair talks', async () => {
    const server = started(program('spiffe-grpc-server'));
    await listens(GRPC_PORT);
    const client = started(program('spiffe-grpc-client'));
    expect(await client.exit, client.output).toBe(0);
    expect(client.output).toContain('Hello world');
    await server.printed(/Received: world/);
  });

  itUnless(unavailable, 'the JWT pair talks, and a token for another audience is refused', async () => {
    const server = started(program('spiffe-jwt-server'));
    await listens(HTTP_PORT);
    const client = started(program('spiffe-jwt-client'));
    expect(await client.exit, client.output).toBe(0);
    expect(client.output).toContain('Success!!!');
    await server.printed(/Request received map\[.*sub:spiffe:\/\/example.org\/client/);
    const other = new Foreign(program('spiffe-jwt-client'), ['somebody-else']);
    onTestFinished(() => other.stop());
    await other.exit;
    expect(other.output).toContain('Unauthorized');
    await server.printed(/Invalid token: .*audience/);
  });
});

async function digest(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
