import type { ClientHttp2Session } from 'node:http2';
import { connect as connectHttp2 } from 'node:http2';
import type { SecureContext, TLSSocket } from 'node:tls';
import { createSecureContext } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseSpiffeId } from '../../core/identity/spiffe-id.ts';
import type { Trust } from '../../core/identity/trust.ts';
import { bundleFor } from '../../core/identity/trust.ts';
import type { Service, ServiceEndpoint } from '../../core/policy/snapshot.ts';
import { splitAddress } from '../agent/address.ts';
import type { Svid } from '../agent/svid.ts';
import { quarantined, quarantinedOf } from './checks/quarantine.ts';
import type { Limits } from './limits.ts';
import { MeshAgent } from './mesh-agent.ts';
import type { MeshConnection } from './mesh-connect.ts';
import { meshConnect } from './mesh-connect.ts';
import { ALPN_TCP, clientTls } from './mesh-tls.ts';
import type { Problem } from './problem.ts';
import type { QuarantineList } from './quarantine/list.ts';
import type { Http1Target } from './relay-http1.ts';

export interface MeshPoolDeps {
  readonly identity: Watch<Svid>;
  readonly trust: Watch<Trust>;
  /** Who is not connected to, and whose connections are cut. Default: nobody. */
  readonly quarantine?: Watch<QuarantineList>;
  readonly limits: Limits;
  readonly clock: Clock;
}

/** Everything that was opened with one certificate and the same trust. */
interface Generation {
  readonly svid: Svid;
  readonly trust: Trust;
  /** By trust domain: each is given its own roots and no others. */
  readonly secureContexts: Map<string, SecureContext>;
  readonly agents: Map<string, Http1Target & { readonly agent: MeshAgent }>;
  readonly sessions: Map<string, Http2Endpoint>;
}

interface Http2Endpoint {
  session: ClientHttp2Session | undefined;
  connecting: Promise<ClientHttp2Session> | undefined;
}

/**
 * Connections to other sidecars, pooled by service, endpoint and protocol: the identity that was verified is part of the
 * key. When the certificate or the trust changes, new calls open new connections; the old ones finish what they carry.
 */
export class MeshPool {
  readonly #o: MeshPoolDeps;
  readonly #unsubscribe: readonly (() => void)[];
  #generation: Generation;
  /** All that is open, of whatever generation, with the identity at its other end. */
  readonly #open = new Map<TLSSocket, string>();

  constructor(o: MeshPoolDeps) {
    this.#o = o;
    this.#generation = this.#newGeneration();
    const renew = () => {
      const old = this.#generation;
      this.#generation = this.#newGeneration();
      drain(old);
    };
    this.#unsubscribe = [
      o.identity.subscribe(renew),
      o.trust.subscribe(renew),
      ...(o.quarantine === undefined ? [] : [o.quarantine.subscribe((list) => this.#cut(list))]),
    ];
  }

  http1(service: Service, endpoint: ServiceEndpoint): Http1Target {
    const generation = this.#generation;
    const key = keyOf(service, endpoint);
    let target = generation.agents.get(key);
    if (target === undefined) {
      const { limits, clock } = this.#o;
      const open = () => this.#connect(generation, service, endpoint, 'http/1.1');
      target = { agent: new MeshAgent(open, clock, limits), ...splitAddress(endpoint.address) };
      generation.agents.set(key, target);
    }
    return target;
  }

  /** The first endpoint that can be reached. Nothing has been sent when it rejects. */
  async http2(service: Service, endpoints: readonly ServiceEndpoint[]): Promise<ClientHttp2Session> {
    return await firstThatConnects(endpoints, (endpoint) => this.#session(service, endpoint));
  }

  async tcp(service: Service, endpoints: readonly ServiceEndpoint[]): Promise<TLSSocket> {
    const open = (endpoint: ServiceEndpoint) => this.#connect(this.#generation, service, endpoint, ALPN_TCP);
    return (await firstThatConnects(endpoints, open)).socket;
  }

  /** Forgets endpoints that are no longer in the mesh; what is in flight to them finishes. */
  retain(services: Iterable<Service>): void {
    const wanted = new Set<string>();
    for (const service of services) for (const endpoint of service.endpoints) wanted.add(keyOf(service, endpoint));
    const { agents, sessions } = this.#generation;
    for (const [key, { agent }] of agents) {
      if (wanted.has(key)) continue;
      agent.drain();
      agents.delete(key);
    }
    for (const [key, endpoint] of sessions) {
      if (wanted.has(key)) continue;
      endpoint.session?.close();
      sessions.delete(key);
    }
  }

  close(): void {
    for (const stop of this.#unsubscribe) stop();
    drain(this.#generation);
  }

  #newGeneration(): Generation {
    const { identity, trust } = this.#o;
    return {
      svid: identity.current,
      trust: trust.current,
      secureContexts: new Map(),
      agents: new Map(),
      sessions: new Map(),
    };
  }

  #cut(list: QuarantineList): void {
    for (const [socket, peer] of [...this.#open]) if (this.#outcast(list, peer) !== undefined) socket.destroy();
  }

  /** Of the two of us, who is in quarantine. */
  #outcast(list: QuarantineList | undefined, peer: string): string | undefined {
    return list === undefined ? undefined : quarantinedOf(list, [peer, this.#o.identity.current.id.uri]);
  }

  async #connect(
    generation: Generation,
    service: Service,
    endpoint: ServiceEndpoint,
    alpn: string,
  ): Promise<MeshConnection> {
    this.#refuseQuarantined(service.spiffeId);
    const connection = await this.#handshake(generation, service, endpoint, alpn);
    const { socket } = connection;
    try {
      // While we connected, it may have come into quarantine.
      this.#refuseQuarantined(service.spiffeId);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    this.#open.set(socket, service.spiffeId);
    socket.once('close', () => this.#open.delete(socket));
    return connection;
  }

  #refuseQuarantined(peer: string): void {
    const list = this.#o.quarantine?.current;
    const outcast = this.#outcast(list, peer);
    if (list !== undefined && outcast !== undefined) throw new Quarantined(quarantined(list, outcast));
  }

  #handshake(
    generation: Generation,
    service: Service,
    endpoint: ServiceEndpoint,
    alpn: string,
  ): Promise<MeshConnection> {
    const { identity, limits, clock } = this.#o;
    if (clock.now() > identity.current.notAfter) {
      return Promise.reject(new AppError('unauthenticated', 'The certificate of this sidecar has expired.'));
    }
    const { trustDomain } = parseSpiffeId(service.spiffeId);
    const bundle = bundleFor(generation.trust, trustDomain);
    if (bundle === undefined) {
      const why = `The service is of the trust domain ${trustDomain}, which is not trusted here.`;
      return Promise.reject(new AppError('peer-refused', why));
    }
    return meshConnect({
      secureContext: contextFor(generation, bundle),
      bundle,
      address: endpoint.address,
      expected: service.spiffeId,
      alpn,
      halfOpen: alpn === ALPN_TCP,
      timeoutMs: limits.connectTimeoutMs,
      clock,
    });
  }

  #session(service: Service, endpoint: ServiceEndpoint): ClientHttp2Session | Promise<ClientHttp2Session> {
    const generation = this.#generation;
    const key = keyOf(service, endpoint);
    let entry = generation.sessions.get(key);
    if (entry === undefined) {
      entry = { session: undefined, connecting: undefined };
      generation.sessions.set(key, entry);
    }
    const { session } = entry;
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    const own = entry;
    own.connecting ??= this.#openSession(generation, own, service, endpoint).finally(() => {
      own.connecting = undefined;
    });
    return own.connecting;
  }

  async #openSession(
    generation: Generation,
    entry: Http2Endpoint,
    service: Service,
    endpoint: ServiceEndpoint,
  ): Promise<ClientHttp2Session> {
    const { clock, limits } = this.#o;
    const { socket, peer } = await this.#connect(generation, service, endpoint, 'h2');
    const session = connectHttp2(`https://${endpoint.address}`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: 1024 * 1024 },
      maxSessionMemory: 64,
    });
    session.on('error', () => undefined);
    const leave = () => {
      if (entry.session === session) entry.session = undefined;
    };
    session.once('goaway', leave);
    session.once('close', leave);
    session.setTimeout(limits.meshIdleMs, () => session.close());
    const cancel = clock.after(peer.notAfter - clock.now(), () => session.close());
    session.once('close', cancel);
    // The pool moved on while we connected: this one carries the calls that wait for it, and no more.
    if (this.#generation === generation) entry.session = session;
    else setImmediate(() => session.close());
    return session;
  }
}

/** A connection that is not made, whatever the policies say. */
export class Quarantined extends AppError {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super('forbidden', problem.detail);
    this.problem = problem;
  }
}

function contextFor(generation: Generation, bundle: TrustBundle): SecureContext {
  const { svid, secureContexts } = generation;
  let context = secureContexts.get(bundle.trustDomain);
  if (context === undefined) {
    context = createSecureContext(clientTls(svid, bundle));
    secureContexts.set(bundle.trustDomain, context);
  }
  return context;
}

/** Lets what is in flight finish, and nothing new begin. */
function drain(generation: Generation): void {
  for (const { agent } of generation.agents.values()) agent.drain();
  for (const { session } of generation.sessions.values()) session?.close();
}

function keyOf(service: Service, endpoint: ServiceEndpoint): string {
  return `${service.spiffeId} ${endpoint.address}`;
}

async function firstThatConnects<T>(
  endpoints: readonly ServiceEndpoint[],
  open: (endpoint: ServiceEndpoint) => T | Promise<T>,
): Promise<T> {
  let failure: unknown;
  for (const endpoint of endpoints) {
    try {
      return await open(endpoint);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
