import type { IncomingMessage } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Largest body that is read. */
export const BODY_LIMIT_BYTES = 1024 * 1024;

/** What is read and thrown away of a larger one, so that its sender gets to see the answer and can go on. */
const DRAIN_LIMIT_BYTES = 16 * BODY_LIMIT_BYTES;

/**
 * Fastify closes the connection after any error of a body. Clients that are still sending would then see a reset instead
 * of the answer; so the rest is read first, within a limit, and the connection goes on.
 */
export async function keepConnection(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (reply.getHeader('connection') !== 'close' || !isBodyError(error)) return;
  if (await drain(request.raw)) reply.removeHeader('connection');
}

function isBodyError(error: unknown): boolean {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('FST_ERR_CTP_')
  );
}

/** Whether the request was read to its end. How long that may take is limited by the server's `requestTimeout`. */
function drain(raw: IncomingMessage): Promise<boolean> {
  if (raw.complete || raw.readableEnded) return Promise.resolve(true);
  if (Number(raw.headers['content-length'] ?? 0) > DRAIN_LIMIT_BYTES) return Promise.resolve(false);
  return new Promise((resolve) => {
    let bytes = 0;
    const end = (whole: boolean) => {
      raw.off('data', onData).off('end', onEnd).off('close', onClose);
      resolve(whole);
    };
    const onEnd = () => end(true);
    const onClose = () => end(false);
    const onData = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > DRAIN_LIMIT_BYTES) end(false);
    };
    raw.on('data', onData).on('end', onEnd).on('close', onClose);
    raw.resume();
  });
}
