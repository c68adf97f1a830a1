import { unreachable } from '../../base/errors.ts';
import { addressBits, blockBits } from './ip.ts';
import { parseMatch } from './match.ts';
import type { Request, StringMatch } from './model.ts';
import { isTemplate, whyNoTemplate } from './path-template.ts';
import { accountOf, namespaceOf, principalOf, trustDomainOf } from './principal.ts';
import { requestPrincipalOf } from './request-principal.ts';

/**
 * What conditions can ask of a call (reference: rule 20). Every value is reduced to a text and every condition to text
 * matches, so that one matcher and one index serve them all: addresses become bits, and a block of them a prefix.
 */
export interface Attribute {
  readonly key: string;
  readonly type: AttributeType;
  /** Exists only in HTTP: on TCP a condition on it never holds (reference: rules 33 to 35). */
  readonly httpOnly: boolean;
  /** Of a `request.headers[…]`, in lower case. */
  readonly header?: string;
  /** Of a `request.auth.claims[…][…]`: from the outside in. */
  readonly claim?: readonly string[];
}

/** How the values of an attribute are written and compared. */
export type AttributeType =
  | 'principal'
  | 'namespace'
  | 'serviceAccount'
  | 'trustDomain'
  | 'requestPrincipal'
  | 'ip'
  | 'port'
  | 'host'
  | 'method'
  | 'path'
  | 'header'
  | 'claim'
  | 'sni';

/** By key, but for headers and claims. Those that begin with `operation.` stand for fields of operations and are no keys of `when`. */
const named: ReadonlyMap<string, Attribute> = new Map(
  (
    [
      ['source.principal', 'principal', false],
      ['source.namespace', 'namespace', false],
      ['source.serviceAccount', 'serviceAccount', false],
      ['source.trustDomain', 'trustDomain', false],
      ['source.ip', 'ip', false],
      ['remote.ip', 'ip', false],
      ['destination.ip', 'ip', false],
      ['destination.port', 'port', false],
      ['connection.sni', 'sni', false],
      ['request.auth.principal', 'requestPrincipal', true],
      ['request.auth.audiences', 'claim', true, ['aud']],
      ['request.auth.presenter', 'claim', true, ['azp']],
      ['operation.host', 'host', true],
      ['operation.method', 'method', true],
      ['operation.path', 'path', true],
    ] as const
  ).map(([key, type, httpOnly, claim]) => [key, { key, type, httpOnly, ...(claim !== undefined && { claim }) }]),
);

/** The keys of `when` that stand by themselves. */
export const whenKeys: readonly string[] = [...named.keys()].filter((key) => !key.startsWith('operation.'));

const MAX_KEY_LENGTH = 512;
/** RFC 9110 §5.1, in lower case; and the two pseudo fields that are not better said with `paths`. */
const headerKey = /^request\.headers\[((?::method|:authority)|[A-Za-z0-9!#$%&'*+.^_`|~-]+)\]$/;
const claimKey = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/;

/** Undefined for a key that is none. */
export function attributeOf(key: string): Attribute | undefined {
  const known = named.get(key);
  if (known !== undefined) return known;
  if (key.length > MAX_KEY_LENGTH) return undefined;
  const header = headerKey.exec(key)?.[1]?.toLowerCase();
  if (header !== undefined) return { key, type: 'header', httpOnly: true, header };
  const claims = claimKey.exec(key)?.[1];
  if (claims === undefined) return undefined;
  return { key, type: 'claim', httpOnly: true, claim: claims.slice(1, -1).split('][') };
}

/** What a value of a condition matches in the texts of `textsOf`; undefined for a value that has no meaning. */
export function parseValue(attribute: Attribute, value: string): StringMatch | undefined {
  switch (attribute.type) {
    case 'ip': {
      const bits = blockBits(value);
      return bits === undefined ? undefined : { kind: 'prefix', value: bits };
    }
    case 'port':
      return /^[1-9][0-9]{0,4}$/.test(value) && Number(value) <= 65_535 ? { kind: 'exact', value } : undefined;
    case 'serviceAccount':
      return /^[^/*]+\/[^/*]+$/.test(value) ? { kind: 'exact', value } : undefined;
    case 'requestPrincipal':
      return parseRequestPrincipal(value);
    case 'path':
      if (!isTemplate(value)) return parseMatch(value);
      return whyNoTemplate(value) === undefined ? { kind: 'template', value } : undefined;
    case 'host':
      return parseMatch(value.toLowerCase());
    case 'header':
      // A field without a value is there (reference: rule 16).
      return value === '*' ? { kind: 'prefix', value: '' } : parseMatch(value);
    case 'principal':
    case 'namespace':
    case 'trustDomain':
    case 'method':
    case 'claim':
    case 'sni':
      return parseMatch(value);
    default:
      return unreachable(attribute.type);
  }
}

/** `iss/sub` (reference: rule 14). What is compared has a NUL between the two, which neither holds. */
function parseRequestPrincipal(value: string): StringMatch | undefined {
  // A subject that is a SPIFFE ID has slashes of its own.
  const spiffe = value.indexOf('/spiffe://');
  const slash = spiffe > 0 ? spiffe : value.lastIndexOf('/');
  // Without a subject only a wildcard can match: a token always has one.
  if (slash === -1) return value.startsWith('*') || value.endsWith('*') ? parseMatch(value) : undefined;
  if (slash === 0 || slash === value.length - 1) return undefined;
  const issuer = value.slice(0, slash);
  const subject = value.slice(slash + 1);
  // The wildcard is at one end of the whole: `*/sub` and `iss/*`.
  if (issuer === '*' && subject === '*') return { kind: 'present' };
  return parseMatch(`${issuer}\0${subject}`);
}

/**
 * The texts of which one must match; undefined for an attribute that the call does not have. Several for claims that are
 * lists; for a header that stands several times, first all of them joined and then each (see `conditions.ts`).
 */
export function textsOf(attribute: Attribute, request: Request): string | readonly string[] | undefined {
  switch (attribute.key) {
    case 'source.principal':
      return principalOf(request.source) || undefined;
    case 'source.namespace':
      return namespaceOf(principalOf(request.source)) || undefined;
    case 'source.serviceAccount':
      return accountOf(principalOf(request.source)) || undefined;
    case 'source.trustDomain':
      return trustDomainOf(principalOf(request.source)) || undefined;
    case 'source.ip':
      return bitsOf(request.connection?.peerIp);
    case 'remote.ip':
      return bitsOf(remoteIpOf(request));
    case 'destination.ip':
      return bitsOf(request.connection?.ownIp);
    case 'destination.port':
      return String(request.port);
    case 'connection.sni':
      return request.connection?.sni;
    case 'request.auth.principal':
      return request.http?.token === undefined ? undefined : requestPrincipalOf(request.http.token);
    case 'operation.host':
      return hostOf(request.http?.host);
    case 'operation.method':
      return request.http?.method;
    case 'operation.path':
      return request.http?.path;
    default:
      return attribute.header === undefined ? claimOf(attribute, request) : headerOf(attribute.header, request);
  }
}

/** The same as source.ip, unless a proxy is trusted to say who stands behind it (reference: rule 19). */
export function remoteIpOf({ connection }: Request): string | undefined {
  return connection?.remoteIp ?? connection?.peerIp;
}

function bitsOf(ip: string | undefined): string | undefined {
  return ip === undefined ? undefined : addressBits(ip);
}

/** In lower case, and without the dot that may end a DNS name: `admin.example.` is `admin.example`. */
function hostOf(host: string | undefined): string | undefined {
  return host?.toLowerCase().replace(/\.(?=$|:[0-9]+$)/, '');
}

function headerOf(name: string, { http }: Request): string | readonly string[] | undefined {
  if (http === undefined) return undefined;
  if (name === ':method') return http.method;
  if (name === ':authority' || name === 'host') return http.host;
  const values = http.headers?.get(name);
  if (values === undefined || values.length < 2) return values?.[0];
  return [values.join(','), ...values];
}

/** Split at white space, as OAuth writes them (RFC 8693 §4.2; reference: rule 15). */
const spaceDelimited: ReadonlySet<string> = new Set(['scope', 'permission']);

function claimOf(attribute: Attribute, request: Request): readonly string[] | undefined {
  let value: unknown = request.http?.token?.claims;
  const { claim = [] } = attribute;
  for (const name of claim) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) {
      return undefined;
    }
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  if (typeof value === 'string') {
    return claim.length === 1 && spaceDelimited.has(claim[0] ?? '') ? value.split(' ') : [value];
  }
  if (!Array.isArray(value)) return undefined;
  return value.filter((item): item is string => typeof item === 'string');
}
