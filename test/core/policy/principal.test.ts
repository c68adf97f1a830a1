import { describe, expect, test } from 'vitest';
import { parseSpiffeId, workloadOf } from '../../../src/core/identity/spiffe-id.ts';
import { namespaceOf, principalOf } from '../../../src/core/policy/principal.ts';

describe('rule 10: the principal is the SPIFFE ID without its scheme', () => {
  test.each([
    ['spiffe://example.org/ns/shop/sa/web', 'example.org/ns/shop/sa/web'],
    ['spiffe://example.org/writ/control-plane', 'example.org/writ/control-plane'],
    ['spiffe://example.org', ''],
    ['spiffe:///ns/shop/sa/web', ''],
    ['https://example.org/ns/shop/sa/web', ''],
    ['example.org/ns/shop/sa/web', ''],
    ['', ''],
  ])('%s → "%s"', (id, principal) => {
    expect(principalOf(id)).toBe(principal);
  });
});

describe('rule 11: the namespace stands in one place only', () => {
  test.each([
    ['example.org/ns/shop/sa/web', 'shop'],
    ['example.org/ns/shop/sa/web/extra', ''],
    ['example.org/x/ns/shop/sa/web', ''],
    ['example.org/team/ns/shop/x', ''],
    ['example.org/ns/shop', ''],
    ['example.org/ns/shop/sa/', ''],
    ['example.org/ns/shop/sa', ''],
    ['example.org/ns//sa/web', ''],
    ['example.org/NS/shop/sa/web', ''],
    ['/ns/shop/sa/web', ''],
    ['ns/shop/sa/web', ''],
    ['', ''],
  ])('%s → "%s"', (principal, namespace) => {
    expect(namespaceOf(principal)).toBe(namespace);
  });

  test.each([
    'spiffe://example.org/ns/shop/sa/web',
    'spiffe://example.org/ns/shop/sa/web/extra',
    'spiffe://example.org/ns/shop',
    'spiffe://example.org/a/ns/shop/sa/web',
    'spiffe://ns/ns/ns/sa/sa',
    'spiffe://example.org/writ/control-plane',
  ])('and the identity room says the same of %s', (id) => {
    expect(namespaceOf(principalOf(id))).toBe(workloadOf(parseSpiffeId(id))?.namespace ?? '');
  });
});
