import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { ClientHttp2Stream } from 'node:http2';
import { connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { status } from '@grpc/grpc-js';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import type { WorkloadAttestor } from '../../../../src/node/agent/attest-workload/attestor.ts';
import type { CallerLimits } from '../../../../src/node/agent/workload-api/connections.ts';
import type { PeerCredentials } from '../../../../src/node/agent/workload-api/peer-credentials.ts';
import { isAlive, peerCredentials } from '../../../../src/node/agent/workload-api/peer-credentials.ts';
import { expectAppError } from '../../../support/errors.ts';
import { tempDirectory } from '../../../support/temp.ts';
import { writeProcess } from '../attest-workload/proc.ts';
import { testEntry } from '../test-identities.ts';
import { answer, clientOf, Received, secured, startTestAgent, statusOf } from '../workload-client.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const anybody: WorkloadAttestor = { type: 'test', attest: async () => ['test:any'] };

/** An agent whose kernel is the test: every caller is process 7, without a pidfd unless given. */
async function faked(
  o: {
    readonly attestors?: readonly WorkloadAttestor[];
    readonly uid?: () => number;
    readonly limits?: Partial<CallerLimits>;
  } = {},
) {
  const procRoot = await tempDirectory();
  await writeProcess(procRoot, 7, { uid: 1000, gid: 1000 });
  const credentialsOf = (): PeerCredentials => ({ pid: 7, uid: o.uid?.() ?? 1000, gid: 1000, pidfd: undefined });
  const agent = await startTestAgent({
    procRoot,
    credentialsOf,
    attestors: o.attestors ?? [anybody],
    limits: o.limits ?? {},
  });
  agent.identities.set([testEntry({ spiffeId: WEB, selectors: ['test:any'] })]);
  return { ...agent, procRoot, client: clientOf(agent.socketPath) };
}

const fetchToken = (client: ReturnType<typeof clientOf>) =>
  answer<{ svids: object[] }>((done) => client.fetchJwtsvid({ audience: ['a'] }, secured, done));

/** A connection of the socket that is raw, for callers that no library would be. */
async function rawConnection(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  onTestFinished(() => void socket.destroy());
  return socket;
}

/** A call of FetchX509SVID over a connection that exists; nothing of the answer is read. */
function openRaw(socket: Socket): ClientHttp2Stream {
  const session = connectHttp2('http://localhost', { createConnection: () => socket });
  onTestFinished(() => session.destroy());
  const stream = session.request({
    ':method': 'POST',
    ':path': '/SpiffeWorkloadAPI/FetchX509SVID',
    'content-type': 'application/grpc',
    te: 'trailers',
    'workload.spiffe.io': 'true',
  });
  stream.end(Buffer.alloc(5));
  return stream;
}

/** The messages of a gRPC stream, still encoded. */
async function* messagesOf(stream: ClientHttp2Stream): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const piece of stream) {
    rest = Buffer.concat([rest, piece as Buffer]);
    for (;;) {
      const end = rest.length < 5 ? Number.POSITIVE_INFINITY : 5 + rest.readUInt32BE(1);
      if (rest.length < end) break;
      yield rest.subarray(5, end);
      rest = rest.subarray(end);
    }
  }
}

/** One call; resolves with its status. */
async function callOver(socket: Socket): Promise<{ code: number; message: string }> {
  const stream = openRaw(socket);
  stream.resume();
  return new Promise((done) => {
    const look = (headers: { 'grpc-status'?: string | undefined; 'grpc-message'?: string | undefined }) => {
      if (headers['grpc-status'] === undefined) return;
      done({ code: Number(headers['grpc-status']), message: decodeURI(headers['grpc-message'] ?? '') });
    };
    stream.on('response', look);
    stream.on('trailers', look);
    stream.on('data', () => done({ code: 0, message: 'a message' }));
  });
}

describe('the caller of a connection', () => {
  it('is who the kernel says', async () => {
    const { socketPath, identities } = await startTestAgent();
    identities.set([
      testEntry({ spiffeId: WEB, selectors: [`unix:uid:${process.geteuid?.()}`, `unix:path:${process.execPath}`] }),
    ]);
    expect((await callOver(await rawConnection(socketPath))).code).toBe(0);
  });

  it('that has ended is not mistaken for whoever holds its connection, or has its number', async () => {
    const { socketPath, identities } = await startTestAgent();
    identities.set([testEntry({ spiffeId: WEB })]);
    const child = fork(resolve(import.meta.dirname, 'connections.child.ts'), [socketPath]);
    const [, socket] = (await once(child, 'message')) as [string, Socket];
    await once(child, 'exit');
    onTestFinished(() => void socket.destroy());
    expect(await callOver(socket)).toEqual({
      code: status.PERMISSION_DENIED,
      message: expect.stringMatching(/has ended/),
    });
    // This process itself, on a connection of its own, is somebody.
    expect((await callOver(await rawConnection(socketPath))).code).toBe(0);
  });

  it('is refused when its number is another process’s by its first call, however late that is', async () => {
    let accepted = false;
    const uid = () => {
      accepted = true;
      return 1000;
    };
    const { socketPath, procRoot } = await faked({ uid });
    const socket = await rawConnection(socketPath);
    while (!accepted) await new Promise((done) => setImmediate(done));
    await writeProcess(procRoot, 7, { uid: 1000, gid: 1000, startTime: 777 });
    expect(await callOver(socket)).toEqual({
      code: status.PERMISSION_DENIED,
      message: 'The process that connected has ended.',
    });
  });

  it('is refused when its number is another process’s by the next call', async () => {
    const { client, procRoot } = await faked();
    await fetchToken(client);
    await writeProcess(procRoot, 7, { uid: 1000, gid: 1000, startTime: 777 });
    expect(await statusOf(fetchToken(client))).toEqual({
      code: status.PERMISSION_DENIED,
      details: 'The process that connected has ended.',
    });
  });

  it('is refused when its number is another process’s by the end of attestation', async () => {
    let procRoot = '';
    const slow: WorkloadAttestor = {
      type: 'test',
      attest: async () => {
        await writeProcess(procRoot, 7, { uid: 1000, gid: 1000, startTime: 777 });
        return ['test:any'];
      },
    };
    const agent = await faked({ attestors: [slow] });
    procRoot = agent.procRoot;
    expect(await statusOf(fetchToken(agent.client))).toEqual({
      code: status.PERMISSION_DENIED,
      details: 'The process that called has ended.',
    });
  });

  it('is refused once it has become another user, as by running a set-user-ID program', async () => {
    const { client, procRoot } = await faked();
    await fetchToken(client);
    await writeProcess(procRoot, 7, { uid: 0, gid: 1000 });
    const refused = {
      code: status.PERMISSION_DENIED,
      details: expect.stringMatching(/has changed its user or group since it connected/),
    };
    expect(await statusOf(fetchToken(client))).toEqual(refused);
    await writeProcess(procRoot, 7, { uid: 1000, gid: 0 });
    expect(await statusOf(fetchToken(client))).toEqual(refused);
  });

  it('that attestors know nothing about is Unavailable when all of them fail, and served when some do not', async () => {
    const broken: WorkloadAttestor = {
      type: 'broken',
      attest: async () => {
        throw new AppError('unavailable', 'The daemon is away.');
      },
    };
    const none = await faked({ attestors: [broken] });
    expect(await statusOf(fetchToken(none.client))).toEqual({
      code: status.UNAVAILABLE,
      details: 'Nothing could be found out about the caller. broken: The daemon is away.',
    });
    const some = await faked({ attestors: [broken, anybody] });
    expect((await fetchToken(some.client)).svids).toHaveLength(1);
  });

  it('gets no selectors of a kind that an attestor is not for, nor any that are too long', async () => {
    const odd: WorkloadAttestor = {
      type: 'test',
      attest: async () => ['unix:uid:0', `test:${'x'.repeat(600)}`, 'test:any'],
    };
    const { client, identities } = await faked({ attestors: [odd] });
    identities.set([testEntry({ spiffeId: WEB, selectors: ['unix:uid:0'] })]);
    expect(await statusOf(fetchToken(client))).toMatchObject({ code: status.PERMISSION_DENIED });
  });
});

describe('limits', () => {
  it('of connections, in all and of one user, close what is above them unanswered', async () => {
    const procRoot = await tempDirectory();
    await writeProcess(procRoot, 7, { uid: 1000, gid: 1000 });
    let uid = 1000;
    const credentialsOf = (): PeerCredentials => ({ pid: 7, uid, gid: 1000, pidfd: undefined });
    const { socketPath } = await startTestAgent({
      procRoot,
      credentialsOf,
      attestors: [anybody],
      limits: { maxConnections: 3, maxConnectionsPerUser: 2 },
    });
    const first = await rawConnection(socketPath);
    await rawConnection(socketPath);
    const third = await rawConnection(socketPath);
    await once(third, 'close');
    uid = 1001;
    await rawConnection(socketPath);
    uid = 1002;
    await once(await rawConnection(socketPath), 'close');
    // What ends makes room.
    first.destroy();
    uid = 1000;
    for (;;) {
      const next = await rawConnection(socketPath);
      const closed = await Promise.race([
        once(next, 'close').then(() => true),
        new Promise((done) => setTimeout(done, 50, false)),
      ]);
      if (closed === false) break;
    }
  });

  it('of calls of one process: Unavailable, not InvalidArgument', async () => {
    const agent = await startTestAgent({ limits: { callsPerSecond: 1, callBurst: 3 } });
    agent.identities.set([testEntry({ spiffeId: WEB })]);
    const client = clientOf(agent.socketPath);
    for (let i = 0; i < 3; i++) await fetchToken(client);
    expect(await statusOf(fetchToken(client))).toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringMatching(/Too many attempts/),
    });
  });

  it('of streams of one process; one that ends makes room', async () => {
    const agent = await startTestAgent({ limits: { maxStreamsPerProcess: 2 } });
    agent.identities.set([testEntry({ spiffeId: WEB })]);
    const client = clientOf(agent.socketPath);
    const open = () => new Received(client.fetchX509Bundles({}, secured));
    const [first, second] = [open(), open()];
    await Promise.all([first.next(), second.next()]);
    expect(await open().status()).toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringMatching(/2 streams open/),
    });
    first.cancel();
    for (;;) {
      const third = open();
      const served = await third.next().then(
        () => true,
        () => false,
      );
      if (served) break;
    }
  });

  it('of streams of one user, whatever their processes are', async () => {
    const procRoot = await tempDirectory();
    let pid = 6;
    const agent = await startTestAgent({
      procRoot,
      attestors: [anybody],
      limits: { maxStreamsPerUser: 2 },
      credentialsOf: () => ({ pid, uid: 1000, gid: 1000, pidfd: undefined }),
    });
    agent.identities.set([testEntry({ spiffeId: WEB, selectors: ['test:any'] })]);
    const open = async () => {
      pid += 1;
      await writeProcess(procRoot, pid, { uid: 1000, gid: 1000 });
      return new Received(clientOf(agent.socketPath).fetchX509Bundles({}, secured));
    };
    await (await open()).next();
    await (await open()).next();
    expect(await (await open()).status()).toMatchObject({
      code: status.UNAVAILABLE,
      details: 'The user has 2 streams open already. Close some.',
    });
  });

  it('of calls whose caller is being attested; one that is done makes room', async () => {
    const waiting: (() => void)[] = [];
    const slow: WorkloadAttestor = {
      type: 'test',
      attest: async () => {
        await new Promise<void>((done) => waiting.push(done));
        return ['test:any'];
      },
    };
    const agent = await faked({ attestors: [slow], limits: { maxAttestationsPerProcess: 2 } });
    const calls = [fetchToken(agent.client), fetchToken(agent.client)];
    while (waiting.length < 2) await new Promise((done) => setImmediate(done));
    expect(await statusOf(fetchToken(agent.client))).toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringMatching(/2 calls already/),
    });
    for (const done of waiting.splice(0)) done();
    await Promise.all(calls);
    const next = fetchToken(agent.client);
    while (waiting.length < 1) await new Promise((done) => setImmediate(done));
    waiting[0]?.();
    expect((await next).svids).toHaveLength(1);
  });

  it('of one message', async () => {
    const agent = await startTestAgent();
    const client = clientOf(agent.socketPath);
    const audience = ['a'.repeat(2 * 1024 * 1024)];
    expect(await statusOf(answer((done) => client.fetchJwtsvid({ audience }, secured, done)))).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
    });
  });
});

describe('a caller that does not read', () => {
  it('holds one message of the agent and gets the latest when it reads, never a queue', async () => {
    const agent = await startTestAgent();
    const { identities } = agent;
    // Messages of some 200 KB: more than any window on the way.
    const entries = (round: number) =>
      Array.from({ length: 100 }, (_, i) =>
        testEntry({ spiffeId: `${WEB}-${i}`, hint: `${round} ${'x'.repeat(1000)} ${i}` }),
      );
    identities.set(entries(0));
    const stream = openRaw(await rawConnection(agent.socketPath));
    while (identities.leases < 100) await new Promise((done) => setImmediate(done));
    const rounds = 100;
    for (let round = 1; round <= rounds; round++) {
      identities.set(entries(round));
      await new Promise((done) => setTimeout(done, 1));
    }
    let messages = 0;
    for await (const message of messagesOf(stream)) {
      messages += 1;
      if (message.includes(`${rounds} x`)) break;
    }
    // The one that was under way, what was newest when that had gone, and the newest.
    expect(messages).toBeLessThan(4);
  });
});

describe('peer credentials', () => {
  it('are for Linux; elsewhere the agent says so when it starts', () => {
    const module = pathToFileURL(
      resolve(import.meta.dirname, '../../../../src/node/agent/workload-api/peer-credentials.ts'),
    ).href;
    const script = `Object.defineProperty(process, 'platform', { value: 'darwin' });
      const { checkPeerCredentialsSupport } = await import(${JSON.stringify(module)});
      try { checkPeerCredentialsSupport(); } catch (error) { process.stdout.write(error.code + ': ' + error.message); }`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(stdout).toMatch(
      /^unavailable: The agent identifies its callers by SO_PEERCRED and \/proc, which darwin does not have\. Run it on Linux/,
    );
  });

  it('of a process that has ended before its connection was accepted are refused, whatever kernel it is', async () => {
    const socket = { _handle: { fd: 3 } } as unknown as Socket;
    // What getsockopt fails with for SO_PEERPIDFD.
    const kernel = (failure: number) => (_fd: number, _level: number, name: number, value: Buffer) => {
      if (name === 77) return failure;
      value.writeInt32LE(4711, 0);
      return 0;
    };
    const [EINVAL, EMFILE, ESRCH, ENOPROTOOPT] = [22, 24, 3, 92];
    for (const gone of [EINVAL, ESRCH]) {
      await expectAppError(() => peerCredentials(socket, kernel(gone)), 'forbidden', /has ended/);
    }
    await expectAppError(() => peerCredentials(socket, kernel(EMFILE)), 'unavailable', /too many files/);
    expect(peerCredentials(socket, kernel(ENOPROTOOPT))).toMatchObject({ pid: 4711, pidfd: undefined });
  });

  it('that cannot be looked at for want of files are Unavailable: nobody is told that he has ended', () => {
    const module = (file: string) =>
      pathToFileURL(resolve(import.meta.dirname, '../../../../src/node/agent', file)).href;
    const script = `const { openSync } = await import('node:fs');
      const { isAlive } = await import(${JSON.stringify(module('workload-api/peer-credentials.ts'))});
      const { openProcess } = await import(${JSON.stringify(module('attest-workload/process-view.ts'))});
      const codeOf = (f) => { try { f(); return 'none'; } catch (error) { return error.code; } };
      try { for (;;) openSync('/dev/null'); } catch {}
      const codes = [codeOf(() => isAlive(3, 1)), codeOf(() => openProcess(process.pid))];
      process.stdout.write(codes.join(' '), () => process.exit());`;
    const run = 'ulimit -n 64; exec "$0" --input-type=module -e "$1"';
    const { stdout, stderr } = spawnSync('/bin/sh', ['-c', run, process.execPath, script], { encoding: 'utf8' });
    expect([stdout, stderr]).toEqual(['unavailable unavailable', '']);
  });

  it.runIf(process.platform === 'linux')('name this process, and hold a pidfd where the kernel has them', async () => {
    const seen: PeerCredentials[] = [];
    const { socketPath } = await startTestAgent({
      credentialsOf: (socket) => {
        const credentials = peerCredentials(socket);
        seen.push(credentials);
        return credentials;
      },
    });
    const socket = await rawConnection(socketPath);
    while (seen.length === 0) await new Promise((done) => setImmediate(done));
    const [peer] = seen;
    expect(peer).toMatchObject({ pid: process.pid, uid: process.geteuid?.(), gid: process.getegid?.() });
    const { pidfd, pid } = peer ?? {};
    if (pidfd === undefined || pid === undefined) return;
    expect([isAlive(pidfd, pid), isAlive(pidfd, pid + 1), isAlive(99_999, pid)]).toEqual([true, false, false]);
    expect(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8')).toContain('Pid:');
    const open = () => readdirSync('/proc/self/fd').length;
    const before = open();
    socket.destroy();
    // The pidfd and both ends of the connection.
    while (open() > before - 3) await new Promise((done) => setImmediate(done));
    expect(existsSync(`/proc/self/fdinfo/${pidfd}`)).toBe(false);
  });
});
