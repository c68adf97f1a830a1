import type { FastifyRequest } from 'fastify';

/**
 * Query strings are text. Numbers and booleans in them are read strictly, as the route's schema asks, before validation:
 * `limit=7` is a number; `limit=7.5`, `limit=0x7` and `limit=` stay text and are refused by the schema.
 */
export async function readQuery(request: FastifyRequest): Promise<void> {
  const properties = propertiesOf(request.routeOptions.schema?.querystring);
  const query = request.query;
  if (properties === undefined || !isRecord(query)) return;
  for (const [name, text] of Object.entries(query)) {
    const property = properties[name];
    if (typeof text !== 'string' || !isRecord(property)) continue;
    if (property.type === 'integer' && /^(0|-?[1-9][0-9]{0,14})$/.test(text)) query[name] = Number(text);
    if (property.type === 'boolean' && (text === 'true' || text === 'false')) query[name] = text === 'true';
  }
}

function propertiesOf(schema: unknown): Record<string, unknown> | undefined {
  if (!isRecord(schema) || !isRecord(schema.properties)) return undefined;
  return schema.properties;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
