import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { Federation } from '../../control/authority/federation/federation.ts';
import type { BundlePoller } from '../../control/authority/federation/poller.ts';
import type { App } from './app.ts';
import { warningsOfReplacing } from './dry-run.ts';
import { authorOf, ofBody } from './entry-write.ts';
import { isUnchanged, readCreateOnly, readIfMatch, toEtag } from './etag.ts';
import { FederationBody, FederationOutput, toInput, toOutput, trustDomain } from './federation-schema.ts';
import {
  closed,
  cursor,
  DEFAULT_LIMIT,
  dryRun,
  empty,
  limit,
  nullable,
  preconditions,
  revision,
  unchanged,
} from './schemas.ts';

const params = Type.Object({ trustDomain }, closed);
const none = Type.Object({}, closed);
const ofWrite = Type.Object({ dryRun }, closed);

export interface FederationDeps {
  readonly federation: Pick<Federation, 'put' | 'get' | 'list' | 'delete'>;
  readonly poller: Pick<BundlePoller, 'refresh' | 'rehearse'>;
}

/** GET /v1/federation; GET, PUT, DELETE /v1/federation/{trustDomain}; POST /v1/federation/{trustDomain}:refresh */
export function federation(app: App, deps: FederationDeps): void {
  app.get(
    '/v1/federation',
    {
      schema: {
        operationId: 'listFederation',
        summary: 'Trust domains whose identities are verified here.',
        tags: ['federation'],
        querystring: Type.Object({ limit, cursor }, closed),
        response: {
          200: Type.Object(
            { items: Type.Array(FederationOutput), nextCursor: nullable(Type.String()), revision },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const page = await deps.federation.list({ ...request.query, limit: request.query.limit ?? DEFAULT_LIMIT });
      return { items: page.items.map(toOutput), nextCursor: page.nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/federation/:trustDomain',
    {
      schema: {
        operationId: 'getFederation',
        summary: 'The federation with one trust domain, and how its bundle is.',
        tags: ['federation'],
        params,
        querystring: none,
        response: { 200: FederationOutput, 304: unchanged },
      },
    },
    async (request, reply) => {
      const relationship = await deps.federation.get(request.params.trustDomain);
      reply.header('etag', toEtag(relationship.revision));
      if (isUnchanged(request.headers['if-none-match'], relationship.revision)) return reply.code(304).send(undefined);
      return toOutput(relationship);
    },
  );

  app.put(
    '/v1/federation/:trustDomain',
    {
      schema: {
        operationId: 'putFederation',
        summary: 'Federate with a trust domain, or change how.',
        tags: ['federation'],
        params,
        querystring: ofWrite,
        headers: preconditions,
        body: FederationBody,
        response: { 200: FederationOutput, 201: FederationOutput },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const name = request.params.trustDomain;
      const write = deps.federation.put(toInput(name, request.body), {
        ...authorOf(request),
        dryRun: isDry,
        mustMatch: true,
        ifMatch: readIfMatch(request.headers['if-match']),
        ifNoneMatch: readCreateOnly(request.headers['if-none-match']),
      });
      const { relationship, created } = await ofBody(write);
      const status = created ? 201 : 200;
      if (isDry === true) {
        const output = { ...toOutput(relationship), warnings: warningsOfReplacing(relationship.revision) };
        return reply.code(status).send(output);
      }
      reply.code(status).header('etag', toEtag(relationship.revision));
      if (created) reply.header('location', `/v1/federation/${name}`);
      return toOutput(relationship);
    },
  );

  app.delete(
    '/v1/federation/:trustDomain',
    {
      schema: {
        operationId: 'deleteFederation',
        summary: 'End a federation: its identities are refused from then on, on open connections too.',
        tags: ['federation'],
        params,
        querystring: ofWrite,
        headers: preconditions,
        response: { 200: { ...FederationOutput, description: 'Dry run: what would go.' }, 204: empty },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const ifMatch = readIfMatch(request.headers['if-match']);
      if (ifMatch === undefined) {
        throw new AppError(
          'precondition-required',
          'This needs the header If-Match with the revision that you read (its ETag), or *.',
        );
      }
      const write = { ...authorOf(request), dryRun: isDry, ifMatch };
      const relationship = await deps.federation.delete(request.params.trustDomain, write);
      if (isDry === true) return reply.code(200).send({ ...toOutput(relationship), warnings: [callsEnd] });
      return reply.code(204).send(undefined);
    },
  );

  app.post(
    '/v1/federation/:trustDomain([^/:]+)::refresh',
    {
      schema: {
        operationId: 'refreshFederation',
        summary: 'Ask for its bundle now, instead of at the next interval.',
        tags: ['federation'],
        params,
        querystring: ofWrite,
        response: { 200: FederationOutput },
      },
    },
    async (request) => {
      const name = request.params.trustDomain;
      if (request.query.dryRun === true) {
        const { relationship, changes } = await deps.poller.rehearse(name);
        return { ...toOutput(relationship), warnings: changes ? [] : [sameTrust] };
      }
      await deps.poller.refresh(name);
      return toOutput(await deps.federation.get(name));
    },
  );
}

const sameTrust = { code: 'unchanged', detail: 'Its bundle holds the same keys: nobody would be told anything new.' };

const callsEnd = {
  code: 'calls-end',
  detail: 'Sidecars refuse its identities as soon as they hear of it, and calls to its services end.',
};
