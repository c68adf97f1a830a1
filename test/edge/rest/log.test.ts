import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { verifyEventProof } from '../../../src/core/audit/event-proof.ts';
import { parseLogPolicy, verifyCheckpoint } from '../../../src/core/audit/log-policy.ts';
import { leafHash } from '../../../src/core/audit/merkle.ts';
import { splitBundle, splitTile } from '../../../src/core/audit/tile.ts';
import { decision, shippingIdentity } from '../../support/audit.ts';
import { logWorld, openTestLog, origin, SignedLedger } from '../../support/audit-log.ts';
import { testSidecar } from '../../support/test-sidecar.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem } from './world.ts';

const anonymous = { authorization: null };

async function logOf(count: number, o: { readonly isPublic?: boolean } = {}) {
  const sources = logWorld({ ledger: new SignedLedger([testSidecar(shippingIdentity('sidecar-a'))]) });
  const { log, sequencer } = await openTestLog(sources);
  sources.ledger.addMany(count);
  while (await sequencer.step());
  const world = await createWorld({ deps: { log, logIsPublic: o.isPublic ?? true } });
  return { world, sequencer, ...sources };
}

async function policyOf(world: World) {
  const { policy } = (await world.request({ url: '/v1/audit/log' })).json<{ policy: string }>();
  return parseLogPolicy(Buffer.from(policy));
}

describe('GET /log/checkpoint', () => {
  it('audit 11: gives the signed note as plain text that is not kept', async () => {
    const { world } = await logOf(3);
    const answer = await world.request({ url: '/log/checkpoint', headers: anonymous });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'text/plain; charset=utf-8',
      'cache-control': 'public, no-cache',
    });
    expect(verifyCheckpoint(answer.rawPayload, await policyOf(world))).toMatchObject({ origin, size: 3 });
  });

  it('asks for a token where the log is not public, and lets nobody keep it for others', async () => {
    const { world } = await logOf(3, { isPublic: false });
    for (const url of ['/log/checkpoint', '/log/tile/0/000.p/3']) {
      expectProblem(await world.request({ url, headers: anonymous }), 401, 'unauthenticated');
      const answer = await world.request({ url });
      expect(answer.statusCode).toBe(200);
      expect(answer.headers['cache-control']).toMatch(/^private, /);
    }
  });
});

describe('GET /log/tile', () => {
  it('audit 6, 7, 11: gives full and partial tiles as bytes that never change', async () => {
    const { world } = await logOf(300);
    const full = await world.request({ url: '/log/tile/0/000', headers: anonymous });
    expect(full.rawPayload).toHaveLength(8192);
    expect(full.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'cache-control': 'public, max-age=31536000, immutable',
    });
    expect((await world.request({ url: '/log/tile/0/001.p/44', headers: anonymous })).rawPayload).toHaveLength(44 * 32);
    expect((await world.request({ url: '/log/tile/1/000.p/1', headers: anonymous })).rawPayload).toHaveLength(32);
  });

  it('audit 9: serves the partial tiles of earlier checkpoints too, which are beginnings of what is there', async () => {
    const { world } = await logOf(300);
    const full = await world.request({ url: '/log/tile/0/000' });
    const partial = await world.request({ url: '/log/tile/0/000.p/17' });
    expect(partial.rawPayload).toEqual(full.rawPayload.subarray(0, 17 * 32));
  });

  it('audit 10: gives the entries in bundles that hash to the tiles, compressed where that is wanted', async () => {
    const { world, ledger } = await logOf(300);
    for (const [path, width] of [
      ['000', 256],
      ['001.p/44', 44],
      ['001.p/7', 7],
    ] as const) {
      const plain = await world.request({
        url: `/log/tile/entries/${path}`,
        headers: { 'accept-encoding': 'identity' },
      });
      expect(plain.headers['content-encoding']).toBeUndefined();
      expect(plain.headers.vary).toBe('accept-encoding');
      const entries = splitBundle(plain.rawPayload, width);
      const tile = await world.request({ url: `/log/tile/0/${path}` });
      expect(entries.map(leafHash)).toEqual(splitTile(tile.rawPayload, width));
      const packed = await world.request({
        url: `/log/tile/entries/${path}`,
        headers: { 'accept-encoding': 'br, gzip' },
      });
      expect(packed.headers['content-encoding']).toBe('gzip');
      expect(gunzipSync(packed.rawPayload)).toEqual(plain.rawPayload);
    }
    expect(ledger.batches).toHaveLength(300);
  });

  it('takes a refusal of gzip for one', async () => {
    const { world } = await logOf(1);
    const answer = await world.request({
      url: '/log/tile/entries/000.p/1',
      headers: { 'accept-encoding': 'gzip;q=0' },
    });
    expect(answer.headers['content-encoding']).toBeUndefined();
  });

  it.each([
    '/log/tile/0/001.p/45',
    '/log/tile/0/001',
    '/log/tile/0/002.p/1',
    '/log/tile/1/000',
    '/log/tile/2/000.p/1',
    '/log/tile/0/000.p/0',
    '/log/tile/0/x000/000',
    '/log/tile/entries/1',
    '/log/tile/',
    '/log/tile/0/..%2f..%2fstaging',
    '/log/tile/../../etc/passwd',
  ])('audit 8: %s is not there, and nobody remembers that', async (url) => {
    const { world } = await logOf(300);
    const answer = await world.request({ url });
    expectProblem(answer, 404, 'not-found');
    expect(answer.headers['cache-control'] ?? 'no-store').toBe('no-store');
  });

  it('audit 27: shows nothing of a batch before the checkpoint that covers it is published', async () => {
    const { world, sequencer, ledger } = await logOf(3);
    ledger.addMany(2);
    expectProblem(await world.request({ url: '/log/tile/0/000.p/5' }), 404, 'not-found');
    await sequencer.step();
    expect((await world.request({ url: '/log/tile/0/000.p/5' })).statusCode).toBe(200);
  });
});

describe('GET /v1/audit/log', () => {
  it('audit 23: names the log, its keys and a policy that trusts it', async () => {
    const { world } = await logOf(2);
    const body = (await world.request({ url: '/v1/audit/log' })).json();
    expect(body).toMatchObject({ origin, size: 2, path: '/log', public: true });
    expect(body.keys).toHaveLength(2);
    expectProblem(await world.request({ url: '/v1/audit/log', headers: anonymous }), 401, 'unauthenticated');
  });
});

describe('GET /v1/audit/proofs/{id}', () => {
  it('audit 22: gives a proof that verifies with the policy alone', async () => {
    const { world, ledger, sequencer } = await logOf(300);
    const calls = [decision(), decision(), decision()];
    ledger.add(calls);
    ledger.addMany(5);
    await sequencer.step();
    const answer = await world.request({ url: '/v1/audit/proofs/sidecar-a.1.302' });
    expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8');
    const proven = verifyEventProof(answer.rawPayload, await policyOf(world));
    expect(proven).toMatchObject({ event: calls[1], sequence: 302, leaf: 300, checkpoint: { size: 306 } });
  });

  it('audit 27: has none for an event that no published checkpoint covers yet', async () => {
    const { world, ledger } = await logOf(2);
    ledger.add();
    const answer = await world.request({ url: '/v1/audit/proofs/sidecar-a.1.3' });
    expectProblem(answer, 503, 'unavailable');
    expect(answer.headers['retry-after']).toBe('1');
  });

  it('has none for what is not on the record', async () => {
    const { world } = await logOf(2);
    expectProblem(await world.request({ url: '/v1/audit/proofs/sidecar-a.1.9' }), 404, 'not-found');
    expectProblem(await world.request({ url: '/v1/audit/proofs/nonsense' }), 404, 'not-found');
  });

  it('refuses to prove what the ledger holds now when that is not what was sealed', async () => {
    const { world, ledger } = await logOf(2);
    const [first, second] = ledger.batches;
    if (first === undefined || second === undefined) throw new Error('no batches');
    ledger.batches[0] = { ...first, receivedAt: first.receivedAt - 1000 };
    const answer = await world.request({ url: '/v1/audit/proofs/sidecar-a.1.1' });
    const { detail } = expectProblem(answer, 500, 'incompatible-data');
    expect(detail).toBe('Batch 0 of the ledger is not the one that the log has sealed: it was changed on disk.');
    ledger.batches[0] = { ...first, batch: { ...first.batch, header: second.batch.header } };
    expectProblem(await world.request({ url: '/v1/audit/proofs/sidecar-a.1.1' }), 500, 'incompatible-data');
  });
});
