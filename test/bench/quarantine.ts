import { fork } from 'node:child_process';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { uuidv7 } from '../../src/base/random.ts';
import { Authority } from '../../src/control/authority/authority.ts';
import { Entries } from '../../src/control/authority/entries/entries.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import { Ledger } from '../../src/control/ledger/ledger.ts';
import { EventProducer } from '../../src/control/ledger/producer.ts';
import { LedgerRecorder } from '../../src/control/ledger/recorder.ts';
import { Publisher } from '../../src/control/policies/publisher.ts';
import { InQuarantine } from '../../src/control/policies/quarantine.ts';
import { Quarantines } from '../../src/control/policies/quarantines.ts';
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
import { rawEcho } from './push.ts';
import type { SidecarsReport, SidecarsRequest } from './quarantine-sidecars.ts';
import type { Row } from './report.ts';
import { alone, quantile, time } from './report.ts';

const SIDECARS = 1000;
const ROUNDS = 10;
const TRUST_DOMAIN = 'example.org';

/**
 * From the call that puts an identity into quarantine to the moment when the last of 1,000 sidecars refuses its calls and has cut
 * the connection that it had through each. Store and ledger are synced to disk before anything is pushed; the sidecars are in
 * another process, each with an mTLS connection of its own, its own policy client and its own enforcement.
 */
export async function benchQuarantine(directory: string): Promise<Row[]> {
  const closers: (() => unknown)[] = [];
  try {
    const mesh = await startMesh(directory, closers);
    const child = fork(join(import.meta.dirname, 'quarantine-sidecars.ts'));
    closers.unshift(() => child.kill());
    const heard = (kind: SidecarsReport['kind']) =>
      new Promise<void>((resolve, reject) => {
        const limit = setTimeout(() => reject(new Error(`the sidecars are not ${kind}`)), 60_000);
        const onMessage = (report: SidecarsReport) => {
          if (report.kind !== kind) return;
          clearTimeout(limit);
          child.off('message', onMessage);
          resolve();
        };
        child.on('message', onMessage);
      });
    const ready = heard('ready');
    child.send(mesh.request satisfies SidecarsRequest);
    await ready;

    const cut: number[] = [];
    const busy: number[] = [];
    const released: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      const refused = heard('refused');
      let start = performance.now();
      const cpu = process.cpuUsage();
      const { quarantine } = await mesh.quarantines.put(mesh.outcast, { reason: 'bench', actor: 'bench' });
      await refused;
      cut.push(performance.now() - start);
      const { user, system } = process.cpuUsage(cpu);
      busy.push((user + system) / 1000);
      const letIn = heard('released');
      start = performance.now();
      await mesh.quarantines.release(quarantine.id, { reason: 'bench', actor: 'bench' });
      await letIn;
      released.push(performance.now() - start);
    }
    const bytes = mesh.outcast.length;
    const reference = {
      name: `plain TCP: same bytes to ${SIDECARS} sockets, one byte back`,
      figure: await rawEcho(bytes),
    };
    const who = `last of ${SIDECARS.toLocaleString('en-US')} sidecars`;
    return [
      time(`quarantine → ${who} refuses, its connections cut, p50`, quantile(cut, 0.5), 'ms', reference),
      time(`quarantine → ${who} refuses, its connections cut, worst`, Math.max(...cut), 'ms', reference, '≤ 250 ms'),
      alone('quarantine, time of one core that the control plane needs, p50', quantile(busy, 0.5), 'ms'),
      time(`release → ${who} lets it in, new connections open, p50`, quantile(released, 0.5), 'ms', reference),
    ];
  } finally {
    for (const close of closers) await close();
  }
}

const absent = () => Promise.reject(new Error('not part of this'));

async function startMesh(directory: string, closers: (() => unknown)[]) {
  const deps = { clock: systemClock, logger: silentLogger };
  const trustDomain = TRUST_DOMAIN;
  const authority = await Authority.open({ trustDomain, keyStore: new MemoryKeyStore(), ...deps });
  const store = await openStore({ kind: 'sqlite', path: join(directory, 'quarantine.db') }, deps);
  closers.unshift(() => store.close());
  const ledger = await Ledger.open({ directory: join(directory, 'quarantine-ledger'), ...deps });
  closers.unshift(() => ledger.close());
  const producer = new EventProducer({ ledger, identity: () => authority.serverIdentity.current, ...deps });
  closers.unshift(() => producer.close());
  const recorder = new LedgerRecorder({ producer, clock: systemClock });
  const entries = new Entries({ store, trustDomain, clock: systemClock });
  const id = workloadId(trustDomain, 'shop', 'bench');
  const outcast = workloadId(trustDomain, 'shop', 'outcast');
  await entries.create({ spiffeId: id.uri, labels: { app: 'bench' } });
  const policies = await PolicyStore.open({ store, ...deps });
  closers.unshift(() => policies.close());
  await policies.put({ source: allowAll, author: 'bench' });
  const proxies = await Proxies.open({ store, ...deps, published: policies.current });
  closers.unshift(() => proxies.close());
  const publisher = new Publisher({
    policies: policies.current,
    services: proxies.services,
    bundle: authority.bundle,
    encode: encodeSnapshotContent,
    ...deps,
  });
  closers.unshift(() => publisher.close());
  const quarantine = await InQuarantine.open({ store, ...deps });
  closers.unshift(() => quarantine.close());
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
        quarantine: quarantine.current,
        proxies,
        entries,
        changes: store.revision,
      },
      audit: { connect: absent },
    },
    ...deps,
  });
  closers.unshift(() => server.close());
  const { privateKey } = generateKeyPair();
  const csr = createCsr(privateKey);
  const chainOf = (who: typeof id) =>
    authority.issue({ id: who, instanceId: uuidv7(systemClock), csr }).chain.map((der) => der.toString('base64'));
  const request: SidecarsRequest = {
    address: `127.0.0.1:${server.port}`,
    trustDomain,
    roots: bundlePem(authority.bundle.current),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    chains: Array.from({ length: SIDECARS }, () => chainOf(id)),
    outcast: chainOf(outcast),
  };
  const quarantines = new Quarantines({ store, trustDomain, clock: systemClock, recorder });
  return { request, quarantines, outcast: outcast.uri };
}

const allowAll = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: bench, namespace: shop }
spec: { action: ALLOW, rules: [{}] }
`;
