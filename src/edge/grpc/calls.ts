import type { handleBidiStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import { AppError, toAppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { toServiceError } from '../../wire/status.ts';
import type { NodeGate } from './node-gate.ts';
import type { Peers } from './peer.ts';
import type { RateLimit } from './rate-limit.ts';
import { readable } from './receive.ts';
import { sourceOf } from './source.ts';
import { ServerStream } from './stream.ts';

/** What every handler of a call stands on. */
export interface CallContext {
  readonly peers: Peers;
  readonly gate: NodeGate;
  /** Of streams that callers with an identity open. */
  readonly streams: RateLimit;
  readonly logger: Logger;
  /** Aborts when the server stops: streams then end with `unavailable`. */
  readonly stopping: AbortSignal;
}

/** A unary method for callers with an identity. `source` is the caller's network address. */
export function unaryForPeers<In, Out>(
  context: CallContext,
  handle: (message: In, peer: PeerIdentity, source: string) => Promise<Out>,
): handleUnaryCall<In, Out> {
  return (call, callback) => {
    const answer = async () => {
      const peer = context.peers.identify(call);
      await context.gate.check(call.getPath(), peer);
      return await handle(readable(call.request), peer, sourceOf(call.getPeer()));
    };
    answer().then(
      (response) => callback(null, response),
      (error: unknown) => {
        report(context.logger, call, error);
        callback(toServiceError(error));
      },
    );
  };
}

/** A streaming method for callers with an identity: it ends when that expires, and when its node is sent away. */
export function streamForPeers<In, Out>(
  context: CallContext,
  handle: (stream: ServerStream<In, Out>, peer: PeerIdentity) => Promise<void>,
): handleBidiStreamingCall<In, Out> {
  return streamForAll(context, async (stream, call) => {
    const { peers, gate } = context;
    const peer = peers.identify(call);
    await gate.check(call.getPath(), peer);
    // After the gate: who copied a key that was replaced must not use up what its owner has.
    context.streams.take(peer.instanceId);
    stream.beforeMessage(() => peers.checkLifetime(peer));
    const cancel = peers.onExpiry(peer, () =>
      stream.abort(new AppError('unauthenticated', 'The client certificate has expired. Renew it.')),
    );
    const unfollow = gate.follow(peer, stream);
    try {
      await handle(stream, peer);
    } finally {
      unfollow();
      cancel();
    }
  });
}

/** A streaming method for anybody. */
export function streamForAll<In, Out>(
  context: CallContext,
  handle: (stream: ServerStream<In, Out>, call: Parameters<handleBidiStreamingCall<In, Out>>[0]) => Promise<void>,
): handleBidiStreamingCall<In, Out> {
  return (call) => {
    const { stopping } = context;
    const stream = new ServerStream<In, Out>(call);
    const stop = () => stream.abort(new AppError('unavailable', 'The control plane is stopping. Connect again.'));
    if (stopping.aborted) stop();
    stopping.addEventListener('abort', stop, { once: true });
    handle(stream, call)
      .then(
        () => stream.end(),
        (error: unknown) => {
          report(context.logger, call, error);
          stream.fail(error);
        },
      )
      .finally(() => {
        stopping.removeEventListener('abort', stop);
        stream.abort(new AppError('unavailable', 'The call is over.'));
      });
  };
}

/** What callers do wrong is news for debugging; what we do wrong is an error, with its cause. */
function report(logger: Logger, call: { getPath(): string; getPeer(): string }, error: unknown): void {
  const { code, message, cause } = toAppError(error);
  const fields = { path: call.getPath(), source: sourceOf(call.getPeer()), code };
  if (code === 'internal' || code === 'incompatible-data') logger.error({ ...fields, err: cause ?? error }, message);
  else logger.debug(fields, message);
}
