import { AppError } from '../../base/errors.ts';

/**
 * A SPIFFE ID: the name of a workload, as a URI (SPIFFE-ID.md). Always normalised: scheme and trust domain are lower case,
 * so two IDs are the same if and only if their `uri`s are the same string.
 */
export interface SpiffeId {
  readonly trustDomain: string;
  /** '' for the ID of the trust domain itself, else it begins with a slash: '/ns/shop/sa/web'. */
  readonly path: string;
  readonly uri: string;
}

/** SPIFFE-ID.md §2.3: implementations support IDs up to 2048 bytes; Writ makes and takes none longer. */
export const MAX_SPIFFE_ID_BYTES = 2048;
/** RFC 3986 §3.2.2: a host name is at most 255 bytes. */
export const MAX_TRUST_DOMAIN_BYTES = 255;

const scheme = 'spiffe://';
const trustDomainPattern = /^[a-z0-9._-]+$/;
const segmentPattern = /^[a-zA-Z0-9._-]+$/;
const reservedPath = '/writ';

/**
 * Parses the text of a SPIFFE ID strictly. Scheme and trust domain must be lower case already: SPIFFE-ID.md §2.4 lets them
 * compare case-insensitively, but every issuer emits lower case, and a second spelling of the same identity only helps attackers.
 *
 * @throws AppError `invalid`
 */
export function parseSpiffeId(text: string): SpiffeId {
  if (text.length > MAX_SPIFFE_ID_BYTES) {
    throw refuse(`it is longer than ${MAX_SPIFFE_ID_BYTES} bytes`);
  }
  if (!text.startsWith(scheme)) throw refuse(`it must begin with ${scheme} in lower case`);
  const slash = text.indexOf('/', scheme.length);
  const end = slash === -1 ? text.length : slash;
  const trustDomain = text.slice(scheme.length, end);
  checkTrustDomain(trustDomain);
  const path = text.slice(end);
  checkPath(path);
  return freezeId(trustDomain, path);
}

/**
 * Parses the name of a trust domain, such as 'prod.example.org'. A name that looks like an IP address is a name like any other
 * (SPIFFE-ID.md §2.1).
 *
 * @throws AppError `invalid`
 */
export function parseTrustDomain(name: string): string {
  checkTrustDomain(name);
  return name;
}

/**
 * The ID of a service: `spiffe://<trust domain>/ns/<namespace>/sa/<service>`.
 *
 * @throws AppError `invalid` when a part has a character that a path segment may not have
 */
export function workloadId(trustDomain: string, namespace: string, service: string): SpiffeId {
  checkTrustDomain(trustDomain);
  checkSegment(namespace);
  checkSegment(service);
  const path = `/ns/${namespace}/sa/${service}`;
  if (scheme.length + trustDomain.length + path.length > MAX_SPIFFE_ID_BYTES) {
    throw refuse(`it is longer than ${MAX_SPIFFE_ID_BYTES} bytes`);
  }
  return freezeId(trustDomain, path);
}

/** Namespace and service of an ID of the form /ns/<namespace>/sa/<service>; `undefined` for every other ID. */
export function workloadOf(id: SpiffeId): { readonly namespace: string; readonly service: string } | undefined {
  const [empty, ns, namespace, sa, service, ...rest] = id.path.split('/');
  if (empty !== '' || ns !== 'ns' || sa !== 'sa' || rest.length > 0) return undefined;
  if (namespace === undefined || service === undefined) return undefined;
  return { namespace, service };
}

/** The identity that the control plane itself presents. */
export function controlPlaneId(trustDomain: string): SpiffeId {
  checkTrustDomain(trustDomain);
  return freezeId(trustDomain, `${reservedPath}/control-plane`);
}

/** The identity of the trust domain itself, which its certificate authorities carry (X509-SVID.md §3.2). */
export function trustDomainId(trustDomain: string): SpiffeId {
  checkTrustDomain(trustDomain);
  return freezeId(trustDomain, '');
}

/** Whether the path is /writ or below it: kept for Writ's own parts, never given to a workload. */
export function isReserved(id: SpiffeId): boolean {
  return id.path === reservedPath || id.path.startsWith(`${reservedPath}/`);
}

function checkTrustDomain(name: string): void {
  if (name === '') throw refuse('the trust domain is empty');
  if (name.length > MAX_TRUST_DOMAIN_BYTES) {
    throw refuse(`the trust domain is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes`);
  }
  // This also refuses userinfo, port, query, fragment, percent-encoding and IPv6: none of their signs is in the set.
  if (!trustDomainPattern.test(name)) {
    throw refuse('the trust domain may have only lower-case letters, digits, dots, dashes and underscores');
  }
}

function checkPath(path: string): void {
  if (path === '') return;
  for (const segment of path.slice(1).split('/')) checkSegment(segment);
}

function checkSegment(segment: string): void {
  if (segment === '') throw refuse('the path has an empty segment or a trailing slash');
  if (segment === '.' || segment === '..') throw refuse('a path segment may not be "." or ".."');
  if (!segmentPattern.test(segment)) {
    throw refuse('a path segment may have only letters, digits, dots, dashes and underscores');
  }
}

function freezeId(trustDomain: string, path: string): SpiffeId {
  return Object.freeze({ trustDomain, path, uri: `${scheme}${trustDomain}${path}` });
}

function refuse(why: string): AppError {
  // The text itself is not repeated: it is attacker-controlled and can be long.
  return new AppError('invalid', `This is not a SPIFFE ID: ${why}.`);
}
