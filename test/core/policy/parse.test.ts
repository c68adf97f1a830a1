import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CreateNodeOptions, DocumentOptions, ToStringOptions } from 'yaml';
import { stringify } from 'yaml';
import { AppError } from '../../../src/base/errors.ts';
import { formatMatch } from '../../../src/core/policy/match.ts';
import type { Condition, Policy } from '../../../src/core/policy/model.ts';
import type { PolicyDocument } from '../../../src/core/policy/parse.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import { expectAppError } from '../../support/errors.ts';
import { policySets } from './arbitraries.ts';
import { document, m, operation, parseOne, policy, rule, source } from './support.ts';

describe('rule 1 to 4: what is read', () => {
  test('every field that is enforced', () => {
    const text = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: payments.v2
  namespace: shop
spec:
  selector:
    matchLabels:
      app: payments
      example.org/tier: ""
  action: DENY
  rules:
  - from:
    - source:
        principals: ["example.org/ns/shop/sa/web", "example.org/ns/ops/*", "*/sa/probe", "*"]
        namespaces: [shop, "dev-*", "*-test"]
    - source: {namespaces: [ops]}
    to:
    - operation:
        methods: [GET, "P*", "*"]
        paths: ["/", "/v1/*", "*.css", "*", "/v1/keys:rotate", "/caf%C3%A9", "/.*"]
        ports: ["80", 8080, "65535", 1]
  - to:
    - operation: {methods: [DELETE]}
  - {}
`;
    expect(parseOne(text)).toEqual(
      policy(
        {
          name: 'payments.v2',
          revision: 0,
          action: 'DENY',
          selector: { app: 'payments', 'example.org/tier': '' },
        },
        rule({
          from: [
            source({
              principals: ['example.org/ns/shop/sa/web', 'example.org/ns/ops/*', '*/sa/probe', '*'],
              namespaces: ['shop', 'dev-*', '*-test'],
            }),
            source({ namespaces: ['ops'] }),
          ],
          to: [
            operation({
              methods: ['GET', 'P*', '*'],
              paths: ['/', '/v1/*', '*.css', '*', '/v1/keys:rotate', '/caf%C3%A9', '/.*'],
              ports: [80, 8080, 65535, 1],
            }),
          ],
        }),
        rule({ to: [operation({ methods: ['DELETE'] })] }),
        rule(),
      ),
    );
  });

  test.each([
    ['{}', { action: 'ALLOW', selector: {}, rules: [] }],
    ['{rules: []}', { action: 'ALLOW', selector: {}, rules: [] }],
    ['{rules: [{}]}', { action: 'ALLOW', selector: {}, rules: [{ from: [], to: [] }] }],
    ['{action: DENY, rules: [{}]}', { action: 'DENY', selector: {}, rules: [{ from: [], to: [] }] }],
    ['{selector: {}, rules: []}', { action: 'ALLOW', selector: {}, rules: [] }],
    ['{selector: {matchLabels: {}}, rules: []}', { action: 'ALLOW', selector: {}, rules: [] }],
  ])('rule 24: spec %s', (spec, expected) => {
    expect(parseOne(document(spec))).toEqual({ namespace: 'shop', name: 'p', revision: 0, ...expected });
  });

  test.each(['security.istio.io/v1', 'security.istio.io/v1beta1', 'writ.dev/v1'])('apiVersion %s', (apiVersion) => {
    expect(parseOne(document('{rules: [{}]}', { apiVersion })).rules).toHaveLength(1);
  });

  test.each([
    'example.org/ns/shop/sa/web',
    'a/b',
    '10.0.0.1/x',
    'example.org/writ/control-plane',
    'example.org*',
    'example.org/*',
    'example.org/ns/sh*',
    '*/web',
    '*web',
    '*example.org/ns/shop/sa/web',
  ])('rule 10: the principal %s', (principal) => {
    const text = document(`{rules: [{from: [{source: {principals: ["${principal}"]}}]}]}`);
    expect(parseOne(text).rules[0]?.from[0]?.principals).toEqual([m(principal)]);
  });

  test('a label named like something that every object inherits is only a label', () => {
    const { selector } = parseOne(document('{selector: {matchLabels: {constructor: a, toString: b}}}'));
    expect(Object.entries(selector)).toEqual([
      ['constructor', 'a'],
      ['toString', 'b'],
    ]);
  });

  test('what is returned is frozen all the way down', () => {
    const frozen = (value: unknown): boolean =>
      typeof value !== 'object' || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
    const [read] = parsePolicies(document('{rules: [{to: [{operation: {paths: ["/a*"], ports: [1]}}]}]}'));
    expect(frozen(read)).toBe(true);
  });
});

describe('what Kubernetes adds', () => {
  /** As `kubectl get authorizationpolicies -o yaml` prints it. */
  const printed = `apiVersion: v1
items:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","spec":{
          "action":"ALLOW"}}
    creationTimestamp: "2026-01-01T00:00:00Z"
    generation: 2
    labels:
      app.kubernetes.io/managed-by: Helm
    managedFields:
    - apiVersion: security.istio.io/v1
      fieldsType: FieldsV1
      fieldsV1:
        f:spec:
          .: {}
          f:rules: {}
      manager: kubectl
    name: first
    namespace: shop
    ownerReferences: []
    resourceVersion: "123"
    uid: 8f0c6c3e-0000-4000-8000-000000000000
  spec:
    # Who may.
    rules:
    - from:
      - source:
          principals:
          - example.org/ns/shop/sa/web
    - {}
  status: {conditions: []}
- apiVersion: security.istio.io/v1beta1
  kind: AuthorizationPolicy
  metadata: {name: second, namespace: shop}
  spec:
    action: DENY
    rules:
    - to:
      - operation:
          paths: ["/admin",
            "/internal/*"]
kind: List
metadata:
  resourceVersion: ""
`;

  test('is accepted and ignored, in a List too', () => {
    const read = parsePolicies(printed);
    expect(read.map((d) => [d.policy.name, d.policy.action, d.policy.rules.length, d.line])).toEqual([
      ['first', 'ALLOW', 2, 3],
      ['second', 'DENY', 1, 36],
    ]);
  });

  test('an item of a List comes out as a document of its own', () => {
    const [first, second] = parsePolicies(printed);
    expect(first?.source.split('\n').slice(0, 8)).toEqual([
      'apiVersion: security.istio.io/v1',
      'kind: AuthorizationPolicy',
      'metadata:',
      '  annotations:',
      '    kubectl.kubernetes.io/last-applied-configuration: |',
      '      {"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","spec":{',
      '        "action":"ALLOW"}}',
      '  creationTimestamp: "2026-01-01T00:00:00Z"',
    ]);
    expect(second?.source).toBe(`apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: second, namespace: shop}
spec:
  action: DENY
  rules:
  - to:
    - operation:
        paths: ["/admin",
          "/internal/*"]
`);
    for (const one of [first, second]) expectRoundTrip(one);
  });

  test('JSON is read as it is, a List of it too', () => {
    const [only] = parsePolicies(printed.slice(0, 0) + document('{rules: [{}, {}]}'));
    const object = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace: 'shop', creationTimestamp: null },
      spec: { rules: [{}, {}] },
    };
    for (const text of [JSON.stringify(object), JSON.stringify(object, null, '\t')]) {
      const [read] = parsePolicies(text);
      expect(read?.policy).toEqual(only?.policy);
      expectRoundTrip(read);
    }
    const list = { kind: 'AuthorizationPolicyList', apiVersion: 'security.istio.io/v1', items: [object] };
    for (const text of [JSON.stringify(list), JSON.stringify(list, null, 2)]) {
      const [read] = parsePolicies(text);
      expect(read?.policy).toEqual(only?.policy);
      expectRoundTrip(read);
    }
  });
});

function expectRoundTrip(one: PolicyDocument | undefined): void {
  expect(one).toBeDefined();
  if (one === undefined) return;
  const { policy, source, ruleLines } = one;
  expect(parsePolicies(source)).toMatchObject([{ policy, source, ruleLines, line: 1, pointer: '' }]);
  expect(parsePolicies(source)[0]?.policy).toStrictEqual(policy);
}

describe('where a policy and its rules stand', () => {
  const text = `
# The first one.

${document('\n# Rules:\nrules:\n- {}\n\n- to:\n  - operation:\n      ports: [1]\n-\n  to: [{operation: {ports: [2]}}]', { name: 'a' })}
# Still the first one.
---

# The second one.
${document('{rules: [{}]}', { name: 'b' })}...
---
---
# Nothing.
--- # The third one.
${document('{rules: [{}]}', { name: 'c' })}--- {apiVersion: writ.dev/v1, kind: AuthorizationPolicy, metadata: {name: d, namespace: shop}, spec: {rules: [
{}, {}]}}
`;

  test.each([
    ['LF', text],
    ['CRLF', text.replaceAll('\n', '\r\n')],
    ['a byte order mark', `\uFEFF${text}`],
  ])('with %s', (_, given) => {
    const lines = given.split('\n');
    const read = parsePolicies(given);
    expect(read.map((d) => d.policy.name)).toEqual(['a', 'b', 'c', 'd']);
    const begin = (d: PolicyDocument | undefined) => d?.source.split(/\r?\n/)[0];
    expect(read.map(begin)).toEqual([
      '# The first one.',
      '# The second one.',
      expect.stringContaining('# The third one.'),
      expect.stringContaining('{apiVersion: writ.dev/v1'),
    ]);
    for (const one of read) {
      for (const ruleLine of one.ruleLines) {
        expect(lines[one.line + ruleLine - 2]?.trim()).toBe(one.source.split('\n')[ruleLine - 1]?.trim());
        expect(one.source.split('\n')[ruleLine - 1]).toMatch(/\{\}|to:/);
      }
      expectRoundTrip(one);
    }
    expect(read[0]?.source).toContain('# Still the first one.');
    expect(read[1]?.source).not.toContain('...');
    expect(read.map((d) => d.ruleLines.length)).toEqual([3, 1, 1, 2]);
  });
});

test('a byte order mark is no part of the source, and moves no column', async () => {
  expect(parsePolicies(`\uFEFF${document('{}')}`)[0]?.source).toBe(document('{}'));
  const error = await expectAppError(() => parsePolicies('\uFEFFfoo: [}'), 'invalid-document');
  expect(error.details[0]).toMatchObject({ line: 1, column: 7 });
});

describe('rule 45 limits are inclusive', () => {
  test('512 rules, 512 sources, 512 operations, 10,000 values', () => {
    const read = parseOne(
      document(`
rules:
- from: [${'{source: {namespaces: [a]}},'.repeat(512)}]
  to: [${'{operation: {ports: [1]}},'.repeat(512)}]
- from: [{source: {namespaces: [${'a,'.repeat(10_000)}]}}]
${'- {}\n'.repeat(510)}`),
    );
    expect(read.rules).toHaveLength(512);
    expect(read.rules[1]?.from[0]?.namespaces).toHaveLength(10_000);
  });

  test('nearly a megabyte of ordinary policies', () => {
    const one = (i: number) =>
      document(
        `
selector:
  matchLabels:
    app: payments
action: ALLOW
rules:
- from:
  - source:
      principals:
      - example.org/ns/shop/sa/web
      - example.org/ns/shop/sa/orders
  to:
  - operation:
      methods: ["GET", "POST"]
      paths: ["/v1/payments/*"]`,
        { name: `p${i}` },
      );
    const list = `apiVersion: v1\nkind: List\nitems:\n${Array.from({ length: 2300 }, (_, i) => `- ${one(i).trimEnd().replaceAll('\n', '\n  ')}\n`).join('')}`;
    expect(list.length).toBeGreaterThan(900_000);
    expect(parsePolicies(list)).toHaveLength(2300);
  });
});

describe('any way to write YAML', () => {
  const styles: readonly (DocumentOptions & CreateNodeOptions & ToStringOptions)[] = [
    {},
    { indent: 4 },
    { indentSeq: false },
    { flow: true },
    { collectionStyle: 'flow', lineWidth: 60 },
    { defaultStringType: 'QUOTE_DOUBLE', lineWidth: 30 },
    { defaultStringType: 'QUOTE_SINGLE', defaultKeyType: 'PLAIN' },
  ];

  const written = (policies: readonly Policy[], style: (typeof styles)[number], asList: boolean) => {
    const objects = policies.map(toObject);
    const all = asList ? [{ apiVersion: 'v1', kind: 'List', items: objects }] : objects;
    return all.map((one) => stringify(one, { aliasDuplicateObjects: false, ...style })).join('---\n');
  };

  test('policies come out as they were written, each with a source that parses to it', () => {
    fc.assert(
      fc.property(
        policySets.map((policies) => policies.slice(0, 4).map(writable)),
        fc.constantFrom(...styles),
        fc.boolean(),
        (policies, style, asList) => {
          fc.pre(policies.length > 0);
          const read = parsePolicies(written(policies, style, asList));
          expect(read.map((d) => d.policy)).toEqual(policies);
          for (const one of read) expectRoundTrip(one);
        },
      ),
      { seed: 3, numRuns: 250 },
    );
  });

  /** Without what the model allows and the language does not: empty conditions, a DENY of nothing, a CUSTOM by caller. */
  function writable(one: Policy): Policy {
    if (one.action === 'CUSTOM') return writableCustom(one);
    const rules = one.rules.map(({ from, to, when }) => ({
      from: from.map((s) => withWhere(s, sourceFields)).filter((s) => fieldsOf(s.principals, s.namespaces, s.where)),
      to: to.map((o) => withWhere(o, operationFields)).filter((o) => fieldsOf(o.methods, o.paths, o.ports, o.where)),
      ...(when !== undefined && { when }),
    }));
    const { shadow, ...rest } = one;
    const base = { ...rest, revision: 0, rules };
    if (rules.length === 0) return { ...base, action: 'ALLOW' };
    return { ...base, ...(shadow === true && one.action !== 'AUDIT' && { shadow }) };
  }

  function writableCustom(one: Policy): Policy {
    const rules = one.rules.map(({ to }) => ({
      from: [],
      to: to.map((o) => withWhere(o, operationFields)).filter((o) => fieldsOf(o.methods, o.paths, o.ports, o.where)),
    }));
    return { ...one, revision: 0, rules: rules.length === 0 ? [{ from: [], to: [] }] : rules };
  }

  /** By key of a condition: the fields that it is written with. The order is that in which they are read. */
  const sourceFields: Readonly<Record<string, readonly [string | undefined, string]>> = {
    'source.trustDomain': ['trustDomains', 'notTrustDomains'],
    'request.auth.principal': ['requestPrincipals', 'notRequestPrincipals'],
    'source.ip': ['ipBlocks', 'notIpBlocks'],
    'remote.ip': ['remoteIpBlocks', 'notRemoteIpBlocks'],
    'source.principal': [undefined, 'notPrincipals'],
    'source.namespace': [undefined, 'notNamespaces'],
  };
  const operationFields: typeof sourceFields = {
    'operation.host': ['hosts', 'notHosts'],
    'operation.method': [undefined, 'notMethods'],
    'operation.path': [undefined, 'notPaths'],
    'destination.port': [undefined, 'notPorts'],
  };

  function withWhere<T extends object>(
    one: T & { readonly where?: readonly Condition[] },
    fields: typeof sourceFields,
  ): Omit<T, 'where'> & { readonly where?: readonly Condition[] } {
    const where = Object.entries(fields).flatMap(([key, [positive]]): Condition[] => {
      const found = one.where?.find((condition) => condition.key === key);
      if (found === undefined) return [];
      const values = positive === undefined ? [] : found.values;
      return values.length + found.notValues.length === 0 ? [] : [{ key, values, notValues: found.notValues }];
    });
    const { where: _, ...rest } = one;
    return { ...rest, ...(where.length > 0 && { where }) };
  }

  function fieldsOf(...lists: readonly (readonly unknown[] | undefined)[]): boolean {
    return lists.some((list) => list !== undefined && list.length > 0);
  }

  function conditionFields(where: readonly Condition[] | undefined, fields: typeof sourceFields): object {
    return Object.fromEntries(
      (where ?? []).flatMap(({ key, values, notValues }) => {
        const [positive, negative = ''] = fields[key] ?? [];
        return [[positive ?? '', values] as const, [negative, notValues] as const].filter(
          ([, list]) => list.length > 0,
        );
      }),
    );
  }

  function toObject(one: Policy): object {
    const filled = (fields: object) => Object.fromEntries(Object.entries(fields).filter(([, list]) => list.length > 0));
    const time = (ms: number) => new Date(ms).toISOString();
    const rules = one.rules.map(({ from, to, when = [] }) =>
      filled({
        from: from.map((s) => ({
          source: filled({
            principals: s.principals.map(formatMatch),
            namespaces: s.namespaces.map(formatMatch),
            ...conditionFields(s.where, sourceFields),
          }),
        })),
        to: to.map((o) => ({
          operation: filled({
            methods: o.methods.map(formatMatch),
            paths: o.paths.map(formatMatch),
            ports: o.ports.map(String),
            ...conditionFields(o.where, operationFields),
          }),
        })),
        when: when.map(({ key, values, notValues }) => ({ key, ...filled({ values, notValues }) })),
      }),
    );
    return {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: one.name, namespace: one.namespace },
      spec: {
        action: one.action,
        ...(one.provider !== undefined && { provider: { name: one.provider } }),
        rules,
        ...(one.shadow === true && { mode: 'Shadow' }),
        ...(one.validity !== undefined && {
          validity: Object.fromEntries(Object.entries(one.validity).map(([name, ms]) => [name, time(ms)])),
        }),
      },
    };
  }
});

describe('any text', () => {
  /** The only failure there is. */
  function parseOrFindings(text: string): readonly PolicyDocument[] {
    try {
      return parsePolicies(text);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'invalid-document') throw error;
      expect(error.details.length).toBeGreaterThan(0);
      const lines = text.split('\n');
      for (const finding of error.details) {
        expect(finding.line).toBeGreaterThan(0);
        expect(finding.line).toBeLessThanOrEqual(lines.length);
        expect(finding.column).toBeGreaterThan(0);
      }
      return [];
    }
  }

  const seed = document(
    `
selector: {matchLabels: {app: web}}
action: DENY
rules:
- from:
  - source:
      principals: ["example.org/ns/shop/sa/web", "*"]
      namespaces: [shop]
  to:
  - operation: {methods: [GET], paths: ["/a/*"], ports: ["80"]}
- {}`,
  );

  test('arbitrary text gives policies or findings, nothing else', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.string({ unit: fc.constantFrom(...'-?:,[]{}#&*!|>\'"%@` \n\tab1~<=\\.') }),
        ),
        (text) => {
          parseOrFindings(text);
        },
      ),
      { seed: 1, numRuns: 1500 },
    );
  });

  test('a mutated policy gives policies or findings, and what it gives parses again from its own source', () => {
    const token = fc.constantFrom(
      ...[
        '\n',
        '  ',
        ' ',
        '- ',
        '---\n',
        '...\n',
        '{',
        '}',
        '[',
        ']',
        ':',
        ': ',
        ',',
        '"',
        "'",
        '*',
        '&a ',
        '*a',
        '!t ',
        '|\n',
      ],
      ...[
        'null',
        '~',
        '1',
        'DENY',
        'rules:',
        'from:',
        '# ',
        '\t',
        '\r',
        '\u0000',
        '\u00e9',
        '{}',
        '[]',
        '%YAML 1.1\n',
        '<<: ',
        '? ',
      ],
    );
    const mutation = fc.record({
      at: fc.noBias(fc.nat(seed.length)),
      cut: fc.oneof(fc.constant(0), fc.nat(12)),
      put: fc.oneof(token, fc.constant('')),
    });
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 2 }), (mutations) => {
        const text = mutations.reduce((t, { at, cut, put }) => t.slice(0, at) + put + t.slice(at + cut), seed);
        for (const one of parseOrFindings(text)) {
          accepted += 1;
          expectRoundTrip(one);
        }
      }),
      { seed: 2, numRuns: 1500 },
    );
    expect(accepted).toBeGreaterThan(100);
  });

  test('a removed line never makes a policy allow more in silence', () => {
    // Every single line is either needed, or gone with its meaning: the parser must not accept a rule that lost its value list.
    const lines = seed.trimEnd().split('\n');
    for (const [index] of lines.entries()) {
      for (const one of parseOrFindings(lines.toSpliced(index, 1).join('\n'))) {
        for (const { from, to } of one.policy.rules) {
          for (const s of from) expect(s.principals.length + s.namespaces.length).toBeGreaterThan(0);
          for (const o of to) expect(o.methods.length + o.paths.length + o.ports.length).toBeGreaterThan(0);
        }
      }
    }
  });

  test.each([
    ['brackets', '['.repeat(1_000_000)],
    ['braces', '{a:'.repeat(300_000)],
    ['dashes', '- '.repeat(500_000)],
    ['question marks', '? '.repeat(500_000)],
    ['quotes', '"'.repeat(1_000_000)],
    ['stray braces', '}'.repeat(1_000_000)],
    ['commas', `[${','.repeat(1_000_000)}`],
    ['indentation', Array.from({ length: 1400 }, (_, i) => `${' '.repeat(i)}a:\n`).join('')],
    [
      'dashes and indentation',
      Array.from({ length: 125 }, (_, i) => `${' '.repeat(i * 124)}${'- '.repeat(62)}\n`).join(''),
    ],
    ['aliases', `a: &a [x]\n${Array.from({ length: 100 }, (_, i) => `b${i}: &b${i} [*a,*a]\n`).join('')}`],
    ['a long key', `${'x'.repeat(1_000_000)}: 1`],
  ])('a megabyte of %s is refused within a second or two', (_, text) => {
    expect(parseOrFindings(text)).toEqual([]);
  });
});
