import type { FastifyReply } from 'fastify';
import { AppError } from '../../base/errors.ts';

/** Aborts when the caller goes away before it has been answered: long work for nobody is not gone on with. */
export function hungUp(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new AppError('unavailable', 'The caller went away.'));
  });
  return controller.signal;
}
