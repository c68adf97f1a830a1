import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { ServerUnaryCall } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../../src/base/clock.ts';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { bundlePem } from '../../../../src/core/identity/bundle.ts';
import type { WorkloadEntry } from '../../../../src/core/identity/workload-entry.ts';
import { secretDiscovery } from '../../../../src/node/agent/sds/sds.ts';
import { SdsCaller } from '../../../../src/node/agent/sds/sds-caller.ts';
import type { SecretNames } from '../../../../src/node/agent/sds/secret-names.ts';
import { defaultSecretNames } from '../../../../src/node/agent/sds/secret-names.ts';
import type { AgentServiceContext, AgentServiceFactory } from '../../../../src/node/agent/workload-api/caller.ts';
import { Denials } from '../../../../src/node/agent/workload-api/denials.ts';
import { workloadApi } from '../../../../src/node/agent/workload-api/workload-api.ts';
import type { Node } from '../../../../src/wire/gen/envoy/config/core/v3/Node.ts';
import { SECRET_TYPE_URL } from '../../../../src/wire/secret-discovery.ts';
import { expectAppError } from '../../../support/errors.ts';
import { createTestAuthority } from '../../../support/pki.ts';
import { DeltaStream, PROBE, sdsClient, seen, WholeStream } from '../sds-client.ts';
import { away, TestIdentities, testEntry } from '../test-identities.ts';
import { answer, startTestAgent, statusOf } from '../workload-client.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

async function started(o: { readonly entries?: readonly WorkloadEntry[]; readonly names?: Partial<SecretNames> } = {}) {
  const lines: Record<string, unknown>[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const agent = await startTestAgent({ services: [workloadApi, secretDiscovery(o.names)], logger });
  agent.identities.set(o.entries ?? [testEntry({ spiffeId: WEB })]);
  const client = sdsClient(agent.socketPath);
  return {
    ...agent,
    client,
    whole: () => new WholeStream(client.streamSecrets()),
    delta: () => new DeltaStream(client.deltaSecrets()),
    /** Why names were left out, by name. */
    reasons: () =>
      Object.fromEntries(
        lines
          .filter(({ msg, level, name }) => msg === 'a secret is left out' && level === 40 && name !== PROBE)
          .map(({ name, why }) => [name, why]),
      ),
    log: () => JSON.stringify(lines),
    lines,
  };
}

const names = (secrets: readonly { readonly name: string }[]) => secrets.map(({ name }) => name);

function serialOf(chain: string | undefined): string {
  return new X509Certificate(chain ?? '').serialNumber;
}

describe('secrets for Envoy, state of the world', () => {
  it('give the default identity, the own roots and all roots by name, each under the name that was asked for', async () => {
    const other = createTestAuthority({ trustDomain: 'other.example' });
    const { whole, identities } = await started({
      entries: [testEntry({ spiffeId: WEB, federatesWith: ['other.example'] }), testEntry({ spiffeId: ORDERS })],
    });
    identities.set([...(identities.source.current?.entries.values() ?? [])], {
      federated: new Map([['other.example', other.bundle]]),
    });
    const stream = whole();
    stream.send({ resourceNames: ['default', 'ROOTCA', 'ALL'], typeUrl: SECRET_TYPE_URL });
    const { secrets, typeUrl } = await all(stream, ['default', 'ROOTCA', 'ALL']);
    expect(typeUrl).toBe(SECRET_TYPE_URL);
    expect(names(secrets)).toEqual(['ROOTCA', 'ALL', 'default']);
    const [own, everyone, svid] = secrets;
    const leaf = new X509Certificate(svid?.chain ?? '');
    expect(leaf.subjectAltName).toBe(`URI:${WEB}`);
    expect(svid?.chain?.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(leaf.checkPrivateKey(createPrivateKey(svid?.key ?? ''))).toBe(true);
    expect(own?.validator?.includes('example.org')).toBe(true);
    expect(own?.validator?.includes(bundlePem(identities.bundle))).toBe(true);
    expect(own?.validator?.includes('other.example')).toBe(false);
    expect(everyone?.validator?.includes(bundlePem(identities.bundle))).toBe(true);
    expect(everyone?.validator?.includes(bundlePem(other.bundle))).toBe(true);
    expect([own?.roots, everyone?.roots]).toEqual([undefined, undefined]);
  });

  it('give SPIFFE IDs that the caller may have, and roots by trust domain, its own and federated ones', async () => {
    const other = createTestAuthority({ trustDomain: 'other.example' });
    const { whole, identities, reasons } = await started({
      entries: [testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS, federatesWith: ['other.example'] })],
    });
    const third = createTestAuthority({ trustDomain: 'third.example' });
    identities.set([...(identities.source.current?.entries.values() ?? [])], {
      federated: new Map([
        ['other.example', other.bundle],
        ['third.example', third.bundle],
      ]),
    });
    const asked = [ORDERS, 'spiffe://other.example', 'spiffe://example.org', 'spiffe://third.example'];
    const stream = whole();
    stream.send({ resourceNames: asked });
    const { secrets } = await all(stream, asked.slice(0, 3));
    expect(names(secrets)).toEqual(['spiffe://other.example', 'spiffe://example.org', ORDERS]);
    expect(secrets[0]?.validator?.includes(bundlePem(other.bundle))).toBe(true);
    expect(new X509Certificate(secrets[2]?.chain ?? '').subjectAltName).toBe(`URI:${ORDERS}`);
    expect(reasons()['spiffe://third.example']).toBe('no entry grants it to the workload');
  });

  it('without a name are everything, under SPIFFE IDs', async () => {
    const { whole } = await started({ entries: [testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })] });
    const stream = whole();
    stream.send({});
    expect(names((await all(stream, ['spiffe://example.org', WEB, ORDERS], [])).secrets)).toEqual([
      'spiffe://example.org',
      WEB,
      ORDERS,
    ]);
  });

  it('once named, are never everything again for want of a name', async () => {
    const { whole, client, identities } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    const { nonce } = await stream.next();
    stream.send({ resourceNames: [], responseNonce: nonce });
    await stream.quiet(client);
    identities.sign(WEB);
    await stream.quiet(client);
    stream.send({ resourceNames: ['*'], responseNonce: nonce });
    expect(names((await stream.next()).secrets)).toEqual(['spiffe://example.org', WEB]);
  });

  it('that are not granted are left out, take nothing from the others, and come when they are granted', async () => {
    const web = testEntry({ spiffeId: WEB });
    const { whole, identities, reasons } = await started({ entries: [web] });
    const stream = whole();
    const asked = ['default', ORDERS, 'nonsense'];
    stream.send({ resourceNames: asked });
    expect(names((await stream.taken(asked)).secrets)).toEqual(['default']);
    expect(reasons()).toEqual({
      [ORDERS]: 'no entry grants it to the workload',
      nonsense: 'no secret has this name, and it is no SPIFFE ID',
    });
    identities.set([web, testEntry({ spiffeId: ORDERS })]);
    expect(names((await stream.taken(asked)).secrets)).toEqual(['default', ORDERS]);
  });

  it('come to a caller without any identity as soon as it has one, also by a selector that nobody asked for before', async () => {
    const { whole, client, identities, reasons, lines } = await started({ entries: [] });
    const stream = whole();
    stream.send({ resourceNames: ['default', 'ROOTCA'] });
    await stream.quiet(client);
    expect(reasons()).toEqual({
      default: 'the workload has no identity here',
      ROOTCA: 'the workload has no identity here',
    });
    expect(lines.some(({ msg }) => /^no identity for this process/.test(String(msg)))).toBe(true);
    identities.set([testEntry({ spiffeId: WEB, selectors: [`unix:path:${process.execPath}`] })]);
    const { secrets } = await all(stream, ['default', 'ROOTCA']);
    expect(new X509Certificate(secrets[1]?.chain ?? '').subjectAltName).toBe(`URI:${WEB}`);
  });

  it('wait for an agent that has not heard from the control plane yet', async () => {
    let heard = () => undefined as unknown;
    const waiting = new Promise((resolve) => {
      heard = () => resolve(undefined);
    });
    const write = (line: string) => line.includes('the agent has not heard from the control plane yet') && heard();
    const logger = pino({ level: 'debug' }, { write });
    const agent = await startTestAgent({ services: [secretDiscovery()], logger });
    const client = sdsClient(agent.socketPath);
    const stream = new WholeStream(client.streamSecrets());
    stream.send({ resourceNames: ['ROOTCA'] });
    await waiting;
    expect(stream.messages.waiting).toBe(0);
    agent.identities.set([testEntry({ spiffeId: WEB })]);
    expect(names((await stream.next()).secrets)).toEqual(['ROOTCA']);
  });

  it('are sent again when the SVID is renewed and when the roots change, with another version and nonce', async () => {
    const { whole, identities } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    const first = await stream.taken(['default']);
    identities.sign(WEB);
    const second = await stream.taken(['default']);
    expect(serialOf(second.secrets[0]?.chain)).not.toBe(serialOf(first.secrets[0]?.chain));
    expect(new Set([first.versionInfo, second.versionInfo, first.nonce, second.nonce]).size).toBe(4);

    const roots = whole();
    roots.send({ resourceNames: ['ROOTCA'] });
    await roots.taken(['ROOTCA']);
    const added = createTestAuthority();
    const [entry] = identities.source.current?.entries.values() ?? [];
    identities.set(entry === undefined ? [] : [entry], {
      bundle: { ...identities.bundle, roots: [...identities.bundle.roots, ...added.bundle.roots], sequence: 2 },
    });
    const { secrets } = await roots.taken(['ROOTCA']);
    expect(secrets[0]?.validator?.includes(bundlePem(added.bundle))).toBe(true);
    expect(secrets[0]?.validator?.includes(bundlePem(identities.bundle))).toBe(true);
  });

  it('of a new root reach every stream before the first SVID that hangs from it', async () => {
    const { whole, identities } = await started();
    const roots = whole();
    roots.send({ resourceNames: ['ALL'] });
    const svids = whole();
    svids.send({ resourceNames: ['default'] });
    const both = whole();
    both.send({ resourceNames: ['default', 'ALL'] });
    await roots.taken(['ALL']);
    await svids.taken(['default']);
    await all(both, ['default', 'ALL']);
    const arrived: string[] = [];
    for (const { call } of [roots, svids]) call.on('data', ({ resources }) => arrived.push(seen(resources[0]).name));
    const next = createTestAuthority();
    const bundle = { ...identities.bundle, roots: [...identities.bundle.roots, ...next.bundle.roots] };
    identities.set([...(identities.source.current?.entries.values() ?? [])], { bundle });
    identities.authority = next;
    identities.sign(WEB);
    await svids.taken(['default']);
    await roots.taken(['ALL']);
    expect(arrived).toEqual(['ALL', 'default']);
    expect(names((await both.taken(['default', 'ALL'])).secrets)).toEqual(['ALL', 'default']);
  });

  it('have a version of their content: JWT keys and other entries change nothing, and another stream sees the same', async () => {
    const { whole, client, identities } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['default', 'ROOTCA'] });
    const { versionInfo } = await all(stream, ['default', 'ROOTCA']);
    const [entry] = identities.source.current?.entries.values() ?? [];
    if (entry === undefined) throw new Error('no entry');
    identities.set([entry, testEntry({ spiffeId: ORDERS })], {
      bundle: { ...identities.bundle, jwks: { keys: [] }, sequence: 2 },
    });
    await stream.quiet(client);
    const again = whole();
    again.send({ resourceNames: ['ROOTCA', 'default'] });
    expect((await again.next()).versionInfo).toBe(versionInfo);
  });

  it('are under way once at most: what changes meanwhile is sent after the answer, in its latest state', async () => {
    const { whole, client, identities } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    const first = await stream.next();
    identities.sign(WEB);
    identities.sign(WEB);
    const latest = identities.sign(WEB);
    await stream.quiet(client);
    stream.send({ resourceNames: ['default'], responseNonce: first.nonce });
    const { secrets } = await stream.taken(['default']);
    expect(new X509Certificate(secrets[0]?.chain ?? '').raw).toEqual(latest?.chain[0]);
    await stream.quiet(client);
  });

  it('that Envoy refused are not sent again until they are different; the refusal is in the log', async () => {
    const { whole, client, identities, lines } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    const { nonce } = await stream.next();
    stream.send({
      resourceNames: ['default'],
      responseNonce: nonce,
      errorDetail: { code: 13, message: `bad certificate ${'x'.repeat(10_000)}` },
    });
    await stream.quiet(client);
    const refusal = lines.find(({ msg }) => String(msg).startsWith('Envoy refused secrets'));
    expect(refusal).toMatchObject({
      names: ['default'],
      reason: expect.stringMatching(/^bad certificate x{483,484}…$/),
    });
    identities.sign(WEB);
    expect(names((await stream.taken(['default'])).secrets)).toEqual(['default']);
  });

  it('are not asked for by an answer to a response that has been superseded, and not owed for an acknowledgement', async () => {
    const { whole, client, identities } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    const first = await stream.taken(['default']);
    await stream.quiet(client);
    identities.sign(WEB);
    const second = await stream.next();
    stream.send({ resourceNames: ['default', 'ROOTCA'], responseNonce: first.nonce });
    stream.send({ resourceNames: ['default', 'ROOTCA'], responseNonce: 'made-up' });
    await stream.quiet(client);
    stream.send({ resourceNames: ['default', 'ROOTCA'], responseNonce: second.nonce });
    expect(names((await stream.taken(['default', 'ROOTCA'])).secrets)).toEqual(['ROOTCA', 'default']);
  });

  it('that are newly named are answered although their content is the same; names that go need no answer', async () => {
    const { whole, client } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['ROOTCA', 'spiffe://example.org'] });
    const first = await stream.taken(['ROOTCA']);
    await stream.quiet(client);
    stream.send({ resourceNames: ['ROOTCA', 'spiffe://example.org'], responseNonce: first.nonce });
    expect(names((await stream.next()).secrets)).toEqual(['ROOTCA', 'spiffe://example.org']);
  });

  it('are renewed for those who asked for them, and signed for nobody else', async () => {
    const { whole, client, identities } = await started({
      entries: [testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })],
    });
    const roots = whole();
    roots.send({ resourceNames: ['ROOTCA'] });
    await roots.taken(['ROOTCA']);
    expect(identities.leases).toBe(0);
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    const { nonce } = await stream.taken(['default']);
    await stream.quiet(client);
    expect(identities.leases).toBe(1);
    stream.send({ resourceNames: [ORDERS, WEB], responseNonce: nonce });
    await stream.next();
    expect(identities.leases).toBe(2);
    stream.call.end();
    await expect(stream.messages.next()).rejects.toThrow();
    await roots.quiet(client);
    expect(identities.leases).toBe(0);
  });

  it('do not make another identity the default because it was signed sooner', async () => {
    const { whole, client, identities, reasons } = await started({
      entries: [testEntry({ spiffeId: WEB }), testEntry({ spiffeId: ORDERS })],
    });
    identities.failures.set(WEB, away());
    const stream = whole();
    stream.send({ resourceNames: ['default', ORDERS] });
    expect(names((await stream.taken(['default', ORDERS])).secrets)).toEqual([ORDERS]);
    expect(reasons()).toEqual({});
    identities.failures.clear();
    identities.sign(WEB);
    const { secrets } = await stream.taken(['default', ORDERS]);
    expect(names(secrets)).toEqual(['default', ORDERS]);
    expect(new X509Certificate(secrets[0]?.chain ?? '').subjectAltName).toBe(`URI:${WEB}`);
    await stream.quiet(client);
  });

  it('may be known by other names', async () => {
    const { whole, reasons } = await started({ names: { svid: 'me', bundle: 'us', allBundles: 'them' } });
    const stream = whole();
    stream.send({ resourceNames: ['me', 'us', 'them', 'default'] });
    expect(names((await all(stream, ['me', 'us', 'them'])).secrets)).toEqual(['us', 'them', 'me']);
    expect(Object.keys(reasons())).toContain('default');
  });

  it.each([
    { svid: 'ALL' },
    { svid: '' },
    { bundle: '*' },
    { allBundles: 'spiffe://example.org' },
    { svid: 'x'.repeat(257) },
  ])('cannot be known by names that collide: %o', async (bad) => {
    await expectAppError(() => secretDiscovery(bad), 'usage', /names of secrets must differ/);
  });

  it('never have their keys in the log', async () => {
    const { whole, identities, log } = await started();
    const stream = whole();
    stream.send({ resourceNames: ['default', 'ROOTCA', 'nothing'] });
    const { secrets, nonce } = await all(stream, ['default', 'ROOTCA']);
    stream.send({ resourceNames: ['default'], responseNonce: nonce, errorDetail: { message: 'no' } });
    identities.sign(WEB);
    const key = secrets[1]?.key ?? '';
    expect(key).toContain('PRIVATE KEY');
    expect(log()).not.toContain('PRIVATE KEY');
    expect(log()).not.toContain(key.split('\n')[1]);
  });
});

describe('the SPIFFE validator', () => {
  const old = (minorNumber: number): Node => ({
    userAgentName: 'envoy',
    userAgentBuildVersion: { version: { majorNumber: 1, minorNumber, patch: 0 } },
  });
  const told = (value: object): Node => ({ metadata: { fields: { disable_spiffe_cert_validation: value } } });

  it.each<[string, Node]>([
    ['Envoy 1.17', old(17)],
    ['an Envoy that is told not to use it', told({ boolValue: true })],
    ['an Envoy that is told so by a text', told({ stringValue: 'True' })],
  ])('is not for %s: it gets plain roots, and never those of several trust domains', async (_, node) => {
    const { whole, identities, reasons } = await started();
    const stream = whole();
    stream.send({ node, resourceNames: ['ROOTCA', 'spiffe://example.org', 'ALL'] });
    const { secrets } = await stream.next();
    expect(names(secrets)).toEqual(['ROOTCA', 'spiffe://example.org']);
    for (const { roots, validator } of secrets) {
      expect(roots).toBe(bundlePem(identities.bundle));
      expect(validator).toBeUndefined();
    }
    expect(reasons()).toEqual({ ALL: expect.stringMatching(/need the SPIFFE validator/) });
  });

  it.each<[string, Node]>([
    ['Envoy 1.18', old(18)],
    ['an Envoy that is not told otherwise', told({ boolValue: false })],
    ['an Envoy that is told nonsense', told({ stringValue: 'yes' })],
    ['a number', told({ numberValue: 1 })],
    ['another client with a low version', { ...old(2), userAgentName: 'gRPC Go' }],
    ['who says nothing', {}],
  ])('is for %s', async (_, node) => {
    const { whole } = await started();
    const stream = whole();
    stream.send({ node, resourceNames: ['ALL'] });
    const { secrets } = await stream.next();
    expect(secrets[0]?.validator).toBeDefined();
    expect(secrets[0]?.roots).toBeUndefined();
  });

  it('is chosen by the node of the first message, which the later ones leave out', async () => {
    const { whole, identities } = await started();
    const stream = whole();
    stream.send({ node: told({ boolValue: true }), resourceNames: ['ROOTCA'] });
    await stream.taken(['ROOTCA']);
    const added = createTestAuthority();
    identities.set([...(identities.source.current?.entries.values() ?? [])], {
      bundle: { ...identities.bundle, roots: added.bundle.roots },
    });
    expect((await stream.taken(['ROOTCA'])).secrets[0]?.roots).toBe(bundlePem(added.bundle));
  });
});

describe('secrets for Envoy, incremental', () => {
  it('say what is new and what is gone, each by itself', async () => {
    const web = testEntry({ spiffeId: WEB });
    const orders = testEntry({ spiffeId: ORDERS });
    const { delta, client, identities } = await started({ entries: [web, orders] });
    const stream = delta();
    stream.send({ resourceNamesSubscribe: [WEB, ORDERS, 'ALL', 'nothing'], typeUrl: SECRET_TYPE_URL });
    const first = await stream.taken();
    expect(first.typeUrl).toBe(SECRET_TYPE_URL);
    expect(first.removedResources).toEqual(['nothing']);
    const seenNames = new Set(names(first.secrets));
    while (seenNames.size < 3) for (const name of names((await stream.taken()).secrets)) seenNames.add(name);
    expect([...seenNames].sort()).toEqual(['ALL', ORDERS, WEB].sort());
    identities.sign(ORDERS);
    const renewed = await stream.taken();
    expect([names(renewed.secrets), renewed.removedResources]).toEqual([[ORDERS], []]);
    identities.set([web]);
    const gone = await stream.taken();
    expect([names(gone.secrets), gone.removedResources]).toEqual([[], [ORDERS]]);
    identities.set([web, orders]);
    const back = await stream.taken();
    expect([names(back.secrets), back.removedResources]).toEqual([[ORDERS], []]);
    await stream.quiet(client);
  });

  it('that the client has from an earlier stream are not sent again; others are, and those that are gone are named', async () => {
    const { delta, client } = await started();
    const before = delta();
    before.send({ resourceNamesSubscribe: ['default', 'ROOTCA'] });
    const versions: Record<string, string> = {};
    while (Object.keys(versions).length < 2) {
      for (const { name, version } of (await before.taken()).resources) versions[name] = version;
    }
    const stream = delta();
    stream.send({
      resourceNamesSubscribe: ['default', 'ROOTCA', ORDERS],
      initialResourceVersions: { ...versions, [ORDERS]: 'old', stray: 'x' },
    });
    const { resources, removedResources } = await stream.taken();
    expect([resources, removedResources]).toEqual([[], [ORDERS]]);
    await stream.quiet(client);
    const stale = delta();
    stale.send({ resourceNamesSubscribe: ['ROOTCA'], initialResourceVersions: { ROOTCA: 'old' } });
    expect(names((await stale.next()).secrets)).toEqual(['ROOTCA']);
  });

  it('are under way once at most; subscriptions in a late answer count all the same', async () => {
    const { delta, client, identities } = await started();
    const stream = delta();
    stream.send({ resourceNamesSubscribe: ['default'] });
    const first = await stream.next();
    identities.sign(WEB);
    stream.send({ resourceNamesSubscribe: ['ROOTCA'], responseNonce: 'long ago' });
    await stream.quiet(client);
    stream.send({ responseNonce: first.nonce });
    expect(names((await stream.taken()).secrets)).toEqual(['ROOTCA', 'default']);
    await stream.quiet(client);
  });

  it('that are subscribed to again are sent again; what was never subscribed to is unsubscribed from in silence', async () => {
    const { delta, client, identities } = await started();
    const stream = delta();
    stream.send({ resourceNamesSubscribe: ['ROOTCA'] });
    await stream.taken();
    stream.send({ resourceNamesSubscribe: ['ROOTCA'] });
    expect(names((await stream.taken()).secrets)).toEqual(['ROOTCA']);
    stream.send({ resourceNamesUnsubscribe: ['ROOTCA', 'never'] });
    await stream.quiet(client);
    const added = createTestAuthority();
    identities.set([...(identities.source.current?.entries.values() ?? [])], { bundle: added.bundle });
    await stream.quiet(client);
  });

  it('that Envoy refused are not sent again until they are different', async () => {
    const { delta, client, identities, lines } = await started();
    const stream = delta();
    stream.send({ resourceNamesSubscribe: ['default'] });
    const { nonce } = await stream.next();
    stream.send({ responseNonce: nonce, errorDetail: { code: 3, message: 'cannot' } });
    await stream.quiet(client);
    expect(lines.find(({ msg }) => String(msg).startsWith('Envoy refused'))).toMatchObject({
      names: ['default'],
      reason: 'cannot',
    });
    identities.sign(WEB);
    expect(names((await stream.taken()).secrets)).toEqual(['default']);
  });

  it('without a name, or by *, are everything, and stay so with names besides; a name that is let go stays a part of it', async () => {
    for (const first of [{}, { resourceNamesSubscribe: ['*'] }]) {
      const web = testEntry({ spiffeId: WEB });
      const { delta, client, identities } = await started({ entries: [web] });
      const stream = delta();
      stream.send(first);
      const got = new Set<string>();
      while (got.size < 2) for (const name of names((await stream.taken()).secrets)) got.add(name);
      expect([...got].sort()).toEqual(['spiffe://example.org', WEB]);
      stream.send({ resourceNamesSubscribe: ['default'] });
      expect(names((await stream.taken()).secrets)).toEqual(['default']);
      stream.send({ resourceNamesSubscribe: [WEB] });
      expect(names((await stream.taken()).secrets)).toEqual([WEB]);
      stream.send({ resourceNamesUnsubscribe: [WEB] });
      expect(names((await stream.taken()).secrets)).toEqual([WEB]);
      identities.set([web, testEntry({ spiffeId: ORDERS })]);
      expect(names((await stream.taken()).secrets)).toEqual([ORDERS]);
      stream.send({ resourceNamesUnsubscribe: ['*'] });
      await stream.quiet(client);
      identities.sign(ORDERS);
      await stream.quiet(client);
      identities.sign(WEB);
      expect(names((await stream.taken()).secrets)).toEqual(['default']);
    }
  });

  it('keep the validator that the node of the first message asked for', async () => {
    const { delta, identities } = await started();
    const stream = delta();
    const node: Node = { metadata: { fields: { disable_spiffe_cert_validation: { boolValue: true } } } };
    stream.send({ node, resourceNamesSubscribe: ['ROOTCA'] });
    expect((await stream.taken()).secrets[0]?.roots).toBe(bundlePem(identities.bundle));
    stream.send({ resourceNamesSubscribe: ['ROOTCA'] });
    expect((await stream.taken()).secrets[0]?.roots).toBe(bundlePem(identities.bundle));
  });

  it('with another validator have another version', async () => {
    const { delta } = await started();
    const versions = await Promise.all(
      [true, false].map(async (boolValue) => {
        const stream = delta();
        const node: Node = { metadata: { fields: { disable_spiffe_cert_validation: { boolValue } } } };
        stream.send({ node, resourceNamesSubscribe: ['ROOTCA'] });
        return (await stream.taken()).resources[0]?.version;
      }),
    );
    expect(versions[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(versions[0]).not.toBe(versions[1]);
  });

  it('wait for a signature without being called gone', async () => {
    const { delta, client, identities } = await started();
    identities.slow.add(WEB);
    const stream = delta();
    stream.send({ resourceNamesSubscribe: ['default'] });
    await stream.quiet(client);
    expect(stream.messages.waiting).toBe(0);
    identities.slow.clear();
    identities.sign(WEB);
    expect(names((await stream.taken()).secrets)).toEqual(['default']);
    identities.expire(WEB);
    expect((await stream.taken()).removedResources).toEqual(['default']);
  });
});

describe('a caller whose stream is over', () => {
  it('gets nothing more, and nothing is kept for it', async () => {
    const identities = new TestIdentities();
    identities.set([testEntry({ spiffeId: WEB })]);
    const base: AgentServiceContext = {
      identities,
      clock: systemClock,
      logger: silentLogger,
      stopping: new AbortController().signal,
      openStream: () => () => undefined,
      callers: {
        attest: async () => ({
          pid: 1,
          uid: 0,
          gid: 0,
          selectors: [`unix:uid:${process.geteuid?.()}`],
          checkAlive: () => undefined,
        }),
      },
    };
    const context = { ...base, known: defaultSecretNames, denials: new Denials(base) };
    const caller = await SdsCaller.attest(context, { getPeer: () => '' });
    const wanted = { names: new Set(['default']), everything: false, plainRoots: false };
    await caller.resolve(wanted);
    expect(identities.leases).toBe(1);
    caller.close();
    await expectAppError(caller.resolve(wanted), 'unavailable', 'The stream is over.');
    expect(identities.leases).toBe(0);
  });
});

describe('FetchSecrets', () => {
  it('answers once, with what there is, and waits for what is being signed', async () => {
    const { client, identities } = await started();
    const response = await answer<{ resources: Parameters<typeof seen>[0][] }>((done) =>
      client.fetchSecrets({ resourceNames: ['default', 'ALL', 'nothing'] }, done),
    );
    expect(response.resources.map(seen).map(({ name }) => name)).toEqual(['ALL', 'default']);
    expect(identities.leases).toBe(0);
  });

  it('says why there is nothing', async () => {
    const { client, identities } = await started();
    const fetch = (resourceNames: string[]) => statusOf(answer((done) => client.fetchSecrets({ resourceNames }, done)));
    expect(await fetch([ORDERS])).toEqual({
      code: status.PERMISSION_DENIED,
      details: `There is no secret ${ORDERS} for the caller: no entry grants it to the workload.`,
    });
    identities.set([]);
    expect(await fetch(['default'])).toEqual({
      code: status.PERMISSION_DENIED,
      details: 'There is no secret default for the caller: the workload has no identity here.',
    });
    expect(await fetch([])).toEqual({ code: status.PERMISSION_DENIED, details: expect.any(String) });
  });
});

describe('streams of secrets', () => {
  /** An agent whose idea of its caller the test can change. */
  async function attesting() {
    const fake: { dead: boolean; failure: AppError | undefined; attestations: number } = {
      dead: false,
      failure: undefined,
      attestations: 0,
    };
    const service: AgentServiceFactory = (context) =>
      secretDiscovery()({
        ...context,
        callers: {
          async attest(call) {
            if ((call as ServerUnaryCall<unknown, unknown>).getPath().endsWith('StreamSecrets')) fake.attestations += 1;
            if (fake.failure !== undefined) throw fake.failure;
            const checkAlive = () => {
              if (fake.dead) throw new AppError('forbidden', 'The process that connected has ended.');
            };
            return { ...(await context.callers.attest(call)), checkAlive };
          },
        },
      });
    const { identities, socketPath } = await startTestAgent({ services: [service] });
    identities.set([testEntry({ spiffeId: WEB })]);
    const client = sdsClient(socketPath);
    return { fake, identities, client, whole: () => new WholeStream(client.streamSecrets()) };
  }

  it('give no key to who inherited the connection of a process that has ended', async () => {
    const { fake, whole, client, identities } = await attesting();
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    await stream.taken(['default']);
    fake.dead = true;
    identities.sign(WEB);
    const ended = { code: status.PERMISSION_DENIED, details: 'The process that connected has ended.' };
    expect(await stream.status()).toEqual(ended);
    expect(await statusOf(answer((done) => client.fetchSecrets({ resourceNames: ['ROOTCA'] }, done)))).toEqual(ended);
  });

  it('end when a caller that lacks something is no more who it was, and not when that cannot be found out', async () => {
    const { fake, whole, client, identities } = await attesting();
    const stream = whole();
    stream.send({ resourceNames: ['default', ORDERS] });
    await stream.taken(['default', ORDERS]);
    fake.failure = new AppError('unavailable', 'Docker is away.');
    identities.set([testEntry({ spiffeId: WEB }), testEntry({ spiffeId: `${WEB}2` })]);
    await stream.quiet(client);
    fake.failure = new AppError('forbidden', 'The process has changed its user.');
    identities.set([testEntry({ spiffeId: WEB }), testEntry({ spiffeId: `${WEB}3` })]);
    expect((await stream.status()).code).toBe(status.PERMISSION_DENIED);
    expect((await whole().status()).code).toBe(status.PERMISSION_DENIED);
  });

  it('are looked for again as often as entries change, but a caller is not attested as often', async () => {
    const { fake, whole, client, identities } = await attesting();
    identities.set([]);
    const stream = whole();
    stream.send({ resourceNames: ['default'] });
    for (let i = 0; i < 20; i++) {
      identities.set([testEntry({ spiffeId: ORDERS, selectors: ['unix:uid:4294967294'] })]);
      await stream.quiet(client);
    }
    identities.set([testEntry({ spiffeId: WEB, selectors: [`unix:path:${process.execPath}`] })]);
    expect(names((await stream.taken(['default'])).secrets)).toEqual(['default']);
    expect(fake.attestations).toBeGreaterThan(5);
    expect(fake.attestations).toBeLessThan(10);
  });

  it('hold nothing for a client that has gone, also one that goes while it waits', async () => {
    const { whole, client, identities } = await attesting();
    identities.slow.add(WEB);
    const streams = [whole(), whole(), whole()];
    for (const stream of streams) stream.send({ resourceNames: ['default', 'ROOTCA'] });
    for (const stream of streams) await stream.next();
    expect(identities.leases).toBe(3);
    for (const { call } of streams) {
      call.on('error', () => undefined);
      call.cancel();
    }
    const deadline = new Promise((_, fail) => setTimeout(() => fail(new Error('leases remain')), 5_000).unref());
    await Promise.race([
      deadline,
      (async () => {
        while (identities.leases > 0)
          await statusOf(answer((done) => client.fetchSecrets({ resourceNames: ['none'] }, done)));
      })(),
    ]);
    expect(identities.leases).toBe(0);
  });

  it('end with Unavailable when the agent stops', async () => {
    const { whole, delta, server } = await started();
    const streams = [whole(), delta()];
    streams[0]?.send({ resourceNames: ['ROOTCA'] } as never);
    streams[1]?.send({ resourceNamesSubscribe: ['ROOTCA'] } as never);
    for (const stream of streams) await stream.next();
    const ended = Promise.all(streams.map((stream) => stream.status()));
    await server.close();
    const unavailable = { code: status.UNAVAILABLE, details: 'The agent is stopping. Connect again.' };
    expect(await ended).toEqual([unavailable, unavailable]);
  });

  it('are limited for one process', async () => {
    const agent = await startTestAgent({ services: [secretDiscovery()], limits: { maxStreamsPerProcess: 2 } });
    agent.identities.set([testEntry({ spiffeId: WEB })]);
    const client = sdsClient(agent.socketPath);
    for (let i = 0; i < 2; i++) {
      const stream = new WholeStream(client.streamSecrets());
      stream.send({ resourceNames: ['ROOTCA'] });
      await stream.next();
    }
    expect((await new WholeStream(client.streamSecrets()).status()).code).toBe(status.RESOURCE_EXHAUSTED);
  });

  it('end when the client sends requests without end', async () => {
    const { whole } = await started();
    const stream = whole();
    stream.call.on('error', () => undefined);
    for (let i = 0; i < 300; i++) stream.send({ resourceNames: ['nothing'] });
    expect((await stream.status()).code).toBe(status.RESOURCE_EXHAUSTED);
  });

  it.each([
    [{ typeUrl: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' }, `type_url is not ${SECRET_TYPE_URL}.`],
    [{ resourceNames: [''] }, 'resource_names[0] is missing.'],
    [{ resourceNames: ['x'.repeat(2049)] }, 'resource_names[0] is longer than 2048 characters.'],
    [{ resourceNames: Array.from({ length: 101 }, (_, i) => `n${i}`) }, 'resource_names has more than 100 elements.'],
    [{ responseNonce: 'n'.repeat(257) }, 'response_nonce is longer than 256 characters.'],
  ])('end with InvalidArgument for a request out of bounds (%#)', async (request, details) => {
    const { whole } = await started();
    const stream = whole();
    stream.send(request);
    expect(await stream.status()).toEqual({ code: status.INVALID_ARGUMENT, details });
  });

  it('end for more versions than anybody has, and for more secrets than fit into a response', async () => {
    const entries = Array.from({ length: 1_001 }, (_, i) => testEntry({ spiffeId: `${WEB}${i}` }));
    const { delta, whole } = await started({ entries });
    const much = delta();
    much.send({ initialResourceVersions: Object.fromEntries(entries.map(({ spiffeId }) => [spiffeId, 'x'])) });
    expect(await much.status()).toEqual({
      code: status.INVALID_ARGUMENT,
      details: 'initial_resource_versions has more than 1000 elements.',
    });
    const long = delta();
    const longNames = Array.from({ length: 70 }, (_, i) => [`${i}`.padEnd(2_000, 'x'), '1']);
    long.send({ initialResourceVersions: Object.fromEntries(longNames) });
    expect(await long.status()).toEqual({
      code: status.INVALID_ARGUMENT,
      details: 'initial_resource_versions has more than 131072 characters of names.',
    });
    const everything = whole();
    everything.send({});
    expect(await everything.status()).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      details: 'The workload may have more than 1000 secrets: ask for some by name.',
    });
    const one = whole();
    one.send({ resourceNames: ['ROOTCA'] });
    expect(names((await one.next()).secrets)).toEqual(['ROOTCA']);
  });

  it('can be subscribed to 100 names, one by one or at once', async () => {
    const { delta } = await started();
    const stream = delta();
    stream.send({ resourceNamesSubscribe: Array.from({ length: 100 }, (_, i) => `n${i}`) });
    await stream.taken();
    stream.send({ resourceNamesSubscribe: ['one more'] });
    expect(await stream.status()).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      details: 'A stream can be subscribed to at most 100 names.',
    });
  });
});

/** Takes responses until every name is there; the last one. SVIDs may come after the roots. */
async function all(stream: WholeStream, wanted: readonly string[], asked: readonly string[] = wanted) {
  for (;;) {
    const response = await stream.taken(asked);
    if (wanted.every((name) => names(response.secrets).includes(name))) return response;
  }
}
