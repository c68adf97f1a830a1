import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { JoinTokens } from '../../../src/control/authority/attest/join-token.ts';
import { Authority } from '../../../src/control/authority/authority.ts';
import { Enrollment } from '../../../src/control/authority/enrollment.ts';
import type { EntryInput } from '../../../src/control/authority/entries.ts';
import { Entries } from '../../../src/control/authority/entries.ts';
import { MemoryKeyStore } from '../../../src/control/authority/key-store.ts';
import { openStore } from '../../../src/control/store/store.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';

async function start() {
  const clock = new FakeClock();
  const deps = { clock, logger: silentLogger };
  const store = await openStore({ kind: 'sqlite', path: join(await tempDirectory(), 'writ.db') }, deps);
  onTestFinished(() => store.close());
  const authority = await Authority.open({ trustDomain: 'example.org', keyStore: new MemoryKeyStore(), ...deps });
  const entries = new Entries({ store, trustDomain: 'example.org', clock });
  const joinTokens = new JoinTokens({ store, clock });
  const enrollment = new Enrollment({ authority, joinTokens, ...deps });
  /** A new entry, with a join token for it. */
  const register = async (input: Partial<EntryInput> = {}) => {
    const entry = await entries.create({ spiffeId: WEB, labels: { app: 'web' }, ...input });
    const { token } = await joinTokens.create({ entryId: entry.id });
    return { entry, token };
  };
  return { clock, authority, entries, enrollment, register };
}

function attestation(token: string, csr = createCsr(generateKeyPair().privateKey)) {
  return { method: 'join_token', payload: Buffer.from(token), csr, source: '10.0.0.1' };
}

describe('Enrollment', () => {
  it('gives the identity of the token’s entry, on the key of the CSR, with what is needed to verify others', async () => {
    const { enrollment, register, authority, clock } = await start();
    const { entry, token } = await register();
    const key = generateKeyPair();
    const { svid, entry: own, bundle } = await enrollment.attest(attestation(token, createCsr(key.privateKey)));
    const peer = verifyPeer(svid.chain, bundle, { now: clock.now() });
    expect(peer.id.uri).toBe(WEB);
    expect(peer.instanceId).toBe(svid.instanceId);
    expect(own).toEqual(entry);
    expect(bundle).toBe(authority.bundle.current);
    expect(new X509Certificate(svid.chain[0] ?? '').publicKey.equals(key.publicKey)).toBe(true);
    expect(svid.notAfter - clock.now()).toBe(3600_000);
  });

  it('gives each enrolled instance an id of its own', async () => {
    const { enrollment, register, entries } = await start();
    const one = await enrollment.attest(attestation((await register()).token));
    await entries.delete(one.entry.id, '*');
    const other = await enrollment.attest(attestation((await register()).token));
    expect(other.svid.instanceId).not.toBe(one.svid.instanceId);
    expect(other.svid.instanceId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  });

  it('gives certificates the lifetime that the entry says', async () => {
    const { enrollment, register, clock } = await start();
    const { token } = await register({ x509TtlSeconds: 120 });
    const { svid } = await enrollment.attest(attestation(token));
    expect(svid.notAfter - clock.now()).toBe(120_000);
  });

  it('takes a token once, also when it is raced', async () => {
    const { enrollment, register } = await start();
    const { token } = await register();
    const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => enrollment.attest(attestation(token))));
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
    await expectAppError(enrollment.attest(attestation(token)), 'join-token-refused');
  });

  it('leaves the token alone when the CSR is bad', async () => {
    const { enrollment, register } = await start();
    const { token } = await register();
    const forged = createCsr(generateKeyPair().privateKey);
    forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
    for (const csr of [Buffer.from('no DER'), forged, Buffer.alloc(0)]) {
      await expectAppError(enrollment.attest(attestation(token, csr)), 'csr-refused');
    }
    await expect(enrollment.attest(attestation(token))).resolves.toBeDefined();
  });

  it('refuses an expired token, an unknown one and one that is no text, all alike', async () => {
    const { enrollment, register, clock } = await start();
    const { token } = await register();
    await clock.advance(600_000);
    const messages = new Set<string>();
    for (const each of [token, 'wjt_unknown', '\ufffd\u0000', 'x'.repeat(10_000)]) {
      messages.add((await expectAppError(enrollment.attest(attestation(each)), 'join-token-refused')).message);
    }
    expect(messages.size).toBe(1);
  });

  it('knows no other method', async () => {
    const { enrollment, register } = await start();
    const { token } = await register();
    await expectAppError(enrollment.attest({ ...attestation(token), method: 'tpm' }), 'invalid', /join_token is/);
    await expect(enrollment.attest(attestation(token))).resolves.toBeDefined();
  });
});
