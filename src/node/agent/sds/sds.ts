import type { ServerDuplexStream, ServerUnaryCall, ServiceDefinition } from '@grpc/grpc-js';
import { AppError, toAppError } from '../../../base/errors.ts';
import { secureRandom } from '../../../base/random.ts';
import type { DiscoveryRequest__Output } from '../../../wire/gen/envoy/service/discovery/v3/DiscoveryRequest.ts';
import type { DiscoveryResponse } from '../../../wire/gen/envoy/service/discovery/v3/DiscoveryResponse.ts';
import type { SecretDiscoveryServiceHandlers } from '../../../wire/gen/envoy/service/secret/v3/SecretDiscoveryService.ts';
import { readable } from '../../../wire/receive.ts';
import { secretDiscoveryService } from '../../../wire/secret-discovery.ts';
import {
  fromSecretsDeltaRequest,
  fromSecretsRequest,
  toSecretsDeltaResponse,
  toSecretsResponse,
} from '../../../wire/secret-requests.ts';
import { ServerStream } from '../../../wire/server-stream.ts';
import { toServiceError } from '../../../wire/status.ts';
import type { AgentServiceContext, AgentServiceFactory } from '../workload-api/caller.ts';
import { Denials } from '../workload-api/denials.ts';
import type { SdsContext } from './sds-caller.ts';
import { nothingFound, SdsCaller } from './sds-caller.ts';
import type { SdsSessionOptions } from './sds-session.ts';
import { SdsSession } from './sds-session.ts';
import { DeltaSubscription, WholeSubscription } from './sds-subscription.ts';
import type { SecretNames } from './secret-names.ts';
import { checkSecretNames, defaultSecretNames } from './secret-names.ts';

/** A call that is answered once waits so long for an SVID that is being signed, in milliseconds. */
const FETCH_WAIT_MS = 5_000;

/**
 * Envoy's Secret Discovery Service, v3, on the agent's socket: state of the world, incremental, and answered once. Callers are
 * attested as those of the Workload API are. Names: `default`, `ROOTCA`, `ALL` (or those of `names`), the SPIFFE IDs that the
 * caller may have, and `spiffe://<trust domain>` of its own and federated bundles.
 *
 * A name that is not granted is left out, with the reason in the log, and takes nothing from the others; it comes when it is
 * granted later. On a stream that tells the state of the world Envoy keeps what it was given until then, also when it has
 * been taken away: SVIDs end by expiring.
 *
 * Envoy sends no `workload.spiffe.io` header, so none is asked for: who can make a program speak gRPC to a Unix socket of his
 * choice needs no header any more.
 *
 * @throws AppError `usage` for names that collide
 */
export function secretDiscovery(names: Partial<SecretNames> = {}): AgentServiceFactory {
  const known = checkSecretNames({ ...defaultSecretNames, ...names });
  return (agent: AgentServiceContext) => {
    const context: SdsContext = { ...agent, known, denials: new Denials(agent) };
    const handlers: SecretDiscoveryServiceHandlers = {
      StreamSecrets: (call) =>
        serve(context, call, {
          subscription: new WholeSubscription(makeNonce),
          fromMessage: fromSecretsRequest,
          toMessage: toSecretsResponse,
        }),
      DeltaSecrets: (call) =>
        serve(context, call, {
          subscription: new DeltaSubscription(makeNonce),
          fromMessage: fromSecretsDeltaRequest,
          toMessage: toSecretsDeltaResponse,
        }),
      FetchSecrets: (call, callback) => {
        fetchSecrets(context, call).then(
          (response) => callback(null, response),
          (error: unknown) => callback(toServiceError(logged(context, call.getPath(), error))),
        );
      },
    };
    return { definition: secretDiscoveryService as unknown as ServiceDefinition, handlers };
  };
}

function makeNonce(): string {
  return secureRandom(12).toString('hex');
}

type Protocol<In, Out, Request> = Pick<
  SdsSessionOptions<In, Out, Request>,
  'subscription' | 'fromMessage' | 'toMessage'
>;

function serve<In, Out, Request>(
  context: SdsContext,
  call: ServerDuplexStream<In, Out>,
  protocol: Protocol<In, Out, Request>,
): void {
  const stream = new ServerStream(call);
  const stop = () => stream.abort(new AppError('unavailable', 'The agent is stopping. Connect again.'));
  context.stopping.addEventListener('abort', stop, { once: true });
  if (context.stopping.aborted) stop();
  const run = async () => {
    const caller = await SdsCaller.attest(context, call);
    try {
      const release = context.openStream(caller.attested);
      try {
        await new SdsSession({ ...context, ...protocol, stream, caller }).run();
      } finally {
        release();
      }
    } finally {
      caller.close();
    }
  };
  run()
    .then(
      () => stream.end(),
      (error: unknown) => stream.fail(logged(context, call.getPath(), error)),
    )
    .finally(() => {
      context.stopping.removeEventListener('abort', stop);
      stream.abort(new AppError('unavailable', 'The stream is over.'));
    });
}

/** One answer, with everything that is there or comes soon. */
async function fetchSecrets(
  context: SdsContext,
  call: ServerUnaryCall<DiscoveryRequest__Output, DiscoveryResponse>,
): Promise<DiscoveryResponse> {
  const over = new AbortController();
  const subscription = new WholeSubscription(makeNonce);
  subscription.receive({ ...fromSecretsRequest(readable(call.request)), nonce: '' });
  const { wanted } = subscription;
  if (wanted === undefined) throw new AppError('internal', 'A subscription has not begun with its first request.');
  const caller = await SdsCaller.attest(context, call);
  const stop = () => over.abort();
  const cancel = context.clock.after(FETCH_WAIT_MS, stop);
  call.once('cancelled', stop);
  context.stopping.addEventListener('abort', stop, { once: true });
  try {
    for (;;) {
      const resolution = await caller.resolve(wanted);
      if (resolution.pending.size > 0 && !over.signal.aborted) {
        await caller.changed(over.signal);
        continue;
      }
      const due = subscription.respond(resolution);
      if (due === undefined) throw nothingFound(resolution);
      caller.checkAlive();
      return toSecretsResponse(due);
    }
  } finally {
    cancel();
    context.stopping.removeEventListener('abort', stop);
    caller.close();
  }
}

function logged(context: SdsContext, path: string, error: unknown): AppError {
  const told = toAppError(error);
  if (told.code === 'internal') context.logger.error({ path, err: told.cause ?? error }, told.message);
  else context.logger.debug({ path, code: told.code }, told.message);
  return told;
}
