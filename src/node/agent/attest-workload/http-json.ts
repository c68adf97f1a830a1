import type { IncomingMessage, RequestOptions } from 'node:http';
import { request as httpRequest } from 'node:http';
import type { RequestOptions as TlsRequestOptions } from 'node:https';
import { request as httpsRequest } from 'node:https';
import { reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';

export interface Answer {
  readonly status: number;
  /** Parsed JSON for status 200, else undefined. */
  readonly body: unknown;
}

/**
 * GET, and JSON back, from a daemon on this machine.
 *
 * @param o.name of the daemon, for messages
 * @throws AppError `unavailable` for everything that is not an answer within time and size
 */
export function getJson(o: {
  readonly name: string;
  readonly tls: boolean;
  readonly request: RequestOptions & TlsRequestOptions;
  readonly maxBytes: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<Answer> {
  const failed = (why: string, cause?: unknown) => new AppError('unavailable', `${o.name} ${why}.`, { cause });
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.any([o.signal, AbortSignal.timeout(o.timeoutMs)]);
    const call = (o.tls ? httpsRequest : httpRequest)({ ...o.request, method: 'GET', agent: false, signal });
    const fail = (cause: unknown) => {
      const why = signal.aborted
        ? `did not answer within ${o.timeoutMs / 1000} s`
        : `cannot be reached (${reason(cause)})`;
      reject(cause instanceof AppError ? cause : failed(why, cause));
      call.destroy();
    };
    call.once('error', fail);
    // A switch to another protocol (101) ends the call without an answer and without an error.
    call.once('close', () => reject(failed('gave no answer')));
    call.once('response', (response: IncomingMessage) => {
      const parts: Buffer[] = [];
      let total = 0;
      response.on('data', (part: Buffer) => {
        total += part.length;
        if (total > o.maxBytes) fail(failed(`answered with more than ${o.maxBytes} bytes`));
        else parts.push(part);
      });
      response.once('error', fail);
      response.once('end', () => {
        const status = response.statusCode ?? 0;
        try {
          resolve({ status, body: status === 200 ? JSON.parse(Buffer.concat(parts).toString('utf8')) : undefined });
        } catch (cause) {
          fail(failed('answered with something that is no JSON', cause));
        }
      });
    });
    call.end();
  });
}

/** Field by field, of JSON that somebody else wrote: what is not of its type is absent. */
export function object(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && !/\p{Cc}/u.test(value) ? value : undefined;
}

export function array(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** String values of an object, by name. */
export function texts(value: unknown): readonly (readonly [string, string])[] {
  return Object.entries(object(value)).flatMap(([key, each]) =>
    text(key) !== undefined && typeof each === 'string' && !/\p{Cc}/u.test(each) ? [[key, each] as const] : [],
  );
}
