import type { IncomingMessage } from 'node:http';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { AppError } from '../../base/errors.ts';
import type { FetchKeys, KeySource } from '../../control/policies/keys/key-source.ts';
import { MAX_JWKS_BYTES } from '../../core/policy/jwks.ts';
import { isLoopback, whyNoKeyUrl } from '../../core/policy/key-url.ts';
import { guardedLookup, isAllowedAddress, notAllowed } from './address-guard.ts';

export interface FetchKeysOptions {
  /** PEM of the authorities that certificates of issuers are verified with. Default: those that the system trusts. */
  readonly ca?: string | undefined;
  /** Hosts that keys may be fetched from: a name, or `*.` and what it ends with. Default: any. */
  readonly hosts?: readonly string[] | undefined;
  /** Whether issuers on this machine may be asked, and over http. Default false. */
  readonly allowLoopback?: boolean | undefined;
}

const MAX_DISCOVERY_BYTES = 64 * 1024;

/**
 * Fetches the keys of issuers that documents name. Whoever may write such a document chooses what is asked, so it is little
 * that can be made of it: GET over https with a verified certificate, no redirect, no address of this machine or of the link,
 * nothing sent but the path, nothing of an answer in a message, at most 256 KiB, within the time that the rule gives.
 *
 * @throws AppError `unavailable`, `forbidden`, `invalid`
 */
export function keysFetcher(o: FetchKeysOptions): FetchKeys {
  return async (source, { timeoutMs, signal }) => {
    const timeout = AbortSignal.timeout(timeoutMs);
    const either = AbortSignal.any([signal, timeout]);
    try {
      const url = source.kind === 'jwks' ? source.url : await discover(source, either, o);
      return await get(url, MAX_JWKS_BYTES, either, o);
    } catch (error) {
      if (error instanceof AppError) throw error;
      if (timeout.aborted) throw new AppError('unavailable', 'The issuer did not answer in time.', { cause: error });
      throw new AppError('unavailable', 'The issuer could not be reached, or its certificate is not trusted.', {
        cause: error,
      });
    }
  };
}

/** OpenID Connect Discovery §4: the document must be that of the very issuer. */
async function discover({ url: issuer }: KeySource, signal: AbortSignal, o: FetchKeysOptions): Promise<string> {
  const text = await get(
    `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`,
    MAX_DISCOVERY_BYTES,
    signal,
    o,
  );
  const document = parseObject(text);
  if (document?.issuer !== issuer) {
    throw new AppError('invalid', 'The discovery document of the issuer is that of another one, or none.');
  }
  const { jwks_uri: uri } = document;
  if (typeof uri !== 'string' || whyNoKeyUrl(uri) !== undefined) {
    throw new AppError('invalid', 'The discovery document of the issuer names no URL that keys may be fetched from.');
  }
  // What is read over https must not lead to what anybody on the way can change.
  if (issuer.startsWith('https:') && !uri.startsWith('https:')) {
    throw new AppError('invalid', 'The discovery document of the issuer names a URL without TLS.');
  }
  return uri;
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

async function get(text: string, maxBytes: number, signal: AbortSignal, o: FetchKeysOptions): Promise<string> {
  const url = checkedUrl(text, o);
  const answer = await ask(url, signal, o);
  try {
    if (answer.statusCode !== 200) {
      throw new AppError('unavailable', `The issuer answered ${answer.statusCode ?? 'nothing'}, not 200.`);
    }
    return await read(answer, maxBytes);
  } finally {
    answer.destroy();
  }
}

function checkedUrl(text: string, o: FetchKeysOptions): URL {
  const problem = whyNoKeyUrl(text);
  if (problem !== undefined) throw new AppError('invalid', `No keys are fetched from this URL: ${problem}.`);
  const url = new URL(text);
  const host = hostOf(url);
  if (o.hosts !== undefined && !o.hosts.some((pattern) => matchesHost(pattern, host))) {
    throw new AppError('forbidden', 'The configuration of the server does not name this host among those with keys.');
  }
  if (isIP(host) !== 0 && !isAllowedAddress(host, { allowLoopback: o.allowLoopback === true })) throw notAllowed();
  if (url.protocol === 'http:' && !(o.allowLoopback === true && isLoopback(url.hostname))) {
    throw new AppError(
      'forbidden',
      'Keys are fetched over http only from this machine, and only where that is configured.',
    );
  }
  return url;
}

function matchesHost(pattern: string, host: string): boolean {
  const wanted = pattern.toLowerCase();
  return wanted.startsWith('*.') ? host.endsWith(wanted.slice(1)) : host === wanted;
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
}

function ask(url: URL, signal: AbortSignal, o: FetchKeysOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = {
      // No agent: a connection belongs to one question, and none is reused past its checks.
      agent: false as const,
      method: 'GET',
      headers: { accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'writ' },
      lookup: guardedLookup({ allowLoopback: o.allowLoopback === true }),
      maxHeaderSize: 16 * 1024,
      signal,
    };
    const request =
      url.protocol === 'https:'
        ? httpsRequest(url, {
            ...options,
            minVersion: 'TLSv1.2',
            rejectUnauthorized: true,
            ...(o.ca !== undefined && { ca: o.ca }),
          })
        : httpRequest(url, options);
    request.once('response', resolve);
    request.once('error', reject);
    // A switch to another protocol (101) ends the request without an answer and without an error.
    request.once('close', () => reject(new AppError('unavailable', 'The issuer gave no answer.')));
    request.end();
  });
}

async function read(answer: IncomingMessage, maxBytes: number): Promise<string> {
  const encoding = answer.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') throw new AppError('unavailable', 'The issuer answered in an encoding of its own.');
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > maxBytes) throw new AppError('unavailable', `The issuer answered more than ${maxBytes} bytes.`);
    parts.push(part);
  }
  if (!answer.complete) throw new AppError('unavailable', 'The issuer broke off before the end of its answer.');
  return Buffer.concat(parts).toString('utf8');
}
