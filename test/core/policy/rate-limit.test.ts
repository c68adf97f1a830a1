import { describe, expect, it } from 'vitest';
import { parseDocuments } from '../../../src/core/policy/parse.ts';
import { formatDuration } from '../../../src/core/policy/read-duration.ts';
import { expandRateLimit } from '../../../src/core/policy/trust-domain-aliases.ts';

function read(spec: string) {
  const [document, more] = parseDocuments(
    `apiVersion: writ.dev/v1\nkind: RateLimit\nmetadata: { name: r, namespace: shop }\nspec:\n${spec}`,
  );
  if (document?.kind !== 'RateLimit' || more !== undefined) throw new Error('not one rate limit');
  return document.object;
}

describe('A RateLimit', () => {
  it('says how many calls come in, of all, of each, and of whom it names', () => {
    expect(
      read(`  selector: { matchLabels: { app: orders } }
  total: { requests: 1000, period: 1m }
  perSource: { requests: 10 }
  overrides:
    - principals: ["example.org/ns/shop/sa/web", "example.org/ns/batch/*"]
      requests: 500
      period: 500ms
    - serviceAccounts: [web, bank/ledger]
      requests: 1
      period: 1.5h
`),
    ).toEqual({
      namespace: 'shop',
      name: 'r',
      revision: 0,
      selector: { app: 'orders' },
      total: { requests: 1000, periodMs: 60_000 },
      perSource: { requests: 10, periodMs: 1_000 },
      overrides: [
        {
          principals: [
            { kind: 'exact', value: 'example.org/ns/shop/sa/web' },
            { kind: 'prefix', value: 'example.org/ns/batch/' },
          ],
          rate: { requests: 500, periodMs: 500 },
        },
        {
          principals: [
            { kind: 'suffix', value: '/ns/shop/sa/web' },
            { kind: 'suffix', value: '/ns/bank/sa/ledger' },
          ],
          rate: { requests: 1, periodMs: 5_400_000 },
        },
      ],
    });
  });

  it('may have one of the three alone', () => {
    expect(read('  total: { requests: 1 }\n')).toMatchObject({ total: { requests: 1 }, overrides: [], selector: {} });
    expect(read('  perSource: { requests: 1 }\n')).not.toHaveProperty('total');
    expect(read('  overrides: [{ serviceAccounts: [a], requests: 1 }]\n')).not.toHaveProperty('perSource');
  });

  it('names callers in every trust domain that counts as the same', () => {
    const limit = read(
      '  overrides: [{ principals: [example.org/ns/a/sa/b, other.org/ns/a/sa/b], serviceAccounts: [x], requests: 1 }]\n',
    );
    const expanded = expandRateLimit(limit, { own: 'new.example', aliases: ['example.org'] });
    expect(expanded.overrides[0]?.principals).toEqual([
      { kind: 'exact', value: 'new.example/ns/a/sa/b' },
      { kind: 'exact', value: 'example.org/ns/a/sa/b' },
      { kind: 'exact', value: 'other.org/ns/a/sa/b' },
      { kind: 'suffix', value: '/ns/shop/sa/x' },
    ]);
    expect(expandRateLimit(limit, { own: 'a.example', aliases: [] })).toBe(limit);
  });
});

it('A duration is written in the largest unit that it is a whole number of', () => {
  expect([100, 1_000, 90_000, 3_600_000, 86_400_000].map(formatDuration)).toEqual(['100ms', '1s', '90s', '1h', '24h']);
});
