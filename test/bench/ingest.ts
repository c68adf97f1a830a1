import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { uuidv7 } from '../../src/base/random.ts';
import { Authority } from '../../src/control/authority/authority.ts';
import { MemoryKeyStore } from '../../src/control/authority/keys/key-store.ts';
import { Ledger } from '../../src/control/ledger/ledger.ts';
import { EventProducer } from '../../src/control/ledger/producer.ts';
import type { IdentityFacts } from '../../src/control/ledger/recorder.ts';
import { LedgerRecorder } from '../../src/control/ledger/recorder.ts';
import { batchKeyStatement, cutBatch, rawBatchKey } from '../../src/core/audit/batch.ts';
import { encodeEvent } from '../../src/core/audit/canonical.ts';
import type { DecisionEvent } from '../../src/core/audit/event.ts';
import type { Batch } from '../../src/core/audit/ship.ts';
import { createCsr } from '../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../src/core/identity/keys.ts';
import { workloadId } from '../../src/core/identity/spiffe-id.ts';
import { Spool } from '../../src/node/sidecar/spool.ts';
import { benchAuditLog } from './audit-log.ts';
import { fsyncPerSecond, sha256PerSecond } from './reference.ts';
import type { Row } from './report.ts';
import { quantile, rate, time } from './report.ts';

/**
 * Full batches from a few busy sidecars, then single events from many idle ones, then the spool of one sidecar, then what the
 * control plane itself records.
 */
export async function benchIngest(directory: string): Promise<Row[]> {
  const id = workloadId('example.org', 'shop', 'orders');
  const authority = await Authority.open({
    trustDomain: 'example.org',
    keyStore: new MemoryKeyStore(),
    clock: systemClock,
    logger: silentLogger,
  });
  const sidecars = (count: number) => Array.from({ length: count }, () => makeSidecar(authority, id));
  const fsync = fsyncPerSecond(directory, 4096);
  return [
    await fullBatches(join(directory, 'full'), sidecars(4), sha256PerSecond()),
    await singleEvents(join(directory, 'single'), sidecars(64), fsync),
    ...(await spool(join(directory, 'spool'), fsync)),
    ...(await log(join(directory, 'log'), sidecars(4), { sha256: sha256PerSecond(), fsync })),
    ...(await identityEvents(join(directory, 'identity'), authority, fsync)),
  ];
}

interface Sidecar {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly certificate: Buffer;
  readonly identityKey: KeyObject;
  readonly batchKey: KeyObject;
}

function makeSidecar(authority: Authority, id: ReturnType<typeof workloadId>): Sidecar {
  const instanceId = uuidv7(systemClock);
  const { privateKey } = generateKeyPair();
  const [certificate = Buffer.alloc(0)] = authority.issue({ id, instanceId, csr: createCsr(privateKey) }).chain;
  const batchKey = generateKeyPairSync('ed25519').privateKey;
  return { instanceId, spiffeId: id.uri, certificate, identityKey: privateKey, batchKey };
}

async function fullBatches(directory: string, sidecars: readonly Sidecar[], sha256: number): Promise<Row> {
  const perBatch = 4096;
  const batches = sidecars.map((sidecar) => cutChain(sidecar, 16, perBatch));
  const seconds = await ingest(directory, sidecars, batches);
  const events = (sidecars.length * 16 * perBatch) / seconds;
  const reference = { name: 'SHA-256 of 64 bytes, two an event', figure: sha256 / 2 };
  return rate('audit ingest: verified, durable, acknowledged', events, 'events/s', reference, '≥ 50,000 events/s');
}

async function singleEvents(directory: string, sidecars: readonly Sidecar[], fsync: number): Promise<Row> {
  const batches = sidecars.map((sidecar) => cutChain(sidecar, 40, 1));
  const seconds = await ingest(directory, sidecars, batches);
  const acks = (sidecars.length * 40) / seconds;
  const reference = { name: 'write of 4 KiB + fdatasync, one at a time', figure: fsync };
  return rate('audit ingest: batches of one event, 64 sidecars', acks, 'acks/s', reference);
}

/** A ledger of 2,000 batches with 64 events each, and the log over it. */
async function log(
  directory: string,
  sidecars: readonly Sidecar[],
  o: { readonly sha256: number; readonly fsync: number },
): Promise<Row[]> {
  const ledger = await Ledger.open({ directory: join(directory, 'ledger'), clock: systemClock, logger: silentLogger });
  try {
    await Promise.all(sidecars.map((sidecar) => ship(ledger, sidecar, cutChain(sidecar, 500, 64))));
    return await benchAuditLog(join(directory, 'log'), ledger, o);
  } finally {
    await ledger.close();
  }
}

async function ingest(directory: string, sidecars: readonly Sidecar[], batches: readonly Batch[][]): Promise<number> {
  const ledger = await Ledger.open({ directory, clock: systemClock, logger: silentLogger });
  const start = performance.now();
  await Promise.all(sidecars.map((sidecar, i) => ship(ledger, sidecar, batches[i] ?? [])));
  const seconds = (performance.now() - start) / 1000;
  await ledger.close();
  return seconds;
}

/** As a stream does: at most 8 unacknowledged. */
async function ship(ledger: Ledger, sidecar: Sidecar, batches: readonly Batch[]): Promise<void> {
  const { instanceId, spiffeId, certificate } = sidecar;
  const batchKey = rawBatchKey(sidecar.batchKey);
  const started = ledger.connect(
    { instanceId, spiffeId, certificate },
    {
      bootId: uuidv7(systemClock),
      epoch: 1,
      nextSeq: 1,
      lastBatchHash: Buffer.alloc(0),
      batchKey,
      batchKeySignature: sign('sha256', batchKeyStatement(instanceId, batchKey), sidecar.identityKey),
      time: Date.now(),
    },
  );
  if ('nack' in started) throw new Error(started.nack.message);
  const flying: Promise<unknown>[] = [];
  for (const batch of batches) {
    flying.push(
      started.session.append(batch).then((answer) => {
        if ('nack' in answer) throw new Error(answer.nack.message);
      }),
    );
    if (flying.length >= 8) await flying.shift();
  }
  await Promise.all(flying);
  started.session.close();
}

function cutChain(sidecar: Sidecar, count: number, perBatch: number): Batch[] {
  const batches: Batch[] = [];
  let prevHash: Buffer = Buffer.alloc(0);
  for (let n = 0; n < count; n++) {
    const firstSeq = n * perBatch + 1;
    const events = Array.from({ length: perBatch }, (_, i) => encodeEvent(event(firstSeq + i)));
    const cut = cutBatch({
      instanceId: sidecar.instanceId,
      epoch: 1,
      firstSeq,
      prevHash,
      events,
      privateKey: sidecar.batchKey,
    });
    prevHash = cut.hash;
    batches.push(cut.batch);
  }
  return batches;
}

/** One sidecar under load: 64 calls at a time, each waiting until its decision is durable. */
async function spool(directory: string, fsync: number): Promise<Row[]> {
  await mkdir(directory, { recursive: true });
  const opened = await Spool.open({ directory, clock: systemClock, logger: silentLogger });
  const count = 60_000;
  const samples = new Float64Array(count);
  let next = 0;
  const caller = async () => {
    while (next < count) {
      const n = next++;
      const start = performance.now();
      await opened.append(event(n));
      samples[n] = performance.now() - start;
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: 256 }, caller));
  const seconds = (performance.now() - start) / 1000;
  await opened.close();
  const one = { name: 'write of 4 KiB + fdatasync', figure: 1000 / fsync };
  return [
    rate(
      'spool: decisions made durable, 256 calls at a time',
      count / seconds,
      'events/s',
      { name: `${one.name}, one at a time`, figure: fsync },
      '≥ 50,000 events/s',
    ),
    time('spool: decision → durable, p99', quantile(samples, 0.99), 'ms', one, '≤ 20 ms'),
  ];
}

/** The control plane under load: 256 issuances at a time, each waiting until its event is durable in the ledger. */
async function identityEvents(directory: string, authority: Authority, fsync: number): Promise<Row[]> {
  const ledger = await Ledger.open({ directory, clock: systemClock, logger: silentLogger });
  const identity = () => authority.serverIdentity.current;
  const producer = new EventProducer({ ledger, identity, clock: systemClock, logger: silentLogger });
  const recorder = new LedgerRecorder({ producer, clock: systemClock });
  const count = 60_000;
  const samples = new Float64Array(count);
  let next = 0;
  const issuer = async () => {
    while (next < count) {
      const n = next++;
      const start = performance.now();
      await recorder.record(issued(n));
      samples[n] = performance.now() - start;
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: 256 }, issuer));
  const seconds = (performance.now() - start) / 1000;
  await producer.close();
  await ledger.close();
  const one = { name: 'write of 4 KiB + fdatasync', figure: 1000 / fsync };
  return [
    rate('identity events made durable in the ledger, 256 at a time', count / seconds, 'events/s', {
      name: `${one.name}, one at a time`,
      figure: fsync,
    }),
    time('identity event → durable in the ledger, p99', quantile(samples, 0.99), 'ms', one),
  ];
}

function issued(n: number): IdentityFacts {
  const hex = n.toString(16).padStart(12, '0');
  return {
    action: 'x509-svid',
    outcome: 'granted',
    subject: `spiffe://example.org/ns/shop/sa/service-${n % 977}`,
    actor: `spiffe://example.org/writ/agent/x509pop/${n % 101}`,
    entry: `01900000-0000-7000-8000-${hex}`,
    instance: `4bf92f3577b34da6a3ce${hex}`,
    serial: `5f2a8c11d0e94b7fa1b2${hex}`,
    method: '',
    selectors: ['unix:uid:1000', 'unix:path:/usr/bin/service'],
    audience: [],
    expiresAt: 1_767_229_200_000 + n,
    reason: '',
    source: '10.0.0.7',
  };
}

function event(n: number): DecisionEvent {
  const hex = n.toString(16).padStart(12, '0');
  return {
    kind: 'decision',
    call: `01900000-0000-7000-8000-${hex}`,
    time: 1_767_225_600_000 + n,
    source: 'spiffe://example.org/ns/shop/sa/web',
    destination: 'spiffe://example.org/ns/shop/sa/orders',
    protocol: 'http',
    method: 'GET',
    host: 'orders.shop.mesh',
    path: `/orders/${n % 977}`,
    port: 8080,
    decision: n % 10 === 0 ? 'deny' : 'allow',
    reason: n % 10 === 0 ? 'default-deny' : 'allow-rule',
    rule: n % 10 === 0 ? 'default-deny' : 'shop/orders@12#0',
    policyRevision: 12,
    traceId: `4bf92f3577b34da6a3ce${hex}`,
    tokenSubject: '',
    certificateSerial: '5f2a8c11d0e94b7fa1b2c3d4e5f60718',
  };
}
