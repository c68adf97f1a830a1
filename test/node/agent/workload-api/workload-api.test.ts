import { createPrivateKey, createPublicKey, randomUUID, X509Certificate } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { decodeJwt } from 'jose';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { jwtKey } from '../../../../src/core/identity/bundle.ts';
import { verifyPeer } from '../../../../src/core/identity/chain.ts';
import { signJwtSvid } from '../../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../../src/core/identity/keys.ts';
import { parseSpiffeId } from '../../../../src/core/identity/spiffe-id.ts';
import { verifyWitSvid } from '../../../../src/core/identity/wit-svid.ts';
import type { ValidateJWTSVIDResponse__Output } from '../../../../src/wire/gen/ValidateJWTSVIDResponse.ts';
import { workloadApiService } from '../../../../src/wire/workload-api.ts';
import { FakeClock } from '../../../support/clock.ts';
import { createTestAuthority } from '../../../support/pki.ts';
import { away, TestIdentities, testEntry } from '../test-identities.ts';
import { answer, clientOf, header, Received, secured, startTestAgent, statusOf } from '../workload-client.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

/** DER certificates one after the other. */
function split(der: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let rest = der; rest.length > 0; ) {
    const { raw } = new X509Certificate(rest);
    found.push(raw);
    rest = rest.subarray(raw.length);
  }
  return found;
}

async function started(entries = [testEntry({ spiffeId: WEB })]) {
  const agent = await startTestAgent();
  agent.identities.set(entries);
  return { ...agent, client: clientOf(agent.socketPath) };
}

describe('the header of the Workload Endpoint', () => {
  it('spiffe 26: a call without the workload.spiffe.io header, with another value, or with it twice, is InvalidArgument', async () => {
    const { client } = await started();
    const refused = {
      code: status.INVALID_ARGUMENT,
      details: 'The metadata workload.spiffe.io must be there once, with the value "true".',
    };
    for (const metadata of [
      header(),
      header('True'),
      header('TRUE'),
      header(''),
      header('false'),
      header('true', 'true'),
    ]) {
      expect(await new Received(client.fetchX509Svid({}, metadata)).status()).toEqual(refused);
      expect(await new Received(client.fetchX509Bundles({}, metadata)).status()).toEqual(refused);
      expect(await new Received(client.fetchJwtBundles({}, metadata)).status()).toEqual(refused);
      expect(await new Received(client.fetchWitsvid({}, metadata)).status()).toEqual(refused);
      expect(await new Received(client.fetchWitBundles({}, metadata)).status()).toEqual(refused);
      expect(await statusOf(answer((done) => client.fetchJwtsvid({ audience: ['a'] }, metadata, done)))).toEqual(
        refused,
      );
      expect(
        await statusOf(answer((done) => client.validateJwtsvid({ audience: 'a', svid: 'b' }, metadata, done))),
      ).toEqual(refused);
    }
    await new Received(client.fetchX509Svid({}, secured)).next();
  });

  it('spiffe 27: neither TLS nor any proof of the caller is asked for', async () => {
    const { client } = await started();
    const { svids } = await new Received(client.fetchX509Svid({}, secured)).next();
    expect(svids.map((svid) => svid.spiffeId)).toEqual([WEB]);
  });
});

describe('FetchX509SVID', () => {
  it('spiffe 35, 36: the answer has chain, key and bundle in the encodings of the standard, the default identity first', async () => {
    const { client, identities } = await started([
      testEntry({ spiffeId: WEB, hint: 'internal' }),
      testEntry({ spiffeId: ORDERS, hint: 'internal' }),
      testEntry({ spiffeId: `${WEB}-external`, hint: 'external' }),
    ]);
    const message = await new Received(client.fetchX509Svid({}, secured)).next();
    expect(message.svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([
      [WEB, 'internal'],
      [ORDERS, ''],
      [`${WEB}-external`, 'external'],
    ]);
    expect(message.crl).toEqual([]);
    expect(message.federatedBundles).toEqual({});
    for (const svid of message.svids) {
      const chain = split(svid.x509Svid);
      expect(chain).toHaveLength(2);
      const peer = verifyPeer(chain, identities.bundle, { now: Date.now() });
      expect(peer.id.uri).toBe(svid.spiffeId);
      const key = createPrivateKey({ key: svid.x509SvidKey, format: 'der', type: 'pkcs8' });
      expect(new X509Certificate(chain[0] ?? '').checkPrivateKey(key)).toBe(true);
      expect(split(svid.bundle)).toEqual(identities.bundle.roots);
    }
  });

  it('spiffe 35: the order stays the same from call to call', async () => {
    const entries = [testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })];
    const { client, identities } = await started(entries);
    for (const order of [entries, entries.toReversed(), entries]) {
      identities.set(order);
      const { svids } = await new Received(client.fetchX509Svid({}, secured)).next();
      expect(svids.map((svid) => svid.spiffeId)).toEqual([WEB, ORDERS]);
    }
  });

  it('spiffe 32: each message has the full state, and one comes after every change', async () => {
    const web = testEntry({ spiffeId: WEB });
    const orders = testEntry({ spiffeId: ORDERS });
    const { client, identities } = await started([web]);
    const stream = new Received(client.fetchX509Svid({}, secured));
    const ids = async () => (await stream.next()).svids.map((svid) => svid.spiffeId);
    expect(await ids()).toEqual([WEB]);
    identities.set([web, orders]);
    expect(await ids()).toEqual([WEB, ORDERS]);
    // A renewal is a change: a new leaf on a new key.
    const renewed = identities.sign(WEB);
    const message = await stream.next();
    expect(message.svids.map((svid) => split(svid.x509Svid)[0])[0]).toEqual(renewed?.chain[0]);
    expect(message.svids).toHaveLength(2);
    // So is a new root.
    const other = createTestAuthority();
    const roots = [...identities.bundle.roots, ...other.bundle.roots];
    identities.set([web, orders], { bundle: { ...identities.bundle, roots, sequence: 2 } });
    expect((await stream.next()).svids.map((svid) => split(svid.bundle))).toEqual([roots, roots]);
  });

  it('spiffe 32: what changes nothing for the caller is not sent', async () => {
    const web = testEntry({ spiffeId: WEB });
    const { client, identities } = await started([web]);
    const stream = new Received(client.fetchX509Svid({}, secured));
    await stream.next();
    identities.set([web, testEntry({ spiffeId: ORDERS, selectors: ['unix:uid:999999'] })]);
    identities.set([web], { connected: false });
    identities.set([web, testEntry({ spiffeId: `${WEB}2` })]);
    expect((await stream.next()).svids.map((svid) => svid.spiffeId)).toEqual([WEB, `${WEB}2`]);
    expect(stream.waiting).toBe(0);
  });

  it('spiffe 37: an identity that is lost is missing in the next message; the last one ends the stream with PermissionDenied', async () => {
    const web = testEntry({ spiffeId: WEB });
    const orders = testEntry({ spiffeId: ORDERS });
    const { client, identities } = await started([web, orders]);
    const stream = new Received(client.fetchX509Svid({}, secured));
    expect((await stream.next()).svids).toHaveLength(2);
    identities.set([orders]);
    expect((await stream.next()).svids.map((svid) => svid.spiffeId)).toEqual([ORDERS]);
    expect(identities.leases).toBe(1);
    identities.set([]);
    expect(await stream.status()).toMatchObject({ code: status.PERMISSION_DENIED });
    expect(identities.leases).toBe(0);
  });

  it('spiffe 37: an entry that expires is lost without anybody saying so', async () => {
    const { client, identities } = await started([testEntry({ spiffeId: WEB, expiresAt: Date.now() + 150 })]);
    const stream = new Received(client.fetchX509Svid({}, secured));
    await stream.next();
    expect(await stream.status()).toMatchObject({ code: status.PERMISSION_DENIED });
    expect(identities.source.current?.entries.size).toBe(1);
  });

  it('spiffe 29, 37: a caller without an identity gets PermissionDenied on every method', async () => {
    const { client } = await started([testEntry({ spiffeId: WEB, selectors: ['unix:uid:999999'] })]);
    const denied = { code: status.PERMISSION_DENIED, details: expect.stringContaining('no identity for this process') };
    expect(await new Received(client.fetchX509Svid({}, secured)).status()).toEqual(denied);
    expect(await new Received(client.fetchX509Bundles({}, secured)).status()).toEqual(denied);
    expect(await new Received(client.fetchJwtBundles({}, secured)).status()).toEqual(denied);
    expect(await new Received(client.fetchWitsvid({}, secured)).status()).toEqual(denied);
    expect(await new Received(client.fetchWitBundles({}, secured)).status()).toEqual(denied);
    expect(await statusOf(answer((done) => client.fetchJwtsvid({ audience: ['a'] }, secured, done)))).toEqual(denied);
    expect(
      await statusOf(answer((done) => client.validateJwtsvid({ audience: 'a', svid: 'b' }, secured, done))),
    ).toEqual(denied);
  });

  it('S18: an entry is given out only to a caller that has all of its selectors', async () => {
    const uid = `unix:uid:${process.geteuid?.()}`;
    const { client } = await started([
      testEntry({ spiffeId: WEB, selectors: [uid, `unix:gid:${process.getegid?.()}`] }),
      testEntry({ spiffeId: ORDERS, selectors: [uid, 'unix:gid:999999'] }),
      testEntry({ spiffeId: `${ORDERS}2`, selectors: [] }),
    ]);
    const { svids } = await new Received(client.fetchX509Svid({}, secured)).next();
    expect(svids.map((svid) => svid.spiffeId)).toEqual([WEB]);
  });

  it.each([WEB, ORDERS])(
    'the first message waits until every identity is signed, whichever comes last: %s',
    async (last) => {
      const identities = new TestIdentities();
      identities.slow.add(last);
      const { socketPath } = await startTestAgent({ identities });
      identities.set([testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })]);
      const stream = new Received(clientOf(socketPath).fetchX509Svid({}, secured));
      while (identities.leases < 2) await new Promise((resolve) => setImmediate(resolve));
      // What would have been sent too early is here before what is sent now.
      await new Received(clientOf(socketPath).fetchX509Bundles({}, secured)).next();
      identities.slow.clear();
      identities.sign(last);
      expect((await stream.next()).svids.map((svid) => svid.spiffeId)).toEqual([WEB, ORDERS]);
    },
  );

  it('after five seconds, the first message goes without the identities that are not signed, but not without the default one', async () => {
    const clock = new FakeClock(Date.now());
    const identities = new TestIdentities();
    const { socketPath } = await startTestAgent({ identities, clock });
    identities.set([testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })]);
    const client = clientOf(socketPath);
    const late = async (slow: string) => {
      identities.slow.add(slow);
      identities.expire(slow);
      const stream = new Received(client.fetchX509Svid({}, secured));
      while (identities.leases < 2) await new Promise((resolve) => setImmediate(resolve));
      await clock.advance(5_000);
      return stream;
    };
    const without = await late(ORDERS);
    expect((await without.next()).svids.map((svid) => svid.spiffeId)).toEqual([WEB]);
    without.cancel();
    while (identities.leases > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(await (await late(WEB)).status()).toEqual({
      code: status.UNAVAILABLE,
      details: 'The identity is not signed yet.',
    });
  });

  it('an identity that is refused for good is left out; one that fails for now does not become another default', async () => {
    const identities = new TestIdentities();
    identities.failures.set(WEB, new AppError('forbidden', 'not this one'));
    const { socketPath } = await startTestAgent({ identities });
    identities.set([testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })]);
    const client = clientOf(socketPath);
    const { svids } = await new Received(client.fetchX509Svid({}, secured)).next();
    expect(svids.map((svid) => svid.spiffeId)).toEqual([ORDERS]);
    identities.failures.set(ORDERS, new AppError('forbidden', 'nor this one'));
    identities.expire(ORDERS);
    expect(await new Received(client.fetchX509Svid({}, secured)).status()).toEqual({
      code: status.PERMISSION_DENIED,
      details: 'No identity could be issued. not this one',
    });
    identities.failures.clear();
    identities.failures.set(WEB, away());
    const waiting = new Received(client.fetchX509Svid({}, secured));
    while (identities.leases < 2) await new Promise((resolve) => setImmediate(resolve));
    identities.failures.clear();
    identities.sign(WEB);
    expect((await waiting.next()).svids[0]?.spiffeId).toBe(WEB);
  });

  it('spiffe 36: bundles of foreign trust domains come with the identities that federate with them, by SPIFFE ID of the domain', async () => {
    const foreign = createTestAuthority({ trustDomain: 'other.test' });
    const { client, identities } = await started();
    identities.set([testEntry({ spiffeId: WEB, federatesWith: ['other.test', 'unknown.test'] })], {
      federated: new Map([
        ['other.test', foreign.bundle],
        ['third.test', createTestAuthority({ trustDomain: 'third.test' }).bundle],
      ]),
    });
    const { federatedBundles, svids } = await new Received(client.fetchX509Svid({}, secured)).next();
    expect(Object.keys(federatedBundles)).toEqual(['spiffe://other.test']);
    expect(split(federatedBundles['spiffe://other.test'] ?? Buffer.alloc(0))).toEqual(foreign.bundle.roots);
    expect(split(svids[0]?.bundle ?? Buffer.alloc(0))).toEqual(identities.bundle.roots);
  });
});

describe('bundles', () => {
  it('spiffe 38, 40, 42: each trust domain has its own, X.509 roots or JWT keys and nothing else', async () => {
    const foreign = createTestAuthority({ trustDomain: 'other.test' });
    const { client, identities } = await started();
    const web = testEntry({ spiffeId: WEB, federatesWith: ['other.test'] });
    identities.set([web], { federated: new Map([['other.test', foreign.bundle]]) });
    const x509 = new Received(client.fetchX509Bundles({}, secured));
    const first = await x509.next();
    expect(Object.entries(first.bundles).map(([name, der]) => [name, split(der)])).toEqual([
      ['spiffe://example.org', identities.bundle.roots],
      ['spiffe://other.test', foreign.bundle.roots],
    ]);
    const jwt = new Received(client.fetchJwtBundles({}, secured));
    const { bundles } = await jwt.next();
    const keys = (name: string) =>
      (JSON.parse((bundles[name] ?? '').toString()) as { keys: { use: string; kid: string }[] }).keys;
    expect(keys('spiffe://example.org').map(({ use, kid }) => [use, kid])).toEqual([
      ['jwt-svid', identities.authority.jwt.kid],
    ]);
    expect(keys('spiffe://other.test').map(({ kid }) => kid)).toEqual([foreign.jwt.kid]);
    const wit = await new Received(client.fetchWitBundles({}, secured)).next();
    const witKeys = JSON.parse(wit.bundles['spiffe://example.org'] ?? '') as { keys: { use: string; kid: string }[] };
    expect(witKeys.keys.map(({ use, kid }) => [use, kid])).toEqual([['wit-svid', 'wit-1']]);

    identities.set([{ ...web, federatesWith: [] }]);
    expect(Object.keys((await x509.next()).bundles)).toEqual(['spiffe://example.org']);
    expect(Object.keys((await jwt.next()).bundles)).toEqual(['spiffe://example.org']);
    identities.set([]);
    expect(await x509.status()).toMatchObject({ code: status.PERMISSION_DENIED });
    expect(await jwt.status()).toMatchObject({ code: status.PERMISSION_DENIED });
  });
});

describe('FetchJWTSVID', () => {
  it('spiffe 39: a token for each identity of the caller, with the audiences that were asked for', async () => {
    const { client } = await started([
      testEntry({ spiffeId: WEB, hint: 'a' }),
      testEntry({ spiffeId: ORDERS, hint: 'a' }),
    ]);
    const { svids } = await answer<{ svids: { spiffeId: string; svid: string; hint: string }[] }>((done) =>
      client.fetchJwtsvid({ audience: ['payments', 'ledger'] }, secured, done),
    );
    expect(svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([
      [WEB, 'a'],
      [ORDERS, ''],
    ]);
    for (const { svid, spiffeId } of svids) {
      expect(decodeJwt(svid)).toMatchObject({ sub: spiffeId, aud: ['payments', 'ledger'] });
    }
  });

  it('spiffe 39: one identity, when it is named; PermissionDenied for one that the caller does not have', async () => {
    const { client } = await started([testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })]);
    const ask = (spiffeId: string) =>
      answer<{ svids: { spiffeId: string }[] }>((done) =>
        client.fetchJwtsvid({ audience: ['a'], spiffeId }, secured, done),
      );
    expect((await ask(ORDERS)).svids.map((svid) => svid.spiffeId)).toEqual([ORDERS]);
    expect(await statusOf(ask('spiffe://example.org/ns/shop/sa/payments'))).toMatchObject({
      code: status.PERMISSION_DENIED,
    });
    expect(await statusOf(ask('web'))).toEqual({
      code: status.INVALID_ARGUMENT,
      details: 'spiffe_id is not a SPIFFE ID.',
    });
  });

  it('spiffe 34: no audience, an empty one, and too many, are InvalidArgument', async () => {
    const { client } = await started();
    const ask = (audience: string[]) => statusOf(answer((done) => client.fetchJwtsvid({ audience }, secured, done)));
    expect(await ask([])).toEqual({ code: status.INVALID_ARGUMENT, details: 'audience is missing.' });
    expect(await ask(['a', ''])).toEqual({ code: status.INVALID_ARGUMENT, details: 'audience[1] is missing.' });
    expect(await ask(Array.from({ length: 17 }, (_, i) => `a${i}`))).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(await ask(['é'.repeat(600)])).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  it('spiffe 29: a control plane that is away is Unavailable, never InvalidArgument', async () => {
    const { client, identities } = await started();
    const ask = () => statusOf(answer((done) => client.fetchJwtsvid({ audience: ['a'] }, secured, done)));
    for (const code of ['unavailable', 'deadline-exceeded', 'exhausted', 'conflict', 'unauthenticated'] as const) {
      identities.failures.set(WEB, new AppError(code, 'why'));
      expect(await ask()).toMatchObject({ code: status.UNAVAILABLE, details: 'why' });
    }
    identities.failures.set(WEB, new AppError('not-found', 'the entry is gone'));
    expect(await ask()).toMatchObject({ code: status.PERMISSION_DENIED });
  });
});

describe('ValidateJWTSVID', () => {
  it('spiffe 41: a valid token comes back as its subject and all its claims', async () => {
    const { client, identities } = await started();
    const [grant] = identities.grantsFor([`unix:uid:${process.geteuid?.()}`]);
    if (grant === undefined) throw new Error('no grant');
    const { token } = await identities.jwt(grant, ['payments']);
    const { spiffeId, claims } = await answer<ValidateJWTSVIDResponse__Output>((done) =>
      client.validateJwtsvid({ audience: 'payments', svid: token }, secured, done),
    );
    expect(spiffeId).toBe(WEB);
    expect(claims?.fields).toMatchObject({
      sub: { stringValue: WEB },
      team: { stringValue: 'shop' },
      nested: {
        structValue: {
          fields: {
            list: {
              listValue: {
                values: [{ numberValue: 1 }, { boolValue: true }, { nullValue: 'NULL_VALUE' }, { stringValue: 'x' }],
              },
            },
          },
        },
      },
    });
  });

  it('spiffe 34, 41: what is missing or not valid is InvalidArgument', async () => {
    const { client, identities } = await started();
    const [grant] = identities.grantsFor([`unix:uid:${process.geteuid?.()}`]);
    if (grant === undefined) throw new Error('no grant');
    const { token } = await identities.jwt(grant, ['payments']);
    const ask = (audience: string, svid: string) =>
      statusOf(answer((done) => client.validateJwtsvid({ audience, svid }, secured, done)));
    expect(await ask('', token)).toEqual({ code: status.INVALID_ARGUMENT, details: 'audience is missing.' });
    expect(await ask('payments', '')).toEqual({ code: status.INVALID_ARGUMENT, details: 'svid is missing.' });
    const refused = { code: status.INVALID_ARGUMENT, details: 'The JWT-SVID is not valid here.' };
    expect(await ask('other', token)).toEqual(refused);
    expect(await ask('payments', `${token.slice(0, -4)}AAAA`)).toEqual(refused);
    expect(await ask('payments', 'not.a.token')).toEqual(refused);
    expect(await ask('payments', 'x')).toEqual(refused);
  });

  it('S19: the key is looked up in the bundle of the subject’s own trust domain; of foreign tokens only standard claims are passed on', async () => {
    const foreign = createTestAuthority({ trustDomain: 'other.test' });
    const { client, identities } = await started();
    const web = testEntry({ spiffeId: WEB, federatesWith: ['other.test'] });
    identities.set([web], { federated: new Map([['other.test', foreign.bundle]]) });
    const sign = (id: string, key: { kid: string; privateKey: typeof foreign.jwt.privateKey }) =>
      signJwtSvid({
        id: parseSpiffeId(id),
        audience: ['payments'],
        ...key,
        now: Date.now(),
        ttlSeconds: 60,
        jti: randomUUID(),
        claims: { role: 'admin' },
      });
    const validate = (svid: string) =>
      answer<ValidateJWTSVIDResponse__Output>((done) =>
        client.validateJwtsvid({ audience: 'payments', svid }, secured, done),
      );
    const theirs = await validate((await sign('spiffe://other.test/a', foreign.jwt)).token);
    expect(theirs.spiffeId).toBe('spiffe://other.test/a');
    expect(Object.keys(theirs.claims?.fields ?? {}).sort()).toEqual(['aud', 'exp', 'iat', 'jti', 'sub']);
    // A federated domain that signs one of our names.
    expect(await statusOf(validate((await sign(WEB, foreign.jwt)).token))).toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
    // Our key under a foreign name.
    expect(
      await statusOf(validate((await sign('spiffe://other.test/a', identities.authority.jwt)).token)),
    ).toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
    // spiffe 41: a domain without a bundle is not trusted, whoever signed.
    identities.set([{ ...web, federatesWith: [] }]);
    expect(await statusOf(validate((await sign('spiffe://other.test/a', foreign.jwt)).token))).toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
  });
});

describe('FetchWITSVID', () => {
  it('spiffe 31, 53: tokens with their keys, as JWK, and new ones when identities change', async () => {
    const web = testEntry({ spiffeId: WEB, hint: 'h' });
    const { client, identities } = await started([web]);
    const stream = new Received(client.fetchWitsvid({}, secured));
    const [first] = (await stream.next()).svids;
    expect(first).toMatchObject({ spiffeId: WEB, hint: 'h' });
    const { id, key } = await verifyWitSvid(first?.witSvid ?? '', { bundle: identities.bundle, now: Date.now() });
    expect(id.uri).toBe(WEB);
    const own = createPublicKey(createPrivateKey({ key: JSON.parse(first?.witSvidKey ?? ''), format: 'jwk' }));
    expect(own.export({ type: 'spki', format: 'der' })).toEqual(key.export({ type: 'spki', format: 'der' }));
    identities.set([web, testEntry({ spiffeId: ORDERS })]);
    expect((await stream.next()).svids.map((svid) => svid.spiffeId)).toEqual([WEB, ORDERS]);
    const only = new Received(client.fetchWitsvid({ spiffeId: ORDERS }, secured));
    expect((await only.next()).svids.map((svid) => svid.spiffeId)).toEqual([ORDERS]);
    identities.set([web]);
    expect(await only.status()).toMatchObject({ code: status.PERMISSION_DENIED });
    expect((await stream.next()).svids.map((svid) => svid.spiffeId)).toEqual([WEB]);
    expect(await new Received(client.fetchWitsvid({ spiffeId: 'x' }, secured)).status()).toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
  });
});

describe('the Workload API', () => {
  it('spiffe 25, 30, 31: is the service of the standard, all seven methods and no other', () => {
    expect(
      Object.values(workloadApiService)
        .map(({ path }) => path)
        .sort(),
    ).toEqual([
      '/SpiffeWorkloadAPI/FetchJWTBundles',
      '/SpiffeWorkloadAPI/FetchJWTSVID',
      '/SpiffeWorkloadAPI/FetchWITBundles',
      '/SpiffeWorkloadAPI/FetchWITSVID',
      '/SpiffeWorkloadAPI/FetchX509Bundles',
      '/SpiffeWorkloadAPI/FetchX509SVID',
      '/SpiffeWorkloadAPI/ValidateJWTSVID',
    ]);
  });

  it('S20, spiffe 54: the Broker API is not served, which its callers are told by Unimplemented', async () => {
    const { client } = await started();
    const path = '/spiffe.broker.API/SubscribeToX509SVID';
    const bytes = (value: Buffer) => value;
    const call = client.makeServerStreamRequest(path, bytes, bytes, Buffer.alloc(0), secured);
    expect(await new Received(call).status()).toMatchObject({ code: status.UNIMPLEMENTED });
  });

  it('spiffe 29: before the control plane has said anything, answers are Unavailable', async () => {
    const { socketPath } = await startTestAgent();
    const client = clientOf(socketPath);
    expect(await statusOf(answer((done) => client.fetchJwtsvid({ audience: ['a'] }, secured, done)))).toMatchObject({
      code: status.UNAVAILABLE,
    });
    expect(await new Received(client.fetchWitsvid({}, secured)).status()).toMatchObject({ code: status.UNAVAILABLE });
  });

  it('spiffe 32: a stream that was opened before the control plane said anything has its first message as soon as it does', async () => {
    const { socketPath, identities } = await startTestAgent();
    const stream = new Received(clientOf(socketPath).fetchX509Svid({}, secured));
    await new Promise((resolve) => setTimeout(resolve, 50));
    identities.set([testEntry({ spiffeId: WEB })]);
    expect((await stream.next()).svids.map((svid) => svid.spiffeId)).toEqual([WEB]);
  });

  it('spiffe 29: streams end with Unavailable when the agent stops', async () => {
    const { client, server } = await started();
    const stream = new Received(client.fetchX509Svid({}, secured));
    await stream.next();
    await server.close();
    expect(await stream.status()).toMatchObject({ code: status.UNAVAILABLE });
  });

  it('keys of the WIT profile stay out of JWT bundles, whatever their order', async () => {
    const { client, identities } = await started();
    const { publicKey } = generateKeyPair();
    identities.set([testEntry({ spiffeId: WEB })], {
      bundle: {
        ...identities.bundle,
        jwks: { keys: [jwtKey(publicKey, 'w', 'wit-svid'), ...identities.bundle.jwks.keys] },
      },
    });
    const { bundles } = await new Received(client.fetchJwtBundles({}, secured)).next();
    expect((bundles['spiffe://example.org'] ?? '').toString()).not.toContain('wit');
  });
});
