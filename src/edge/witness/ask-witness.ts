import { AppError } from '../../base/errors.ts';
import type { AskWitness } from '../../control/ledger/log/witness-client.ts';

/** An answer is a few signature lines. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Asks witnesses over HTTP (c2sp.org/tlog-witness). Redirects are not followed: whom to ask is the operator's to say. What a
 * witness answers never turns up in a message.
 *
 * @param fetch without credentials or proxies of its own
 */
export function witnessAsker(fetch: typeof globalThis.fetch = globalThis.fetch): AskWitness {
  return async (url, request, signal) => {
    let response: Response;
    try {
      response = await fetch(`${url.replace(/\/+$/, '')}/add-checkpoint`, {
        method: 'POST',
        body: new Uint8Array(request),
        headers: { 'content-type': 'text/plain; charset=utf-8', 'user-agent': 'writ' },
        redirect: 'manual',
        signal,
      });
    } catch (cause) {
      throw new AppError('unavailable', 'It could not be reached.', { cause });
    }
    const body = await read(response);
    switch (response.status) {
      case 200:
        return { kind: 'cosigned', lines: body };
      case 409: {
        const size = /^(0|[1-9][0-9]{0,15})\n$/.exec(body.toString('latin1'))?.[1];
        return size === undefined || !Number.isSafeInteger(Number(size))
          ? { kind: 'refused', why: 'It answered 409 without a size.' }
          : { kind: 'stale', size: Number(size) };
      }
      case 422:
        return { kind: 'contradicted' };
      case 404:
        return { kind: 'refused', why: 'It does not follow this log (404).' };
      case 403:
        return { kind: 'refused', why: 'It knows this log by other keys (403).' };
      default:
        return { kind: 'refused', why: `It answered ${response.status}.` };
    }
  };
}

async function read(response: Response): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const part of response.body ?? []) {
      length += part.length;
      if (length > MAX_ANSWER_BYTES) {
        throw new AppError('unavailable', `It answered more than ${MAX_ANSWER_BYTES} bytes.`);
      }
      parts.push(part);
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('unavailable', 'It broke off its answer.', { cause });
  }
  return Buffer.concat(parts);
}
