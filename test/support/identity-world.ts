import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { uuidv7 } from '../../src/base/random.ts';
import type { Watch } from '../../src/base/watch.ts';
import { WatchSource } from '../../src/base/watch.ts';
import { Authority } from '../../src/control/authority/authority.ts';
import { Entries } from '../../src/control/authority/entries/entries.ts';
import { EntrySet } from '../../src/control/authority/entries/entry-set.ts';
import { Identities } from '../../src/control/authority/identities.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import { Nodes } from '../../src/control/authority/nodes/nodes.ts';
import { InQuarantine } from '../../src/control/policies/quarantine.ts';
import { Quarantines } from '../../src/control/policies/quarantines.ts';
import { AgentViews } from '../../src/control/registry/agent-views.ts';
import { Agents } from '../../src/control/registry/agents.ts';
import { openStore } from '../../src/control/store/store.ts';
import { agentId } from '../../src/core/identity/agent-id.ts';
import type { TrustBundle } from '../../src/core/identity/bundle.ts';
import { createCsr } from '../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../src/core/identity/keys.ts';
import { parseSpiffeId } from '../../src/core/identity/spiffe-id.ts';
import type { GrpcLimits } from '../../src/edge/grpc/limits.ts';
import type { GrpcServer } from '../../src/edge/grpc/server.ts';
import { startGrpcServer } from '../../src/edge/grpc/server.ts';
import { channelOptions, controlPlaneCredentials } from '../../src/node/agent/control-plane-tls.ts';
import type {
  AgentIdentitiesOptions,
  RunningAgentIdentities,
} from '../../src/node/agent/identities/agent-identities.ts';
import { openAgentIdentities } from '../../src/node/agent/identities/agent-identities.ts';
import type { Svid } from '../../src/node/agent/svid.ts';
import type { IdentityClient } from '../../src/wire/gen/writ/v1/Identity.ts';
import { clients } from '../../src/wire/loader.ts';
import { listRecorder } from './recorder.ts';
import { tempDirectory } from './temp.ts';

export const TRUST_DOMAIN = 'example.org';

/** The parts of the control plane that have to do with identities, as `main/server.ts` puts them together, without a network. */
export async function openIdentityState(o: { readonly clock?: Clock } = {}) {
  const clock = o.clock ?? systemClock;
  const deps = { clock, logger: silentLogger };
  const store = await openStore({ kind: 'sqlite', path: join(await tempDirectory(), 'writ.db') }, deps);
  onTestFinished(() => store.close());
  const recorder = listRecorder();
  const authority = await Authority.open({ trustDomain: TRUST_DOMAIN, keyStore: new MemoryKeyStore(), ...deps });
  const entries = new Entries({ store, trustDomain: TRUST_DOMAIN, clock });
  const entrySet = await EntrySet.open({ store, trustDomain: TRUST_DOMAIN, ...deps });
  onTestFinished(() => entrySet.close());
  const nodes = await Nodes.open({ store, recorder, ...deps });
  onTestFinished(() => nodes.close());
  const views = new AgentViews({ trustDomain: TRUST_DOMAIN, entries: entrySet.current });
  onTestFinished(() => views.close());
  // What everybody verifies with: a test may say that a root is tainted.
  const bundle = new WatchSource<TrustBundle>(authority.bundle.current);
  const federated = new WatchSource<ReadonlyMap<string, TrustBundle>>(new Map());
  const agents = new Agents({ views, bundle, federated, nodes, ...deps });
  onTestFinished(() => agents.close());
  const quarantines = new Quarantines({ store, trustDomain: TRUST_DOMAIN, clock, recorder: listRecorder() });
  const quarantine = await InQuarantine.open({ store, ...deps });
  onTestFinished(() => quarantine.close());
  const identities = new Identities({ authority, entries: entrySet, views, nodes, quarantine, recorder, ...deps });

  /** An agent that has attested itself: its node is known, and it holds its certificate. */
  const admit = async (name: string, selectors: readonly string[] = []): Promise<Svid> => {
    const id = agentId(TRUST_DOMAIN, 'test', name);
    return await admitAs('agent', id.uri, selectors);
  };
  const admitAs = async (
    kind: 'agent' | 'workload',
    spiffeId: string,
    selectors: readonly string[],
    node: { readonly canReattest?: boolean; readonly entryId?: string } = {},
  ): Promise<Svid> => {
    const { privateKey } = generateKeyPair();
    const id = parseSpiffeId(spiffeId);
    const instanceId = uuidv7(clock);
    const svid = authority.issue({ id, instanceId, csr: createCsr(privateKey) });
    const { serial, notAfter: expiresAt } = svid;
    await nodes.admit({
      instanceId,
      spiffeId,
      kind,
      method: 'test',
      subject: spiffeId,
      entryId: node.entryId ?? null,
      selectors,
      canReattest: node.canReattest ?? false,
      serial,
      expiresAt,
    });
    return { ...svid, privateKey };
  };
  return {
    clock,
    store,
    recorder,
    authority,
    entries,
    entrySet,
    nodes,
    views,
    bundle,
    federated,
    agents,
    identities,
    quarantines,
    quarantine,
    admit,
    admitAs,
  };
}

export type IdentityState = Awaited<ReturnType<typeof openIdentityState>>;

/** The same behind its gRPC face, over real TLS on loopback. */
export async function startIdentityWorld(o: { readonly limits?: Partial<GrpcLimits> } = {}) {
  const state = await openIdentityState();
  let server: GrpcServer | undefined;
  let port = 0;
  const start = async () => {
    server = await startGrpcServer({
      host: '127.0.0.1',
      port,
      identity: state.authority.serverIdentity,
      bundle: state.authority.bundle,
      services: {
        nodes: state.nodes,
        enrollment: { attest: absent },
        identity: state.identities,
        agents: state.agents,
        policy: {
          published: new WatchSource({ revision: 0, publishedAt: 0, for: absentNow }),
          proxies: { connect: absent },
          entries: { bySpiffeId: absent },
          changes: new WatchSource(0),
        },
        audit: { connect: absent },
      },
      clock: state.clock,
      logger: silentLogger,
      limits: { stopGraceMs: 50, ...o.limits },
    });
    port = server.port;
  };
  const stop = async () => {
    await server?.close();
    server = undefined;
  };
  await start();
  onTestFinished(stop);

  /** A connection of its own; closed when the test ends. */
  const connect = (svid: Svid): IdentityClient => {
    const credentials = controlPlaneCredentials({ bundle: state.authority.bundle.current, svid, clock: state.clock });
    const client = new clients.Identity(`127.0.0.1:${port}`, credentials, channelOptions);
    onTestFinished(() => client.close());
    return client;
  };

  /** The identities of an agent with this certificate, following the control plane until the test ends. */
  const runAgent = async (
    svid: Svid,
    options: Partial<AgentIdentitiesOptions> = {},
  ): Promise<RunningAgentIdentities & { stop(): Promise<void> }> => {
    const identities = await openAgentIdentities({
      clients: new WatchSource({ identity: connect(svid) }),
      trustDomain: TRUST_DOMAIN,
      agentId: svid.id.uri,
      stateDirectory: options.stateDirectory ?? (await tempDirectory()),
      version: 'test',
      clock: state.clock,
      logger: silentLogger,
      ...options,
    });
    const ending = new AbortController();
    const done = identities.run(ending.signal);
    const stopAgent = async () => {
      ending.abort();
      identities.close();
      await done;
    };
    onTestFinished(stopAgent);
    return Object.assign(identities, { stop: stopAgent });
  };
  return { ...state, connect, runAgent, start, stop };
}

/** The first value, from now on, that fulfils `isIt`. */
export async function until<T, U extends T>(watch: Watch<T>, isIt: (value: T) => value is U): Promise<U>;
export async function until<T>(watch: Watch<T>, isIt: (value: T) => boolean): Promise<T>;
export async function until<T>(watch: Watch<T>, isIt: (value: T) => boolean): Promise<T> {
  for (;;) {
    const { current, version } = watch;
    if (isIt(current)) return current;
    await watch.next(version);
  }
}

export const isThere = <T>(value: T | undefined): value is T => value !== undefined;

const absent = () => Promise.reject(new Error('not part of the test'));
const absentNow = () => {
  throw new Error('not part of the test');
};
