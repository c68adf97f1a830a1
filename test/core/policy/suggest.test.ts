import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compile } from '../../../src/core/policy/compile.ts';
import { decide } from '../../../src/core/policy/decide.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import { normalizePath } from '../../../src/core/policy/path.ts';
import { Plan } from '../../../src/core/policy/plan.ts';
import type { RecordedCalls } from '../../../src/core/policy/recorded-call.ts';
import { requestOf } from '../../../src/core/policy/recorded-call.ts';
import { Suggester } from '../../../src/core/policy/suggest.ts';
import { suggestionText } from '../../../src/core/policy/suggestion-text.ts';
import { expectAppError } from '../../support/errors.ts';

const CALLED = 'spiffe://a/ns/shop/sa/orders';
const head = {
  ...{ namespace: 'shop', service: 'orders', name: 'suggested-orders' },
  ...{ since: 0, until: 1, templates: false, withDenied: false },
};

function call(change: Partial<RecordedCalls> = {}): RecordedCalls {
  return {
    ...{ source: 'spiffe://a/ns/shop/sa/web', destination: CALLED, protocol: 'http', method: 'GET', host: 'orders' },
    ...{ path: '/', port: 80, tokenSubject: '', decision: 'allow', reason: 'allow-rule', rule: 'x/y@1#0' },
    ...{ policyRevision: 1, calls: 1, example: 'id', last: 1 },
    ...change,
  };
}

function suggest(calls: readonly RecordedCalls[], templates = false) {
  const suggester = new Suggester({ templates });
  for (const each of calls) suggester.add(each);
  const suggestion = suggester.result();
  const text = suggestionText(suggestion, { ...head, templates });
  const [document] = parsePolicies(text);
  if (document === undefined) throw new Error('no policy');
  return { suggestion, text, policy: document.policy };
}

const sources = ['web', 'batch', 'admin'].map((name) => `spiffe://a/ns/shop/sa/${name}`);
const methods = ['GET', 'POST', 'G*T', 'get', "M'ÆTHOD", 'P+A'];
const texts = fc.oneof(
  fc.constantFrom(
    '/',
    '/a',
    '/a/b',
    '/a*',
    '/{*}',
    '/a/{x}',
    '/"q"',
    "/it's",
    '/a#b',
    '/a: b',
    '/%0A',
    '/a,b]',
    '/ü',
    '//',
    '/1',
    '/2',
  ),
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => `/${text}`),
);
/** As recorded: of HTTP, normalised. What a sidecar would not have recorded as a path stands for what a hostile one may. */
const paths = texts.map((text) => {
  const normal = normalizePath(text);
  return normal.ok ? normal.path : text;
});
// A port speaks HTTP or TCP, as its service says.
const calls = fc
  .record({
    source: fc.constantFrom(...sources, ''),
    method: fc.constantFrom(...methods),
    path: paths,
    port: fc.constantFrom(80, 81, 5432),
  })
  .map((each) => (each.port === 5432 ? call({ ...each, protocol: 'tcp', method: '', path: '' }) : call(each)));

it('a suggestion admits exactly what was seen, and a plan that puts it in place of all others flips nothing', () => {
  let admitted = 0;
  fc.assert(
    fc.property(
      fc.array(calls, { minLength: 1, maxLength: 25 }),
      fc.array(calls, { maxLength: 25 }),
      (seen, others) => {
        const { suggestion, policy, text } = suggest(seen);
        const compiled = compile([policy], 1);
        const key = ({ source, port, method, path }: RecordedCalls) => JSON.stringify([source, port, method, path]);
        const known = new Set(seen.map(key));
        const isIn = (each: RecordedCalls) => decide(compiled, requestOf(each, 0)).decision === 'allow';
        // What is left out is counted, and everything else gets in.
        const out = seen.filter((each) => !isIn(each));
        const { plaintext, caller, text: unsayable } = suggestion.left;
        expect(out.length, text).toBe(plaintext + caller + unsayable);
        expect(suggestion.calls).toBe(seen.length - out.length);
        // What was seen, put together otherwise, is what rules that are too wide would let in first.
        const mixed = seen.flatMap((a) => seen.map((b) => ({ ...a, method: b.method, protocol: b.protocol })));
        const swapped = mixed.filter((each) => (each.port === 5432) === (each.protocol === 'tcp'));
        for (const each of [...others, ...swapped, ...swapped.map((one) => ({ ...one, source: sources[0] ?? '' }))]) {
          if (!known.has(key(each)) && isIn(each)) expect(key(each), text).toBe('denied');
        }
        admitted += suggestion.calls;
        const open: Policy = {
          namespace: 'shop',
          name: 'open',
          revision: 1,
          selector: {},
          action: 'ALLOW',
          rules: [{ from: [], to: [] }],
        };
        const plan = new Plan({
          ...{ before: [open], after: [policy], rootNamespace: 'root', at: 0 },
          workloadOf: (id) =>
            id === CALLED ? { namespace: 'shop', service: 'orders', labels: {}, since: 0 } : undefined,
        });
        for (const each of seen) if (isIn(each)) plan.add(each);
        const { newlyDenied, newlyAllowed, unknown } = plan.result();
        expect([newlyDenied.calls, newlyAllowed.calls, unknown.calls]).toEqual([0, 0, 0]);
      },
    ),
    { seed: 5, numRuns: 300 },
  );
  expect(admitted).toBeGreaterThan(600);
});

it('what callers did alike stands together, with counts', () => {
  const [web = '', batch = ''] = sources;
  const { text } = suggest([
    ...[web, batch].flatMap((source) =>
      ['/a', '/b'].map((path) => call({ source, path, calls: 10, last: Date.UTC(2026, 0, 2) })),
    ),
    ...['/a', '/b'].map((path) => call({ source: web, path, method: 'HEAD' })),
    ...['/a', '/b'].map((path) => call({ source: batch, path, method: 'HEAD' })),
    call({ source: 'spiffe://a/ns/shop/sa/db', protocol: 'tcp', method: '', path: '', port: 5432 }),
  ]);
  expect(text.slice(text.indexOf('  rules:'))).toBe(`  rules:
  # 44 calls of 2 callers, the last at 2026-01-02T00:00:00.000Z
  - from:
    - source:
        principals:
        - "a/ns/shop/sa/batch"
        - "a/ns/shop/sa/web"
    to:
    - operation:
        methods: ["GET", "HEAD"]
        paths:
        - "/a" # 22
        - "/b" # 22
        ports: ["80"]
  # 1 call of 1 caller, the last at 1970-01-01T00:00:00.001Z
  - from:
    - source:
        principals:
        - "a/ns/shop/sa/db"
    to:
    - operation:
        # TCP, 1 call
        ports: ["5432"]
`);
});

it('with templates, paths that differ in ids are one, and the text says that this is wider', () => {
  const { text, policy } = suggest([call({ path: '/orders/1' }), call({ path: '/orders/2' })], true);
  expect(text).toContain('        - "/orders/{*}" # 2\n');
  expect(text).toContain('# Paths with {*} also admit what was not seen.\n');
  expect(decide(compile([policy], 1), requestOf(call({ path: '/orders/3' }), 0)).decision).toBe('allow');
});

it('what does not fit into one policy is refused, with what to do', async () => {
  const many = Array.from({ length: 50_001 }, (_, n) => call({ path: `/${n}` }));
  const error = await expectAppError(() => suggest(many), 'too-large', /Choose a shorter window, or let paths/);
  expect(error.message).toContain('50000 kinds of calls');
  expect(suggest(many, true).suggestion.rules).toHaveLength(1);
  const callers = Array.from({ length: 513 }, (_, n) =>
    call({ source: `spiffe://a/ns/shop/sa/c${n}`, path: `/p${n}` }),
  );
  await expectAppError(() => suggest(callers), 'too-large', /512 groups of callers/);
});
