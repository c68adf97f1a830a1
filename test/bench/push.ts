import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { uuidv7 } from '../../src/base/random.ts';
import { Authority } from '../../src/control/authority/authority.ts';
import { Entries } from '../../src/control/authority/entries/entries.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import { Publisher } from '../../src/control/policies/publisher.ts';
import { PolicyStore } from '../../src/control/policies/store.ts';
import { Proxies } from '../../src/control/registry/proxies.ts';
import { openStore } from '../../src/control/store/store.ts';
import { bundlePem } from '../../src/core/identity/bundle.ts';
import { createCsr } from '../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../src/core/identity/keys.ts';
import { workloadId } from '../../src/core/identity/spiffe-id.ts';
import { startGrpcServer } from '../../src/edge/grpc/server.ts';
import { encodeSnapshotContent } from '../../src/wire/policy.ts';
import { openGate } from '../support/open-gate.ts';
import type { ClientsRequest } from './push-clients.ts';
import type { Row } from './report.ts';
import { alone, quantile, time } from './report.ts';

const STREAMS = 1000;
const COMMITS = 40;
/** The first few find cold code. */
const WARM_UP = 5;

/**
 * From the call that commits a policy to the moment when the last of 1,000 sidecars, each on an mTLS connection of its own in
 * another process, has acknowledged it. SQLite with synchronous=FULL; the sidecars decode the snapshot.
 */
export async function benchPush(directory: string): Promise<Row[]> {
  const closers: (() => unknown)[] = [];
  try {
    const mesh = await startMesh(directory, closers);
    const rssBefore = process.memoryUsage.rss();
    const clients = fork(join(import.meta.dirname, 'push-clients.ts'));
    closers.unshift(() => clients.kill());
    clients.send(mesh.request satisfies ClientsRequest);
    await mesh.acknowledged(0);
    const kilobytesPerStream = (process.memoryUsage.rss() - rssBefore) / STREAMS / 1000;

    const samples: number[] = [];
    for (let i = 0; i < WARM_UP + COMMITS; i++) {
      const start = performance.now();
      const { policy } = await mesh.policies.put({
        source: document(i),
        author: 'bench',
        ifMatch: i === 0 ? undefined : '*',
      });
      await mesh.acknowledged(policy.revision);
      if (i >= WARM_UP) samples.push(performance.now() - start);
    }
    const echo = await rawEcho(mesh.contentBytes());
    const reference = { name: `plain TCP: same bytes to ${STREAMS} sockets, one byte back`, figure: echo };
    return [
      time(
        `policy commit → last of ${STREAMS.toLocaleString('en-US')} streams, p50`,
        quantile(samples, 0.5),
        'ms',
        reference,
      ),
      time(
        `policy commit → last of ${STREAMS.toLocaleString('en-US')} streams, p99`,
        quantile(samples, 0.99),
        'ms',
        reference,
        '≤ 250 ms',
      ),
      alone('memory of the server per stream', kilobytesPerStream, 'kB', '≤ 120 kB'),
    ];
  } finally {
    for (const close of closers) await close();
  }
}

const absent = () => Promise.reject(new Error('not part of this'));

async function startMesh(directory: string, closers: (() => unknown)[]) {
  const clock = systemClock;
  const logger = silentLogger;
  const trustDomain = 'example.org';
  const authority = await Authority.open({ trustDomain, keyStore: new MemoryKeyStore(), clock, logger });
  const store = await openStore({ kind: 'sqlite', path: join(directory, 'push.db') }, { clock, logger });
  closers.unshift(() => store.close());
  const entries = new Entries({ store, trustDomain, clock });
  const id = workloadId(trustDomain, 'shop', 'bench');
  await entries.create({ spiffeId: id.uri, labels: { app: 'bench' } });
  const policies = await PolicyStore.open({ store, clock, logger });
  closers.unshift(() => policies.close());
  const proxies = await Proxies.open({ store, clock, logger, published: policies.current });
  closers.unshift(() => proxies.close());
  const publisher = new Publisher({
    policies: policies.current,
    services: proxies.services,
    bundle: authority.bundle,
    encode: encodeSnapshotContent,
    clock,
    logger,
  });
  closers.unshift(() => publisher.close());
  const acks = new Acknowledgements();
  const server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    identity: authority.serverIdentity,
    bundle: authority.bundle,
    services: {
      nodes: openGate,
      enrollment: { attest: absent },
      identity: { renew: absent, signX509: absent, signWit: absent, signJwt: absent },
      agents: {
        connect: () => {
          throw new Error('not part of this');
        },
      },
      policy: {
        published: publisher.current,
        entries,
        changes: store.revision,
        proxies: {
          connect: async (hello) => {
            const connection = await proxies.connect(hello);
            return {
              sent: (revision, hash) => connection.sent(revision, hash),
              nack: (revision, hash, error) => connection.nack(revision, hash, error),
              close: (how) => connection.close(how),
              ack: (revision, hash) => {
                connection.ack(revision, hash);
                acks.add(hello.instanceId, revision);
              },
            };
          },
        },
      },
      audit: { connect: absent },
    },
    clock,
    logger,
  });
  closers.unshift(() => server.close());

  const { privateKey } = generateKeyPair();
  const csr = createCsr(privateKey);
  const chains = Array.from({ length: STREAMS }, () =>
    authority.issue({ id, instanceId: uuidv7(clock), csr }).chain.map((der) => der.toString('base64')),
  );
  const request: ClientsRequest = {
    address: `127.0.0.1:${server.port}`,
    roots: bundlePem(authority.bundle.current),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    chains,
  };
  return {
    policies,
    request,
    acknowledged: (revision: number) => acks.all(revision),
    contentBytes: () => publisher.current.current.for(id.uri, { app: 'bench' }).content.length,
  };
}

/** The revision that each stream has acknowledged. */
class Acknowledgements {
  readonly #revisions = new Map<string, number>();
  #check: () => void = () => undefined;

  add(instanceId: string, revision: number): void {
    this.#revisions.set(instanceId, revision);
    this.#check();
  }

  all(revision: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`revision ${revision} was not acknowledged by all`)), 60_000);
      this.#check = () => {
        if (this.#revisions.size < STREAMS) return;
        for (const each of this.#revisions.values()) if (each < revision) return;
        clearTimeout(limit);
        this.#check = () => undefined;
        resolve();
      };
      this.#check();
    });
  }
}

function document(i: number): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: bench, namespace: shop }
spec:
  action: ALLOW
  rules:
    - from: [{ source: { principals: ["example.org/ns/shop/sa/caller-${i}"] } }]
`;
}

/** Median milliseconds to write `bytes` to as many plain sockets, in another process, and hear one byte from each. */
export async function rawEcho(bytes: number): Promise<number> {
  const sockets: Socket[] = [];
  let replies = 0;
  let heardAll: () => void = () => undefined;
  const server = createServer((socket) => {
    sockets.push(socket.setNoDelay());
    if (sockets.length === STREAMS) heardAll();
    socket.on('data', (data) => {
      replies += data.length;
      if (replies === STREAMS) heardAll();
    });
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const echo = fork(join(import.meta.dirname, 'push-clients.ts'));
  echo.send({ echoPort: address.port, connections: STREAMS, bytes } satisfies ClientsRequest);
  await new Promise<void>((resolve) => {
    heardAll = resolve;
  });
  const data = Buffer.alloc(bytes, 1);
  const samples: number[] = [];
  for (let i = 0; i < COMMITS; i++) {
    replies = 0;
    const start = performance.now();
    const all = new Promise<void>((resolve) => {
      heardAll = resolve;
    });
    for (const socket of sockets) socket.write(data);
    await all;
    samples.push(performance.now() - start);
  }
  echo.kill();
  for (const socket of sockets) socket.destroy();
  server.close();
  return quantile(samples, 0.5);
}
