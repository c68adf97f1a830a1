import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { PolicyStore } from '../../control/policies/store.ts';
import type { App } from './app.ts';
import { authorOf, ifMatchRequired, reason } from './change.ts';
import { warningsOfReplacing } from './dry-run.ts';
import { isUnchanged, readCreateOnly, readIfMatch, toEtag } from './etag.ts';
import { accepts } from './negotiate.ts';
import type { Envelope } from './policy-document.ts';
import { PolicyEnvelope, toEnvelope } from './policy-document.ts';
import {
  closed,
  cursor,
  DEFAULT_LIMIT,
  dryRun,
  labelSelector,
  limit,
  namespaceName,
  nullable,
  objectName,
  preconditions,
  revision,
  unchanged,
} from './schemas.ts';

const params = Type.Object({ namespace: namespaceName, name: objectName }, closed);
const none = Type.Object({}, closed);
const KIND = 'AuthorizationPolicy' as const;
const YAML = 'application/yaml';

export type PoliciesPort = Pick<PolicyStore, 'put' | 'get' | 'list' | 'delete' | 'current'>;

/** GET /v1/policies; GET, PUT, DELETE /v1/policies/{namespace}/{name} */
export function policies(app: App, deps: { readonly policies: PoliciesPort }): void {
  app.get(
    '/v1/policies',
    {
      schema: {
        operationId: 'listPolicies',
        summary: 'All policies, or those of a namespace.',
        tags: ['policies'],
        querystring: Type.Object({ namespace: Type.Optional(namespaceName), labelSelector, limit, cursor }, closed),
        response: {
          200: Type.Object(
            { items: Type.Array(PolicyEnvelope), nextCursor: nullable(Type.String()), revision },
            closed,
          ),
          304: unchanged,
        },
      },
    },
    async (request, reply) => {
      const { namespace, labelSelector: selector, limit: most, cursor: from } = request.query;
      // Read before the rows, which are at least as new: who holds this tag has missed nothing up to it.
      const { revision: seen } = deps.policies.current.current;
      reply.header('etag', toEtag(seen));
      if (isUnchanged(request.headers['if-none-match'], seen)) return reply.code(304).send(undefined);
      const page = await deps.policies.list({
        kind: KIND,
        limit: most ?? DEFAULT_LIMIT,
        ...(from !== undefined && { cursor: from }),
        ...(namespace !== undefined && { namespace }),
        ...(selector !== undefined && { labelSelector: selector }),
      });
      return { items: page.items.map(toEnvelope), nextCursor: page.nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/policies/:namespace/:name',
    {
      schema: {
        operationId: 'getPolicy',
        summary: 'One policy. With `Accept: application/yaml`: its source.',
        tags: ['policies'],
        params,
        querystring: none,
        response: {
          200: {
            description: 'The policy.',
            content: { 'application/json': { schema: PolicyEnvelope }, [YAML]: { schema: Type.String() } },
          },
          304: unchanged,
        },
      },
    },
    async (request, reply) => {
      const stored = await deps.policies.get({ kind: KIND, ...request.params });
      reply.header('etag', toEtag(stored.revision)).header('vary', 'accept');
      if (isUnchanged(request.headers['if-none-match'], stored.revision)) return reply.code(304).send(undefined);
      if (accepts(request.headers.accept, ['application/json', YAML, 'text/yaml']) === 'application/json')
        return toEnvelope(stored);
      return reply.type(`${YAML}; charset=utf-8`).send(stored.source);
    },
  );

  putPolicy(app, deps);

  app.delete(
    '/v1/policies/:namespace/:name',
    {
      schema: {
        operationId: 'deletePolicy',
        summary: 'Delete a policy. What only it allowed is denied from then on.',
        tags: ['policies'],
        params,
        querystring: Type.Object({ reason, dryRun }, closed),
        headers: preconditions,
        response: {
          200: Type.Union([Type.Object({ revision }, closed), PolicyEnvelope], {
            description: 'The revision that made it so. Dry run: what would go.',
          }),
        },
      },
    },
    async (request) => {
      const { namespace, name } = request.params;
      const ifMatch = readIfMatch(request.headers['if-match']);
      if (ifMatch === undefined) throw ifMatchRequired();
      const change = { kind: KIND, namespace, name, author: authorOf(request), ifMatch, reason: request.query.reason };
      if (request.query.dryRun !== true) return deps.policies.delete(change);
      const stored = await deps.policies.get({ kind: KIND, namespace, name });
      await deps.policies.delete({ ...change, dryRun: true });
      return {
        ...toEnvelope(stored),
        warnings: [effects[stored.object.shadow === true ? 'shadow' : stored.object.action]],
      };
    },
  );
}

/** In a scope of its own: here, and only here, a body is text in YAML or JSON, and is kept as it was written. */
function putPolicy(app: App, deps: { readonly policies: PoliciesPort }): void {
  app.register(async (plain) => {
    const scope = plain.withTypeProvider<TypeBoxTypeProvider>();
    scope.removeAllContentTypeParsers();
    const consumes = [YAML, 'text/yaml', 'application/json'];
    scope.addContentTypeParser(consumes, { parseAs: 'buffer' }, (_request, body, done) => {
      try {
        done(null, new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body as Buffer));
      } catch {
        done(new AppError('invalid', 'The body is not valid UTF-8.'), undefined);
      }
    });
    scope.put(
      '/v1/policies/:namespace/:name',
      {
        schema: {
          operationId: 'putPolicy',
          summary: 'Create or replace a policy: one document, YAML or JSON.',
          tags: ['policies'],
          consumes,
          params,
          querystring: Type.Object({ reason, dryRun }, closed),
          headers: preconditions,
          body: Type.String({ minLength: 1, description: 'The document; it is kept as it is written.' }),
          response: { 200: PolicyEnvelope, 201: PolicyEnvelope },
        },
      },
      async (request, reply): Promise<Envelope> => {
        const { namespace, name } = request.params;
        const change = {
          source: request.body,
          kind: KIND,
          author: authorOf(request),
          reason: request.query.reason,
          namespace,
          name,
          ifMatch: readIfMatch(request.headers['if-match']),
          ifNoneMatch: readCreateOnly(request.headers['if-none-match']),
        };
        const { dryRun: isDry } = request.query;
        const { policy, created } = await deps.policies.put({ ...change, dryRun: isDry });
        if (isDry === true) {
          const would = { ...toEnvelope(policy), warnings: warningsOfReplacing(policy.revision) };
          return reply.code(created ? 201 : 200).send(would);
        }
        reply.code(created ? 201 : 200).header('etag', toEtag(policy.revision));
        if (created) reply.header('location', `/v1/policies/${policy.namespace}/${policy.name}`);
        return toEnvelope(policy);
      },
    );
  });
}

/** Of deleting a policy. */
const effects = {
  ALLOW: { code: 'access-ends', detail: 'Calls that only this policy allows are denied from then on.' },
  DENY: {
    code: 'access-opens',
    detail: 'Calls that only this policy denies are allowed wherever another policy allows them.',
  },
  CUSTOM: {
    code: 'checks-end',
    detail: 'Calls are no longer asked about: they are allowed wherever another policy allows them.',
  },
  AUDIT: { code: 'marks-end', detail: 'Calls are no longer marked on the record by this policy. No decision changes.' },
  shadow: { code: 'trial-ends', detail: 'It is only tried: what is recorded changes, and no decision does.' },
} as const;
