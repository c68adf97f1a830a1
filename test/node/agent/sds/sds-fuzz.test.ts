import type { ClientDuplexStream } from '@grpc/grpc-js';
import { Client, credentials, status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { secretDiscovery } from '../../../../src/node/agent/sds/sds.ts';
import type { DeltaDiscoveryRequest } from '../../../../src/wire/gen/envoy/service/discovery/v3/DeltaDiscoveryRequest.ts';
import type { DiscoveryRequest } from '../../../../src/wire/gen/envoy/service/discovery/v3/DiscoveryRequest.ts';
import { SECRET_TYPE_URL, secretDiscoveryService } from '../../../../src/wire/secret-discovery.ts';
import { fromSecretsDeltaRequest, fromSecretsRequest } from '../../../../src/wire/secret-requests.ts';
import { accepts, mutationsOf } from '../../../core/identity/mutate.ts';
import { sdsClient, WholeStream } from '../sds-client.ts';
import { testEntry } from '../test-identities.ts';
import { startTestAgent } from '../workload-client.ts';

const { StreamSecrets, DeltaSecrets } = secretDiscoveryService;

const request: DiscoveryRequest = {
  versionInfo: 'a5debe7e',
  node: {
    id: 'router',
    cluster: 'shop',
    metadata: {
      fields: {
        disable_spiffe_cert_validation: { stringValue: 'true' },
        nested: {
          structValue: { fields: { list: { listValue: { values: [{ numberValue: 1 }, { boolValue: true }] } } } },
        },
      },
    },
    userAgentName: 'envoy',
    userAgentBuildVersion: { version: { majorNumber: 1, minorNumber: 40, patch: 0 } },
  },
  resourceNames: ['default', 'ALL', 'spiffe://example.org/ns/shop/sa/web'],
  typeUrl: SECRET_TYPE_URL,
  responseNonce: '0123456789abcdef',
  errorDetail: { code: 3, message: 'no', details: [{ type_url: 'x', value: Buffer.from('y') }] },
};

const delta: DeltaDiscoveryRequest = {
  node: request.node ?? null,
  typeUrl: SECRET_TYPE_URL,
  resourceNamesSubscribe: ['default', '*'],
  resourceNamesUnsubscribe: ['ROOTCA'],
  initialResourceVersions: { default: 'abc', ALL: '' },
  responseNonce: 'abc',
  errorDetail: { code: 3, message: 'no' },
};

describe('requests for secrets, as anybody may send them', () => {
  it('are taken, or refused as invalid, whatever bytes they are', () => {
    const whole = StreamSecrets.requestSerialize(request);
    const incremental = DeltaSecrets.requestSerialize(delta);
    fc.assert(
      fc.property(mutationsOf(whole), mutationsOf(incremental), fc.uint8Array({ maxLength: 200 }), (a, b, c) => {
        for (const bytes of [a, b, Buffer.from(c)]) {
          accepts(() => fromSecretsRequest(decoded(() => StreamSecrets.requestDeserialize(bytes), request)), 'invalid');
          accepts(
            () => fromSecretsDeltaRequest(decoded(() => DeltaSecrets.requestDeserialize(bytes), delta)),
            'invalid',
          );
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('that nest without end are refused, and exhaust nothing', async () => {
    const { raw, healthy } = await agent();
    // node { metadata { fields { value { struct_value { fields … } } } } }
    let value: Buffer = Buffer.alloc(0);
    for (let i = 0; i < 5_000; i++) value = lengthPrefixed(0x2a, lengthPrefixed(0x0a, lengthPrefixed(0x12, value)));
    const node = lengthPrefixed(0x12, lengthPrefixed(0x1a, lengthPrefixed(0x0a, lengthPrefixed(0x12, value))));
    expect(await raw('StreamSecrets', [node])).toBe(status.INVALID_ARGUMENT);
    await healthy();
  });

  it('that are no requests end their stream as invalid, and leave the others alone', { timeout: 30_000 }, async () => {
    const { raw, healthy } = await agent();
    const allowed = [status.OK, status.INVALID_ARGUMENT, status.CANCELLED];
    const samples = [
      ['StreamSecrets', StreamSecrets.requestSerialize(request)],
      ['DeltaSecrets', DeltaSecrets.requestSerialize(delta)],
    ] as const;
    for (const [method, sample] of samples) {
      for (const bytes of fc.sample(mutationsOf(sample), { numRuns: 60, seed: 1 })) {
        expect(allowed).toContain(await raw(method, [sample, bytes, bytes]));
      }
    }
    await healthy();
  });
});

/** A real agent, and calls to it with bytes as they are. */
async function agent() {
  const { identities, socketPath } = await startTestAgent({ services: [secretDiscovery()] });
  identities.set([testEntry({ spiffeId: 'spiffe://example.org/ns/shop/sa/web' })]);
  const client = new Client(`unix://${socketPath}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  onTestFinished(() => client.close());
  const raw = (method: 'StreamSecrets' | 'DeltaSecrets', messages: readonly Buffer[]): Promise<status> => {
    const call: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(
      secretDiscoveryService[method].path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
    call.on('data', () => undefined).on('error', () => undefined);
    for (const message of messages) call.write(message);
    call.end();
    return new Promise((resolve) => call.on('status', ({ code }) => resolve(code)));
  };
  const healthy = async () => {
    const stream = new WholeStream(sdsClient(socketPath).streamSecrets());
    stream.send({ resourceNames: ['ROOTCA'] });
    expect((await stream.next()).secrets.map(({ name }) => name)).toEqual(['ROOTCA']);
  };
  return { raw, healthy };
}

/** What cannot be read is answered before it gets here: then the sample itself is looked at once more. */
function decoded<T>(read: () => T, sample: object): T {
  try {
    return read();
  } catch {
    return { ...sample, initialResourceVersions: {}, resourceNamesSubscribe: [], resourceNamesUnsubscribe: [] } as T;
  }
}

function lengthPrefixed(tag: number, bytes: Buffer): Buffer {
  const length: number[] = [];
  for (let rest = bytes.length; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) {
      length.push(rest);
      break;
    }
    length.push((rest % 128) + 128);
  }
  return Buffer.concat([Buffer.from([tag, ...length]), bytes]);
}
