import type { Static } from 'typebox';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { parseSpiffeId, workloadId } from '../../core/identity/spiffe-id.ts';
import { attributeOf, textsOf } from '../../core/policy/attributes.ts';
import type { HttpRequest, Policy, Request } from '../../core/policy/model.ts';
import { normalizePath } from '../../core/policy/path.ts';
import { conditionsOf } from '../../core/policy/uses.ts';
import { closed, oneOf } from './schemas.ts';

/** A call that might be made, as people ask about it, and what is decided on in its place. */

const party = Type.String({
  minLength: 1,
  maxLength: 2048,
  description: 'A SPIFFE ID, or `<namespace>/<service>` in this trust domain.',
});

function text(description: string) {
  return Type.String({ maxLength: 4096, ...(description !== '' && { description }) });
}

export const directions = ['Ingress', 'Egress'] as const;

export const Question = Type.Object(
  {
    from: Type.Optional(party),
    to: party,
    direction: Type.Optional(
      oneOf(directions, {
        description:
          '`Ingress`, the default: whether `to` lets the call in. `Egress`: whether the sidecar of `from` lets it out.',
      }),
    ),
    plaintext: Type.Optional(
      Type.Boolean({ description: 'The caller comes without a certificate; then there is no `from`. Ingress only.' }),
    ),
    method: Type.Optional(
      Type.String({
        pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$",
        description: 'Absent together with `path`: plain TCP.',
      }),
    ),
    path: Type.Optional(
      Type.String({ minLength: 1, maxLength: 8192, description: 'As it would be sent, starting with /.' }),
    ),
    port: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65_535,
        description: 'Of the application. Needed only where a rule names ports.',
      }),
    ),
    host: Type.Optional(text('Authority of the request, with its port where it has one. HTTP only.')),
    headers: Type.Optional(
      Type.Record(Type.String(), text(''), { maxProperties: 100, description: 'Fields of the request. HTTP only.' }),
    ),
    claims: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        maxProperties: 100,
        description: 'Of a JWT-SVID that the caller presents and that verifies. HTTP only.',
      }),
    ),
    sourceIp: Type.Optional(text('IP address of the caller.')),
    remoteIp: Type.Optional(text('IP address of the client, as trusted proxies say. Default: `sourceIp`.')),
    destinationIp: Type.Optional(text('IP address at which the call arrives.')),
    serverName: Type.Optional(text('Server name in the TLS handshake.')),
  },
  closed,
);
export type Question = Static<typeof Question>;

/** @throws AppError `invalid-document` for one that is none, or that no sidecar here would ask a policy about. */
export function readParty(
  text: string,
  field: 'from' | 'to',
  trustDomain: string,
  o: { readonly foreign: boolean },
): SpiffeId {
  const short = /^([^/:]+)\/([^/:]+)$/.exec(text);
  let id: SpiffeId;
  try {
    id = short === null ? parseSpiffeId(text) : workloadId(trustDomain, short[1] ?? '', short[2] ?? '');
  } catch (error) {
    if (error instanceof AppError)
      throw invalid(field, `${field} is neither a SPIFFE ID nor <namespace>/<service>: ${error.message}`);
    throw error;
  }
  if (id.trustDomain !== trustDomain && !o.foreign)
    throw invalid(
      field,
      `${id.uri} is not of the trust domain ${trustDomain}; sidecars refuse it before any policy is asked.`,
    );
  return id;
}

/** Undefined for plain TCP; `why` for a path that a sidecar refuses before any rule. */
export function readHttp(
  question: Question,
): Pick<HttpRequest, 'method' | 'path'> | { readonly why: string } | undefined {
  if (question.method === undefined && question.path === undefined) return undefined;
  if (question.method === undefined) throw invalid('method', 'path needs method: name both, or neither for plain TCP.');
  if (question.path === undefined) throw invalid('path', 'method needs path: name both, or neither for plain TCP.');
  const path = normalizePath(question.path);
  return path.ok ? { method: question.method, path: path.path } : { why: path.why };
}

/** The call without its parties, its port and its time. */
export function readDetails(
  question: Question,
  http: Pick<HttpRequest, 'method' | 'path'> | undefined,
  trustDomain: string,
): Pick<Request, 'connection' | 'http'> {
  const { host, headers, claims } = question;
  return {
    connection: {
      ...(question.sourceIp !== undefined && { peerIp: question.sourceIp }),
      ...(question.remoteIp !== undefined && { remoteIp: question.remoteIp }),
      ...(question.destinationIp !== undefined && { ownIp: question.destinationIp }),
      ...(question.serverName !== undefined && { sni: question.serverName.toLowerCase() }),
    },
    ...(http !== undefined && {
      http: {
        ...http,
        ...(host !== undefined && { host }),
        ...(headers !== undefined && {
          headers: new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), [value]])),
        }),
        ...(claims !== undefined && { token: { trustDomain, claims } }),
      },
    }),
  };
}

/** An answer that depends on the port must not be guessed. */
export function readPort(port: number | undefined, applying: readonly Policy[]): number {
  if (port !== undefined) return port;
  const naming = applying.find(
    (policy) =>
      policy.rules.some((rule) => rule.to.some((to) => to.ports.length > 0)) ||
      conditionsOf(policy).some((condition) => condition.key === 'destination.port'),
  );
  if (naming !== undefined)
    throw invalid(
      'port',
      `${naming.namespace}/${naming.name} names ports, so the answer depends on the port: name it.`,
    );
  return 0;
}

/** Keys of conditions that the call of the question has nothing for. */
export function notGiven(applying: readonly Policy[], call: Request): readonly string[] {
  const keys = new Set(applying.flatMap(conditionsOf).map((condition) => condition.key));
  return [...keys]
    .filter((key) => {
      const attribute = attributeOf(key);
      if (attribute === undefined || (key.startsWith('source.') && attribute.type !== 'ip')) return false;
      if (attribute.httpOnly && call.http === undefined) return false;
      return textsOf(attribute, call) === undefined;
    })
    .map((key) => key.replace(/^operation\./, ''));
}

export function invalid(field: string, message: string): AppError {
  return new AppError('invalid-document', message, { details: [{ code: 'invalid', message, pointer: `/${field}` }] });
}
