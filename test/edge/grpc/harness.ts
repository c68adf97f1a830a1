import { X509Certificate } from 'node:crypto';
import type { Client, ClientDuplexStream } from '@grpc/grpc-js';
import { credentials } from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import type { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import type { GrpcLimits } from '../../../src/edge/grpc/limits.ts';
import type { GrpcServer } from '../../../src/edge/grpc/server.ts';
import { startGrpcServer } from '../../../src/edge/grpc/server.ts';
import type { ServerIdentity, Services } from '../../../src/edge/grpc/services.ts';
import { fromServiceError } from '../../../src/wire/errors.ts';
import { KEEPALIVE_TIME_MS, MAX_SNAPSHOT_BYTES } from '../../../src/wire/limits.ts';
import type { ClientConstructor } from '../../../src/wire/protocol.ts';
import { FakeClock } from '../../support/clock.ts';
import { openGate } from '../../support/open-gate.ts';
import type { IssuedSvid, TestAuthority } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';

export const WEB = 'spiffe://example.org/ns/shop/sa/web';
export const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

export interface Bench {
  readonly authority: TestAuthority;
  /** Stands at the real time when the test starts: TLS knows no other. */
  readonly clock: FakeClock;
  readonly identity: WatchSource<ServerIdentity>;
  readonly bundle: WatchSource<TrustBundle>;
  readonly server: GrpcServer;
  /** An SVID of the bench's own authority. */
  svid(id?: string, options?: Parameters<TestAuthority['issue']>[1]): IssuedSvid;
  /** Closed when the test ends. Without an SVID it has no client certificate. */
  client<C extends Client>(service: ClientConstructor<C>, svid?: IssuedSvid): C;
}

/** A server over real TLS on loopback, with services of the test's own. */
export async function startBench(
  services: Partial<Services> = {},
  options: { readonly limits?: Partial<GrpcLimits>; readonly authority?: TestAuthority } = {},
): Promise<Bench> {
  const authority = options.authority ?? createTestAuthority();
  const clock = new FakeClock(Date.now());
  const identity = new WatchSource(serverIdentity(authority));
  const bundle = new WatchSource(authority.bundle);
  const server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    identity,
    bundle,
    services: { ...absentServices, ...services },
    clock,
    logger: silentLogger,
    ...(options.limits !== undefined && { limits: options.limits }),
  });
  const clients: Client[] = [];
  onTestFinished(async () => {
    for (const client of clients) client.close();
    const closed = server.close();
    await clock.advance(10_000);
    await closed;
  });
  return {
    authority,
    clock,
    identity,
    bundle,
    server,
    svid: (id = WEB, issueOptions) => authority.issue(id, issueOptions),
    client(Service, svid) {
      const client = new Service(`127.0.0.1:${server.port}`, channelCredentials(authority, svid), {
        'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
        'grpc.max_receive_message_length': MAX_SNAPSHOT_BYTES,
        // An IP address is no server name.
        'grpc.ssl_target_name_override': 'writ-control-plane',
        // Each client has a connection of its own.
        'grpc.use_local_subchannel_pool': 1,
        'grpc.enable_retries': 0,
      });
      clients.push(client);
      return client;
    },
  };
}

export function serverIdentity(authority: TestAuthority): ServerIdentity {
  const svid = authority.issue(`spiffe://${authority.trustDomain}/writ/control-plane`);
  return { chain: svid.chain, privateKey: svid.privateKey, notAfter: svid.notAfter };
}

/** The client requires that the server is the control plane of its trust domain. */
function channelCredentials(authority: TestAuthority, svid: IssuedSvid | undefined) {
  const ca = Buffer.from(authority.issue(WEB).pem.ca);
  const key = svid === undefined ? null : Buffer.from(svid.pem.key);
  const certificate = svid === undefined ? null : Buffer.from(svid.pem.cert);
  return credentials.createSsl(ca, key, certificate, {
    checkServerIdentity: (_host, peer) => {
      const { subjectAltName } = new X509Certificate(peer.raw);
      const expected = `URI:spiffe://${authority.trustDomain}/writ/control-plane`;
      return subjectAltName === expected ? undefined : new Error(`the server is ${subjectAltName}`);
    },
  });
}

const nothing = () => {
  throw new Error('this service is not part of the test');
};
/** Services that no test calls. */
export const absentServices: Services = {
  nodes: openGate,
  enrollment: { attest: nothing },
  identity: { renew: nothing, signX509: nothing, signWit: nothing, signJwt: nothing },
  agents: { connect: nothing },
  policy: {
    published: new WatchSource({ revision: 0, publishedAt: 0, for: nothing }),
    proxies: { connect: nothing },
    entries: { bySpiffeId: nothing },
    changes: new WatchSource(0),
  },
  audit: { connect: nothing },
};

/** One unary call. */
export function unary<Response>(
  call: (callback: (error: Parameters<typeof fromServiceError>[0] | null, response?: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    call((error, response) => {
      if (error !== null) reject(fromServiceError(error));
      else resolve(response as Response);
    });
  });
}

/** The client's side of a stream, read by asking. */
export class ClientStream<In, Out> {
  readonly #received: Out[] = [];
  #waiting: (() => void) | undefined;
  /** How it ended: `ok`, or the error. */
  #end: AppError | 'ok' | undefined;
  readonly call: ClientDuplexStream<In, Out>;

  constructor(call: ClientDuplexStream<In, Out>) {
    this.call = call;
    call.on('data', (message: Out) => {
      this.#received.push(message);
      this.#waiting?.();
    });
    call.on('error', (error) => this.#ended(fromServiceError(error as Parameters<typeof fromServiceError>[0])));
    call.on('end', () => undefined);
    call.on('status', (status) => {
      if (status.code === 0) this.#ended('ok');
    });
    onTestFinished(() => call.cancel());
  }

  send(message: In): void {
    this.call.write(message);
  }

  /** The next message; rejects with the error when the stream ends with one, or with 'ok' as a text when it ends well. */
  async receive(): Promise<Out> {
    for (;;) {
      const message = this.#received.shift();
      if (message !== undefined) return message;
      if (this.#end === 'ok') throw new Error('the stream has ended: ok');
      if (this.#end !== undefined) throw this.#end;
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  /** How the stream ends; rejects when it ends with an error. */
  async end(): Promise<void> {
    while (this.#end === undefined) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    if (this.#end !== 'ok') throw this.#end;
  }

  /** Messages that have arrived and were not asked for. */
  get pending(): number {
    return this.#received.length;
  }

  #ended(how: AppError | 'ok'): void {
    this.#end ??= how;
    this.#waiting?.();
  }
}
