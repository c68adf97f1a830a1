import type { FastifyReply, FastifyRequest } from 'fastify';

/** What every answer carries, errors included. A route may overrule `cache-control`. */
export function setHeaders(request: FastifyRequest, reply: FastifyReply): void {
  reply.headers(securityHeaders);
  reply.header('x-request-id', request.id);
  if (isApi(request)) reply.header('cache-control', 'no-store');
}

/** Whether the request is for /v1, by its route, or by its path where it has none. */
export function isApi(request: FastifyRequest): boolean {
  return /^\/v1(?![^/?#])/.test(request.routeOptions.url ?? request.url);
}

const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};
