import { Type } from 'typebox';
import type { AuditLog } from '../../control/ledger/log/audit-log.ts';
import type { WitnessState } from '../../control/ledger/log/witness-client.ts';
import { formatLogPolicy } from '../../core/audit/log-policy.ts';
import type { App } from './app.ts';
import { closed } from './schemas.ts';

export interface AuditLogDeps {
  readonly log: Pick<AuditLog, 'served' | 'witnesses' | 'vkeys' | 'prove'>;
  readonly isPublic: boolean;
}

const witness = Type.Object(
  {
    name: Type.String(),
    url: Type.String({ description: 'Where it is asked.' }),
    size: Type.Integer({ description: 'Batches that it has cosigned, as far as is known.' }),
    cosignedAt: Type.Union([Type.String({ format: 'date-time' }), Type.Null()]),
    problem: Type.Union([Type.String(), Type.Null()], { description: 'Why it does not cosign.' }),
    contradicted: Type.Boolean({
      description:
        'It has cosigned something else than what the log holds now: an incident, or a witness that is wrong.',
    }),
  },
  closed,
);

const text = Type.Unsafe<Buffer>({ type: 'string', format: 'binary' });

/** GET /v1/audit/log: what there is to know about the log; GET /v1/audit/proofs/{id}: the proof of one event. */
export function auditLog(app: App, deps: AuditLogDeps): void {
  app.get(
    '/v1/audit/log',
    {
      schema: {
        operationId: 'getAuditLog',
        summary: 'The audit log: its name, its keys, how far it has come, and the policy that trusts exactly it.',
        tags: ['audit'],
        querystring: Type.Object({}, closed),
        response: {
          200: Type.Object(
            {
              origin: Type.String({ description: 'Its name in checkpoints.' }),
              size: Type.Integer({ description: 'Batches below the newest checkpoint.' }),
              root: Type.String({ description: 'Base64.' }),
              keys: Type.Array(Type.String({ description: 'Verifier key (c2sp.org/signed-note).' })),
              policy: Type.String({ description: 'c2sp.org/tlog-policy, with the witnesses that it has cosign.' }),
              quorum: Type.String({ description: 'Who must have cosigned what is shown: of the policy, or `none`.' }),
              witnesses: Type.Array(witness),
              path: Type.String({ description: 'Where its tiles are served.' }),
              public: Type.Boolean({ description: 'Whether they are served without a token.' }),
            },
            closed,
          ),
        },
      },
    },
    async () => {
      const { checkpoint } = deps.log.served.current;
      const { witnesses } = deps.log;
      return {
        origin: checkpoint.origin,
        size: checkpoint.size,
        root: checkpoint.root.toString('base64'),
        keys: [...deps.log.vkeys],
        policy: formatLogPolicy(deps.log.vkeys, undefined, witnesses?.policy),
        quorum: witnesses?.policy.quorum ?? 'none',
        witnesses: (witnesses?.states ?? []).map(toWitness),
        path: '/log',
        public: deps.isPublic,
      };
    },
  );

  app.get(
    '/v1/audit/proofs/:id',
    {
      schema: {
        operationId: 'proveAuditEvent',
        summary: 'The proof that an event is on the record, to be verified without this server (c2sp.org/tlog-proof).',
        description: 'Of a call or of an identity event. 503 for about a second, until a checkpoint covers it.',
        tags: ['audit'],
        params: Type.Object({ id: Type.String({ minLength: 1, maxLength: 256 }) }, closed),
        querystring: Type.Object({}, closed),
        response: { 200: { description: 'A .tlog-proof.', content: { 'text/plain': { schema: text } } } },
      },
    },
    async (request, reply) => reply.type('text/plain; charset=utf-8').send(await deps.log.prove(request.params.id)),
  );
}

function toWitness({ cosignedAt, problem, isContradicted, ...rest }: WitnessState) {
  return {
    ...rest,
    cosignedAt: cosignedAt === undefined ? null : new Date(cosignedAt).toISOString(),
    problem: problem ?? null,
    contradicted: isContradicted,
  };
}
