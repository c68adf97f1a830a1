import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { Nodes } from '../../../src/control/authority/nodes/nodes.ts';
import { openStore } from '../../../src/control/store/store.ts';
import type { PeerIdentity } from '../../../src/core/identity/chain.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { NodeGate } from '../../../src/edge/grpc/node-gate.ts';
import { auditService, clients, identityService, policyService } from '../../../src/wire/loader.ts';
import { toPolicyMessage } from '../../../src/wire/policy.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { openGate } from '../../support/open-gate.ts';
import type { IssuedSvid } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { listRecorder } from '../../support/recorder.ts';
import { tempDirectory } from '../../support/temp.ts';
import type { Bench } from './harness.ts';
import { absentServices, ClientStream, startBench, unary, WEB } from './harness.ts';

const AGENT = 'spiffe://example.org/writ/agent/x509pop/a1';
const write = { actor: 'admin' };

async function start() {
  const clock = new FakeClock(Date.now());
  const store = await openStore(
    { kind: 'sqlite', path: join(await tempDirectory(), 'writ.db') },
    { clock, logger: silentLogger },
  );
  onTestFinished(() => store.close());
  const nodes = await Nodes.open({ store, clock, logger: silentLogger, recorder: listRecorder() });
  onTestFinished(() => nodes.close());
  const authority = createTestAuthority();
  const watching = new WatchSource(0);
  const bench = await startBench(
    {
      nodes,
      identity: {
        ...absentServices.identity,
        signJwt: async (caller) => ({ token: caller.id.uri, spiffeId: caller.id.uri, issuedAt: 0, expiresAt: 1 }),
        signX509: async () => [],
      },
      policy: {
        ...absentServices.policy,
        published: new WatchSource({
          revision: 1,
          publishedAt: 0,
          for: () => ({ hash: Buffer.alloc(32, 1), content: Buffer.from('x') }),
        }),
        entries: { bySpiffeId: async () => ({ labels: {} }) },
        proxies: {
          connect: async () => {
            watching.set(watching.current + 1);
            return { sent: () => undefined, ack: () => undefined, nack: () => undefined, close: async () => undefined };
          },
        },
      },
    },
    { authority },
  );
  /** A node that has attested itself, with its certificate. */
  const admit = async (uri: string, instanceId: string, svid = authority.issue(uri, { instanceId })) => {
    await nodes.admit({
      instanceId,
      spiffeId: uri,
      kind: uri === AGENT ? 'agent' : 'workload',
      method: 'test',
      subject: instanceId,
      entryId: null,
      selectors: [],
      canReattest: false,
      serial: svid.serial,
      expiresAt: svid.notAfter,
    });
    return svid;
  };
  /** An open stream of a sidecar, which has got its first snapshot. */
  const watch = async (svid: IssuedSvid) => {
    const stream = new ClientStream(bench.client(clients.Policy, svid).Watch());
    stream.send(toPolicyMessage({ kind: 'hello', inbound: [], version: '1', haveHash: Buffer.alloc(0) }));
    await stream.receive();
    stream.send(toPolicyMessage({ kind: 'ack', revision: 1, hash: Buffer.alloc(32, 1) }));
    return stream;
  };
  return { bench, nodes, authority, admit, watch };
}

function signJwt(bench: Bench, svid: IssuedSvid): Promise<unknown> {
  return unary((callback) => bench.client(clients.Identity, svid).SignJwt({ audience: ['a'] }, callback));
}

describe('The gate in front of every call', () => {
  it('S2: every method of every service is in the table, and what is not is for nobody', async () => {
    const gate = new NodeGate({ nodes: openGate, clock: new FakeClock() });
    const as = (uri: string): PeerIdentity => ({
      id: parseSpiffeId(uri),
      instanceId: 'i',
      serial: '01',
      notBefore: 0,
      notAfter: 0,
      certificate: Buffer.alloc(0),
    });
    const may = async (path: string, uri: string) =>
      gate.check(path, as(uri)).then(
        () => true,
        () => false,
      );
    const table: Record<string, string> = {};
    for (const service of [identityService, policyService, auditService]) {
      for (const { path } of Object.values(service)) {
        table[path] = `${(await may(path, AGENT)) ? 'agent ' : ''}${(await may(path, WEB)) ? 'workload' : ''}`.trim();
      }
    }
    expect(table).toEqual({
      '/writ.v1.Identity/Watch': 'agent',
      '/writ.v1.Identity/SignX509': 'agent',
      '/writ.v1.Identity/SignWit': 'agent',
      '/writ.v1.Identity/SignJwt': 'agent workload',
      '/writ.v1.Identity/Renew': 'agent workload',
      '/writ.v1.Policy/Watch': 'workload',
      '/writ.v1.Audit/Ship': 'agent workload',
    });
    await expectAppError(gate.check('/writ.v1.Admin/Drop', as(AGENT)), 'forbidden', /is for nobody, and .* is none/);
    await expectAppError(gate.check('constructor', as(AGENT)), 'forbidden', /is for nobody/);
  });

  it('S2: a workload is no agent, an agent is no workload, and the control plane is neither', async () => {
    const { bench, admit } = await start();
    const web = await admit(WEB, 'web-1');
    const agent = await admit(AGENT, 'agent-1');
    const signX509 = (svid: IssuedSvid) =>
      unary((callback) => bench.client(clients.Identity, svid).SignX509({ items: [] }, callback));
    await expectAppError(signX509(web), 'forbidden', /SignX509 is for agents, and .*sa\/web is none of them/);
    const watch = new ClientStream(bench.client(clients.Policy, agent).Watch());
    await expectAppError(watch.end(), 'forbidden', /Policy\/Watch is for workloads/);
    const itself = bench.svid('spiffe://example.org/writ/control-plane');
    await expectAppError(signJwt(bench, itself), 'forbidden', /neither a workload nor an agent/);
    await signJwt(bench, web);
    await signJwt(bench, agent);
  });

  it('S1: a certificate of another trust domain, or of a stranger that claims ours, is none', async () => {
    const { bench } = await start();
    const foreign = createTestAuthority({ trustDomain: 'evil.example' }).issue('spiffe://evil.example/ns/shop/sa/web');
    await expectAppError(signJwt(bench, foreign), 'unauthenticated', /needs a client certificate of this trust domain/);
    await expectAppError(signJwt(bench, createTestAuthority().issue(WEB)), 'unauthenticated');
  });

  it('S3: an agent that is not attested is refused on every call; a workload that an agent serves is not', async () => {
    const { bench } = await start();
    const unknown = bench.svid(AGENT, { instanceId: 'agent-9' });
    await expectAppError(signJwt(bench, unknown), 'forbidden', /is not attested, or was evicted/);
    const stream = new ClientStream(bench.client(clients.Identity, unknown).Watch());
    await expectAppError(stream.end(), 'forbidden', /is not attested/);
    await signJwt(bench, bench.svid(WEB, { instanceId: 'served' }));
  });

  it('S3: a ban and an eviction end open streams at once, and refuse what comes after', async () => {
    const { bench, nodes, admit, watch } = await start();
    const banned = await admit(WEB, 'web-1');
    const evicted = await admit(WEB, 'web-2');
    const other = await admit(WEB, 'web-3');
    const [one, two, three] = [await watch(banned), await watch(evicted), await watch(other)];
    await nodes.ban('web-1', write);
    await expectAppError(one.end(), 'forbidden', /\(instance web-1\) is banned/);
    await nodes.evict('web-2', write);
    await expectAppError(two.end(), 'forbidden', /\(instance web-2\) was evicted/);
    await expectAppError(signJwt(bench, banned), 'forbidden', /banned/);
    await expectAppError(signJwt(bench, evicted), 'forbidden', /evicted/);
    await signJwt(bench, other);
    await nodes.evict('web-3', write);
    await expectAppError(three.end(), 'forbidden', /evicted/);
  });

  it('S3: once a renewed certificate is shown, streams that show the one before have 30 s, and calls none', async () => {
    const { bench, nodes, authority, admit, watch } = await start();
    const before = await admit(WEB, 'web-1');
    const old = await watch(before);
    const renewed = authority.issue(WEB, { instanceId: 'web-1' });
    await nodes.renewed('web-1', renewed.serial, renewed.notAfter, before.serial);
    await signJwt(bench, before);
    const current = await watch(renewed);
    await expectAppError(signJwt(bench, before), 'forbidden', /was replaced by a newer one/);
    await bench.clock.advance(29_000);
    expect(old.pending).toBe(0);
    const ended = old.end().then(
      () => 'ended',
      (error: Error) => error.message,
    );
    await bench.clock.advance(1_000);
    expect(await ended).toMatch(/was replaced by a newer one/);
    await nodes.evict('web-1', write);
    await expectAppError(current.end(), 'forbidden', /evicted/);
  });
});
