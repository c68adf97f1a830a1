import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import { JoinTokens } from '../../../../src/control/authority/attest/join-token.ts';
import { JoinTokenAttestor } from '../../../../src/control/authority/attest/join-token-attestor.ts';
import type { Attested, Attestor } from '../../../../src/control/authority/attest/method.ts';
import { Authority } from '../../../../src/control/authority/authority.ts';
import type { EntryInput } from '../../../../src/control/authority/entries/entries.ts';
import { Entries } from '../../../../src/control/authority/entries/entries.ts';
import { EntrySet } from '../../../../src/control/authority/entries/entry-set.ts';
import { MemoryKeyStore } from '../../../../src/control/authority/keys/key-store.ts';
import { directGrants } from '../../../../src/control/authority/nodes/direct-grants.ts';
import type { AttestRequest } from '../../../../src/control/authority/nodes/enrollment.ts';
import { Enrollment } from '../../../../src/control/authority/nodes/enrollment.ts';
import { Nodes } from '../../../../src/control/authority/nodes/nodes.ts';
import { openStore } from '../../../../src/control/store/store.ts';
import { verifyPeer } from '../../../../src/core/identity/chain.ts';
import { createCsr } from '../../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../../src/core/identity/keys.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import { listRecorder } from '../../../support/recorder.ts';
import { tempDirectory } from '../../../support/temp.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const CONTROL_PLANE = 'spiffe://example.org/writ/control-plane';

/** A method that believes whatever it is told: `<what it is> <selector>…`. */
const gullible: Attestor = {
  method: 'test',
  async attest({ payload, challenge }): Promise<Attested> {
    const [name = '', ...selectors] = payload.toString().split(' ');
    if (name === 'asked') expect((await challenge(Buffer.from('who?'))).toString()).toBe('me');
    return { subject: `test:${name}`, agentPath: [name], selectors, canReattest: true };
  },
};

async function start() {
  const clock = new FakeClock();
  const deps = { clock, logger: silentLogger };
  const store = await openStore({ kind: 'sqlite', path: join(await tempDirectory(), 'writ.db') }, deps);
  onTestFinished(() => store.close());
  const recorder = listRecorder();
  const trustDomain = 'example.org';
  const authority = await Authority.open({ trustDomain, keyStore: new MemoryKeyStore(), ...deps });
  const entries = new Entries({ store, trustDomain, clock });
  const entrySet = await EntrySet.open({ store, trustDomain, ...deps });
  onTestFinished(() => entrySet.close());
  const joinTokens = new JoinTokens({ store, clock });
  const nodes = await Nodes.open({ store, recorder, ...deps });
  onTestFinished(() => nodes.close());
  const enrollment = new Enrollment({
    authority,
    attestors: [new JoinTokenAttestor(joinTokens), gullible],
    nodes,
    grantsFor: directGrants(entrySet, clock, trustDomain),
    recorder,
    ...deps,
  });
  /** A new entry, with a join token for it. */
  const register = async (input: Partial<EntryInput> = {}) => {
    const entry = await entries.create({ spiffeId: WEB, labels: { app: 'web' }, ...input });
    const { token } = await joinTokens.create({ entryId: entry.id });
    return { entry, token };
  };
  /** An entry for who attests directly with the control plane. */
  const direct = async (input: Partial<EntryInput>) => {
    const entry = await entries.create({ spiffeId: WEB, parentId: CONTROL_PLANE, ...input });
    await entrySet.settled();
    return entry;
  };
  return { clock, store, authority, entries, joinTokens, nodes, recorder, enrollment, register, direct };
}

function attestation(token: string, csr = createCsr(generateKeyPair().privateKey)): AttestRequest {
  return { method: 'join_token', payload: Buffer.from(token), csr, source: '10.0.0.1' };
}

function test(payload: string, change: Partial<AttestRequest> = {}): AttestRequest {
  const csr = createCsr(generateKeyPair().privateKey);
  return { method: 'test', payload: Buffer.from(payload), csr, source: '10.0.0.1', ...change };
}

function badCsr(): Buffer {
  const forged = createCsr(generateKeyPair().privateKey);
  forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
  return forged;
}

describe('Enrollment', () => {
  it('gives the identity of the token’s entry, on the key of the CSR, with what is needed to verify others', async () => {
    const { enrollment, register, authority, clock, nodes } = await start();
    const { entry, token } = await register();
    const key = generateKeyPair();
    const { svid, entry: own, bundle } = await enrollment.attest(attestation(token, createCsr(key.privateKey)));
    const peer = verifyPeer(svid.chain, bundle, { now: clock.now() });
    expect(peer.id.uri).toBe(WEB);
    expect(peer.instanceId).toBe(svid.instanceId);
    expect(own).toEqual({ id: entry.id, spiffeId: WEB, labels: { app: 'web' } });
    expect(bundle).toBe(authority.bundle.current);
    expect(new X509Certificate(svid.chain[0] ?? '').publicKey.equals(key.publicKey)).toBe(true);
    expect(svid.notAfter - clock.now()).toBe(3600_000);
    await nodes.check(peer);
    expect(await nodes.get(peer.instanceId)).toMatchObject({
      kind: 'workload',
      entryId: entry.id,
      serial: svid.serial,
    });
  });

  it('S16: a workload does not become an agent, whatever the entry of its token says by now', async () => {
    const { enrollment, register, store, joinTokens } = await start();
    const { entry, token } = await register();
    const change = { spiffe_id: 'spiffe://example.org/writ/agent/x509pop/ab' };
    await store.transaction((trx) => trx.updateTable('entries').set(change).where('id', '=', entry.id).execute());
    await expectAppError(enrollment.attest(attestation(token)), 'forbidden', /is kept for Writ itself/);
    expect((await joinTokens.list()).items[0]).toMatchObject({ usedAt: null });
  });

  it('gives nothing that outlives the entry, by whatever proof', async () => {
    const { enrollment, register, direct, clock } = await start();
    const expiresAt = clock.now() + 90_500;
    const { token } = await register({ expiresAt });
    const selectors = ['test:who:me'];
    await direct({ spiffeId: 'spiffe://example.org/direct', selectors, expiresAt, x509TtlSeconds: 600 });
    const svids = [await enrollment.attest(attestation(token)), await enrollment.attest(test('me test:who:me'))];
    expect(svids.map(({ svid }) => svid.notAfter - clock.now())).toEqual([90_000, 90_000]);
  });

  it('gives each enrolled instance an id of its own', async () => {
    const { enrollment, register, joinTokens } = await start();
    const { entry, token } = await register();
    const one = await enrollment.attest(attestation(token));
    const other = await enrollment.attest(attestation((await joinTokens.create({ entryId: entry.id })).token));
    expect(other.svid.instanceId).not.toBe(one.svid.instanceId);
    expect(other.svid.instanceId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  });

  it('gives certificates the lifetime and the DNS names that the entry says', async () => {
    const { enrollment, register, clock } = await start();
    const { token } = await register({ x509TtlSeconds: 120, dnsNames: ['web.shop.example'] });
    const { svid } = await enrollment.attest(attestation(token));
    expect(svid.notAfter - clock.now()).toBe(120_000);
    expect(new X509Certificate(svid.chain[0] ?? '').subjectAltName).toBe(`URI:${WEB}, DNS:web.shop.example`);
  });

  it('S5: takes a token once, also when it is raced', async () => {
    const { enrollment, register, nodes } = await start();
    const { token } = await register();
    const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => enrollment.attest(attestation(token))));
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
    await expectAppError(enrollment.attest(attestation(token)), 'join-token-refused');
    expect((await nodes.list()).items).toHaveLength(1);
  });

  it('S5: refuses an expired token, an unknown one and one that is no text, all alike', async () => {
    const { enrollment, register, clock } = await start();
    const { token } = await register();
    await clock.advance(600_000);
    const messages = new Set<string>();
    for (const each of [token, 'wjt_unknown', '\ufffd\u0000', 'x'.repeat(10_000)]) {
      messages.add((await expectAppError(enrollment.attest(attestation(each)), 'join-token-refused')).message);
    }
    expect(messages.size).toBe(1);
  });

  it('S5: knows no other method than those that are enabled', async () => {
    const { enrollment } = await start();
    const request = { ...attestation('x'), method: 'tpm' };
    await expectAppError(enrollment.attest(request), 'invalid', /not enabled here\. Enabled: join_token, test\.$/);
  });

  it('S7: a CSR with a wrong signature is refused on attestation, and the token stays good', async () => {
    const { enrollment, register } = await start();
    const { token } = await register();
    for (const csr of [Buffer.from('no DER'), badCsr(), Buffer.alloc(0)]) {
      await expectAppError(enrollment.attest(attestation(token, csr)), 'csr-refused');
      await expectAppError(enrollment.attest(test('n1', { csr, agent: true })), 'csr-refused');
    }
    await expect(enrollment.attest(attestation(token))).resolves.toBeDefined();
  });

  it('S6: an agent is named by its method, by nothing that it says, and has no entry', async () => {
    const { enrollment, joinTokens, clock, nodes } = await start();
    const { id, token } = await joinTokens.create({ entryId: null });
    const { svid, entry, bundle } = await enrollment.attest({ ...attestation(token), agent: true });
    const peer = verifyPeer(svid.chain, bundle, { now: clock.now() });
    expect(peer.id.uri).toBe(`spiffe://example.org/writ/agent/join_token/${id}`);
    expect(entry).toBeUndefined();
    expect(nodes.agentSelectors(peer.instanceId)).toEqual([`join_token:id:${id}`]);
    expect(await nodes.get(peer.instanceId)).toMatchObject({ kind: 'agent', entryId: null, canReattest: false });
    await expectAppError(enrollment.attest({ ...attestation(token), agent: true }), 'join-token-refused');
  });

  it('a join token is for an agent or for a workload, and one of the other kind is not used up', async () => {
    const { enrollment, register, joinTokens } = await start();
    const { token: forWorkload } = await register();
    const { token: forAgent } = await joinTokens.create({ entryId: null });
    await expectAppError(
      enrollment.attest({ ...attestation(forWorkload), agent: true }),
      'forbidden',
      /is for a workload, not for an agent/,
    );
    await expectAppError(enrollment.attest(attestation(forAgent)), 'forbidden', /is for an agent, not for a workload/);
    await enrollment.attest(attestation(forWorkload));
    await enrollment.attest({ ...attestation(forAgent), agent: true });
  });

  it('S6: an agent that attests again is the same instance, and its certificate in use goes on until the new one is', async () => {
    const { enrollment, nodes, clock } = await start();
    const first = await enrollment.attest(test('n1 a:b', { agent: true }));
    const second = await enrollment.attest(test('n1 a:c', { agent: true }));
    expect(second.svid.instanceId).toBe(first.svid.instanceId);
    const who = (svid: typeof first.svid) => verifyPeer(svid.chain, first.bundle, { now: clock.now() });
    await nodes.check(who(first.svid));
    await nodes.check(who(second.svid));
    await expectAppError(nodes.check(who(first.svid)), 'forbidden', /newer one/);
    const other = await enrollment.attest(test('n2', { agent: true }));
    expect(other.svid.instanceId).not.toBe(first.svid.instanceId);
  });

  it('S6: a banned node cannot attest again, as agent or as workload; an evicted one can', async () => {
    const { enrollment, nodes, direct } = await start();
    await direct({ selectors: ['a:b'] });
    const write = { actor: 'admin' };
    const agent = await enrollment.attest(test('n1', { agent: true }));
    const job = await enrollment.attest(test('job a:b'));
    for (const [{ svid }, again] of [
      [agent, () => enrollment.attest(test('n1', { agent: true }))],
      [job, () => enrollment.attest(test('job a:b'))],
    ] as const) {
      await nodes.ban(svid.instanceId, write);
      await expectAppError(again(), 'forbidden', /is banned, and what is banned cannot attest/);
      await nodes.evict(svid.instanceId, write);
      await again();
    }
  });

  it('a workload that attests directly gets the first entry that its selectors match, and its variables', async () => {
    const { enrollment, direct, clock } = await start();
    await expectAppError(
      enrollment.attest(test('job a:b c:d')),
      'forbidden',
      'No entry is for what attests directly with these selectors: a:b, c:d. Its parentId must be the control plane.',
    );
    const entry = await direct({ selectors: ['a:b'] });
    // Of one millisecond, either id may be the first.
    await clock.advance(1);
    await direct({ spiffeId: `${WEB}2`, selectors: ['a:b', 'c:d'] });
    await direct({
      spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
      namespaces: ['shop'],
      selectors: ['k8s:ns:shop'],
    });
    expect((await enrollment.attest(test('job a:b c:d'))).entry?.id).toBe(entry.id);
    const templated = await enrollment.attest(test('pod k8s:ns:shop k8s:sa:cart'));
    expect(templated.entry?.spiffeId).toBe('spiffe://example.org/ns/shop/sa/cart');
    expect(templated.svid.id.uri).toBe('spiffe://example.org/ns/shop/sa/cart');
    await expectAppError(enrollment.attest(test('pod k8s:ns:bank k8s:sa:cart')), 'forbidden', /^No entry is for/);
  });

  it('a workload that attests again on its own certificate stays the same instance; nobody else becomes it', async () => {
    const { enrollment, direct, clock } = await start();
    await direct({ selectors: ['a:b'] });
    await direct({ spiffeId: `${WEB}2`, selectors: ['c:d'] });
    const { svid, bundle } = await enrollment.attest(test('job a:b'));
    const caller = verifyPeer(svid.chain, bundle, { now: clock.now() });
    const instanceOf = async (request: AttestRequest) => (await enrollment.attest(request)).svid.instanceId;
    expect(await instanceOf(test('job a:b', { caller }))).toBe(svid.instanceId);
    expect(await instanceOf(test('job a:b'))).not.toBe(svid.instanceId);
    expect(await instanceOf(test('other a:b', { caller }))).not.toBe(svid.instanceId);
    expect(await instanceOf(test('job c:d', { caller }))).not.toBe(svid.instanceId);
    expect(await instanceOf(test('job a:b', { caller: { ...caller, serial: 'ff' } }))).not.toBe(svid.instanceId);
  });

  it('S5: passes questions of the method on, and refuses a method that asks who cannot answer', async () => {
    const { enrollment } = await start();
    const challenge = async (question: Buffer) => {
      expect(question.toString()).toBe('who?');
      return Buffer.from('me');
    };
    await enrollment.attest(test('asked', { agent: true, challenge }));
    await expectAppError(enrollment.attest(test('asked', { agent: true })), 'invalid', /cannot be asked anything/);
  });

  it('records every grant before it is given, and every refusal', async () => {
    const { enrollment, register, recorder, nodes, direct } = await start();
    const { entry, token } = await register();
    const { svid } = await enrollment.attest(attestation(token));
    await expectAppError(enrollment.attest(attestation(token)), 'join-token-refused');
    await direct({ selectors: ['a:b'] });
    const job = await enrollment.attest(test('job a:b'));
    await nodes.ban(job.svid.instanceId, { actor: 'admin' });
    await expectAppError(enrollment.attest(test('job a:b')), 'forbidden');
    const base = { action: 'attestation', source: '10.0.0.1', audience: [] };
    expect(recorder.events.filter((event) => event.action === 'attestation')).toMatchObject([
      {
        ...base,
        outcome: 'granted',
        subject: WEB,
        actor: WEB,
        entry: entry.id,
        instance: svid.instanceId,
        serial: svid.serial,
        method: 'join_token',
        selectors: [expect.stringMatching(/^join_token:id:/)],
        expiresAt: svid.notAfter,
        reason: '',
      },
      {
        ...base,
        outcome: 'refused',
        method: 'join_token',
        subject: '',
        reason: expect.stringMatching(/^join-token-refused: The join token is not known/),
      },
      { ...base, outcome: 'granted', method: 'test', selectors: ['a:b'] },
      {
        ...base,
        outcome: 'refused',
        method: 'test',
        subject: WEB,
        selectors: ['a:b'],
        reason: expect.stringMatching(/^forbidden: .* is banned/),
      },
    ]);
    expect(JSON.stringify(recorder.events)).not.toContain(token);
  });

  it('gives nothing that cannot be recorded: the token is good again and no node is there', async () => {
    const { enrollment, register, recorder, nodes } = await start();
    const { token } = await register();
    recorder.fail();
    await expectAppError(enrollment.attest(attestation(token)), 'unavailable', 'The audit ledger cannot be written.');
    await expectAppError(enrollment.attest(test('n1', { agent: true })), 'unavailable');
    expect((await nodes.list()).items).toEqual([]);
    recorder.fail(false);
    await enrollment.attest(attestation(token));
  });

  it('an entry that has expired, is gone or is a template buys nothing', async () => {
    const { enrollment, register, joinTokens, entries, clock } = await start();
    const { token } = await register({ expiresAt: clock.now() + 60_000 });
    await clock.advance(60_000);
    const refusal = await enrollment.attest(attestation(token)).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ name: 'AppError' });
    const gone = await register({ spiffeId: `${WEB}2` });
    await entries.delete(gone.entry.id, '*');
    await expectAppError(enrollment.attest(attestation(gone.token)), 'join-token-refused');
    const template = await entries.create({
      spiffeId: 'spiffe://example.org/ns/shop/sa/{{k8s.sa}}',
      parentId: CONTROL_PLANE,
      selectors: ['k8s:ns:shop'],
    });
    await expectAppError(joinTokens.create({ entryId: template.id }), 'invalid', /has variables/);
  });
});
