/**
 * What rules see of a caller. Both functions read a SPIFFE ID that mTLS has verified and `core/identity` has parsed, so
 * they only cut; whatever has another shape has no principal or no namespace, and then no rule that asks for one matches.
 */

const SCHEME = 'spiffe://';

/** The SPIFFE ID without its scheme, `example.org/ns/shop/sa/web`; '' for what is not a SPIFFE ID with a path. */
export function principalOf(spiffeId: string): string {
  if (!spiffeId.startsWith(SCHEME)) return '';
  return spiffeId.indexOf('/', SCHEME.length) > SCHEME.length ? spiffeId.slice(SCHEME.length) : '';
}

/**
 * The namespace in a principal of exactly the form `<trust domain>/ns/<namespace>/sa/<service>`; '' for any other.
 *
 * Stricter than Istio, whose expression finds `/ns/<namespace>/` anywhere in the path: there, an identity that somebody
 * may shape below its own prefix (`…/team/x/ns/payments/…`) would pass for a workload of another namespace.
 */
export function namespaceOf(principal: string): string {
  const path = principal.indexOf('/');
  if (path <= 0 || !principal.startsWith('/ns/', path)) return '';
  const start = path + 4;
  const end = principal.indexOf('/', start);
  if (end <= start || !principal.startsWith('/sa/', end)) return '';
  const service = end + 4;
  if (service === principal.length || principal.indexOf('/', service) !== -1) return '';
  return principal.slice(start, end);
}

/** `<namespace>/<service>` of a principal that `namespaceOf` finds a namespace in; '' for any other. */
export function accountOf(principal: string): string {
  const namespace = namespaceOf(principal);
  return namespace === '' ? '' : `${namespace}/${principal.slice(principal.lastIndexOf('/') + 1)}`;
}

/** What a principal begins with, before its first `/`; '' for ''. */
export function trustDomainOf(principal: string): string {
  return principal.slice(0, Math.max(0, principal.indexOf('/')));
}
