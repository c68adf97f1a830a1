import { createServer } from 'node:http';
import type {
  ServerDuplexStream,
  ServerUnaryCall,
  ServiceDefinition,
  sendUnaryData,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { Client, credentials, Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { createTestAuthority } from '../../support/pki.ts';
import { allow, exact, ORDERS, serve, service, TestSidecar, WEB } from './mesh.ts';

const bytes = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
const echo: ServiceDefinition = {
  say: { path: '/test.Echo/Say', requestStream: false, responseStream: false, ...bytes },
  chat: { path: '/test.Echo/Chat', requestStream: true, responseStream: true, ...bytes },
};

function same(value: Buffer): Buffer {
  return value;
}

interface World {
  readonly client: Client;
  readonly orders: TestSidecar;
  readonly seen: Metadata[];
}

/** A real gRPC client and server with two sidecars between them. */
async function start(policies = [allow()]): Promise<World> {
  const seen: Metadata[] = [];
  const server = new Server();
  const implementation: UntypedServiceImplementation = {
    say: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
      seen.push(call.metadata);
      const trailer = new Metadata();
      trailer.set('x-trailer', 'end');
      if (call.request.toString() === 'fail')
        callback({ code: status.DATA_LOSS, details: 'lost: 100 %', metadata: trailer });
      else callback(null, call.request, trailer);
    },
    chat: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (message: Buffer) => call.write(Buffer.from(message.toString().toUpperCase())));
      call.on('end', () => call.end());
      call.on('cancelled', () => seen.push(new Metadata()));
    },
  };
  server.addService(echo, implementation);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  onTestFinished(() => server.forceShutdown());
  const world = await between({ host: '127.0.0.1', port }, policies);
  return { ...world, seen };
}

async function between(application: { host: string; port: number }, policies = [allow()]) {
  const authority = createTestAuthority();
  const orders = new TestSidecar({ authority, id: ORDERS, policies });
  const inbound = await orders.inbound({ application });
  const web = new TestSidecar({ authority, id: WEB, services: [service('orders', [{ port: inbound.port }])] });
  const outbound = await web.outbound();
  const client = new Client(`127.0.0.1:${outbound.port}`, credentials.createInsecure(), {
    'grpc.default_authority': 'orders.shop.mesh',
  });
  onTestFinished(() => client.close());
  return { client, orders, web };
}

interface Said {
  readonly code: number;
  readonly text: string;
  readonly trailer: Metadata | undefined;
}

function say(client: Client, message: string | Buffer, metadata = new Metadata()): Promise<Said> {
  return new Promise((resolve) => {
    let trailer: Metadata | undefined;
    const call = client.makeUnaryRequest(
      '/test.Echo/Say',
      same,
      same,
      Buffer.from(message),
      metadata,
      (error, value) => {
        setImmediate(() =>
          resolve({
            code: error?.code ?? 0,
            text: error?.details ?? value?.toString() ?? '',
            trailer: error?.metadata ?? trailer,
          }),
        );
      },
    );
    call.on('status', (end) => {
      trailer = end.metadata;
    });
  });
}

test('a unary call goes through with metadata and trailers, and is recorded as gRPC', async () => {
  const { client, orders, seen } = await start();
  const metadata = new Metadata();
  metadata.set('x-request', 'a');
  metadata.set('x-forwarded-client-cert', 'By=evil');
  const said = await say(client, 'hello', metadata);
  expect([said.code, said.text, said.trailer?.get('x-trailer')]).toEqual([0, 'hello', ['end']]);
  expect(seen[0]?.get('x-request')).toEqual(['a']);
  expect(seen[0]?.get('x-forwarded-client-cert')).toEqual([expect.stringMatching(`^By=${ORDERS};Hash=.*;URI=${WEB}$`)]);
  expect(orders.recorder.decisions).toMatchObject([
    { protocol: 'grpc', method: 'POST', path: '/test.Echo/Say', host: 'orders.shop.mesh', decision: 'allow' },
  ]);
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 200, bytesIn: 10, bytesOut: 10 }]);
});

test('a status other than OK comes back with its message and trailers', async () => {
  const { client } = await start();
  const said = await say(client, 'fail');
  expect([said.code, said.text, said.trailer?.get('x-trailer')]).toEqual([status.DATA_LOSS, 'lost: 100 %', ['end']]);
});

test('large messages go through', async () => {
  const { client } = await start();
  const message = Buffer.alloc(3 * 1024 * 1024, 'x');
  expect((await say(client, message)).text).toBe(message.toString());
});

test('streams flow in both directions at once', async () => {
  const { client, orders } = await start();
  const call = client.makeBidiStreamRequest<Buffer, Buffer>('/test.Echo/Chat', same, same);
  const answers: string[] = [];
  const ended = new Promise<number>((resolve) => call.on('status', (end) => resolve(end.code)));
  call.on('data', (message: Buffer) => {
    answers.push(message.toString());
    if (answers.length < 5) call.write(Buffer.from(`m${answers.length}`));
    else call.end();
  });
  call.write(Buffer.from('m0'));
  expect(await ended).toBe(0);
  expect(answers).toEqual(['M0', 'M1', 'M2', 'M3', 'M4']);
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 200, bytesIn: 35, bytesOut: 35 }]);
});

test('a call that is cancelled is cancelled at the application', async () => {
  const { client, orders, seen } = await start();
  const call = client.makeBidiStreamRequest<Buffer, Buffer>('/test.Echo/Chat', same, same);
  call.on('error', () => undefined);
  call.write(Buffer.from('x'));
  await new Promise((resolve) => call.once('data', resolve));
  call.cancel();
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 0 }]);
  await expect.poll(() => seen.length).toBe(1);
});

test('a refused call is PERMISSION_DENIED with the rule', async () => {
  const rules = [{ methods: [], paths: [exact('/test.Echo/Chat')], ports: [] }];
  const { client, orders, seen } = await start([allow('example.org/ns/shop/sa/web', rules)]);
  const said = await say(client, 'hello');
  expect([said.code, said.text]).toEqual([status.PERMISSION_DENIED, 'Refused by default-deny.']);
  expect(said.trailer?.get('x-writ-rule')).toEqual(['default-deny']);
  expect(seen).toEqual([]);
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 403 }]);
});

test('an unknown service is UNIMPLEMENTED, and without a control plane UNAVAILABLE', async () => {
  const { client, web } = await between({ host: '127.0.0.1', port: 1 });
  web.push([], []);
  expect((await say(client, 'x')).code).toBe(status.UNIMPLEMENTED);
  web.policy.set(undefined);
  expect((await say(client, 'x')).code).toBe(status.UNAVAILABLE);
});

test('an application that does not speak HTTP/2 is an error that says so, and not a silent change of protocol', async () => {
  const application = await serve(createServer((_req, res) => res.end('http/1.1')));
  const { client, orders } = await between(application);
  const said = await say(client, 'x');
  expect([said.code, said.text]).toEqual([
    status.UNAVAILABLE,
    'The application did not answer in HTTP/2 without TLS (h2c), which this call needs.',
  ]);
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 502 }]);
});
