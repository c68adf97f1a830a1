import { open } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';

/** Largest file or answer that is read: key sets and bundles have a few KiB. */
const MAX_BYTES = 256 * 1024;
const TIMEOUT_MS = 5_000;

/** A file that somebody else may replace at any time, whole. Throws `unavailable`. */
export async function readDocumentFile(path: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_BYTES + 1), 0, MAX_BYTES + 1, 0);
      if (bytesRead > MAX_BYTES) throw new AppError('unavailable', `${path} has more than ${MAX_BYTES} bytes.`);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('unavailable', `Cannot read ${path}: ${reason(cause)}.`, { cause });
  }
}

/**
 * Fetches a small public document: GET, no redirects, 5 s, 256 KiB. TLS as the system trusts it, or as `ca` says. Throws
 * `unavailable`.
 *
 * @param url https, or http to a loopback address
 */
export async function fetchDocument(url: string, options: { readonly ca?: string } = {}): Promise<string> {
  checkDocumentUrl(url);
  const answer = await request(url, options.ca);
  try {
    if (answer.statusCode !== 200) {
      throw new AppError(
        'unavailable',
        `${url} answered ${answer.statusCode ?? 'nothing'}, not 200. Redirects are not followed.`,
      );
    }
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of answer as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > MAX_BYTES) throw new AppError('unavailable', `${url} answered more than ${MAX_BYTES} bytes.`);
      parts.push(part);
    }
    return Buffer.concat(parts).toString('utf8');
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('unavailable', `${url} could not be read: ${reason(cause)}.`, { cause });
  } finally {
    answer.destroy();
  }
}

/** Throws `usage` for an address from which nothing that is trusted may come. */
export function checkDocumentUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const isSafe =
    parsed?.protocol === 'https:' ||
    (parsed?.protocol === 'http:' && ['127.0.0.1', '[::1]', 'localhost'].includes(parsed.hostname));
  if (parsed === undefined || !isSafe || parsed.username !== '' || parsed.password !== '') {
    throw new AppError('usage', `${url.slice(0, 200)} is not an https address.`);
  }
  return parsed;
}

function request(url: string, ca: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      agent: false as const,
      headers: { accept: 'application/json' },
    };
    const call = url.startsWith('https:')
      ? httpsGet(url, { ...options, ...(ca !== undefined && { ca }) }, resolve)
      : httpGet(url, options, resolve);
    call.on('error', (cause) => {
      reject(new AppError('unavailable', `${url} could not be reached: ${reason(cause)}.`, { cause }));
    });
  });
}
