import type { IncomingHttpHeaders } from 'node:http2';
import { isAuthority, isSafeMethod } from './http1-head.ts';

/** The head of an HTTP/2 request. nghttp2 has checked its syntax (RFC 9113 §8.2, §8.3); everything is attacker-controlled. */
export interface Http2Head {
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly grpc: boolean;
  readonly authorization: string | undefined;
  readonly traceparent: string | undefined;
  /** Why it cannot be taken to mean one thing, where that is so. */
  readonly malformed: string | undefined;
}

/** Fields of which Node keeps only the first: a second one would be seen by nobody here, and must not exist. */
const onlyOnce = new Set(['host', 'authorization', 'content-length', 'content-type']);

export function readHttp2Head(headers: IncomingHttpHeaders, raw: readonly string[]): Http2Head {
  const method = headers[':method'] ?? '';
  const path = headers[':path'] ?? '';
  // A gateway may have translated from HTTP/1.1 (RFC 9113 §8.3.1).
  const authority = headers[':authority'] ?? headers.host ?? '';
  const head = {
    method,
    path,
    authority,
    grpc: /^application\/grpc(?:$|[+;])/.test(headers['content-type'] ?? ''),
    authorization: headers.authorization,
    traceparent: typeof headers.traceparent === 'string' ? headers.traceparent : undefined,
  };
  return { ...head, malformed: whyMalformed(headers, raw, head) };
}

function whyMalformed(
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  head: { readonly method: string; readonly authority: string },
): string | undefined {
  if (!isSafeMethod(head.method)) return 'its method';
  if (headers[':protocol'] !== undefined) return 'the extended CONNECT of RFC 8441';
  if (!isAuthority(head.authority)) return 'its authority is missing or malformed';
  if (headers.host !== undefined && headers.host.toLowerCase() !== head.authority.toLowerCase()) {
    return 'its :authority and Host differ';
  }
  let seen = 0;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? '';
    if (!onlyOnce.has(name)) continue;
    const bit = name === 'host' ? 1 : name === 'authorization' ? 2 : name === 'content-length' ? 4 : 8;
    if ((seen & bit) !== 0) return `more than one ${name} field`;
    seen |= bit;
  }
  return undefined;
}
