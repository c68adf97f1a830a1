import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { AuditLog } from '../../control/ledger/log/audit-log.ts';
import type { App } from './app.ts';
import { closed } from './schemas.ts';

export interface AuditBatchesDeps {
  readonly log: Pick<AuditLog, 'published' | 'bodies'>;
}

/** One answer holds up to so many batches, or as many as have these bytes. */
const MAX_BATCHES = 256;
const MAX_BYTES = 4 * 1024 * 1024;

const base64 = (description: string) => Type.String({ description: `${description} Base64.` });

/**
 * GET /v1/audit/batches/{from}: the events themselves, as they were signed, to be held against the log by whoever does not trust
 * this server. Everything here is for `audit:read`: it holds what was called.
 */
export function auditBatches(app: App, deps: AuditBatchesDeps): void {
  app.get(
    '/v1/audit/batches/*',
    {
      schema: {
        operationId: 'getAuditBatches',
        summary: 'Batches of events that the log has sealed, from this one on, to be verified without this server.',
        description: `Up to ${MAX_BATCHES} of them; \`next\` is the one to go on with, or null behind the last. \`problem\` says why the next one cannot be read on this server.`,
        tags: ['audit'],
        params: Type.Object({ '*': Type.String({ pattern: '^(0|[1-9][0-9]{0,14})$' }) }, closed),
        querystring: Type.Object({}, closed),
        response: {
          200: Type.Object(
            {
              batches: Type.Array(
                Type.Object(
                  {
                    leaf: Type.Integer({ description: 'Its place in the log.' }),
                    header: base64('The very bytes that were signed.'),
                    signature: base64('Ed25519.'),
                    encoding: Type.Union([Type.Literal('identity'), Type.Literal('zstd')]),
                    events: base64('Canonical bytes of each event behind their length, u32; encoded.'),
                    certificate: base64('Of who signed, DER.'),
                    keySignature: base64('By the key of the certificate, over the batch key.'),
                  },
                  closed,
                ),
              ),
              next: Type.Union([Type.Integer(), Type.Null()]),
              problem: Type.Union([Type.String(), Type.Null()]),
            },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const from = Number(request.params['*']);
      const batches: ReturnType<typeof toJson>[] = [];
      let bytes = 0;
      let problem: string | null = null;
      try {
        for await (const body of deps.log.bodies(from)) {
          batches.push(toJson(body));
          bytes += body.batch.events.length;
          if (batches.length === MAX_BATCHES || bytes >= MAX_BYTES) break;
        }
      } catch (error) {
        // What is damaged is named, file and offset: that is what was asked for.
        if (!(error instanceof AppError) || error.code !== 'incompatible-data') throw error;
        problem = error.message;
      }
      const next = from + batches.length;
      return {
        batches,
        next: problem === null && next < deps.log.published.current.checkpoint.size ? next : null,
        problem,
      };
    },
  );
}

type Body = AuditLog['bodies'] extends (from: number) => AsyncIterable<infer T> ? T : never;

function toJson({ leaf, batch, certificate, keySignature }: Body) {
  return {
    leaf,
    header: batch.header.toString('base64'),
    signature: batch.signature.toString('base64'),
    encoding: batch.encoding,
    events: batch.events.toString('base64'),
    certificate: certificate.toString('base64'),
    keySignature: keySignature.toString('base64'),
  };
}
