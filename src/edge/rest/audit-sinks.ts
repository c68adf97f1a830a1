import { Type } from 'typebox';
import type { SinkStatus } from '../../control/ledger/sinks/sink.ts';
import type { App } from './app.ts';
import { closed, nullable, time } from './schemas.ts';
import { toTime } from './time.ts';

const SinkOutput = Type.Object(
  {
    name: Type.String(),
    type: Type.String({ description: '`file`, `webhook`, `syslog`, `otlp` or `splunk`.' }),
    format: Type.String({ description: '`ocsf`, `json`, `cef` or `otlp`.' }),
    guarantee: Type.Union([Type.Literal('at-least-once'), Type.Literal('best-effort')], {
      description: '`best-effort`: its receiver never says what it has.',
    }),
    state: Type.Union([Type.Literal('following'), Type.Literal('failing')]),
    since: time,
    position: Type.Integer({ description: 'Number of the batch of the ledger that it gets next.' }),
    lagBatches: Type.Integer({ description: 'Batches in the ledger that it has not taken.' }),
    lagSeconds: nullable(Type.Integer({ description: 'Age of the oldest of them; null when that is not known.' })),
    delivered: Type.Integer({ description: 'Events that it has taken since this server started.' }),
    rejected: Type.Integer({ description: 'Events that it refuses for good, since this server started.' }),
    lastDeliveredAt: nullable(time),
    lastError: nullable(Type.Object({ at: time, message: Type.String() }, closed)),
  },
  closed,
);

/** GET /v1/audit/sinks: where copies of the record go from this server, and how far each has come. */
export function auditSinks(app: App, deps: { readonly sinks: () => readonly SinkStatus[] }): void {
  app.get(
    '/v1/audit/sinks',
    {
      schema: {
        operationId: 'listAuditSinks',
        summary:
          'Where copies of the audit record go from this server, how far each has come, and what is wrong with it.',
        tags: ['audit'],
        querystring: Type.Object({}, closed),
        response: { 200: Type.Object({ items: Type.Array(SinkOutput) }, closed) },
      },
    },
    async () => ({ items: deps.sinks().map(toOutput) }),
  );
}

function toOutput({ since, lagMs, lastDeliveredAt, lastError, ...rest }: SinkStatus) {
  return {
    ...rest,
    since: toTime(since),
    lagSeconds: lagMs === null ? null : Math.floor(lagMs / 1000),
    lastDeliveredAt: lastDeliveredAt === null ? null : toTime(lastDeliveredAt),
    lastError: lastError === null ? null : { at: toTime(lastError.at), message: lastError.message },
  };
}
