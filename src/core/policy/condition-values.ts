import type { Attribute, AttributeType } from './attributes.ts';
import { attributeOf, parseValue, whenKeys } from './attributes.ts';
import { nearest } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import { addressBits, blockBits } from './ip.ts';
import { formatMatch } from './match.ts';
import type { StringMatch } from './model.ts';
import type { ValueReader } from './values.ts';
import { readMatch, readMethod, readNamespace, readPath, readPort, readPrincipal } from './values.ts';
import type { Value } from './yaml-reader.ts';
import { readText, unsupported } from './yaml-reader.ts';

/** The keys and values of conditions. Like `values.ts`, they refuse what could never match. */

/** @param namespace Of the policy: a service account without one is in it. */
export function readerOf(attribute: Attribute, namespace: string): ValueReader<string> {
  return attribute.type === 'serviceAccount'
    ? (value, findings) => readServiceAccount(value, findings, namespace)
    : readers[attribute.type];
}

const readers: { readonly [T in Exclude<AttributeType, 'serviceAccount'>]: ValueReader<string> } = {
  principal: asText(readPrincipal),
  namespace: asText(readNamespace),
  method: asText(readMethod),
  path: asText(readPath),
  port: (value, findings) => readPort(value, findings)?.toString(),
  trustDomain: readTrustDomain,
  requestPrincipal: readRequestPrincipal,
  ip: readIpBlock,
  host: readHost,
  header: readFree,
  claim: readFree,
  sni: readServerName,
};

/** The key of a condition (reference: rules 20 and 46). */
export function readKey(value: Value, findings: Findings): Attribute | undefined {
  const key = readText(value, findings);
  if (key === undefined) return undefined;
  if (key.startsWith('experimental.envoy.filters.')) {
    findings.add('unsupported-field', value, unsupported(`The key ${quoted(key)}`));
    return undefined;
  }
  const attribute = key.startsWith('operation.') ? undefined : attributeOf(key);
  if (attribute === undefined) {
    findings.add('unknown-condition-key', value, `${quoted(key)} is no key of a condition.${adviceOnKey(key)}`);
    return undefined;
  }
  if (attribute.header === undefined || !hidden.has(attribute.header)) return attribute;
  const message = `Rules cannot look at the field ${quoted(attribute.header)}: it is set or taken away by sidecars, or belongs to one connection only.`;
  findings.add('invalid-condition-key', value, message);
  return undefined;
}

/** Fields that an application does not get as the caller sent them; a rule on one would not mean what it says. */
const hidden: ReadonlySet<string> = new Set([
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
  'x-forwarded-client-cert',
  'traceparent',
]);

/** Of Istio before 1.4, which 1.4 and later reject too. */
const gone: readonly string[] = ['destination.namespace', 'destination.labels', 'destination.name', 'destination.user'];

function adviceOnKey(key: string): string {
  if (gone.some((one) => key === one || key.startsWith(`${one}[`))) {
    return ' A policy chooses workloads by its namespace and selector.';
  }
  if (/^request\.headers\b/.test(key)) {
    return ' Write the name of one field in brackets, for example "request.headers[x-tenant]"; for the path, use "paths".';
  }
  if (/^request\.auth\.claims\b/.test(key)) {
    return ' Write each name in brackets, for example "request.auth.claims[realm][role]".';
  }
  const near = nearest(key, whenKeys);
  if (near !== undefined) return ` Did you mean ${quoted(near)}?`;
  return ` The keys are ${whenKeys.map(quoted).join(', ')}, "request.headers[NAME]" and "request.auth.claims[NAME]".`;
}

function asText(read: ValueReader<StringMatch>): ValueReader<string> {
  return (value, findings) => {
    const match = read(value, findings);
    return match === undefined ? undefined : formatMatch(match);
  };
}

/** Anything with a wildcard at one end. */
function readFree(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  return text === undefined || readMatch(text, value, findings) === undefined ? undefined : text;
}

/** `web` or `shop/web` (reference: rule 12). */
function readServiceAccount(value: Value, findings: Findings, namespace: string): string | undefined {
  const text = readText(value, findings);
  if (text === undefined) return undefined;
  const parts = text.split('/');
  const good = parts.length <= 2 && text.length <= 320 && parts.every((part) => /^[A-Za-z0-9._-]+$/.test(part));
  if (good) return parts.length === 2 ? text : `${namespace}/${text}`;
  const message = `The service account ${quoted(text)} is neither a name nor "namespace/name" of letters, digits, ".", "_" and "-", at most 320. Service accounts have no wildcards.`;
  findings.add('invalid-service-account', value, message);
  return undefined;
}

/** A trust domain and its wildcard forms (reference: rule 13). */
function readTrustDomain(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  const match = text === undefined ? undefined : readMatch(text, value, findings);
  if (text === undefined || match === undefined) return undefined;
  if (match.kind === 'present' || /^[a-z0-9._-]+$/.test(match.value)) return text;
  const message = `The trust domain ${quoted(text)} can match none: a trust domain has only lower-case letters, digits, ".", "_" and "-".`;
  findings.add('invalid-trust-domain', value, message);
  return undefined;
}

const requestPrincipal = attributeOf('request.auth.principal');

/** `issuer/subject` and its wildcard forms (reference: rule 14). */
function readRequestPrincipal(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  if (text === undefined) return undefined;
  if (requestPrincipal !== undefined && parseValue(requestPrincipal, text) !== undefined) return text;
  // A wildcard in the middle of the whole.
  if (text.includes('*') && readMatch(text, value, findings) === undefined) return undefined;
  const message = `The request principal ${quoted(text)} is not "issuer/subject", "issuer/*", "*/subject" or "*", so no token has it.`;
  findings.add('invalid-request-principal', value, message);
  return undefined;
}

/** An address or a block of them (reference: rule 19). */
function readIpBlock(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  if (text === undefined) return undefined;
  const bits = blockBits(text);
  if (bits === undefined) {
    const message = `${quoted(text)} is neither an IP address nor a block like "10.0.0.0/8" or "2001:db8::/32".`;
    findings.add('invalid-ip-block', value, message);
    return undefined;
  }
  const address = addressBits(text.split('/', 1)[0] ?? '') ?? '';
  if (!address.slice(bits.length).includes('1')) return text;
  const message = `The block ${quoted(text)} has bits beyond its length. Write the address of the whole block, or a longer length.`;
  findings.add('invalid-ip-block', value, message);
  return undefined;
}

/** A host with or without a port, and the wildcard forms (reference: rule 17). */
function readHost(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  const match = text === undefined ? undefined : readMatch(text, value, findings);
  if (text === undefined || match === undefined) return undefined;
  if (match.kind === 'present') return text;
  const problem = whyNoHost(match);
  if (problem === undefined) return text;
  findings.add('invalid-host', value, `The host ${quoted(text)} can match no request: ${problem}.`);
  return undefined;
}

function whyNoHost(match: StringMatch): string | undefined {
  const text = formatMatch(match).replace(/^\*|\*$/, '');
  if (/[/?#@\s]/.test(text)) return 'a host has no scheme, path, user or white space';
  if (!/^[A-Za-z0-9._~!$&'()+,;=%:[\]-]+$/.test(text)) return 'a host has only ASCII letters, digits and a few signs';
  if (match.kind === 'prefix') return undefined;
  if (/\.(:[0-9]+)?$/.test(text)) return 'the dot at its end is taken away from those of requests; leave it out';
  return undefined;
}

/** A name in the TLS handshake, which has no port and no dot at its end (RFC 6066 §3). */
function readServerName(value: Value, findings: Findings): string | undefined {
  const text = readText(value, findings);
  const match = text === undefined ? undefined : readMatch(text, value, findings);
  if (text === undefined || match === undefined) return undefined;
  if (match.kind === 'present' || /^[a-z0-9._-]+$/.test(match.value)) return text;
  const message = `The server name ${quoted(text)} can match none: lower-case letters, digits, ".", "_" and "-", without a port.`;
  findings.add('invalid-server-name', value, message);
  return undefined;
}
