import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type { Entries } from '../../control/authority/entries/entries.ts';
import type { PolicyStore } from '../../control/policies/store.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { parseSpiffeId, workloadId, workloadOf } from '../../core/identity/spiffe-id.ts';
import { attributeOf, textsOf } from '../../core/policy/attributes.ts';
import { explain } from '../../core/policy/explain.ts';
import type { HttpRequest, Policy, Request } from '../../core/policy/model.ts';
import { DEFAULT_DENY, decisionReasons } from '../../core/policy/model.ts';
import { normalizePath } from '../../core/policy/path.ts';
import { selects } from '../../core/policy/selects.ts';
import { conditionsOf } from '../../core/policy/uses.ts';
import type { App } from './app.ts';
import { closed, nullable, oneOf, revision } from './schemas.ts';

const party = Type.String({
  minLength: 1,
  maxLength: 2048,
  description: 'A SPIFFE ID, or `<namespace>/<service>` in this trust domain.',
});

function text(description: string) {
  return Type.String({ maxLength: 4096, ...(description !== '' && { description }) });
}

const Question = Type.Object(
  {
    from: party,
    to: party,
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
    destinationIp: Type.Optional(text('IP address at which the call arrives.')),
    serverName: Type.Optional(text('Server name in the TLS handshake.')),
  },
  closed,
);

const action = oneOf(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM']);

const Answer = Type.Object(
  {
    decision: oneOf(['allow', 'deny']),
    reason: oneOf(decisionReasons),
    rule: Type.String({ description: '`<namespace>/<policy>@<revision>#<rule index>`, or `default-deny`.' }),
    shadow: Type.Optional(
      Type.Object(
        { decision: oneOf(['allow', 'deny']), rule: Type.String() },
        { ...closed, description: 'What it would be if policies in shadow mode were enforced, where that is another.' },
      ),
    ),
    audited: Type.Optional(Type.String({ description: 'The rule of an AUDIT policy that marks the call.' })),
    source: nullable(
      Type.Object(
        { policy: Type.String(), line: Type.Integer({ minimum: 1 }), text: Type.String() },
        { ...closed, description: 'Where the deciding rule begins; null for the default.' },
      ),
    ),
    considered: Type.Array(
      Type.Object(
        {
          rule: Type.String(),
          action,
          shadow: Type.Optional(
            Type.Literal(true, { description: 'Its policy is in shadow mode and decides nothing.' }),
          ),
          matched: Type.Boolean(),
          failed: Type.Array(Type.String()),
        },
        closed,
      ),
      { description: 'Every rule that applies to `to`, and what of it did not match.' },
    ),
    request: Type.Object(
      {
        from: Type.String(),
        to: Type.String(),
        labels: Type.Record(Type.String(), Type.String()),
        method: nullable(Type.String()),
        path: nullable(Type.String({ description: 'Normalised, as it was decided on.' })),
        port: nullable(Type.Integer()),
      },
      { ...closed, description: 'What was decided on.' },
    ),
    policyRevision: revision,
    notes: Type.Array(Type.String(), { description: 'What to know before relying on this answer.' }),
  },
  closed,
);

export interface PolicyCheckDeps {
  readonly policies: Pick<PolicyStore, 'current' | 'get'>;
  readonly entries: Pick<Entries, 'bySpiffeId'>;
  readonly bundle: Watch<TrustBundle>;
  /** Policies of this namespace apply to every namespace. */
  readonly rootNamespace: string;
  /** Without it, policies with a validity are taken as for a call at an unknown time. */
  readonly clock?: Clock;
}

/** POST /v1/policies:check */
export function policyCheck(app: App, deps: PolicyCheckDeps): void {
  app.post(
    '/v1/policies::check',
    {
      config: { readOnly: true },
      schema: {
        operationId: 'checkPolicy',
        summary: 'Would this call be allowed, by which rule, and why?',
        tags: ['policies'],
        querystring: Type.Object({}, closed),
        body: Question,
        response: { 200: Answer },
      },
    },
    async (request) => check(request.body, deps),
  );
}

async function check(question: Static<typeof Question>, deps: PolicyCheckDeps): Promise<Static<typeof Answer>> {
  const trustDomain = deps.bundle.current.trustDomain;
  const from = readParty(question.from, 'from', trustDomain);
  const to = readParty(question.to, 'to', trustDomain);
  const workload = workloadOf(to);
  if (workload === undefined)
    throw invalid(
      'to',
      `${to.uri} is not a workload: policies apply to spiffe://${trustDomain}/ns/<namespace>/sa/<service>.`,
    );
  const entry = await deps.entries.bySpiffeId(to.uri);
  const notes = entry === undefined ? [`${to.uri} has no entry; it was taken to have no labels.`] : [];
  const labels = entry?.labels ?? {};
  const current = deps.policies.current.current;
  const applying = current.policies.filter((policy) =>
    selects(policy, { namespace: workload.namespace, labels }, deps.rootNamespace),
  );
  const asked = {
    from: from.uri,
    to: to.uri,
    labels: { ...labels },
    method: question.method ?? null,
    port: question.port ?? null,
  };
  const http = readHttp(question);
  if (http !== undefined && 'why' in http) {
    notes.push(
      `The path cannot be interpreted safely (${http.why}); a sidecar refuses such a request before any rule.`,
    );
    return {
      decision: 'deny',
      reason: 'malformed-request',
      rule: DEFAULT_DENY,
      source: null,
      considered: [],
      request: { ...asked, path: question.path ?? null },
      policyRevision: current.revision,
      notes,
    };
  }
  const call: Request = {
    source: from.uri,
    port: readPort(question.port, applying),
    ...(deps.clock !== undefined && { time: deps.clock.now() }),
    connection: {
      ...(question.sourceIp !== undefined && { peerIp: question.sourceIp }),
      ...(question.destinationIp !== undefined && { ownIp: question.destinationIp }),
      ...(question.serverName !== undefined && { sni: question.serverName.toLowerCase() }),
    },
    ...(http !== undefined && { http: { ...http, ...attributesOf(question, trustDomain) } }),
  };
  const open = notGiven(applying, call);
  if (open.length > 0)
    notes.push(`Rules ask for ${open.join(', ')}; the question does not give it, so it was taken as absent.`);
  const { decision, reason, rule, considered, shadow, audited } = explain(applying, call);
  return {
    decision,
    reason,
    rule,
    ...(shadow !== undefined && { shadow }),
    ...(audited !== undefined && { audited }),
    source: await sourceOf(rule, deps.policies),
    considered: considered.map((one) => ({
      rule: one.rule,
      action: one.action,
      ...(one.shadow && { shadow: true as const }),
      matched: one.matched,
      failed: [...one.failed],
    })),
    request: { ...asked, path: http?.path ?? null },
    policyRevision: current.revision,
    notes,
  };
}

function readParty(text: string, field: 'from' | 'to', trustDomain: string): SpiffeId {
  const short = /^([^/:]+)\/([^/:]+)$/.exec(text);
  let id: SpiffeId;
  try {
    id = short === null ? parseSpiffeId(text) : workloadId(trustDomain, short[1] ?? '', short[2] ?? '');
  } catch (error) {
    if (error instanceof AppError)
      throw invalid(field, `${field} is neither a SPIFFE ID nor <namespace>/<service>: ${error.message}`);
    throw error;
  }
  if (id.trustDomain !== trustDomain)
    throw invalid(
      field,
      `${id.uri} is not of the trust domain ${trustDomain}; sidecars refuse it before any policy is asked.`,
    );
  return id;
}

function readHttp(question: Static<typeof Question>): Request['http'] | { readonly why: string } {
  if (question.method === undefined && question.path === undefined) return undefined;
  if (question.method === undefined) throw invalid('method', 'path needs method: name both, or neither for plain TCP.');
  if (question.path === undefined) throw invalid('path', 'method needs path: name both, or neither for plain TCP.');
  const path = normalizePath(question.path);
  return path.ok ? { method: question.method, path: path.path } : { why: path.why };
}

function attributesOf(question: Static<typeof Question>, trustDomain: string): Partial<HttpRequest> {
  const { host, headers, claims } = question;
  return {
    ...(host !== undefined && { host }),
    ...(headers !== undefined && {
      headers: new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), [value]])),
    }),
    ...(claims !== undefined && { token: { trustDomain, claims } }),
  };
}

/** Keys of conditions that the call of the question has nothing for. */
function notGiven(applying: readonly Policy[], call: Request): readonly string[] {
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

/** An answer that depends on the port must not be guessed. */
function readPort(port: number | undefined, applying: readonly Policy[]): number {
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

/** Where the rule stands in the text that its author wrote; null when the policy has changed in the meantime. */
async function sourceOf(rule: string, policies: Pick<PolicyStore, 'get'>): Promise<Static<typeof Answer>['source']> {
  const [, namespace, name, atRevision, index] = /^([^/]+)\/([^@]+)@(\d+)#(\d+)$/.exec(rule) ?? [];
  if (namespace === undefined || name === undefined) return null;
  try {
    const stored = await policies.get({ kind: 'AuthorizationPolicy', namespace, name });
    const line = stored.ruleLines[Number(index)];
    if (stored.revision !== Number(atRevision) || line === undefined) return null;
    return { policy: `${namespace}/${name}`, line, text: (stored.source.split(/\r\n|\n|\r/)[line - 1] ?? '').trim() };
  } catch (error) {
    if (error instanceof AppError && error.code === 'not-found') return null;
    throw error;
  }
}

function invalid(field: string, message: string): AppError {
  return new AppError('invalid-document', message, { details: [{ code: 'invalid', message, pointer: `/${field}` }] });
}
