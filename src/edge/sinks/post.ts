import type { IncomingMessage } from 'node:http';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { AppError } from '../../base/errors.ts';

export interface PosterOptions {
  /** http only on this machine. */
  readonly url: URL;
  /** PEM of the authorities that the receiver's certificate may be from. Default: those of the system. */
  readonly ca?: string;
  /** Certificate and key of this client, PEM. Default: none. */
  readonly client?: { readonly certificate: string; readonly key: string };
}

export interface Answer {
  readonly status: number;
  /** The first 64 KiB; of a foreign party. */
  readonly body: Buffer;
}

const MAX_ANSWER_BYTES = 64 * 1024;

/** POST to one receiver over connections that are kept. Redirects are not followed: what is sent is for whoever is configured. */
export class Poster {
  readonly #o: PosterOptions;
  readonly #agent: HttpAgent;

  constructor(options: PosterOptions) {
    this.#o = options;
    const keep = { keepAlive: true, maxSockets: 1, maxFreeSockets: 1 };
    const { ca, client } = options;
    this.#agent =
      options.url.protocol === 'https:'
        ? new HttpsAgent({
            ...keep,
            minVersion: 'TLSv1.2',
            rejectUnauthorized: true,
            ...(ca !== undefined && { ca }),
            ...(client !== undefined && { cert: client.certificate, key: client.key }),
          })
        : new HttpAgent(keep);
  }

  /** Rejects with `unavailable` when there is no answer. `path` replaces that of the URL. */
  post(
    body: Buffer,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    path: URL = this.#o.url,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const fail = (why: string, cause?: unknown) =>
        reject(new AppError('unavailable', `The receiver gave no answer: ${why}.`, { cause }));
      const options = {
        agent: this.#agent,
        method: 'POST',
        headers: { 'user-agent': 'writ', ...headers, 'content-length': body.length },
        maxHeaderSize: 16 * 1024,
        signal,
      };
      const request = path.protocol === 'https:' ? httpsRequest(path, options) : httpRequest(path, options);
      request.once('error', (error) => fail(shortName(error), error));
      // A switch to another protocol ends the request without an answer and without an error.
      const closed = () => fail('it ended the connection');
      request.once('close', closed);
      request.once('response', (answer) => {
        request.removeListener('close', closed);
        read(answer).then(resolve, (error: unknown) => fail('it broke off', error));
      });
      request.end(body);
    });
  }

  close(): Promise<void> {
    this.#agent.destroy();
    return Promise.resolve();
  }
}

/** What an answer other than success means: `invalid` for what will never be taken. */
export function refusal({ status }: Answer): AppError {
  const code = status === 400 || status === 413 || status === 422 ? 'invalid' : 'unavailable';
  return new AppError(code, `The receiver answered ${status}.`);
}

export function isSuccess({ status }: Answer): boolean {
  return status >= 200 && status < 300;
}

/** The JSON object of an answer; empty for anything else. */
export function jsonOf({ body }: Answer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

async function read(answer: IncomingMessage): Promise<Answer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    // What is beyond is read, so that the connection can be used again, and forgotten.
    if (size < MAX_ANSWER_BYTES) parts.push(part.subarray(0, MAX_ANSWER_BYTES - size));
    size += part.length;
    if (size > 16 * MAX_ANSWER_BYTES) {
      answer.destroy();
      break;
    }
  }
  return { status: answer.statusCode ?? 0, body: Buffer.concat(parts) };
}

function shortName(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
