import type { IncomingMessage } from 'node:http';
import { request as httpRequest } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { connect } from 'node:tls';
import { AppError } from '../../base/errors.ts';
import { presentedChain } from '../../base/peer-chain.ts';
import type { EndpointTrust } from '../../control/authority/federation/poller.ts';
import { bundlePem } from '../../core/identity/bundle.ts';
import { MAX_CHAIN_LENGTH, verifyPeer } from '../../core/identity/chain.ts';
import { MAX_SPIFFE_BUNDLE_BYTES } from '../../core/identity/spiffe-bundle.ts';

export interface FetchBundleOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** For everything, redirects included, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_REDIRECTS = 3;
const MAX_URL_CHARACTERS = 2048;
const redirects: readonly number[] = [301, 302, 303, 307, 308];

/**
 * Asks a bundle endpoint (SPIFFE_Federation.md §5) with GET, and returns the document as it came. Nothing is sent before the
 * endpoint has proved what it is; that holds for each redirect again, and none is remembered. The answer has at most
 * 512 KiB. What a partner answers never turns up in a message: the URL is the operator's, and its redirects are the
 * partner's, who could otherwise have us read it something from inside our network.
 *
 * @throws AppError `unavailable`, `peer-refused`
 */
export function bundleFetcher(o: FetchBundleOptions) {
  return async (url: string, trust: EndpointTrust, signal: AbortSignal): Promise<Buffer> => {
    const timeout = AbortSignal.timeout(o.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const either = AbortSignal.any([signal, timeout]);
    try {
      return await follow(new URL(url), trust, either, o);
    } catch (error) {
      if (error instanceof AppError) throw error;
      if (timeout.aborted) throw new AppError('unavailable', 'The bundle endpoint did not answer in time.');
      throw new AppError('unavailable', 'The bundle endpoint could not be reached.', { cause: error });
    }
  };
}

async function follow(url: URL, trust: EndpointTrust, signal: AbortSignal, o: FetchBundleOptions): Promise<Buffer> {
  let next = url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    checkUrl(next);
    const answer = await ask(next, trust, signal, o);
    try {
      if (answer.statusCode === 200) return await read(answer);
      if (!redirects.includes(answer.statusCode ?? 0)) {
        throw new AppError('unavailable', `The bundle endpoint answered ${answer.statusCode ?? 'nothing'}, not 200.`);
      }
      next = target(answer, next);
    } finally {
      answer.destroy();
    }
  }
  throw new AppError('unavailable', `The bundle endpoint redirected more than ${MAX_REDIRECTS} times.`);
}

/** §5.1.1: https, and no userinfo. */
function checkUrl(url: URL): void {
  if (url.protocol !== 'https:' || url.username !== '' || url.password !== '' || url.href.length > MAX_URL_CHARACTERS) {
    throw new AppError(
      'peer-refused',
      'The bundle endpoint redirected to what is not an https URL without a user name.',
    );
  }
}

function target(answer: IncomingMessage, from: URL): URL {
  const { location } = answer.headers;
  if (location === undefined || !URL.canParse(location, from.href)) {
    throw new AppError('unavailable', 'The bundle endpoint redirected to nowhere.');
  }
  return new URL(location, from);
}

async function ask(
  url: URL,
  trust: EndpointTrust,
  signal: AbortSignal,
  o: FetchBundleOptions,
): Promise<IncomingMessage> {
  const socket = await open(url, trust, signal, o);
  return await new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        // Without an agent, which would open connections of its own.
        createConnection: () => socket,
        method: 'GET',
        path: `${url.pathname}${url.search}`,
        headers: { host: url.host, accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'writ' },
        signal,
      },
      resolve,
    );
    request.on('error', reject);
    // A switch to another protocol (101) ends the request without an answer and without an error.
    request.once('close', () => reject(new AppError('unavailable', 'The bundle endpoint gave no answer.')));
    request.end();
  });
}

/** A connection on which the endpoint has proved what it is. */
function open(url: URL, trust: EndpointTrust, signal: AbortSignal, o: FetchBundleOptions): Promise<TLSSocket> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const isName = !/^[0-9.]+$|:/.test(host);
  const common = {
    host,
    port: url.port === '' ? 443 : Number(url.port),
    minVersion: 'TLSv1.2',
    ALPNProtocols: ['http/1.1'],
    rejectUnauthorized: true,
    ...(isName && { servername: host }),
  } as const;
  return new Promise((resolve, reject) => {
    const socket =
      trust.kind === 'web'
        ? // Names are verified by Node as RFC 6125 says.
          connect({ ...common, ...(trust.caCertificates !== null && { ca: trust.caCertificates }) })
        : // §5.2: the SPIFFE ID stands for the name.
          connect({ ...common, ca: bundlePem(trust.bundle), checkServerIdentity: () => undefined });
    const stop = () => socket.destroy(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    socket.once('close', () => signal.removeEventListener('abort', stop));
    if (signal.aborted) stop();
    socket.once('error', (error) => reject(refusalOf(error, trust) ?? error));
    socket.once('secureConnect', () => {
      try {
        if (trust.kind === 'spiffe') checkEndpoint(socket, trust, o.now());
        resolve(socket);
      } catch (error) {
        socket.destroy();
        reject(error);
      }
    });
  });
}

function checkEndpoint(socket: TLSSocket, trust: Extract<EndpointTrust, { kind: 'spiffe' }>, now: number): void {
  const peer = verifyPeer(presentedChain(socket, MAX_CHAIN_LENGTH), trust.bundle, { now });
  if (peer.id.uri !== trust.spiffeId) {
    throw new AppError('peer-refused', `The bundle endpoint is ${peer.id.uri}, and ${trust.spiffeId} was expected.`);
  }
}

/** What OpenSSL or Node found wrong with a certificate, told apart from an endpoint that is away. */
function refusalOf(error: Error & { code?: string }, trust: EndpointTrust): AppError | undefined {
  const code = error.code ?? '';
  if (!/CERT|SIGNATURE|ERR_TLS_CERT_ALTNAME|UNABLE_TO/.test(code)) return undefined;
  const why =
    trust.kind === 'web'
      ? `it is not valid for this host, or not from an authority that is trusted (${code})`
      : `it does not come from the trust domain of ${trust.spiffeId} (${code})`;
  return new AppError('peer-refused', `The certificate of the bundle endpoint is refused: ${why}.`, { cause: error });
}

async function read(answer: IncomingMessage): Promise<Buffer> {
  const encoding = answer.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity')
    throw new AppError('unavailable', 'The bundle endpoint answered in an encoding of its own.');
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_SPIFFE_BUNDLE_BYTES) {
      throw new AppError('unavailable', `The bundle endpoint answered more than ${MAX_SPIFFE_BUNDLE_BYTES} bytes.`);
    }
    parts.push(part);
  }
  if (!answer.complete) throw new AppError('unavailable', 'The bundle endpoint broke off before the end.');
  return Buffer.concat(parts);
}
