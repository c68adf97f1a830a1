import { once } from 'node:events';
import { connect } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { clients } from '../../../src/wire/loader.ts';
import { startBench, unary } from './harness.ts';

describe('a gRPC server that anybody can reach', () => {
  it.each([
    ['an unknown method', 'application/grpc'],
    ['a foreign content type', 'text/plain'],
  ])('survives requests with %s whose connection breaks in the same packet', async (_, contentType) => {
    const bench = await startBench();
    for (let i = 0; i < 40; i++) await attack(bench.server.port, contentType);
    const health = bench.client(clients.Health);
    expect(await unary((callback) => health.Check({ service: '' }, callback))).toMatchObject({ status: 'SERVING' });
  });
});

/** HEADERS, DATA, HEADERS and a DATA on a stream that was never opened (a connection error), without a certificate. */
async function attack(port: number, contentType: string): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port, ALPNProtocols: ['h2'], rejectUnauthorized: false });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0)]));
  const head = Buffer.concat([
    literal(':method', 'POST'),
    literal(':scheme', 'https'),
    literal(':authority', 'a'),
    literal(':path', '/x/y'),
    literal('content-type', contentType),
  ]);
  const requests = [frame(1, 4, 3, head), frame(0, 0, 3, Buffer.alloc(5)), frame(1, 4, 5, head), frame(0, 0, 11)];
  socket.write(Buffer.concat(requests), () => socket.destroy());
  await once(socket, 'close');
}

/** RFC 9113 §4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541 §6.2.2, without Huffman coding. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
}
