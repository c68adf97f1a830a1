import type { Token } from './model.ts';

/**
 * Who a token says that its caller is: issuer and subject with a NUL between them; undefined when one of them is missing.
 *
 * A JWT-SVID needs no `iss` (JWT-SVID.md §3): the trust domain whose keys verified it has issued it, and its name stands for the
 * issuer then. So a workload is `example.org/spiffe://example.org/ns/shop/sa/web`, unless its tokens carry an issuer.
 */
export function requestPrincipalOf(token: Token): string | undefined {
  const { iss, sub } = token.claims;
  const issuer = iss === undefined ? token.trustDomain : iss;
  if (typeof issuer !== 'string' || typeof sub !== 'string' || issuer === '' || sub === '') return undefined;
  if (issuer.includes('\0') || sub.includes('\0')) return undefined;
  return `${issuer}\0${sub}`;
}
