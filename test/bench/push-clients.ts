import { connect } from 'node:net';
import { credentials } from '@grpc/grpc-js';
import { clients } from '../../src/wire/loader.ts';
import { decodeSnapshotContent, fromSnapshot, toPolicyMessage } from '../../src/wire/policy.ts';

/** The sidecars' side of the push benchmark, a process of its own. It ends when its parent does. */
export type ClientsRequest =
  | {
      readonly address: string;
      readonly roots: string;
      readonly key: string;
      /** One chain a stream: base64 DER, leaf first. */
      readonly chains: readonly (readonly string[])[];
    }
  | { readonly echoPort: number; readonly connections: number; readonly bytes: number };

process.on('disconnect', () => process.exit(0));
process.on('message', (request: ClientsRequest) => {
  if ('echoPort' in request) echo(request);
  else watchPolicy(request);
});

function watchPolicy({ address, roots, key, chains }: Exclude<ClientsRequest, { echoPort: number }>): void {
  for (const [n, chain] of chains.entries()) {
    const pem = chain.map((der) => `-----BEGIN CERTIFICATE-----\n${der}\n-----END CERTIFICATE-----\n`).join('');
    const tls = credentials.createSsl(Buffer.from(roots), Buffer.from(key), Buffer.from(pem), {
      checkServerIdentity: () => undefined,
    });
    const client = new clients.Policy(address, tls, {
      'grpc.ssl_target_name_override': 'writ-control-plane',
      'grpc.use_local_subchannel_pool': 1,
    });
    const stream = client.watch();
    stream.on('data', (message) => {
      const snapshot = fromSnapshot(message);
      if (snapshot.content !== undefined) decodeSnapshotContent(snapshot.content);
      stream.write(toPolicyMessage({ kind: 'ack', revision: snapshot.revision, hash: snapshot.hash }));
    });
    stream.on('error', (error) => {
      process.stderr.write(`stream ${n}: ${error.message}\n`);
      process.exit(1);
    });
    stream.write(toPolicyMessage({ kind: 'hello', inbound: [], version: 'bench', haveHash: Buffer.alloc(0) }));
  }
}

function echo({ echoPort, connections, bytes }: Extract<ClientsRequest, { echoPort: number }>): void {
  for (let i = 0; i < connections; i++) {
    const socket = connect(echoPort, '127.0.0.1').setNoDelay();
    let received = 0;
    socket.on('data', (data) => {
      received += data.length;
      for (; received >= bytes; received -= bytes) socket.write('x');
    });
    socket.on('error', () => undefined);
  }
}
