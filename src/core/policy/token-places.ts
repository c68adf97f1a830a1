/**
 * Where a token may stand in a request, and what may be told of it to the application. Both change what is forwarded, so
 * neither may touch what frames, routes or authenticates a message, nor what only sidecars say.
 */

/** RFC 9110 §5.1. */
const tokenForm = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/;
/** A cookie's name, as browsers and applications agree about it (RFC 6265 §4.1.1), without what they treat specially. */
const cookieForm = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/;

/** RFC 9110 §7.6.1 and what else belongs to one connection, framing, routing, and the fields of sidecars. */
const reserved = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'traceparent',
  'tracestate',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-forwarded-client-cert',
]);

/** What a caller may authenticate with; to overwrite it would take it from the application. */
const credentials = new Set(['authorization', 'cookie']);

/** Why a token cannot be looked for in this header field; undefined when it can. */
export function whyNoTokenHeader(name: string): string | undefined {
  if (!tokenForm.test(name)) return 'it is not the name of a header field';
  if (isReserved(name)) return 'the field means something to every HTTP server';
  // Its values are cut at semicolons: `fromCookies` reads it.
  return canonical(name) === 'cookie' ? 'cookies have names of their own. Use "fromCookies"' : undefined;
}

/** Why a claim cannot be put into this header field; undefined when it can. */
export function whyNoOutputHeader(name: string): string | undefined {
  if (!tokenForm.test(name)) return 'it is not the name of a header field';
  if (isReserved(name)) return 'the field means something to every HTTP server';
  return credentials.has(canonical(name)) ? 'it carries what callers authenticate with' : undefined;
}

export function isParameterName(name: string): boolean {
  return name.length <= 256 && !/[\p{Cc}&;=#]/u.test(name);
}

export function isCookieName(name: string): boolean {
  return cookieForm.test(name);
}

/** The name that stands for all spellings of a field: applications behind CGI cannot tell `a_b` from `a-b`. */
export function canonical(name: string): string {
  return name.toLowerCase().replaceAll('_', '-');
}

function isReserved(name: string): boolean {
  const key = canonical(name);
  return reserved.has(key) || key.startsWith('x-writ-') || key.startsWith('content-');
}
