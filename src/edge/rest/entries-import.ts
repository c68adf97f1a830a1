import { Type } from 'typebox';
import type { Entries } from '../../control/authority/entries/entries.ts';
import type { App } from './app.ts';
import { NO_ID, Warning } from './dry-run.ts';
import { authorOf, ofBody } from './entry-write.ts';
import { closed, dryRun, id, spiffeId } from './schemas.ts';

/** Ten thousand entries of SPIRE, and some air. */
const IMPORT_LIMIT_BYTES = 8 * 1024 * 1024;

const Reference = Type.Object({ id, spiffeId }, closed);

/** POST /v1/entries:import */
export function entriesImport(app: App, deps: { readonly entries: Pick<Entries, 'importSpire'> }): void {
  app.post(
    '/v1/entries::import',
    {
      bodyLimit: IMPORT_LIMIT_BYTES,
      schema: {
        operationId: 'importEntries',
        summary: 'Entries as SPIRE has them: all of them, or none.',
        description:
          'Takes what `spire-server entry create -data` takes and what `spire-server entry show -output json` prints, at most ' +
          '10,000 entries and 8 MiB. What is there already, exactly like this, is left as it is. The parent `/spire/server` ' +
          'becomes the control plane, `/spire/agent/<method>/…` becomes `/writ/agent/<method>/…`. `admin`, `downstream` and ' +
          '`store_svid` have no equivalent and are refused.',
        tags: ['entries'],
        querystring: Type.Object({ dryRun }, closed),
        body: Type.Unsafe<object>({ type: 'object', description: '`{"entries": [{"spiffe_id": …, "parent_id": …}]}`' }),
        response: {
          200: Type.Object(
            {
              created: Type.Array(Reference, { description: 'In the order given.' }),
              unchanged: Type.Array(Reference, { description: 'There already, exactly like this.' }),
              warnings: Type.Array(Warning, { description: 'What is called otherwise here.' }),
            },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const { dryRun: isDry } = request.query;
      const write = { ...authorOf(request), dryRun: isDry };
      const { created, unchanged, warnings } = await ofBody(deps.entries.importSpire(request.body, write));
      return {
        created: created.map((entry) => ({ id: isDry === true ? NO_ID : entry.id, spiffeId: entry.spiffeId })),
        unchanged: unchanged.map((entry) => ({ id: entry.id, spiffeId: entry.spiffeId })),
        warnings: [...warnings],
      };
    },
  );
}
