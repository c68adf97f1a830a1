import { Type } from 'typebox';
import type { AuditIndex } from '../../control/ledger/index.ts';
import type { App } from './app.ts';
import { warnings } from './dry-run.ts';
import { closed, dryRun } from './schemas.ts';

export interface AuditIndexDeps {
  readonly audit: Pick<AuditIndex, 'state' | 'rebuild'>;
}

const state = {
  indexed: Type.Integer({ description: 'Batches that can be searched.' }),
  batches: Type.Integer({ description: 'Batches in the ledger.' }),
  rebuilding: Type.Boolean({ description: 'It is being built again: searches do not find everything yet.' }),
};

/** The answers of these hold what is in the index, and nothing else. */
const SEARCHES = /^\/v1\/audit\/(events|identity|admin)\b/;

/**
 * GET /v1/audit/index: how far the search index has come; POST /v1/audit/index:rebuild: throw it away, and build it again from the
 * ledger. While that lasts every answer of a search says so in the header `writ-audit-index`.
 */
export function auditIndex(app: App, deps: AuditIndexDeps): void {
  app.addHook('onSend', async (request, reply, payload) => {
    const { indexed, batches, rebuilding } = deps.audit.state;
    if (rebuilding && SEARCHES.test(request.url))
      reply.header('writ-audit-index', `rebuilding; ${indexed} of ${batches}`);
    return payload;
  });

  app.get(
    '/v1/audit/index',
    {
      schema: {
        operationId: 'getAuditIndex',
        summary: 'How far the search index follows the ledger.',
        tags: ['audit'],
        querystring: Type.Object({}, closed),
        response: { 200: Type.Object(state, closed) },
      },
    },
    async () => deps.audit.state,
  );

  app.post(
    '/v1/audit/index::rebuild',
    {
      schema: {
        operationId: 'rebuildAuditIndex',
        summary: 'Throw the search index away, and build it again from the ledger, which loses nothing.',
        tags: ['audit'],
        querystring: Type.Object({ dryRun }, closed),
        response: { 200: Type.Object({ ...state, warnings }, closed) },
      },
    },
    async (request) => {
      if (request.query.dryRun !== true) {
        await deps.audit.rebuild();
        return deps.audit.state;
      }
      const { indexed } = deps.audit.state;
      const detail = `Until ${indexed} batches are indexed again, searches, plans and suggestions do not see all of them.`;
      return { ...deps.audit.state, warnings: [{ code: 'incomplete', detail }] };
    },
  );
}
