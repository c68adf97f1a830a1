import { join } from 'node:path';
import type { Clock } from '../../src/base/clock.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { uuidv7 } from '../../src/base/random.ts';
import { WatchSource } from '../../src/base/watch.ts';
import { Authority } from '../../src/control/authority/authority.ts';
import { MemoryAuthorities } from '../../src/control/authority/authority-store.ts';
import { Entries } from '../../src/control/authority/entries/entries.ts';
import { EntrySet } from '../../src/control/authority/entries/entry-set.ts';
import type { IdentitiesOptions } from '../../src/control/authority/identities.ts';
import { Identities } from '../../src/control/authority/identities.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import { Nodes } from '../../src/control/authority/nodes/nodes.ts';
import { Rotation } from '../../src/control/authority/rotation.ts';
import { Ledger } from '../../src/control/ledger/ledger.ts';
import { EventProducer } from '../../src/control/ledger/producer.ts';
import { LedgerRecorder } from '../../src/control/ledger/recorder.ts';
import { AgentViews } from '../../src/control/registry/agent-views.ts';
import { Agents } from '../../src/control/registry/agents.ts';
import { openStore } from '../../src/control/store/store.ts';
import { agentId } from '../../src/core/identity/agent-id.ts';
import { bundlePem } from '../../src/core/identity/bundle.ts';
import { createCsr } from '../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../src/core/identity/keys.ts';
import { startGrpcServer } from '../../src/edge/grpc/server.ts';

export const TRUST_DOMAIN = 'example.org';

/** What agents need to know of a control plane. */
export interface Connection {
  readonly address: string;
  /** PEM. */
  readonly roots: string;
  /** Of all agents: PEM. */
  readonly key: string;
  readonly trustDomain: string;
  readonly sequence: number;
}

/** An agent that has attested itself. */
export interface Admitted {
  readonly spiffeId: string;
  readonly instanceId: string;
  /** base64 DER, leaf first. */
  readonly chain: readonly string[];
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export type Plane = Awaited<ReturnType<typeof startControlPlane>>;

/**
 * The identities' part of a control plane: SQLite with synchronous=FULL, a ledger that is synced before anything is handed out,
 * gRPC over TLS. `issuing` stands between those who ask and the authority.
 */
export async function startControlPlane(
  directory: string,
  closers: (() => unknown)[],
  o: {
    readonly issuing?: (authority: Authority) => IdentitiesOptions['authority'];
    /** By which authorities are rotated. Default the system's. */
    readonly rotationClock?: Clock;
  } = {},
) {
  const deps = { clock: systemClock, logger: silentLogger };
  const store = await openStore({ kind: 'sqlite', path: join(directory, 'control-plane.db') }, deps);
  closers.unshift(() => store.close());
  const keyStore = new MemoryKeyStore();
  const authorities = new MemoryAuthorities();
  const authority = await Authority.open({ trustDomain: TRUST_DOMAIN, keyStore, store: authorities, ...deps });
  const ledger = await Ledger.open({ directory: join(directory, 'ledger'), ...deps });
  closers.unshift(() => ledger.close());
  const producer = new EventProducer({ ledger, identity: () => authority.serverIdentity.current, ...deps });
  closers.unshift(() => producer.close());
  const recorder = new LedgerRecorder({ producer, clock: systemClock });
  const entries = new Entries({ store, trustDomain: TRUST_DOMAIN, clock: systemClock, recorder });
  const entrySet = await EntrySet.open({ store, trustDomain: TRUST_DOMAIN, ...deps });
  closers.unshift(() => entrySet.close());
  const nodes = await Nodes.open({ store, recorder, ...deps });
  closers.unshift(() => nodes.close());
  const views = new AgentViews({ trustDomain: TRUST_DOMAIN, entries: entrySet.current });
  closers.unshift(() => views.close());
  const agents = new Agents({ views, bundle: authority.bundle, nodes, ...deps });
  closers.unshift(() => agents.close());
  const rotation = new Rotation({
    authority,
    store: authorities,
    keyStore,
    followers: [agents],
    recorder,
    clock: o.rotationClock ?? systemClock,
    logger: silentLogger,
  });
  const absent = () => Promise.reject(new Error('not part of this'));
  const issuing = o.issuing?.(authority) ?? authority;
  const server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    identity: authority.serverIdentity,
    bundle: authority.bundle,
    services: {
      nodes,
      enrollment: { attest: absent },
      identity: new Identities({ authority: issuing, entries: entrySet, views, nodes, recorder, ...deps }),
      agents,
      policy: {
        published: new WatchSource({ revision: 0, publishedAt: 0, for: never }),
        proxies: { connect: absent },
        entries: { bySpiffeId: absent },
        changes: new WatchSource(0),
      },
      audit: { connect: absent },
    },
    ...deps,
  });
  closers.unshift(() => server.close());
  const { privateKey } = generateKeyPair();
  const csr = createCsr(privateKey);

  const admitOne = async (name: string, ttlSeconds: number): Promise<Admitted> => {
    const id = agentId(TRUST_DOMAIN, 'bench', name);
    const instanceId = uuidv7(systemClock);
    const svid = authority.issue({ id, instanceId, csr, ttlSeconds });
    await nodes.admit({
      instanceId,
      spiffeId: id.uri,
      kind: 'agent',
      method: 'bench',
      subject: id.uri,
      entryId: null,
      selectors: [],
      canReattest: false,
      serial: svid.serial,
      expiresAt: svid.notAfter,
    });
    const { notBefore, notAfter } = svid;
    return {
      spiffeId: id.uri,
      instanceId,
      chain: svid.chain.map((der) => der.toString('base64')),
      notBefore,
      notAfter,
    };
  };
  return {
    authority,
    authorities,
    rotation,
    agents,
    entries,
    entrySet,
    /** Makes agents known; `ttlSeconds` of the certificate of each, default an hour. */
    admit: async (count: number, prefix = 'a', ttlSeconds: (index: number) => number = () => 3600) => {
      const admitted: Admitted[] = [];
      for (let i = 0; i < count; i++) admitted.push(await admitOne(`${prefix}${i}`, ttlSeconds(i)));
      return admitted;
    },
    connection: (): Connection => ({
      address: `127.0.0.1:${server.port}`,
      roots: bundlePem(authority.bundle.current),
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      trustDomain: TRUST_DOMAIN,
      sequence: authority.bundle.current.sequence,
    }),
  };
}

/** An entry for a workload beside this agent. */
export function input(parentId: string, name: string) {
  return { parentId, spiffeId: `spiffe://${TRUST_DOMAIN}/${name}`, selectors: [`bench:name:${name}`] };
}

export async function createAll(entries: Entries, inputs: readonly ReturnType<typeof input>[]): Promise<void> {
  for (let at = 0; at < inputs.length; at += 1_000) {
    const items = inputs.slice(at, at + 1_000).map((each, index) => ({ input: each, pointer: `/${index}` }));
    await entries.createAll({ items });
  }
}

const never = () => {
  throw new Error('not part of this');
};
