/**
 * The head of an HTTP/1.1 request, read once and strictly. Everything here is attacker-controlled. What two readers could
 * understand in two ways is refused, not repaired (RFC 9112 §11.2), because behind us stands a second reader.
 */
export interface Http1Head {
  readonly ok: true;
  /** End-to-end fields as sent, name and value alternating; without hop-by-hop fields and without fields that only sidecars set. */
  readonly fields: readonly string[];
  readonly host: string;
  /** Bytes of the body; 0 for none; undefined when it is chunked. */
  readonly length: number | undefined;
  readonly authorization: string | undefined;
  readonly traceparent: string | undefined;
  readonly expectsContinue: boolean;
}

export interface Malformed {
  readonly ok: false;
  readonly why: string;
  /** As far as it could be read, for the record. */
  readonly host: string;
}

export const CLIENT_CERT_HEADER = 'x-forwarded-client-cert';

/** RFC 9110 §7.6.1, and what only means something between two neighbours. */
const hopByHop = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Never believed from a caller. */
const setBySidecars = new Set([CLIENT_CERT_HEADER]);

/** A `Connection` field that names one of these would take it away from the application after we decided with it. */
const neverPerHop = new Set(['host', 'content-length', 'authorization', 'content-type', 'traceparent', 'cookie']);

/** reg-name, IPv4, [IPv6], and a port; no userinfo, no white space, nothing that starts a path. */
const authorityForm = /^(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/;
const methodForm = /^[A-Z][A-Z0-9_-]*$/;

/** Methods are case-sensitive; a lower-case one that an application reads as its upper-case twin would slip past a DENY. */
export function isSafeMethod(method: string): boolean {
  return methodForm.test(method) && method !== 'CONNECT';
}

export function isAuthority(text: string): boolean {
  return text.length <= 512 && authorityForm.test(text);
}

export function readHttp1Head(raw: readonly string[], maxHeaders: number): Http1Head | Malformed {
  const fields: string[] = [];
  let host: string | undefined;
  let length: number | undefined;
  let chunked = false;
  let transferEncodings = 0;
  let authorization: string | undefined;
  let traceparent: string | undefined;
  let expectsContinue = false;
  let connection: string | undefined;
  const refuse = (why: string): Malformed => ({ ok: false, why, host: host ?? '' });

  if (raw.length / 2 > maxHeaders) return refuse(`more than ${maxHeaders} header fields`);
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const value = raw[i + 1] ?? '';
    const key = name.toLowerCase();
    switch (key) {
      case 'host':
        if (host !== undefined) return refuse('more than one Host field');
        host = value;
        break;
      case 'content-length':
        if (length !== undefined || !/^[0-9]{1,15}$/.test(value)) return refuse('Content-Length is ambiguous');
        length = Number(value);
        break;
      case 'transfer-encoding':
        transferEncodings += 1;
        chunked = value.toLowerCase() === 'chunked';
        if (transferEncodings > 1 || !chunked) return refuse('a Transfer-Encoding other than chunked');
        continue;
      case 'authorization':
        if (authorization !== undefined) return refuse('more than one Authorization field');
        authorization = value;
        break;
      case 'traceparent':
        // A second one makes the context invalid (W3C Trace Context §3.2): neither is used, a new one is made.
        traceparent = traceparent === undefined ? value : '';
        continue;
      case 'expect':
        if (value.toLowerCase() !== '100-continue') return refuse('an Expect field other than 100-continue');
        expectsContinue = true;
        break;
      case 'connection':
        connection = connection === undefined ? value : `${connection},${value}`;
        continue;
      default:
        if (hopByHop.has(key) || setBySidecars.has(sameAs(key))) continue;
    }
    fields.push(name, value);
  }
  if (host === undefined || !isAuthority(host)) return refuse('the Host field is missing or malformed');
  if (chunked && length !== undefined) return refuse('both Transfer-Encoding and Content-Length');

  let endToEnd = fields;
  if (connection !== undefined) {
    const named = namedBy(connection);
    if (named !== undefined) {
      for (const key of named) if (neverPerHop.has(key)) return refuse(`Connection names ${key}`);
      endToEnd = fields.filter((_, i) => !named.has((fields[i - (i % 2)] ?? '').toLowerCase()));
    }
  }
  return {
    ok: true,
    fields: endToEnd,
    host,
    length: chunked ? undefined : (length ?? 0),
    authorization,
    traceparent: traceparent === '' ? undefined : traceparent,
    expectsContinue,
  };
}

/**
 * Fields of a response that go on to the caller. `length` is the Content-Length, or -1 where there is none.
 *
 * @param fromApplication Drops `x-writ-*`: in an answer they say that a sidecar refused, and an application cannot say that.
 */
export function responseFields(
  raw: readonly string[],
  fromApplication: boolean,
): { readonly fields: string[]; readonly length: number } {
  let fields: string[] = [];
  let length = -1;
  let connection: string | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const value = raw[i + 1] ?? '';
    const key = name.toLowerCase();
    if (key === 'connection') connection = connection === undefined ? value : `${connection},${value}`;
    if (hopByHop.has(key) || (fromApplication && sameAs(key).startsWith('x-writ-'))) continue;
    if (key === 'content-length') length = Number(value);
    fields.push(name, value);
  }
  const named = connection === undefined ? undefined : namedBy(connection);
  if (named !== undefined) {
    named.delete('content-length');
    fields = fields.filter((_, i) => !named.has((fields[i - (i % 2)] ?? '').toLowerCase()));
  }
  return { fields, length };
}

/** Fields of an interim answer (1xx) that go on: it has no body that they could describe. */
export function interimFields(raw: readonly string[], fromApplication: boolean): string[] {
  const { fields } = responseFields(raw, fromApplication);
  return fields.filter((_, i) => (fields[i - (i % 2)] ?? '').toLowerCase() !== 'content-length');
}

/**
 * Trailer fields may not change how a message is framed, routed or authenticated (RFC 9110 §6.5.1).
 *
 * @param withheld as of `RequestChanges`
 */
export function trailerFields(raw: readonly string[], withheld?: ReadonlySet<string>): [string, string][] {
  const out: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const key = name.toLowerCase();
    if (!isForbiddenTrailer(key, withheld)) out.push([name, raw[i + 1] ?? '']);
  }
  return out;
}

export function isForbiddenTrailer(name: string, withheld?: ReadonlySet<string>): boolean {
  const key = sameAs(name);
  if (withheld?.has(key) === true) return true;
  return hopByHop.has(key) || setBySidecars.has(key) || neverPerHop.has(key) || key.startsWith('x-writ-');
}

/** Only sidecars say it, whichever way it is spelled. */
export function isSetBySidecars(name: string): boolean {
  return setBySidecars.has(sameAs(name));
}

/** Whether a check may not touch it in a request: who calls whom, how the message is framed, and what sidecars say. */
export function isProtectedField(name: string): boolean {
  const key = sameAs(name);
  return (
    key.startsWith(':') ||
    hopByHop.has(key) ||
    setBySidecars.has(key) ||
    key.startsWith('x-writ-') ||
    ['host', 'content-length', 'expect', 'traceparent'].includes(key)
  );
}

/** In an answer, it says that a sidecar refused. */
export function isSidecarsAnswer(name: string): boolean {
  return sameAs(name).startsWith('x-writ-');
}

/** Applications behind CGI, WSGI and the like cannot tell `a_b` from `a-b`: both become `HTTP_A_B`. */
function sameAs(name: string): string {
  return name.toLowerCase().replaceAll('_', '-');
}

/** The fields that a `Connection` value names, without the words that have a meaning of their own; undefined for none. */
function namedBy(connection: string): Set<string> | undefined {
  // Nearly always.
  if (connection === 'keep-alive' || connection === 'close') return undefined;
  let named: Set<string> | undefined;
  for (const part of connection.toLowerCase().split(',')) {
    const key = part.trim();
    if (key === '' || key === 'keep-alive' || key === 'close' || hopByHop.has(key)) continue;
    named ??= new Set();
    named.add(key);
  }
  return named;
}
