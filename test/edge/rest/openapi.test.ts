import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { policyKinds } from '../../../src/core/policy/kinds.ts';
import { createWorld } from './world.ts';

const file = join(import.meta.dirname, '../../../docs/openapi.json');

describe('GET /v1/openapi.json', () => {
  it('is docs/openapi.json (UPDATE_GOLDEN=1 writes it)', async () => {
    const world = await createWorld();
    const document = (await world.request({ url: '/v1/openapi.json' })).json();
    const text = `${JSON.stringify(document, undefined, 2)}\n`;
    if (process.env.UPDATE_GOLDEN === '1') await writeFile(file, text);
    expect(text).toBe(await readFile(file, 'utf8'));
  });

  it('is OpenAPI 3.1, names every operation once, and says how each fails', async () => {
    const world = await createWorld();
    const document = (await world.request({ url: '/v1/openapi.json' })).json();
    expect(document.openapi).toBe('3.1.0');
    const operations = Object.values(document.paths as Record<string, Record<string, Record<string, unknown>>>).flatMap(
      Object.values,
    );
    const ids = operations.map((operation) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const operation of operations) {
      expect(operation).toMatchObject({
        summary: expect.stringMatching(/\.$|\?$/),
        tags: [expect.any(String)],
        responses: { default: { content: { 'application/problem+json': {} } } },
      });
    }
    const expected = [
      ...Object.values(policyKinds).flatMap(({ plural }) => [
        `/v1/${plural}`,
        `/v1/${plural}/{namespace}/{name}`,
        `/v1/${plural}/{namespace}/{name}/revisions`,
        `/v1/${plural}/{namespace}/{name}/revisions/{revision}`,
        `/v1/${plural}/{namespace}/{name}:rollback`,
      ]),
      '/log/checkpoint',
      '/log/tile/{*}',
      '/v1/audit/admin',
      '/v1/audit/admin/tail',
      '/v1/audit/admin/{id}',
      '/v1/audit/batches/{*}',
      '/v1/audit/events',
      '/v1/audit/events/{id}',
      '/v1/audit/index',
      '/v1/audit/index:rebuild',
      '/v1/audit/identity',
      '/v1/audit/identity/tail',
      '/v1/audit/identity/{id}',
      '/v1/audit/log',
      '/v1/audit/proofs/{id}',
      '/v1/audit/sinks',
      '/v1/audit/tail',
      '/v1/authorities',
      '/v1/authorities/{id}:activate',
      '/v1/authorities/{id}:revoke',
      '/v1/authorities/{id}:taint',
      '/v1/authorities:prepare',
      '/v1/authorities:rotate',
      '/v1/bundle',
      '/v1/entries',
      '/v1/entries/{id}',
      '/v1/entries:import',
      '/v1/federation',
      '/v1/federation/{trustDomain}',
      '/v1/federation/{trustDomain}:refresh',
      '/v1/info',
      '/v1/join-tokens',
      '/v1/join-tokens/{id}',
      '/v1/jwks',
      '/v1/nodes',
      '/v1/nodes/{instanceId}',
      '/v1/nodes/{instanceId}:ban',
      '/v1/nodes/{instanceId}:unban',
      '/v1/openapi.json',
      '/v1/policies:check',
      '/v1/policies:plan',
      '/v1/policies:suggest',
      '/v1/policies:test',
      '/v1/policy-changes',
      '/v1/policy-changes/{revision}',
      '/v1/policy-changes/{revision}:abort',
      '/v1/policy-changes/{revision}:apply',
      '/v1/policy-changes/{revision}:approve',
      '/v1/policy-changes/{revision}:reject',
      '/v1/policy-changes/{revision}:rollout',
      '/v1/proxies',
      '/v1/quarantines',
      '/v1/quarantines/{id}',
      '/v1/quarantines/{id}:release',
      '/v1/revisions',
      '/v1/tokens',
      '/v1/tokens/{id}',
      '/v1/whoami',
    ];
    expect(Object.keys(document.paths).sort()).toEqual(expected.sort());
  });
});
