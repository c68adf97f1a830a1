import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import swagger from '@fastify/swagger';
import { Type } from 'typebox';
import type { App } from './app.ts';
import { PROBLEM_TYPE } from './problem.ts';
import { closed, Problem } from './schemas.ts';

type TransformObject = NonNullable<FastifyDynamicSwaggerOptions['transformObject']>;

/** Collects the schemas of all routes that are registered after it. */
export async function describe(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Writ',
        version,
        description: 'Administration of a Writ control plane: policies, identities, and the record of every call.',
        license: { name: 'Apache-2.0' },
      },
      servers: [{ url: '/' }],
      security: [{ adminToken: [] }],
      components: {
        securitySchemes: {
          adminToken: { type: 'http', scheme: 'bearer', description: 'The admin token, made at the first start.' },
        },
      },
    },
    transformObject: addProblems,
  });
}

/** GET /v1/openapi.json */
export function openapi(app: App): void {
  app.get(
    '/v1/openapi.json',
    {
      schema: {
        operationId: 'getOpenApi',
        summary: 'This document.',
        tags: ['server'],
        querystring: Type.Object({}, closed),
        response: { 200: Type.Object({}, { description: 'OpenAPI 3.1' }) },
      },
    },
    async () => app.swagger(),
  );
}

/** Every operation can fail, always in the same form: said once, here, instead of in each route. */
const addProblems: TransformObject = (collected) => {
  if (!('openapiObject' in collected)) return collected.swaggerObject;
  const document = collected.openapiObject;
  const failure = {
    description: 'A problem (RFC 9457).',
    content: { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
  };
  for (const operations of Object.values(document.paths ?? {})) {
    for (const operation of Object.values(operations ?? {})) {
      if (isOperation(operation)) operation.responses.default = failure;
    }
  }
  return { ...document, components: { ...document.components, schemas: { Problem } } } as typeof document;
};

function isOperation(value: unknown): value is { responses: Record<string, unknown> } {
  return typeof value === 'object' && value !== null && 'responses' in value;
}
