import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { PolicyStore } from '../../control/policies/store.ts';
import type { PolicyObject } from '../../core/policy/kinds.ts';
import type { App } from './app.ts';
import { authorOf, ifMatchRequired, reason } from './change.ts';
import { warningsOfReplacing } from './dry-run.ts';
import { isUnchanged, readCreateOnly, readIfMatch, toEtag } from './etag.ts';
import type { TokenKeysPort } from './key-status.ts';
import { keyStatus } from './key-status.ts';
import { accepts } from './negotiate.ts';
import type { Envelope } from './policy-document.ts';
import { toEnvelope } from './policy-document.ts';
import type { KindFace } from './policy-kinds.ts';
import { effectOfDeleting, kindFaces, objectParams } from './policy-kinds.ts';
import {
  closed,
  cursor,
  DEFAULT_LIMIT,
  dryRun,
  labelSelector,
  limit,
  namespaceName,
  preconditions,
  revision,
  unchanged,
} from './schemas.ts';

const none = Type.Object({}, closed);
const YAML = 'application/yaml';

export type PoliciesPort = Pick<PolicyStore, 'put' | 'get' | 'list' | 'delete' | 'current'>;

interface PoliciesDeps {
  readonly policies: PoliciesPort;
  /** Keys of issuers. Default: nothing is known of those that are fetched. */
  readonly tokenKeys?: TokenKeysPort | undefined;
}

/** For every kind: GET /v1/<kind>; GET, PUT, DELETE /v1/<kind>/{namespace}/{name} */
export function policies(app: App, deps: PoliciesDeps): void {
  for (const face of kindFaces) {
    listObjects(app, face, deps);
    getObject(app, face, deps);
    putObject(app, face, deps);
    deleteObject(app, face, deps);
  }
}

function listObjects(app: App, { kind, path, tag, many, operations, list }: KindFace, deps: PoliciesDeps): void {
  app.get(
    path,
    {
      schema: {
        operationId: `list${operations}`,
        summary: `All ${many}, or those of a namespace.`,
        tags: [tag],
        querystring: Type.Object({ namespace: Type.Optional(namespaceName), labelSelector, limit, cursor }, closed),
        response: { 200: list, 304: unchanged },
      },
    },
    async (request, reply) => {
      const { namespace, labelSelector: selector, limit: most, cursor: from } = request.query;
      // Read before the rows, which are at least as new: who holds this tag has missed nothing up to it.
      const { revision: seen } = deps.policies.current.current;
      reply.header('etag', toEtag(seen));
      if (isUnchanged(request.headers['if-none-match'], seen)) return reply.code(304).send(undefined);
      const page = await deps.policies.list({
        kind,
        limit: most ?? DEFAULT_LIMIT,
        ...(from !== undefined && { cursor: from }),
        ...(namespace !== undefined && { namespace }),
        ...(selector !== undefined && { labelSelector: selector }),
      });
      return { items: page.items.map(toEnvelope), nextCursor: page.nextCursor, revision: page.revision };
    },
  );
}

function getObject(app: App, { kind, path, tag, one, operation, envelope }: KindFace, deps: PoliciesDeps): void {
  app.get(
    `${path}/:namespace/:name`,
    {
      schema: {
        operationId: `get${operation}`,
        summary: `One ${one}. With \`Accept: application/yaml\`: its source.`,
        tags: [tag],
        params: objectParams,
        querystring: none,
        response: {
          200: {
            description: `The ${one}.`,
            content: { 'application/json': { schema: envelope }, [YAML]: { schema: Type.String() } },
          },
          304: unchanged,
        },
      },
    },
    async (request, reply) => {
      const stored = await deps.policies.get({ kind, ...request.params });
      reply.header('etag', toEtag(stored.revision)).header('vary', 'accept');
      if (isUnchanged(request.headers['if-none-match'], stored.revision)) return reply.code(304).send(undefined);
      if (accepts(request.headers.accept, ['application/json', YAML, 'text/yaml']) === 'application/json')
        return { ...toEnvelope(stored), ...statusOf(stored, deps) };
      return reply.type(`${YAML}; charset=utf-8`).send(stored.source);
    },
  );
}

/** Of a request authentication: its keys. */
function statusOf(stored: PolicyObject, { tokenKeys }: PoliciesDeps) {
  return stored.kind === 'RequestAuthentication' ? { status: keyStatus(stored.object, tokenKeys) } : {};
}

function deleteObject(app: App, { kind, path, tag, one, operation, envelope }: KindFace, deps: PoliciesDeps): void {
  app.delete(
    `${path}/:namespace/:name`,
    {
      schema: {
        operationId: `delete${operation}`,
        summary:
          kind === 'AuthorizationPolicy'
            ? 'Delete a policy. What only it allowed is denied from then on.'
            : `Delete a ${one}.`,
        tags: [tag],
        params: objectParams,
        querystring: Type.Object({ reason, dryRun }, closed),
        headers: preconditions,
        response: {
          200: Type.Union([Type.Object({ revision }, closed), envelope], {
            description: 'The revision that made it so. Dry run: what would go.',
          }),
        },
      },
    },
    async (request) => {
      const key = { kind, ...request.params };
      const ifMatch = readIfMatch(request.headers['if-match']);
      if (ifMatch === undefined) throw ifMatchRequired();
      const change = { ...key, author: authorOf(request), ifMatch, reason: request.query.reason };
      if (request.query.dryRun !== true) return deps.policies.delete(change);
      const stored = await deps.policies.get(key);
      await deps.policies.delete({ ...change, dryRun: true });
      return { ...toEnvelope(stored), warnings: [effectOfDeleting(stored)] };
    },
  );
}

/** In a scope of its own: here, and only here, a body is text in YAML or JSON, and is kept as it was written. */
function putObject(app: App, { kind, path, tag, one, operation, envelope }: KindFace, deps: PoliciesDeps): void {
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
      `${path}/:namespace/:name`,
      {
        schema: {
          operationId: `put${operation}`,
          summary: `Create or replace a ${one}: one document, YAML or JSON.`,
          tags: [tag],
          consumes,
          params: objectParams,
          querystring: Type.Object({ reason, dryRun }, closed),
          headers: preconditions,
          body: Type.String({ minLength: 1, description: 'The document; it is kept as it is written.' }),
          response: { 200: envelope, 201: envelope },
        },
      },
      async (request, reply): Promise<Envelope> => {
        const change = {
          source: request.body,
          author: authorOf(request),
          reason: request.query.reason,
          kind,
          ...request.params,
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
        if (created) reply.header('location', `${path}/${policy.namespace}/${policy.name}`);
        return toEnvelope(policy);
      },
    );
  });
}
