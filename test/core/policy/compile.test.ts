import { describe, expect, test } from 'vitest';
import { compile } from '../../../src/core/policy/compile.ts';
import { decide } from '../../../src/core/policy/decide.ts';
import type { IndexNode } from '../../../src/core/policy/rule-index.ts';
import { selects } from '../../../src/core/policy/selects.ts';
import { naiveDecide } from './naive.ts';
import { http, operation, policy, rule, source } from './support.ts';

describe('rule 28: which policies apply to a workload', () => {
  const workload = { namespace: 'shop', labels: { app: 'web', tier: 'front', empty: '' } };
  const root = 'writ-system';

  test.each([
    ['same namespace', { namespace: 'shop', selector: {} }, true],
    ['another namespace', { namespace: 'ops', selector: {} }, false],
    ['root namespace', { namespace: root, selector: {} }, true],
    ['all labels', { namespace: 'shop', selector: { app: 'web', tier: 'front' } }, true],
    ['one label differs', { namespace: 'shop', selector: { app: 'web', tier: 'back' } }, false],
    ['one label is missing', { namespace: 'shop', selector: { app: 'web', zone: 'a' } }, false],
    ['a label with the empty value', { namespace: 'shop', selector: { empty: '' } }, true],
    ['a missing label is not the empty value', { namespace: 'shop', selector: { zone: '' } }, false],
    ['labels select in the root namespace too', { namespace: root, selector: { app: 'web' } }, true],
    ['and do not match there either', { namespace: root, selector: { app: 'orders' } }, false],
    ['another namespace, labels or not', { namespace: 'ops', selector: { app: 'web' } }, false],
    ['what every object inherits is no label', { namespace: 'shop', selector: { constructor: 'x' } }, false],
  ])('%s: %j → %s', (_, one, expected) => {
    expect(selects(one, workload, root)).toBe(expected);
  });
});

test('compiling keeps the revision, freezes, and leaves its argument alone', () => {
  const policies = Object.freeze([policy({ name: 'b' }, rule()), policy({ name: 'a' }, rule())]);
  const compiled = compile(policies, 42);
  expect(compiled.revision).toBe(42);
  expect(Object.isFrozen(compiled)).toBe(true);
  expect(policies.map((p) => p.name)).toEqual(['b', 'a']);
});

describe('the index', () => {
  const service = (i: number) => `example.org/ns/shop/sa/s${i}`;
  const count = 2000;
  const all = Array.from({ length: count }, (_, i) => i);

  test.each([
    [
      'one caller each',
      (i: number) => rule({ from: [source({ principals: [service(i)] })] }),
      (i: number) => http('GET', '/', { source: `spiffe://${service(i)}` }),
    ],
    [
      'one caller pattern each',
      (i: number) => rule({ from: [source({ principals: [`example.org/ns/n${i}/*`] })] }),
      (i: number) => http('GET', '/', { source: `spiffe://example.org/ns/n${i}/sa/x` }),
    ],
    [
      'one namespace each',
      (i: number) => rule({ from: [source({ namespaces: [`n${i}`] })] }),
      (i: number) => http('GET', '/', { source: `spiffe://example.org/ns/n${i}/sa/x` }),
    ],
    [
      'the same caller, one path each',
      (i: number) => rule({ from: [source({ principals: [service(0)] })], to: [operation({ paths: [`/p${i}`] })] }),
      (i: number) => http('GET', `/p${i}`, { source: `spiffe://${service(0)}` }),
    ],
    [
      'any caller, one path prefix each',
      (i: number) => rule({ to: [operation({ paths: [`/p${i}/*`], methods: ['GET'] })] }),
      (i: number) => http('GET', `/p${i}/x`),
    ],
    [
      'any caller, one path suffix each',
      (i: number) => rule({ to: [operation({ paths: [`*/p${i}`] })] }),
      (i: number) => http('GET', `/x/p${i}`),
    ],
    [
      'the same path, one port each',
      (i: number) => rule({ to: [operation({ paths: ['/a'], ports: [i + 1] })] }),
      (i: number) => http('GET', '/a', { port: i + 1 }),
    ],
    [
      'few callers times few paths',
      (i: number) =>
        rule({
          from: [source({ principals: [service(i % 40)] })],
          to: [operation({ paths: [`/p${Math.floor(i / 40)}`] })],
        }),
      (i: number) => http('GET', `/p${Math.floor(i / 40)}`, { source: `spiffe://${service(i % 40)}` }),
    ],
  ])('leads to the one rule that matches among 2,000, with a handful of rules tested: %s', (_, toRule, toRequest) => {
    const name = (i: number) => `p${String(i).padStart(5, '0')}`;
    const compiled = compile(
      all.map((i) => policy({ name: name(i) }, toRule(i))),
      1,
    );
    for (const i of [0, 1, 2, 999, count - 2, count - 1]) {
      expect(decide(compiled, toRequest(i)).rule).toBe(`shop/${name(i)}@7#0`);
    }
    expect(compiled.base.allow.index && largestLeaf(compiled.base.allow.index)).toBeLessThanOrEqual(6);
  });

  test('a rule that multiplies out to 250,000 combinations takes no more room than its values', () => {
    const many = rule({
      from: Array.from({ length: 500 }, (_, i) => source({ principals: [service(i)], namespaces: ['shop'] })),
      to: Array.from({ length: 500 }, (_, i) => operation({ methods: ['GET'], paths: [`/p${i}`] })),
    });
    const others = Array.from({ length: 20 }, (_, i) =>
      policy({ name: `o${i}` }, rule({ to: [operation({ paths: [`/o${i}`] })] })),
    );
    const compiled = compile([policy({}, many), ...others], 1);
    expect(decide(compiled, http('GET', '/p499', { source: `spiffe://${service(499)}` })).rule).toBe('shop/p@7#0');
    expect(decide(compiled, http('GET', '/p500', { source: `spiffe://${service(499)}` })).rule).toBe('default-deny');
    expect(compiled.base.allow.index && placements(compiled.base.allow.index)).toBeLessThan(256 + 4 * 2000 + 20);
  });

  test('rules that overlap in every dimension stay within their copies, and are found all the same', () => {
    // Rule i takes the values whose number has bit i % 6 set: any two rules differ in half of their values.
    const chosen = (i: number) => all.slice(0, 64).filter((value) => ((value ^ i) >> (i % 6)) & 1);
    const rules = Array.from({ length: 48 }, (_, i) =>
      rule({
        from: [source({ principals: chosen(i).map(service) })],
        to: [operation({ paths: chosen(i + 1).map((v) => `/p${v}`), ports: chosen(i + 2).map((v) => v + 1) })],
      }),
    );
    const policies = rules.map((one, i) => policy({ name: `p${i}` }, one));
    const compiled = compile(policies, 1);
    const perRule = 256 + 4 * 96;
    expect(compiled.base.allow.index && placements(compiled.base.allow.index)).toBeLessThan(48 * perRule);
    for (let i = 0; i < 512; i++) {
      const caller = `spiffe://${service((i * 7) % 64)}`;
      const request = http('GET', `/p${(i * 11) % 64}`, { source: caller, port: ((i * 13) % 64) + 1 });
      expect(decide(compiled, request)).toEqual(naiveDecide(policies, request));
    }
  });
});

function children(node: IndexNode): IndexNode[] {
  if (node.kind === 'leaf') return [];
  const slots = [node.texts, node.namespaces].filter((s) => s !== undefined);
  return [
    ...slots.flatMap((s) => [...s.exact.values(), ...affixes(s.prefixes), ...affixes(s.suffixes)]),
    ...(node.ports?.values() ?? []),
    ...(node.rest === undefined ? [] : [node.rest]),
  ];
}

interface Affixes {
  readonly value: IndexNode | undefined;
  readonly children: ReadonlyMap<number, Affixes> | undefined;
}

function affixes(node: Affixes | undefined): IndexNode[] {
  if (node === undefined) return [];
  return [
    ...(node.value === undefined ? [] : [node.value]),
    ...[...(node.children?.values() ?? [])].flatMap((child) => affixes(child)),
  ];
}

function largestLeaf(node: IndexNode): number {
  return node.kind === 'leaf' ? node.entries.length : Math.max(...children(node).map(largestLeaf));
}

function placements(node: IndexNode): number {
  return node.kind === 'leaf' ? node.entries.length : children(node).reduce((sum, child) => sum + placements(child), 0);
}
