import { describe, expect, it } from 'vitest';
import { fromShipRequest, fromShipResponse } from '../../src/wire/audit.ts';
import { fromAttestRequest, fromAttestResponse } from '../../src/wire/enrollment.ts';
import { fromRenewRequest } from '../../src/wire/identity.ts';
import { fromSignJwtRequest } from '../../src/wire/identity-sign.ts';
import {
  auditService,
  enrollmentService,
  identityService,
  policyService,
  snapshotContentCodec,
} from '../../src/wire/loader.ts';
import { decodeSnapshotContent, fromPolicyMessage, fromSnapshot } from '../../src/wire/policy.ts';
import { expectAppError } from '../support/errors.ts';

/** Each way in which a received message can be wrong: `invalid`, naming the field. */

const bytes = (length: number) => Buffer.alloc(length, 1);
const now = { seconds: '1767225600', nanos: 0 };
const bundle = { trustDomain: 'example.org', roots: [bytes(3)], jwks: '{"keys":[]}', sequence: '1' };
const certificate = {
  chain: [bytes(3)],
  spiffeId: 'spiffe://example.org/ns/shop/sa/web',
  instanceId: 'i',
  notBefore: now,
  notAfter: now,
};
const entry = { id: 'e', spiffeId: 'spiffe://example.org/ns/shop/sa/web', labels: {} };
const hello = {
  bootId: 'b',
  epoch: '1',
  nextSeq: '1',
  lastBatchHash: bytes(0),
  batchKey: bytes(32),
  batchKeySignature: bytes(70),
  time: now,
};
const batch = { header: bytes(9), signature: bytes(64), events: bytes(9), encoding: 'BATCH_ENCODING_ZSTD' };
const farEndpoint = { address: '10.0.0.1:1', protocol: 'ENDPOINT_PROTOCOL_TCP', applicationPort: 65_536 } as const;
const limit = { namespace: 'shop', name: 'orders', revision: '1' };
const rate = (seconds: string) => ({ requests: 1, period: { seconds } });
const authorizer = { name: 'opa', address: '127.0.0.1:9191', timeout: { seconds: '1' } };
const inbound = { address: '10.0.0.1:1', protocol: 'ENDPOINT_PROTOCOL_TCP', applicationPort: 1 } as const;
const match = { exact: 'x' };
const policy = (change: object) => ({
  policies: [{ namespace: 'n', name: 'p', revision: '1', action: 'POLICY_ACTION_DENY', rules: [], ...change }],
  bundle,
});
const rule = (change: object) => policy({ rules: [change] });

type Case = readonly [message: object, expected: RegExp];

const cases: Readonly<
  Record<string, { readonly receive: (message: object) => unknown; readonly cases: readonly Case[] }>
> = {
  AttestRequest: {
    receive: (m) =>
      fromAttestRequest(enrollmentService.Attest.requestDeserialize(enrollmentService.Attest.requestSerialize(m))),
    cases: [
      [{}, /^step is missing/],
      [{ begin: {} }, /^begin\.method is missing/],
      [{ begin: { method: 'm'.repeat(65), payload: bytes(1), csr: bytes(1) } }, /^begin\.method is longer/],
      [{ begin: { method: 'join_token', csr: bytes(1) } }, /^begin\.payload is missing/],
      [{ begin: { method: 'join_token', payload: bytes(1) } }, /^begin\.csr is missing/],
      [{ begin: { method: 'join_token', payload: bytes(1), csr: bytes(16_385) } }, /^begin\.csr is longer than 16384/],
      [{ challengeResponse: bytes(0) }, /^challenge_response is missing/],
    ],
  },
  AttestResponse: {
    receive: (m) =>
      fromAttestResponse(enrollmentService.Attest.responseDeserialize(enrollmentService.Attest.responseSerialize(m))),
    cases: [
      [{}, /^step is missing/],
      [{ result: {} }, /^result\.certificate is missing/],
      [{ result: { certificate: { ...certificate, chain: [] } } }, /^result\.certificate\.chain is missing/],
      [
        { result: { certificate: { ...certificate, chain: [bytes(0)] } } },
        /^result\.certificate\.chain\[0\] is missing/,
      ],
      [
        { result: { certificate: { ...certificate, spiffeId: 'https://a' } } },
        /^result\.certificate\.spiffe_id: .*spiffe:/,
      ],
      [{ result: { certificate: { ...certificate, instanceId: '' } } }, /^result\.certificate\.instance_id is missing/],
      [{ result: { certificate: { ...certificate, notAfter: null } } }, /^result\.certificate\.not_after is missing/],
      [{ result: { certificate } }, /^result\.bundle is missing/],
      [{ result: { certificate, bundle: { ...bundle, trustDomain: 'A' } } }, /^result\.bundle\.trust_domain/],
      [{ result: { certificate, bundle: { ...bundle, roots: [] } } }, /^result\.bundle\.roots is missing/],
      [{ result: { certificate, bundle: { ...bundle, jwks: '' } } }, /^result\.bundle\.jwks is missing/],
      [{ result: { certificate, bundle: { ...bundle, jwks: '{' } } }, /^result\.bundle\.jwks is not JSON/],
      [{ result: { certificate, bundle: { ...bundle, jwks: '{"keys":[{}]}' } } }, /jwks is not a JSON Web Key Set/],
      [{ result: { certificate, bundle: { ...bundle, jwks: '[]' } } }, /jwks is not a JSON Web Key Set/],
      [{ result: { certificate, bundle, entry: { ...entry, id: '' } } }, /^result\.entry\.id is missing/],
    ],
  },
  RenewRequest: {
    receive: (m) =>
      fromRenewRequest(identityService.Renew.requestDeserialize(identityService.Renew.requestSerialize(m))),
    cases: [[{}, /^csr is missing/]],
  },
  SignJwtRequest: {
    receive: (m) =>
      fromSignJwtRequest(identityService.SignJwt.requestDeserialize(identityService.SignJwt.requestSerialize(m))),
    cases: [
      [{}, /^audience is missing/],
      [{ audience: [''] }, /^audience\[0\] is missing/],
      [{ audience: ['a', 'b'] }, /^audience has more than 1/],
      [{ audience: ['a'.repeat(1025)] }, /^An audience has 1 to 1024 bytes/],
    ],
  },
  WatchPolicyRequest: {
    receive: (m) => fromPolicyMessage(policyService.Watch.requestDeserialize(policyService.Watch.requestSerialize(m))),
    cases: [
      [{}, /^message is missing/],
      [{ hello: { inbound: [], version: '' } }, /^hello\.version is missing/],
      [{ hello: { version: 'v', haveHash: bytes(31) } }, /^hello\.have_hash is 31 bytes long, not 32/],
      [{ hello: { version: 'v', features: Array(65).fill('f') } }, /^hello\.features has more than 64/],
      [{ hello: { version: 'v', inbound: Array(65).fill(inbound) } }, /^hello\.inbound has more than 64/],
      ...[
        '',
        'nohost',
        ':80',
        'a:0',
        'a:65536',
        'a b:80',
        'http://a:80',
        '[::1:80',
        'a:80/x',
        `${'a'.repeat(300)}:1`,
      ].map(
        (address): Case => [
          { hello: { version: 'v', inbound: [{ ...inbound, address }] } },
          /^hello\.inbound\[0\]\.address/,
        ],
      ),
      [{ hello: { version: 'v', inbound: [{ ...inbound, protocol: undefined }] } }, /^hello\.inbound\[0\]\.protocol/],
      [
        { hello: { version: 'v', inbound: [inbound, { ...inbound, applicationPort: 0 }] } },
        /inbound\[1\]\.application_port/,
      ],
      [{ ack: { revision: '1' } }, /^ack\.hash is missing/],
      [{ ack: { revision: '9007199254740992', hash: bytes(32) } }, /^ack\.revision is out of range/],
      [{ nack: { revision: '18446744073709551615', hash: bytes(32) } }, /^nack\.revision is out of range/],
      [{ nack: { revision: '1', hash: bytes(33) } }, /^nack\.hash is 33 bytes long/],
    ],
  },
  Snapshot: {
    receive: (m) => fromSnapshot(policyService.Watch.responseDeserialize(policyService.Watch.responseSerialize(m))),
    cases: [
      [{ publishedAt: now }, /^hash is missing/],
      [{ hash: bytes(32) }, /^published_at is missing/],
      [{ hash: bytes(32), publishedAt: { seconds: '253402300800' } }, /^published_at is not a time/],
      [{ hash: bytes(32), publishedAt: { seconds: '1', nanos: 1_000_000_000 } }, /^published_at is not a time/],
      [{ hash: bytes(32), publishedAt: { seconds: '1', nanos: -1 } }, /^published_at is not a time/],
      [{ hash: bytes(32), publishedAt: now, quarantine: { spiffeIds: ['web'] } }, /^quarantine\.spiffe_ids\[0\]: /],
      [
        { hash: bytes(32), publishedAt: now, quarantine: { revision: '18446744073709551615' } },
        /^quarantine\.revision is out of range/,
      ],
      [
        {
          hash: bytes(32),
          publishedAt: now,
          quarantine: { spiffeIds: Array.from({ length: 10_001 }, () => 'spiffe://a/b') },
        },
        /^quarantine\.spiffe_ids has more than 10000 elements/,
      ],
    ],
  },
  SnapshotContent: {
    receive: (m) => decodeSnapshotContent(snapshotContentCodec.encode(m)),
    cases: [
      [
        { egress: policy({ action: 'POLICY_ACTION_CUSTOM', provider: 'opa' }).policies, bundle },
        /^egress\[0\]\.action is CUSTOM/,
      ],
      [policy({ provider: 'x'.repeat(254) }), /^policies\[0\]\.provider/],
      [{}, /^bundle is missing/],
      [policy({ namespace: '' }), /^policies\[0\]\.namespace is missing/],
      [policy({ name: '' }), /^policies\[0\]\.name is missing/],
      [policy({ action: undefined }), /^policies\[0\]\.action has a value that is not known/],
      [policy({ action: 'POLICY_ACTION_UNSPECIFIED' }), /^policies\[0\]\.action has a value that is not known/],
      [
        rule({ from: [{ principals: [match, {}] }] }),
        /^policies\[0\]\.rules\[0\]\.from\[0\]\.principals\[1\] has no kind/,
      ],
      [rule({ from: [{ namespaces: [{ present: false }] }] }), /namespaces\[0\]\.present is false/],
      [rule({ to: [{ methods: [{ prefix: '' }] }] }), /to\[0\]\.methods\[0\]\.prefix is missing/],
      [rule({ to: [{ paths: [{ suffix: '' }] }] }), /to\[0\]\.paths\[0\]\.suffix is missing/],
      [rule({ to: [{ ports: [80, 65_536] }] }), /to\[0\]\.ports\[1\] is not a port/],
      [{ bundle, federated: [{ ...bundle, trustDomain: 'A' }] }, /^federated\[0\]\.trust_domain/],
      [{ bundle, federated: Array(257).fill(bundle) }, /^federated has more than 256/],
      [{ bundle, services: [{ name: 'a', namespace: 'b' }] }, /^services\[0\]\.spiffe_id is missing/],
      [
        { bundle, services: [{ name: 'a', namespace: 'b', spiffeId: certificate.spiffeId, endpoints: [{}] }] },
        /endpoints\[0\]\.address is missing/,
      ],
      [
        { bundle, services: [{ name: 'a', namespace: 'b', spiffeId: certificate.spiffeId, endpoints: [farEndpoint] }] },
        /endpoints\[0\]\.application_port is not a port/,
      ],
      [{ bundle, rateLimits: [{ ...limit, name: '' }] }, /^rate_limits\[0\]\.name is missing/],
      [{ bundle, rateLimits: [{ ...limit, total: { requests: 0 } }] }, /total\.requests is less than 1/],
      [{ bundle, rateLimits: [{ ...limit, total: { requests: 1 } }] }, /total\.period is missing/],
      [{ bundle, rateLimits: [{ ...limit, total: rate('0') }] }, /total\.period is not a duration/],
      [{ bundle, rateLimits: [{ ...limit, perSource: rate('86401') }] }, /per_source\.period is not a duration/],
      [
        { bundle, rateLimits: [{ ...limit, overrides: [{ rate: rate('1') }] }] },
        /overrides\[0\]\.principals is missing/,
      ],
      [{ bundle, rateLimits: [{ ...limit, overrides: [{ principals: [match] }] }] }, /overrides\[0\]\.rate is missing/],
      [{ bundle, authorizers: [{ ...authorizer, name: '' }] }, /^authorizers\[0\]\.name is missing/],
      [{ bundle, authorizers: [{ ...authorizer, address: 'x' }] }, /^authorizers\[0\]\.address is not host:port/],
      [{ bundle, authorizers: [{ ...authorizer, address: '10.0.0.1:1' }] }, /^authorizers\[0\]\.ca is missing/],
      [{ bundle, authorizers: [{ ...authorizer, address: '127.evil.example:1' }] }, /^authorizers\[0\]\.ca is missing/],
      [{ bundle, authorizers: [{ ...authorizer, ca: 'no PEM' }] }, /^authorizers\[0\]\.ca holds no certificate/],
      [
        {
          bundle,
          authorizers: [{ ...authorizer, ca: '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----' }],
        },
        /^authorizers\[0\]\.ca holds a certificate that cannot be read/,
      ],
      [{ bundle, authorizers: [{ ...authorizer, timeout: null }] }, /^authorizers\[0\]\.timeout is missing/],
      [{ bundle, authorizers: [{ ...authorizer, timeout: { seconds: '61' } }] }, /timeout is not a duration/],
      [{ bundle, authorizers: [{ ...authorizer, maxBodyBytes: 1 }] }, /^authorizers\[0\]\.max_body_bytes is not 0/],
      [{ bundle, authorizers: [authorizer, authorizer] }, /^authorizers has two of one name/],
      [{ bundle, trustedProxies: 17 }, /^trusted_proxies is more than 16/],
    ],
  },
  ShipRequest: {
    receive: (m) => fromShipRequest(auditService.Ship.requestDeserialize(auditService.Ship.requestSerialize(m))),
    cases: [
      [{}, /^message is missing/],
      [{ hello: { ...hello, bootId: '' } }, /^hello\.boot_id is missing/],
      [{ hello: { ...hello, nextSeq: '9223372036854775808' } }, /^hello\.next_seq is out of range/],
      [{ hello: { ...hello, lastBatchHash: bytes(1) } }, /^hello\.last_batch_hash is 1 bytes long/],
      [{ hello: { ...hello, batchKey: bytes(33) } }, /^hello\.batch_key is 33 bytes long, not 32/],
      [{ hello: { ...hello, batchKeySignature: bytes(0) } }, /^hello\.batch_key_signature is missing/],
      [{ hello: { ...hello, batchKeySignature: bytes(513) } }, /^hello\.batch_key_signature is longer/],
      [{ hello: { ...hello, time: null } }, /^hello\.time is missing/],
      [{ batch: { ...batch, header: bytes(0) } }, /^batch\.header is missing/],
      [{ batch: { ...batch, header: bytes(65_536) } }, /^batch\.header is longer/],
      [{ batch: { ...batch, signature: bytes(63) } }, /^batch\.signature is 63 bytes long, not 64/],
      [{ batch: { ...batch, events: bytes(0) } }, /^batch\.events is missing/],
      [{ batch: { ...batch, encoding: undefined } }, /^batch\.encoding has a value that is not known/],
    ],
  },
  ShipResponse: {
    receive: (m) => fromShipResponse(auditService.Ship.responseDeserialize(auditService.Ship.responseSerialize(m))),
    cases: [
      [{}, /^message is missing/],
      [{ welcome: { streamId: '1' } }, /^welcome\.credit_batches is missing/],
      [{ welcome: { creditBatches: 8, expectedPrevHash: bytes(5) } }, /^welcome\.expected_prev_hash is 5 bytes long/],
      [{ ack: { epoch: '1' } }, /^ack\.batch_hash is missing/],
      [{ nack: { expectedPrevHash: bytes(0) } }, /^nack\.code has a value that is not known/],
    ],
  },
};

describe('a received message', () => {
  for (const [name, { receive, cases: list }] of Object.entries(cases)) {
    for (const [message, expected] of list) {
      it(`${name} is refused: ${expected.source.replaceAll(/[\\^]/g, '')}`, async () => {
        await expectAppError(() => receive(message), 'invalid', expected);
      });
    }
  }

  it('may have fields that are newer than this version', () => {
    const unknown = Buffer.from('f201026869', 'hex'); // field 30: "hi"
    const known = policyService.Watch.requestSerialize({ goodbye: {} });
    const message = policyService.Watch.requestDeserialize(Buffer.concat([unknown, known, unknown]));
    expect(fromPolicyMessage(message)).toEqual({ kind: 'goodbye' });
  });

  it('is refused when it has an enum value that is newer than this version', async () => {
    const encoded = policyService.Watch.requestSerialize({ hello: { inbound: [inbound] } }).toString('hex');
    // Field 2, protocol: 2 becomes 99.
    const newer = Buffer.from(encoded.replace('1002', '1063'), 'hex');
    await expectAppError(
      () => fromPolicyMessage(policyService.Watch.requestDeserialize(newer)),
      'invalid',
      /^hello\.inbound\[0\]\.protocol has a value that is not known here: 99/,
    );
  });
});
