import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError, errorCodes } from '../../src/base/errors.ts';
import { shipNackCodes } from '../../src/core/audit/ship.ts';
import * as audit from '../../src/wire/audit.ts';
import * as enrollment from '../../src/wire/enrollment.ts';
import * as identity from '../../src/wire/identity.ts';
import * as sign from '../../src/wire/identity-sign.ts';
import * as watch from '../../src/wire/identity-watch.ts';
import { auditService, enrollmentService, identityService, policyService } from '../../src/wire/loader.ts';
import * as policy from '../../src/wire/policy.ts';
import * as any from './arbitraries.ts';

/** Every message: core value → proto → bytes → proto → core value is the same value. */

interface Method {
  requestSerialize(message: never): Buffer;
  requestDeserialize(bytes: Buffer): unknown;
  responseSerialize(message: never): Buffer;
  responseDeserialize(bytes: Buffer): unknown;
}

function request<T>(method: Method, to: (value: T) => object, from: (message: never) => unknown) {
  return (value: T) => from(method.requestDeserialize(method.requestSerialize(to(value) as never)) as never);
}

function response<T>(method: Method, to: (value: T) => object, from: (message: never) => unknown) {
  return (value: T) => from(method.responseDeserialize(method.responseSerialize(to(value) as never)) as never);
}

function same<T>(arbitrary: fc.Arbitrary<T>, through: (value: T) => unknown): void {
  void fc.assert(
    fc.property(arbitrary, (value) => {
      expect(through(value)).toEqual(value);
    }),
    { numRuns: 100 },
  );
}

const certificate = fc.record({
  chain: fc.array(any.buffer(1, 50), { minLength: 1, maxLength: 3 }),
  spiffeId: any.spiffeId,
  instanceId: any.text(),
  notBefore: any.time,
  notAfter: any.time,
});
const token = fc.record({ token: any.text(), spiffeId: any.spiffeId, issuedAt: any.time, expiresAt: any.time });
const variables = fc.dictionary(any.text(), any.text(), { maxKeys: 3 });
const entry = fc.record({ id: any.text(), spiffeId: any.spiffeId, labels: any.labels });

describe('a message survives the wire:', () => {
  it('AttestRequest', () => {
    const begin = fc.record({
      method: any.text(),
      payload: any.buffer(1, 40),
      csr: any.buffer(1, 40),
      agent: fc.boolean(),
    });
    same(
      begin,
      request(enrollmentService.Attest, enrollment.toAttestRequest, (m) => {
        const step = enrollment.fromAttestRequest(m);
        return step.kind === 'begin' ? step.begin : step;
      }),
    );
  });

  it('AttestResponse, with Certificate, TrustBundle and Entry', () => {
    same(
      fc.record({ certificate, bundle: any.trustBundle, entry }, { requiredKeys: ['certificate', 'bundle'] }),
      response(enrollmentService.Attest, enrollment.toAttestResponse, (m) => {
        const reply = enrollment.fromAttestResponse(m);
        return reply.kind === 'result' ? reply.result : reply;
      }),
    );
  });

  it('RenewRequest and RenewResponse', () => {
    const csr = any.buffer(1, 60);
    same(
      csr,
      request(identityService.Renew, identity.toRenewRequest, (m) => identity.fromRenewRequest(m).csr),
    );
    same(certificate, response(identityService.Renew, identity.toRenewResponse, identity.fromRenewResponse));
  });

  it('SignJwtRequest and SignJwtResponse', () => {
    const own = fc.record({
      audience: any.text().map((audience) => [audience]),
      entryId: fc.constant(undefined),
      variables: fc.constant({}),
    });
    const forWorkload = fc.record({
      audience: fc.array(any.text(), { minLength: 1, maxLength: 16 }),
      entryId: any.text(),
      variables,
    });
    same(fc.oneof(own, forWorkload), request(identityService.SignJwt, sign.toSignJwtRequest, sign.fromSignJwtRequest));
    same(token, response(identityService.SignJwt, sign.toSignJwtResponse, sign.fromSignJwtResponse));
  });

  it('SignX509 and SignWit: requests, and answers in which some items failed', () => {
    const items = fc.array(fc.record({ entryId: any.text(), csr: any.buffer(1, 60), variables }), {
      minLength: 1,
      maxLength: 5,
    });
    same(items, request(identityService.SignX509, sign.toSignX509Request, sign.fromSignX509Request));
    same(items, request(identityService.SignWit, sign.toSignWitRequest, sign.fromSignWitRequest));
    const error = fc.record({ code: fc.constantFrom(...errorCodes), message: any.text() });
    const failed = error.map(({ code, message }) => ({ error: new AppError(code, message) }));
    const results = <T>(value: fc.Arbitrary<T>) =>
      fc.array(fc.oneof(fc.record({ value }), failed), { minLength: 1, maxLength: 5 });
    same(results(certificate), (value) =>
      response(identityService.SignX509, sign.toSignX509Response, (m) => sign.fromSignX509Response(m, value.length))(
        value,
      ),
    );
    same(results(token), (value) =>
      response(identityService.SignWit, sign.toSignWitResponse, (m) => sign.fromSignWitResponse(m, value.length))(
        value,
      ),
    );
  });

  it('WatchIdentityRequest', () => {
    const hello = fc.record({
      kind: fc.constant('hello' as const),
      entries: fc.array(fc.record({ id: any.text(), revision: any.count }), { maxLength: 4 }),
      bundles: fc.array(fc.record({ trustDomain: any.trustDomain, hash: any.hash }), { maxLength: 4 }),
      version: any.text(),
      time: any.time,
    });
    const ack = fc.record({ kind: fc.constant('ack' as const), revision: any.count });
    same(fc.oneof(hello, ack), request(identityService.Watch, watch.toIdentityMessage, watch.fromIdentityMessage));
  });

  it('IdentityUpdate: a difference comes out of its messages as it went in, none of them above the limit', () => {
    const difference = fc.record({
      upserted: fc.array(any.workloadEntry, { maxLength: 6 }),
      removed: fc.array(any.text(), { maxLength: 4 }),
      bundles: fc.array(any.trustBundle, { maxLength: 3 }),
      removedBundles: fc.array(any.trustDomain, { maxLength: 3 }),
    });
    void fc.assert(
      fc.property(difference, fc.constantFrom(1, 400, 1_000_000), any.count, (value, maxBytes, revision) => {
        const encoded = watch.encodeDifference(value, maxBytes);
        const updates = encoded.map((part) =>
          watch.fromIdentityUpdate(identityService.Watch.responseDeserialize(watch.atRevision(part, revision))),
        );
        expect(updates.map((update) => update.more)).toEqual(updates.map((_, i) => i < updates.length - 1));
        expect(updates.every((update) => update.revision === revision)).toBe(true);
        expect({
          upserted: updates.flatMap((update) => update.upserted),
          removed: updates.flatMap((update) => update.removed),
          bundles: updates.flatMap((update) => update.bundles),
          removedBundles: updates.flatMap((update) => update.removedBundles),
        }).toEqual(value);
        const pieces =
          value.upserted.length + value.removed.length + value.bundles.length + value.removedBundles.length;
        if (maxBytes === 1) expect(encoded).toHaveLength(Math.max(1, pieces));
        for (const part of encoded) expect(part.length <= maxBytes + 8 || maxBytes < 1_000_000).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it('TrustBundle has the same hash on both sides', () => {
    same(any.trustBundle, (bundle) => {
      const [part] = watch.encodeDifference({ upserted: [], removed: [], bundles: [bundle], removedBundles: [] });
      const update = watch.fromIdentityUpdate(identityService.Watch.responseDeserialize(part ?? Buffer.alloc(0)));
      const received = update.bundles[0];
      expect(received && watch.bundleHash(received)).toEqual(watch.bundleHash(bundle));
      return received;
    });
  });

  it('WatchPolicyRequest', () => {
    const inbound = fc.record({ address: any.address, protocol: any.protocol, applicationPort: any.port });
    const message: fc.Arbitrary<policy.PolicyMessage> = fc.oneof(
      fc.record({
        kind: fc.constant('hello'),
        inbound: fc.array(inbound, { maxLength: 4 }),
        version: any.text(),
        haveHash: any.hashOrEmpty,
      }),
      fc.record({
        kind: fc.constant('hello'),
        inbound: fc.array(inbound, { maxLength: 4 }),
        version: any.text(),
        haveHash: any.hashOrEmpty,
        features: fc.array(any.text(), { minLength: 1, maxLength: 4 }),
      }),
      fc.record({ kind: fc.constant('ack'), revision: any.count, hash: any.hash }),
      fc.record({
        kind: fc.constant('ack'),
        revision: any.count,
        hash: any.hash,
        quarantineRevision: any.count.filter((revision) => revision > 0),
      }),
      fc.record({ kind: fc.constant('nack'), revision: any.count, hash: any.hash, error: any.text() }),
      fc.record({ kind: fc.constant('goodbye') }),
    );
    same(message, request(policyService.Watch, policy.toPolicyMessage, policy.fromPolicyMessage));
  });

  it('Snapshot, and the content of none is not the content that is empty', () => {
    const snapshot = fc.record({
      revision: any.count,
      hash: any.hash,
      content: fc.option(any.buffer(0, 60), { nil: undefined }),
      publishedAt: any.time,
    });
    const quarantine = fc.record({ revision: any.count, spiffeIds: fc.array(any.spiffeId, { maxLength: 4 }) });
    const both = fc.tuple(snapshot, quarantine).map(([rest, list]) => ({ ...rest, quarantine: list }));
    same(both, response(policyService.Watch, policy.toSnapshot, policy.fromSnapshot));
    // The list, which is the same for all, is encoded by itself and put behind the rest.
    same(both, ({ quarantine: list, ...rest }) =>
      policy.fromSnapshot(
        policyService.Watch.responseDeserialize(
          Buffer.concat([policy.encodeSnapshot(rest), policy.encodeQuarantine(list)]),
        ),
      ),
    );
    same(snapshot, response(policyService.Watch, policy.toSnapshot, policy.fromSnapshot));
    same(snapshot, (value) =>
      policy.fromSnapshot(policyService.Watch.responseDeserialize(policy.encodeSnapshot(value))),
    );
  });

  it('SnapshotContent', () => {
    same(any.snapshotContent, (value) => policy.decodeSnapshotContent(policy.encodeSnapshotContent(value)));
    same(any.federatedContent, (value) => policy.decodeSnapshotContent(policy.encodeSnapshotContent(value)));
    same(any.checkedContent, (value) => policy.decodeSnapshotContent(policy.encodeSnapshotContent(value)));
  });

  it('ShipRequest', () => {
    const hello = fc.record({
      bootId: any.text(),
      epoch: any.count,
      nextSeq: any.count,
      lastBatchHash: any.hashOrEmpty,
      batchKey: any.buffer(32),
      batchKeySignature: any.buffer(1, 80),
      time: any.time,
    });
    const pins = fc.array(fc.record({ origin: any.text(), size: any.count }), { maxLength: 3 });
    const following = hello.chain((plain) => pins.map((log) => ({ ...plain, log })));
    const batch = fc.record({
      header: any.buffer(1, 80),
      signature: any.buffer(64),
      events: any.buffer(1, 80),
      encoding: fc.constantFrom('identity', 'zstd'),
    });
    const message: fc.Arbitrary<audit.ShipRequestMessage> = fc.oneof(
      fc.record({ hello }),
      fc.record({ hello: following }),
      fc.record({ batch }),
    );
    same(message, request(auditService.Ship, audit.toShipRequest, audit.fromShipRequest));
  });

  it('ShipResponse', () => {
    const welcome = fc.record({
      streamId: any.count,
      expectedEpoch: any.count,
      expectedSeq: any.count,
      expectedPrevHash: any.hashOrEmpty,
      creditBatches: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    });
    const ack = fc.record({ epoch: any.count, durableThroughSeq: any.count, batchHash: any.hash });
    const logged = fc.record({
      checkpoint: any.buffer(1, 80),
      consistency: fc.array(any.hash, { maxLength: 4 }),
      keys: fc.array(any.text(), { maxLength: 2 }),
      epoch: any.count,
      loggedThroughSeq: any.count,
    });
    const nack = fc.record({
      code: fc.constantFrom(...shipNackCodes),
      expectedEpoch: any.count,
      expectedSeq: any.count,
      expectedPrevHash: any.hashOrEmpty,
      message: fc.string({ unit: 'binary', maxLength: 40 }),
    });
    const message: fc.Arbitrary<audit.ShipResponseMessage> = fc.oneof(
      fc.record({ welcome }),
      fc.record({ ack }),
      fc.record({ nack }),
      fc.record({ logged }),
      fc.record({ welcome: welcome.map((plain) => ({ ...plain, sendsLog: true })) }),
    );
    same(message, response(auditService.Ship, audit.toShipResponse, audit.fromShipResponse));
  });
});

describe('encodeSnapshotContent', () => {
  it('gives the same bytes whatever the order of the keys in the JWKS', () => {
    const content = (jwk: object) => ({
      policies: [],
      services: [],
      bundle: { trustDomain: 'a', roots: [], jwks: { keys: [jwk as { kty: string }] }, sequence: 1 },
    });
    const one = policy.encodeSnapshotContent(content({ kty: 'EC', kid: 'k', x5c: ['b', 'a'] }));
    const other = policy.encodeSnapshotContent(content({ x5c: ['b', 'a'], kid: 'k', kty: 'EC' }));
    expect(other).toEqual(one);
  });
});

describe('decodeSnapshotContent', () => {
  it('either decodes or refuses as invalid, whatever the bytes', () => {
    const valid = any.snapshotContent.map((content) => policy.encodeSnapshotContent(content));
    const damaged = fc.tuple(valid, fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
      const copy = Buffer.from(bytes);
      if (copy.length > 0) copy[at % copy.length] = value;
      return copy;
    });
    void fc.assert(
      fc.property(fc.oneof(any.buffer(0, 60), damaged), (bytes) => {
        try {
          policy.decodeSnapshotContent(bytes);
        } catch (error) {
          expect(error).toMatchObject({ name: 'AppError', code: 'invalid' });
        }
      }),
      { numRuns: 500 },
    );
  });
});
