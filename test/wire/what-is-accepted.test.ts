import { describe, expect, it } from 'vitest';
import { parseOne } from '../../src/control/policies/source.ts';
import type { PolicyObject } from '../../src/core/policy/kinds.ts';
import { expandAliases, expandRateLimit } from '../../src/core/policy/trust-domain-aliases.ts';
import { decodeSnapshotContent, encodeSnapshotContent } from '../../src/wire/snapshot-content.ts';
import { createTestAuthority } from '../support/pki.ts';

/**
 * A document that is stored and that sidecars then refuse would stop every later change of the policies that come with it: what
 * the parser accepts, however large, has to arrive.
 */
const bundle = createTestAuthority().bundle;
const domains = { own: 'example.org', aliases: Array.from({ length: 8 }, (_, i) => `old-${i}.example`) };
const long = 'x'.repeat(200_000);

function arrives(kind: PolicyObject['kind'], spec: string): void {
  const apiVersion = kind === 'RateLimit' ? 'writ.dev/v1' : 'security.istio.io/v1';
  const parsed = parseOne(
    `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a, namespace: shop}\nspec: ${spec}`,
  );
  const content = { policies: [], services: [], bundle };
  switch (parsed.kind) {
    case 'AuthorizationPolicy':
      decodeSnapshotContent(encodeSnapshotContent({ ...content, policies: [expandAliases(parsed.object, domains)] }));
      return;
    case 'RequestAuthentication': {
      const rules = parsed.object.rules.map((rule) => ({ ...rule, jwks: rule.jwks ?? '' }));
      const requestAuthentications = [{ ...parsed.object, rules }];
      decodeSnapshotContent(encodeSnapshotContent({ ...content, requestAuthentications }));
      return;
    }
    case 'PeerAuthentication': {
      const { mode = 'STRICT', ports } = parsed.object;
      decodeSnapshotContent(encodeSnapshotContent({ ...content, peerAuthentication: { mode, ports } }));
      return;
    }
    case 'RateLimit':
      decodeSnapshotContent(
        encodeSnapshotContent({ ...content, rateLimits: [expandRateLimit(parsed.object, domains)] }),
      );
  }
}

describe('what is accepted arrives:', () => {
  it.each([
    ['a long path', `{rules: [{to: [{operation: {paths: ["/${long}*"]}}]}]}`],
    ['a long path template', `{rules: [{to: [{operation: {paths: ["/${long}/{*}"]}}]}]}`],
    ['a long principal', `{rules: [{from: [{source: {principals: ["*${long}"]}}]}]}`],
    ['a long header', `{rules: [{when: [{key: "request.headers[x-a]", values: ["${long}"]}]}]}`],
  ])('%s', (_, spec) => arrives('AuthorizationPolicy', spec));

  it('many ports', () => {
    const ports = Array.from({ length: 20_000 }, (_, i) => `${i + 1}: {mode: PERMISSIVE}`).join(', ');
    arrives('PeerAuthentication', `{selector: {matchLabels: {app: a}}, portLevelMtls: {${ports}}}`);
  });

  it('many callers of a rate limit, in every trust domain that counts as one, and long ones', () => {
    const list = (text: (i: number) => string) => Array.from({ length: 512 }, (_, i) => text(i)).join(', ');
    const principals = list((i) => `example.org/ns/shop/sa/a${i}`);
    const accounts = list((i) => `shop/b${i}`);
    arrives('RateLimit', `{overrides: [{principals: [${principals}], serviceAccounts: [${accounts}], requests: 1}]}`);
    arrives('RateLimit', `{overrides: [{principals: ["*${long}"], requests: 1}]}`);
  });

  it('as long an audience as there may be', () => {
    const rule = (audience: string) => `{jwtRules: [{issuer: "https://i.example", audiences: ["${audience}"]}]}`;
    arrives('RequestAuthentication', rule('x'.repeat(2048)));
    expect(() => arrives('RequestAuthentication', rule('x'.repeat(2049)))).toThrow(
      expect.objectContaining({ code: 'invalid-document' }),
    );
  });
});
