import type { handleServerStreamingCall, handleUnaryCall, Metadata, ServerWritableStream } from '@grpc/grpc-js';
import { AppError, toAppError } from '../../../base/errors.ts';
import { readable } from '../../../wire/receive.ts';
import { toServiceError } from '../../../wire/status.ts';
import { SECURITY_HEADER } from '../../../wire/workload-api.ts';
import type { AgentServiceContext, AttestedCaller } from './caller.ts';

/** One streaming call, as its handler sees it. */
export interface Pushing {
  readonly caller: AttestedCaller;
  /** Aborted when the call is over or must end; its reason is an AppError. */
  readonly signal: AbortSignal;
  /**
   * Resolves when the message has left: a caller that does not read holds up its own stream, with this one message. A
   * message that equals the last one is not sent. Rejects with the reason of `signal`, and when the caller has ended.
   */
  send(message: Buffer): Promise<void>;
}

/** A method that answers once. The answer is encoded already. */
export function unary<In>(
  context: AgentServiceContext,
  handle: (request: In, caller: AttestedCaller) => Promise<Buffer>,
): handleUnaryCall<In, object> {
  return (call, callback) => {
    const answer = async () => {
      checkHeader(call.metadata);
      const request = readable(call.request);
      return handle(request, await context.callers.attest(call));
    };
    answer().then(
      (message) => callback(null, message),
      (error: unknown) => callback(failure(context, call.getPath(), error)),
    );
  };
}

/** A method that sends the full state, at once and after every change, until it throws (SPIFFE_Workload_API.md §4.3). */
export function streaming<In>(
  context: AgentServiceContext,
  handle: (request: In, pushing: Pushing) => Promise<void>,
): handleServerStreamingCall<In, object> {
  return (call) => {
    const over = new AbortController();
    const gone = () => over.abort(new AppError('unavailable', 'The caller went away.'));
    const stop = () => over.abort(new AppError('unavailable', 'The agent is stopping. Connect again.'));
    call.once('cancelled', gone);
    call.once('close', gone);
    context.stopping.addEventListener('abort', stop, { once: true });
    if (context.stopping.aborted) stop();
    const run = async () => {
      checkHeader(call.metadata);
      const request = readable(call.request);
      const caller = await context.callers.attest(call);
      const release = context.openStream(caller);
      try {
        await handle(request, { caller, signal: over.signal, send: sender(call, caller, over.signal) });
      } finally {
        release();
      }
    };
    run()
      .then(
        () => call.end(),
        (error: unknown) => {
          const told = failure(context, call.getPath(), error);
          if (!call.destroyed) call.emit('error', told);
        },
      )
      .finally(() => {
        context.stopping.removeEventListener('abort', stop);
        gone();
      });
  };
}

function sender<In>(
  call: ServerWritableStream<In, object>,
  caller: AttestedCaller,
  signal: AbortSignal,
): Pushing['send'] {
  let last: Buffer | undefined;
  return async (message) => {
    signal.throwIfAborted();
    if (last?.equals(message)) return;
    caller.checkAlive();
    await new Promise<void>((resolve, reject) => {
      const abort = () => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      call.write(message, (error?: Error | null) => {
        signal.removeEventListener('abort', abort);
        if (error) reject(new AppError('unavailable', 'The caller went away.', { cause: error }));
        else resolve();
      });
    });
    last = message;
  };
}

/**
 * Exactly one value, exactly `true` (SPIFFE_Workload_Endpoint.md §3): a browser, or a server that was talked into a request
 * to this address, cannot set it.
 */
function checkHeader(metadata: Metadata): void {
  const values = metadata.get(SECURITY_HEADER);
  if (values.length !== 1 || values[0] !== 'true') {
    throw new AppError('invalid', `The metadata ${SECURITY_HEADER} must be there once, with the value "true".`);
  }
}

/**
 * By SPIFFE_Workload_Endpoint.md §6: InvalidArgument is for requests that can never succeed, since clients do not repeat
 * them; PermissionDenied for callers without an identity; Unavailable for everything that passes, load included.
 */
export function workloadError(error: unknown): AppError {
  const known = toAppError(error);
  switch (known.code) {
    case 'invalid':
    case 'forbidden':
    case 'internal':
    case 'too-large':
      return known;
    case 'token-refused':
      return new AppError('invalid', known.message, { cause: known });
    case 'not-found':
      return new AppError('forbidden', known.message, { cause: known });
    default:
      return new AppError('unavailable', known.message, { cause: known });
  }
}

function failure(context: AgentServiceContext, path: string, error: unknown) {
  const told = workloadError(error);
  const { code, message } = told;
  if (code === 'internal') context.logger.error({ path, err: told.cause ?? error }, message);
  else context.logger.debug({ path, code }, message);
  return toServiceError(told);
}
