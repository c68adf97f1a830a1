import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js';
import { credentials } from '@grpc/grpc-js';
import type { ExternalAuthorizer } from '../../../core/policy/snapshot.ts';
import { AuthorizationServiceClient } from '../../../wire/external-authorization.ts';
import type { AuthorizationClient } from '../../../wire/gen/envoy/service/auth/v3/Authorization.ts';
import type { CheckRequest } from '../../../wire/gen/envoy/service/auth/v3/CheckRequest.ts';
import type { CheckResponse__Output } from '../../../wire/gen/envoy/service/auth/v3/CheckResponse.ts';

/** Calls to one authorizer that wait for its answer. Further ones are not asked, and so refused: a slow one must not pile them up. */
const MAX_WAITING = 1024;

const channelOptions: ChannelOptions = Object.freeze({
  // What an answer may change is bounded by what a request may be.
  'grpc.max_receive_message_length': 256 * 1024,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  // Proxies that the environment names are not used, nor is what a DNS record says about the service.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  // One call is one question.
  'grpc.enable_retries': 0,
  'grpc.use_local_subchannel_pool': 1,
});

interface Connected {
  readonly client: AuthorizationClient;
  waiting: number;
}

/** One connection to each authorizer, kept while it is configured. */
export class AuthorizerPool {
  readonly #connected = new Map<string, Connected>();
  #configured: readonly ExternalAuthorizer[] = [];

  /** Rejects when there is no answer in time, or there are too many questions already. */
  check(
    authorizer: ExternalAuthorizer,
    request: CheckRequest,
    configured: readonly ExternalAuthorizer[],
  ): Promise<CheckResponse__Output> {
    if (configured !== this.#configured) this.#closeOthers(configured);
    const connected = this.#connect(authorizer);
    if (connected.waiting >= MAX_WAITING) return Promise.reject(new Error('too many calls wait for it'));
    connected.waiting += 1;
    return new Promise((resolve, reject) => {
      // The library measures deadlines by the clock of the machine, whatever ours is.
      const deadline = Date.now() + authorizer.timeoutMs;
      connected.client.check(request, { deadline }, (error, response) => {
        connected.waiting -= 1;
        if (error !== null) reject(error);
        else if (response === undefined) reject(new Error('no answer'));
        else resolve(response);
      });
    });
  }

  close(): void {
    for (const { client } of this.#connected.values()) client.close();
    this.#connected.clear();
  }

  #connect(authorizer: ExternalAuthorizer): Connected {
    const key = keyOf(authorizer);
    let connected = this.#connected.get(key);
    if (connected === undefined) {
      const client = new AuthorizationServiceClient(authorizer.address, credentialsFor(authorizer), channelOptions);
      connected = { client, waiting: 0 };
      this.#connected.set(key, connected);
    }
    return connected;
  }

  #closeOthers(configured: readonly ExternalAuthorizer[]): void {
    this.#configured = configured;
    const keys = new Set(configured.map(keyOf));
    for (const [key, { client }] of this.#connected) {
      if (keys.has(key)) continue;
      // What waits for an answer gets it.
      client.close();
      this.#connected.delete(key);
    }
  }
}

function keyOf({ address, ca }: ExternalAuthorizer): string {
  return `${address} ${ca ?? ''}`;
}

/** Whoever sent the configuration has seen to it that plain text stays on this machine (`wire/external-authorizer.ts`). */
function credentialsFor({ ca }: ExternalAuthorizer): ChannelCredentials {
  return ca === undefined ? credentials.createInsecure() : credentials.createSsl(Buffer.from(ca));
}
