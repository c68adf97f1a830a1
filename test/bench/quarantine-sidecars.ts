import { createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { WatchSource } from '../../src/base/watch.ts';
import type { TrustBundle } from '../../src/core/identity/bundle.ts';
import { parsePemCertificates } from '../../src/core/identity/bundle.ts';
import type { PeerIdentity } from '../../src/core/identity/chain.ts';
import { verifyPeer } from '../../src/core/identity/chain.ts';
import type { Svid } from '../../src/node/agent/svid.ts';
import { ControlPlane } from '../../src/node/sidecar/control-plane.ts';
import type { Call, Verdict } from '../../src/node/sidecar/enforce.ts';
import { Enforcer } from '../../src/node/sidecar/enforce.ts';
import { PolicyCache } from '../../src/node/sidecar/policy-cache.ts';
import { PolicyClient } from '../../src/node/sidecar/policy-client.ts';
import { QuarantineKeeper } from '../../src/node/sidecar/quarantine/keeper.ts';
import { TokenVerifier } from '../../src/node/sidecar/token.ts';

/** The sidecars' side of the quarantine benchmark, a process of its own. It ends when its parent does. */
export interface SidecarsRequest {
  readonly address: string;
  readonly trustDomain: string;
  /** PEM. */
  readonly roots: string;
  readonly key: string;
  /** One chain a sidecar: base64 DER, leaf first. */
  readonly chains: readonly (readonly string[])[];
  /** Of who will be cut off. */
  readonly outcast: readonly string[];
}

export type SidecarsReport =
  /** All have a policy, and each lets one call of the outcast through to a connection that is open. */
  | { readonly kind: 'ready' }
  /** All refuse the outcast, and its connections are gone. */
  | { readonly kind: 'refused' }
  /** All let it in again, and it has a connection to each. */
  | { readonly kind: 'released' };

interface BenchSidecar {
  readonly enforcer: Enforcer;
  readonly keeper: QuarantineKeeper;
  readonly client: PolicyClient;
}

process.on('disconnect', () => process.exit(0));
process.on('message', (request: SidecarsRequest) => void run(request));
// Timers of ours do not keep a process alive.
setInterval(() => undefined, 2 ** 30);

async function run(request: SidecarsRequest): Promise<void> {
  const bundle: TrustBundle = {
    trustDomain: request.trustDomain,
    roots: parsePemCertificates(request.roots),
    jwks: { keys: [] },
    sequence: 1,
  };
  const chain = request.outcast.map((der) => Buffer.from(der, 'base64'));
  const peer = verifyPeer(chain, bundle, { now: Date.now() });
  const sidecars: BenchSidecar[] = [];
  for (const each of request.chains) sidecars.push(await start(request, bundle, each));
  for (const { client } of sidecars) {
    while (client.state.current === undefined) await client.state.next(client.state.version);
  }
  const connections = await Connections.open();
  let connected = await Promise.all(sidecars.map((sidecar) => connections.through(sidecar.enforcer, peer)));
  tell({ kind: 'ready' });
  const last = sidecars.length;
  let obeying = 0;
  for (const { keeper } of sidecars) {
    keeper.current.subscribe((list) => {
      obeying += 1;
      if (obeying < last) return;
      obeying = 0;
      void (list.ids.size > 0 ? confirmRefused() : confirmReleased());
    });
  }

  async function confirmRefused(): Promise<void> {
    const verdicts = await Promise.all(sidecars.map(({ enforcer }) => enforcer.admit(callOf(peer))));
    if (verdicts.some((verdict) => verdict.admitted)) throw new Error('the outcast was let in');
    await Promise.all(connected.map(({ closed }) => closed));
    tell({ kind: 'refused' });
  }

  async function confirmReleased(): Promise<void> {
    connected = await Promise.all(sidecars.map((sidecar) => connections.through(sidecar.enforcer, peer)));
    tell({ kind: 'released' });
  }
}

function tell(report: SidecarsReport): void {
  process.send?.(report);
}

async function start(request: SidecarsRequest, bundle: TrustBundle, chain: readonly string[]): Promise<BenchSidecar> {
  const { trustDomain } = request;
  const der = chain.map((each) => Buffer.from(each, 'base64'));
  const { id, instanceId, notBefore, notAfter } = verifyPeer(der, bundle, { now: Date.now() });
  const svid: Svid = { id, instanceId, chain: der, privateKey: createPrivateKey(request.key), notBefore, notAfter };
  const identity = new WatchSource(svid);
  const controlPlane = new ControlPlane({
    server: request.address,
    identity,
    bundle: new WatchSource(bundle),
    clock: systemClock,
  });
  // Each sidecar of a mesh writes one file to a disk of its own; a thousand on this one would measure the disk. Here nothing can
  // be written, which is tried after everything that is measured.
  const stateDirectory = join('/nonexistent', instanceId);
  const keeper = await QuarantineKeeper.open({ stateDirectory, logger: silentLogger });
  const client = await PolicyClient.open({
    clients: controlPlane.clients,
    cache: new PolicyCache({ stateDirectory, spiffeId: id.uri, logger: silentLogger }),
    quarantine: keeper,
    trustDomain,
    inbound: () => [],
    version: 'bench',
    clock: systemClock,
    logger: silentLogger,
  });
  void client.run(new AbortController().signal);
  const enforcer = new Enforcer({
    identity,
    policy: client.state,
    quarantine: keeper.current,
    recorder: { append: async () => undefined },
    tokens: new TokenVerifier({ audiences: [id.uri], clock: systemClock }),
    clock: systemClock,
    logger: silentLogger,
  });
  return { enforcer, keeper, client };
}

/** Real connections on loopback, each carried by one call that a sidecar has let in. */
class Connections {
  readonly #port: number;

  static async open(): Promise<Connections> {
    const server = createServer((socket) => socket.on('error', () => undefined));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return new Connections(address.port);
  }

  private constructor(port: number) {
    this.#port = port;
  }

  /** Resolves when it is open, with a promise in a box that resolves when it is gone. */
  async through(enforcer: Enforcer, peer: PeerIdentity): Promise<{ readonly closed: Promise<unknown> }> {
    const verdict: Verdict = await enforcer.admit(callOf(peer));
    if (!verdict.admitted) throw new Error('the caller was refused');
    const socket: Socket = connect(this.#port, '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    verdict.onCut(() => socket.destroy());
    return { closed: once(socket, 'close') };
  }
}

function callOf(peer: PeerIdentity): Call {
  return {
    peer,
    port: 5432,
    protocol: 'tcp',
    method: '',
    host: '',
    target: '',
    traceId: '',
    authorization: undefined,
    fields: [],
    connection: {},
    malformed: undefined,
  };
}
