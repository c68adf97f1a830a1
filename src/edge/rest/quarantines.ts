import { Type } from 'typebox';
import type { Entries } from '../../control/authority/entries/entries.ts';
import type { QuarantineRecord, Quarantines } from '../../control/policies/quarantines.ts';
import type { Proxies } from '../../control/registry/proxies.ts';
import type { App } from './app.ts';
import { authorOf, reasonText } from './change.ts';
import type { Warning as WarningOutput } from './dry-run.ts';
import { Warning } from './dry-run.ts';
import { closed, cursor, DEFAULT_LIMIT, dryRun, id, limit, nullable, revision, spiffeId, time } from './schemas.ts';
import { toTime } from './time.ts';

/** Sidecars that are named one by one. */
const MAX_NAMED = 20;

const QuarantineOutput = Type.Object(
  {
    id,
    spiffeId,
    reason: reasonText,
    author: Type.String({ description: 'Name of the administrator.' }),
    createdAt: time,
    revision: Type.Unsafe<number>({
      ...revision,
      description: 'Sidecars that have this revision of the list obey it.',
    }),
    released: nullable(
      Type.Object(
        { reason: reasonText, author: Type.String(), at: time },
        { ...closed, description: 'null: in force.' },
      ),
    ),
    enforcement: Type.Object(
      {
        connected: Type.Integer({ description: 'Sidecars that are connected to this control plane.' }),
        obeying: Type.Integer({ description: 'Those of them that have said that they have it in force.' }),
        waiting: Type.Array(Type.String(), { description: `Those that have not, at most ${MAX_NAMED}.` }),
        away: Type.Integer({
          description:
            'Sidecars that were here within a day and are not connected: they hear of it when they come back.',
        }),
      },
      { ...closed, description: 'Where it has arrived, at the moment of the answer.' },
    ),
    warnings: Type.Optional(Type.Array(Warning, { description: 'Only in answers to POST: what to know.' })),
  },
  closed,
);

const params = Type.Object({ id }, closed);
const ofWrite = Type.Object({ dryRun }, closed);

export interface QuarantinesDeps {
  readonly quarantines: Pick<Quarantines, 'put' | 'release' | 'get' | 'list'>;
  readonly entries: Pick<Entries, 'bySpiffeId'>;
  readonly proxies: Pick<Proxies, 'list'>;
}

/** POST, GET /v1/quarantines; GET /v1/quarantines/{id}; POST /v1/quarantines/{id}:release */
export function quarantines(app: App, deps: QuarantinesDeps): void {
  const toOutput = (record: QuarantineRecord) => describe(record, deps.proxies.list());
  app.post(
    '/v1/quarantines',
    {
      schema: {
        operationId: 'putInQuarantine',
        summary:
          'Cut an identity off: its calls and calls to it are refused everywhere, open connections end, and it gets no ' +
          'certificate and no token. No policy can override it. One that is in quarantine stays there, with 200.',
        tags: ['quarantine'],
        querystring: ofWrite,
        body: Type.Object({ spiffeId, reason: reasonText }, closed),
        response: { 200: QuarantineOutput, 201: QuarantineOutput },
      },
    },
    async (request, reply) => {
      const { body, query } = request;
      const write = { reason: body.reason, actor: authorOf(request), source: request.ip, dryRun: query.dryRun };
      const { quarantine, created } = await deps.quarantines.put(body.spiffeId, write);
      const warnings = [...(created ? [] : [unchanged(quarantine)]), ...(await unknown(quarantine, deps))];
      if (created && query.dryRun !== true) reply.code(201).header('location', `/v1/quarantines/${quarantine.id}`);
      return { ...toOutput(quarantine), warnings };
    },
  );

  app.get(
    '/v1/quarantines',
    {
      schema: {
        operationId: 'listQuarantines',
        summary: 'Identities in quarantine, the newest first; or those that were released.',
        tags: ['quarantine'],
        querystring: Type.Object(
          {
            released: Type.Optional(
              Type.Boolean({ description: 'Those that were released, instead of those in force. Default false.' }),
            ),
            limit,
            cursor,
          },
          closed,
        ),
        response: {
          200: Type.Object(
            { items: Type.Array(QuarantineOutput), nextCursor: nullable(Type.String()), revision },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const page = await deps.quarantines.list({ ...request.query, limit: request.query.limit ?? DEFAULT_LIMIT });
      return { items: page.items.map(toOutput), nextCursor: page.nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/quarantines/:id',
    {
      schema: {
        operationId: 'getQuarantine',
        summary: 'One quarantine, and which sidecars obey it.',
        tags: ['quarantine'],
        params,
        querystring: Type.Object({}, closed),
        response: { 200: QuarantineOutput },
      },
    },
    async (request) => toOutput(await deps.quarantines.get(request.params.id)),
  );

  app.post(
    '/v1/quarantines/:id([^/:]+)::release',
    {
      schema: {
        operationId: 'releaseFromQuarantine',
        summary: 'Let an identity in again, as far as the policies do. One that was released stays as it is.',
        tags: ['quarantine'],
        params,
        querystring: ofWrite,
        body: Type.Object({ reason: reasonText }, closed),
        response: { 200: QuarantineOutput },
      },
    },
    async (request) => {
      const { body, query, params: path } = request;
      const write = { reason: body.reason, actor: authorOf(request), source: request.ip, dryRun: query.dryRun };
      return { ...toOutput(await deps.quarantines.release(path.id, write)), warnings: [] };
    },
  );
}

function describe(record: QuarantineRecord, proxies: ReturnType<Proxies['list']>) {
  const connected = proxies.filter((proxy) => proxy.connected);
  const waiting = connected.filter((proxy) => (proxy.quarantineRevision ?? 0) < record.revision);
  const { released } = record;
  return {
    id: record.id,
    spiffeId: record.spiffeId,
    reason: record.reason,
    author: record.author,
    createdAt: toTime(record.createdAt),
    revision: record.revision,
    released: released === null ? null : { reason: released.reason, author: released.author, at: toTime(released.at) },
    enforcement: {
      connected: connected.length,
      obeying: connected.length - waiting.length,
      waiting: waiting.slice(0, MAX_NAMED).map((proxy) => `${proxy.spiffeId} (instance ${proxy.instanceId})`),
      away: proxies.length - connected.length,
    },
  };
}

function unchanged({ reason }: QuarantineRecord): WarningOutput {
  return { code: 'unchanged', detail: `It is in quarantine already, for the reason: ${reason}` };
}

/** A slip of the pen cuts nobody off, and whoever made it thinks otherwise. */
async function unknown(
  { spiffeId: who }: QuarantineRecord,
  { entries, proxies }: QuarantinesDeps,
): Promise<readonly WarningOutput[]> {
  if (proxies.list().some((proxy) => proxy.spiffeId === who)) return [];
  if ((await entries.bySpiffeId(who)) !== undefined) return [];
  const detail = `No entry and no sidecar has the identity ${who}. Is it written as it should be?`;
  return [{ code: 'unknown-identity', detail }];
}
