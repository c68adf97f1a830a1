import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { credentials } from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import type { DeltaDiscoveryRequest } from '../../../src/wire/gen/envoy/service/discovery/v3/DeltaDiscoveryRequest.ts';
import type { DeltaDiscoveryResponse__Output } from '../../../src/wire/gen/envoy/service/discovery/v3/DeltaDiscoveryResponse.ts';
import type { DiscoveryRequest } from '../../../src/wire/gen/envoy/service/discovery/v3/DiscoveryRequest.ts';
import type { DiscoveryResponse__Output } from '../../../src/wire/gen/envoy/service/discovery/v3/DiscoveryResponse.ts';
import type { SecretDiscoveryServiceClient } from '../../../src/wire/gen/envoy/service/secret/v3/SecretDiscoveryService.ts';
import { SECRET_TYPE_URL, SecretDiscoveryClient, secretCodec } from '../../../src/wire/secret-discovery.ts';
import type { Received } from './workload-client.ts';
import { Received as Messages } from './workload-client.ts';

export function sdsClient(socketPath: string): SecretDiscoveryServiceClient {
  const client = new SecretDiscoveryClient(`unix://${socketPath}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  onTestFinished(() => client.close());
  return client;
}

/** A secret as Envoy reads it. */
export interface Seen {
  readonly name: string;
  /** PEM; undefined in a secret of another kind. */
  readonly chain: string | undefined;
  readonly key: string | undefined;
  readonly roots: string | undefined;
  readonly validator: Buffer | undefined;
}

export function seen(any: { readonly type_url?: string; readonly value?: Buffer | Uint8Array | string } | null): Seen {
  if (any?.type_url !== SECRET_TYPE_URL) throw new Error(`a resource is a ${any?.type_url}`);
  const secret = secretCodec.decode(any.value as Buffer);
  return {
    name: secret.name,
    chain: secret.tlsCertificate?.certificateChain?.inlineBytes?.toString(),
    key: secret.tlsCertificate?.privateKey?.inlineBytes?.toString(),
    roots: secret.validationContext?.trustedCa?.inlineBytes?.toString(),
    validator: secret.validationContext?.customValidatorConfig?.typedConfig?.value as Buffer | undefined,
  };
}

/** A name that nothing has. */
export const PROBE = 'no such name';

/** One stream that answers as Envoy does, when the test tells it to. */
class Stream<Request, Response extends { readonly nonce: string }> {
  readonly call: ClientDuplexStream<Request, Response>;
  readonly messages: Received<Response>;

  constructor(call: ClientDuplexStream<Request, Response>) {
    this.call = call;
    this.messages = new Messages(call);
  }

  send(request: Request): void {
    this.call.write(request);
  }

  status() {
    return this.messages.status();
  }

  /**
   * Whatever was sent before has been worked on, and nothing has come of it: shown by the answer to a later question on the
   * same connection, which the agent takes up after it.
   */
  async quiet(client: SecretDiscoveryServiceClient): Promise<void> {
    for (let i = 0; i < 3; i++) {
      await new Promise<void>((resolve) => {
        client.fetchSecrets({ resourceNames: [PROBE] }, (_: ServiceError | null) => resolve());
      });
    }
    if (this.messages.waiting > 0) throw new Error('something came');
  }
}

export class WholeStream extends Stream<DiscoveryRequest, DiscoveryResponse__Output> {
  async next(): Promise<DiscoveryResponse__Output & { readonly secrets: readonly Seen[] }> {
    const response = await this.messages.next();
    return { ...response, secrets: response.resources.map(seen) };
  }

  /** The next response, acknowledged. */
  async taken(names: readonly string[]): Promise<DiscoveryResponse__Output & { readonly secrets: readonly Seen[] }> {
    const response = await this.next();
    this.send({ resourceNames: [...names], responseNonce: response.nonce, versionInfo: response.versionInfo });
    return response;
  }
}

export class DeltaStream extends Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse__Output> {
  async next(): Promise<DeltaDiscoveryResponse__Output & { readonly secrets: readonly Seen[] }> {
    const response = await this.messages.next();
    return { ...response, secrets: response.resources.map(({ resource }) => seen(resource)) };
  }

  async taken(): Promise<DeltaDiscoveryResponse__Output & { readonly secrets: readonly Seen[] }> {
    const response = await this.next();
    this.send({ responseNonce: response.nonce });
    return response;
  }
}
