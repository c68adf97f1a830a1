import { describe, expect, it } from 'vitest';
import type { AnalyzedObject } from '../../../src/core/policy/analyze-objects.ts';
import { analyzeObjects } from '../../../src/core/policy/analyze-objects.ts';
import { parseDocuments } from '../../../src/core/policy/parse.ts';

const workload = (namespace: string, service: string, labels: Record<string, string>) => ({
  ...{ namespace, service, labels },
  principal: `example.org/ns/${namespace}/sa/${service}`,
});
const mesh = {
  rootNamespace: 'writ-system',
  workloads: [workload('shop', 'web', { app: 'web' }), workload('bank', 'vault', {})],
};

function codes(kind: string, namespace: string, spec: string, context: Parameters<typeof analyzeObjects>[1] = mesh) {
  const text = `# first\napiVersion: writ.dev/v1\nkind: ${kind}\nmetadata: { name: x, namespace: ${namespace} }\nspec: ${spec}\n`;
  const objects = parseDocuments(text).map((one) => ({ ...one, file: 'a.yaml' }) as AnalyzedObject);
  return analyzeObjects(objects, context).map(({ code, file, line, message }) => `${code} ${file}:${line} ${message}`);
}

describe('What is said about kinds beside policies', () => {
  it.each([
    ['RateLimit', '{ selector: { matchLabels: { app: LABEL } }, total: { requests: 1 } }'],
    ['PeerAuthentication', '{ selector: { matchLabels: { app: LABEL } }, mtls: { mode: STRICT } }'],
    [
      'RequestAuthentication',
      '{ selector: { matchLabels: { app: LABEL } }, jwtRules: [{ issuer: a, jwksUri: "https://a.example" }] }',
    ],
  ])('%s: whether there is anybody whom it is for', (kind, spec) => {
    expect(codes(kind, 'shop', spec.replace('LABEL', 'web'))).toEqual([]);
    const said = [expect.stringMatching(/^selects-nothing a\.yaml:1 No workload is one that the .* shop\/x is for/)];
    expect(codes(kind, 'shop', spec.replace('LABEL', 'wbe'))).toEqual(said);
    expect(codes(kind, 'bank', spec.replace('LABEL', 'web'))).toHaveLength(1);
    expect(codes(kind, 'writ-system', spec.replace('LABEL', 'web'))).toEqual([]);
    expect(codes(kind, 'shop', spec.replace('LABEL', 'wbe'), { rootNamespace: 'writ-system' })).toEqual([]);
  });

  it('whether those whom a rate limit names exist, as far as that can be known', () => {
    const limit = (callers: string) => codes('RateLimit', 'shop', `{ overrides: [{ requests: 1, ${callers} }] }`);
    expect(limit('principals: [example.org/ns/shop/sa/web, other.org/ns/a/sa/b, "example.org/ns/x/*"]')).toEqual([]);
    expect(limit('serviceAccounts: [web, bank/vault]')).toEqual([]);
    expect(limit('principals: [example.org/ns/shop/sa/wbe]')).toEqual([
      expect.stringMatching(/^unknown-identity .*"example\.org\/ns\/shop\/sa\/wbe"/),
    ]);
    expect(limit('serviceAccounts: [vault]')).toEqual([expect.stringContaining('"*/ns/shop/sa/vault"')]);
  });
});
