import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type { Entries } from '../../control/authority/entries/entries.ts';
import type { PolicyStore } from '../../control/policies/store.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { workloadOf } from '../../core/identity/spiffe-id.ts';
import { explain } from '../../core/policy/explain.ts';
import type { DecisionReason, Request } from '../../core/policy/model.ts';
import { DEFAULT_DENY, decisionReasons } from '../../core/policy/model.ts';
import { modeOfPort, peerModesFor } from '../../core/policy/peer-modes.ts';
import { selects } from '../../core/policy/selects.ts';
import type { App } from './app.ts';
import {
  directions,
  invalid,
  notGiven,
  Question,
  readDetails,
  readHttp,
  readParty,
  readPort,
} from './policy-question.ts';
import { closed, nullable, oneOf, revision } from './schemas.ts';

const action = oneOf(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM']);

const Answer = Type.Object(
  {
    decision: oneOf(['allow', 'deny']),
    reason: oneOf(decisionReasons),
    rule: Type.String({
      description: '`<namespace>/<policy>@<revision>#<rule index>`, `default-deny`, or `egress-open`.',
    }),
    shadow: Type.Optional(
      Type.Object(
        { decision: oneOf(['allow', 'deny']), rule: Type.String() },
        { ...closed, description: 'What it would be if policies in shadow mode were enforced, where that is another.' },
      ),
    ),
    audited: Type.Optional(Type.String({ description: 'The rule of an AUDIT policy that marks the call.' })),
    custom: Type.Optional(
      Type.Array(Type.Object({ provider: Type.String(), rule: Type.String() }, closed), {
        description: 'External authorizers that must agree too, each with the rule that has it asked.',
      }),
    ),
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
      { description: 'Every rule that applies to `to` (for egress, to `from`), and what of it did not match.' },
    ),
    request: Type.Object(
      {
        from: nullable(Type.String({ description: 'null for a caller in plain text.' })),
        to: Type.String(),
        direction: oneOf(directions),
        labels: Type.Record(Type.String(), Type.String(), {
          description: 'Of the workload whose policies were asked.',
        }),
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

type Answer = Static<typeof Answer>;

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

async function check(question: Question, deps: PolicyCheckDeps): Promise<Answer> {
  const parties = readParties(question, deps.bundle.current.trustDomain);
  const { workload, egress } = parties;
  const entry = await deps.entries.bySpiffeId(workload.id.uri);
  const notes = entry === undefined ? [`${workload.id.uri} has no entry; it was taken to have no labels.`] : [];
  const labels = entry?.labels ?? {};
  const current = deps.policies.current.current;
  const scope = { namespace: workload.namespace, service: workload.service, labels };
  const applying = current.policies.filter(
    (policy) => (policy.direction === 'egress') === egress && selects(policy, scope, deps.rootNamespace),
  );
  const asked = {
    from: parties.from?.uri ?? null,
    to: parties.to.uri,
    direction: egress ? ('Egress' as const) : ('Ingress' as const),
    labels: { ...labels },
    method: question.method ?? null,
    port: question.port ?? null,
  };
  const refused = (reason: DecisionReason, why: string): Answer => ({
    decision: 'deny',
    reason,
    rule: DEFAULT_DENY,
    source: null,
    considered: [],
    request: { ...asked, path: question.path ?? null },
    policyRevision: current.revision,
    notes: [...notes, why],
  });
  const http = readHttp(question);
  if (http !== undefined && 'why' in http) {
    const why = `The path cannot be interpreted safely (${http.why}); a sidecar refuses such a request before any rule.`;
    return refused('malformed-request', why);
  }
  const port = readPort(question.port, applying);
  if (question.plaintext === true) {
    const modes = peerModesFor(scope, current.peerAuthentications, deps.rootNamespace);
    if (modeOfPort(modes, port) === 'STRICT') {
      return refused('default-deny', 'Plain text is not let in there, so the sidecar refuses it before any rule.');
    }
  }
  const call: Request = {
    source: (egress ? parties.to : parties.from)?.uri ?? '',
    ...(question.plaintext === true && { plaintext: true }),
    port,
    ...(deps.clock !== undefined && { time: deps.clock.now() }),
    ...readDetails(question, http, parties.trustDomain),
  };
  const open = notGiven(applying, call);
  if (open.length > 0)
    notes.push(`Rules ask for ${open.join(', ')}; the question does not give it, so it was taken as absent.`);
  const { decision, reason, rule, considered, shadow, audited, custom } = explain(applying, call, { egress });
  if (custom !== undefined) {
    const who = custom.map(({ provider }) => provider).join(', ');
    notes.push(`It is let in only if asking says so as well: ${who}. Nobody was asked now.`);
  }
  return {
    decision,
    reason,
    rule,
    ...(shadow !== undefined && { shadow }),
    ...(audited !== undefined && { audited }),
    ...(custom !== undefined && { custom: [...custom] }),
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

interface Parties {
  readonly trustDomain: string;
  /** Undefined for a caller in plain text. */
  readonly from: SpiffeId | undefined;
  readonly to: SpiffeId;
  readonly egress: boolean;
  /** The one of the two whose sidecar decides. */
  readonly workload: { readonly id: SpiffeId; readonly namespace: string; readonly service: string };
}

function readParties(question: Question, trustDomain: string): Parties {
  const egress = question.direction === 'Egress';
  if (question.plaintext === true && (egress || question.from !== undefined)) {
    throw invalid('plaintext', 'Who comes in plain text has no identity: leave out "from", and ask about "Ingress".');
  }
  if (question.plaintext !== true && question.from === undefined) {
    throw invalid('from', 'Name the caller in "from", or say "plaintext" for one without a certificate.');
  }
  const from =
    question.from === undefined ? undefined : readParty(question.from, 'from', trustDomain, { foreign: false });
  const to = readParty(question.to, 'to', trustDomain, { foreign: egress });
  const field = egress ? 'from' : 'to';
  const id = (egress ? from : to) ?? to;
  const workload = workloadOf(id);
  if (workload === undefined)
    throw invalid(
      field,
      `${id.uri} is not a workload: policies apply to spiffe://${trustDomain}/ns/<namespace>/sa/<service>.`,
    );
  return { trustDomain, from, to, egress, workload: { id, ...workload } };
}

/** Where the rule stands in the text that its author wrote; null when the policy has changed in the meantime. */
async function sourceOf(rule: string, policies: Pick<PolicyStore, 'get'>): Promise<Answer['source']> {
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
