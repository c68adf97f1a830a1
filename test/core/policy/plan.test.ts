import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compile } from '../../../src/core/policy/compile.ts';
import { decide } from '../../../src/core/policy/decide.ts';
import { MAX_GROUPS, MAX_LISTED } from '../../../src/core/policy/flips.ts';
import type { Decision, Policy, Request, Rule } from '../../../src/core/policy/model.ts';
import { pathShape } from '../../../src/core/policy/path-shape.ts';
import type { PlanContext, PlanResult } from '../../../src/core/policy/plan.ts';
import { Plan } from '../../../src/core/policy/plan.ts';
import type { RecordedCalls } from '../../../src/core/policy/recorded-call.ts';
import { policySets, requests } from './arbitraries.ts';
import { m } from './support.ts';

const AT = 5;
const CALLED = 'spiffe://a/ns/r/sa/called';
/** Of the store, when the calls were recorded: what is newer was not there. */
const RECORDED_AT_REVISION = 5;

function contextOf(before: readonly Policy[], after: readonly Policy[]): PlanContext {
  const called = { namespace: 'r', service: 'called', labels: {}, since: 0 };
  return { before, after, rootNamespace: 's', at: AT, workloadOf: (id) => (id === CALLED ? called : undefined) };
}

function plan(
  before: readonly Policy[],
  after: readonly Policy[],
  calls: readonly RecordedCalls[],
  more: Partial<PlanContext> = {},
): PlanResult {
  const one = new Plan({ ...contextOf(before, after), ...more });
  for (const each of calls) one.add(each);
  return one.result();
}

function call(change: Partial<RecordedCalls> = {}): RecordedCalls {
  return {
    source: 'spiffe://a/ns/n/sa/s',
    destination: CALLED,
    protocol: 'http',
    method: 'GET',
    host: 'shop',
    path: '/a',
    port: 80,
    tokenSubject: '',
    decision: 'allow',
    reason: 'allow-rule',
    rule: 'r/p@1#0',
    policyRevision: RECORDED_AT_REVISION,
    calls: 1,
    example: 'id',
    last: 1,
    ...change,
  };
}

function policy(name: string, rules: readonly Rule[], change: Partial<Policy> = {}): Policy {
  return { namespace: 'r', name, revision: 1, selector: {}, action: 'ALLOW', rules, ...change };
}
const rule = (path: string, change: Partial<Rule> = {}): Rule => ({
  from: [],
  to: [{ methods: [], paths: [m(path)], ports: [] }],
  ...change,
});
const header = { key: 'request.headers[h]', values: ['1'], notValues: [] };
const kinds = ({ newlyDenied, newlyAllowed, unknown }: PlanResult) => [
  newlyDenied.calls,
  newlyAllowed.calls,
  unknown.calls,
];

/** What the index would hold of a whole request that was decided so. */
function recorded(request: Request, decision: Decision, refused: ReadonlySet<string>): RecordedCalls {
  const refusing = decision.custom?.find(({ provider }) => refused.has(provider));
  return call({
    source: request.source,
    protocol: request.http === undefined ? 'tcp' : 'http',
    method: request.http?.method ?? '',
    host: request.http?.host ?? '',
    path: request.http?.path ?? '',
    port: request.port,
    tokenSubject: String(request.http?.token?.claims.sub ?? ''),
    decision: refusing === undefined ? decision.decision : 'deny',
    reason: refusing === undefined ? decision.reason : 'custom-rule',
    rule: refusing?.rule ?? decision.rule,
  });
}

/** What was in force at the time: of the policies that are now, those that had not changed since; and what was replaced. */
const histories = fc.tuple(policySets, policySets, policySets).chain(([now, gone, candidate]) => {
  const before = now.map((each, i) => ({ ...each, revision: [1, 2, 7][i % 3] ?? 1 }));
  const unchanged = before.filter((each) => each.revision <= RECORDED_AT_REVISION);
  const names = new Set(unchanged.map(({ namespace, name }) => `${namespace}/${name}`));
  const replaced = gone
    .filter(({ namespace, name }) => !names.has(`${namespace}/${name}`))
    .map((each) => ({ ...each, revision: 4 }));
  return fc.subarray(before).map((kept) => {
    const staying = new Set(kept.map(({ namespace, name }) => `${namespace}/${name}`));
    const coming = candidate.filter(({ namespace, name }) => !staying.has(`${namespace}/${name}`)).slice(0, 3);
    const after = [...kept, ...coming.map((each) => ({ ...each, revision: 0 }))];
    return { earlier: [...unchanged, ...replaced], before, after };
  });
});

const whole = fc
  .tuple(requests, fc.constantFrom(1, 3, 5, 7), fc.subarray(['x', 'y']))
  .map(([request, time, refused]) => ({ request: withHost({ ...request, time }), refused: new Set(refused) }))
  // A caller that the sidecar would not have let in, whatever the policy.
  .filter(({ request }) => (request.plaintext === true) === (request.source === ''));

/** Sidecars always say a host. */
function withHost(request: Request): Request {
  return request.http === undefined
    ? request
    : { ...request, http: { ...request.http, host: request.http.host ?? '' } };
}

/** Whether what a plan says of a call agrees with how the whole call was, and would be, decided. */
function isTrue(said: string, was: Decision, will: Decision, { reason }: RecordedCalls): boolean {
  const isRefused = reason === 'custom-rule';
  const asked = was.custom?.map(({ provider }) => provider) ?? [];
  switch (said) {
    case 'denied':
      return was.decision === 'allow' && will.decision === 'deny';
    case 'allowed':
      return will.decision === 'allow' && will.custom === undefined && (was.decision === 'deny' || isRefused);
    case 'same':
      if (was.decision === 'allow' && will.decision === 'allow')
        return will.custom?.every(({ provider }) => asked.includes(provider)) ?? true;
      return was.decision === will.decision || (isRefused && will.decision === 'deny');
    default:
      return true;
  }
}

describe('a plan', () => {
  it('never says what is not so: where it is certain, deciding the whole call says the same', () => {
    const counts = { denied: 0, allowed: 0, unknown: 0, same: 0 };
    fc.assert(
      fc.property(histories, fc.array(whole, { minLength: 30, maxLength: 30 }), ({ earlier, before, after }, calls) => {
        const [compiledEarlier, compiledBefore, compiledAfter] = [earlier, before, after].map((set) => compile(set, 1));
        if (!compiledEarlier || !compiledBefore || !compiledAfter) throw new Error('not compiled');
        const one = new Plan(contextOf(before, after));
        let last = [0, 0, 0];
        for (const { request, refused } of calls) {
          const seen = recorded(request, decide(compiledEarlier, request), refused);
          const again = { ...request, time: AT };
          const [was, will] = [decide(compiledBefore, again), decide(compiledAfter, again)];
          one.add(seen);
          const next = kinds(one.result());
          const [denied, allowed, unknown] = next.map((count, i) => count > (last[i] ?? 0));
          last = next;
          const said = denied ? 'denied' : allowed ? 'allowed' : unknown ? 'unknown' : 'same';
          counts[said] += 1;
          if (!isTrue(said, was, will, seen)) expect({ said, seen, was, will, before, after }).toBe('true');
        }
      }),
      { seed: 20_260_102, numRuns: 200 },
    );
    // Were nearly all of one sort, the comparison would show little.
    for (const count of Object.values(counts)) expect(count, JSON.stringify(counts)).toBeGreaterThan(100);
  });

  it('is certain of policies that ask only for what is recorded', () => {
    const isRecorded = (each: Policy) => !/request\.|ip"|sni/.test(JSON.stringify(each)) && each.action !== 'CUSTOM';
    fc.assert(
      fc.property(histories, fc.array(whole, { minLength: 20, maxLength: 20 }), (sets, calls) => {
        const [before, after] = [sets.before.filter(isRecorded), sets.after.filter(isRecorded)];
        for (const { request } of calls) {
          const again = { ...request, time: AT };
          const [was, will] = [decide(compile(before, 1), again), decide(compile(after, 1), again)];
          const seen = recorded(request, was, new Set());
          const expected = [
            was.decision === 'allow' && will.decision === 'deny',
            was.decision === 'deny' && will.decision === 'allow',
          ];
          expect(kinds(plan(before, after, [{ ...seen, policyRevision: 0, rule: '' }]))).toEqual([
            ...expected.map(Number),
            0,
          ]);
        }
      }),
      { seed: 4, numRuns: 100 },
    );
  });

  it('says what a verdict depends on that was not recorded', () => {
    const now = [policy('p', [rule('/a')])];
    const candidate = [policy('p', [rule('/a', { when: [header] })], { revision: 0 })];
    const { unknown, newlyDenied } = plan(now, candidate, [call()]);
    expect(newlyDenied.calls).toBe(0);
    expect(unknown.groups).toMatchObject([
      {
        before: { decision: 'allow', rule: 'r/p@1#0' },
        after: { decision: 'unknown', rule: 'r/p@0#0' },
        because: ['request.headers[h]'],
      },
    ]);
  });

  it('takes the rule that decided to have matched, as long as it is there unchanged', () => {
    const asking = policy('p', [rule('/a', { when: [header] })]);
    const other = policy('other', [rule('/b')], { revision: 0 });
    const denies = policy('no', [rule('/a', { when: [header] })], { revision: 0, action: 'DENY' });
    const was = [asking, policy('wide', [rule('/a')])];
    // Without the wide one it is the asking one that lets it in, and it did so.
    expect(kinds(plan(was, [asking, other], [call()]))).toEqual([0, 0, 0]);
    expect(kinds(plan(was, [{ ...asking, revision: 0 }, other], [call()]))).toEqual([0, 0, 1]);
    // What closes may match all the same.
    expect(kinds(plan(was, [...was, denies], [call()]))).toEqual([0, 0, 1]);
  });

  it('takes a DENY that was there not to have matched what was let in, unless it was out of its validity', () => {
    const no = policy('no', [rule('/a', { when: [header] })], { action: 'DENY' });
    const was = [no, policy('p', [rule('/a')])];
    const will = [no, policy('q', [rule('/a')], { revision: 0 })];
    expect(kinds(plan(was, will, [call()]))).toEqual([0, 0, 0]);
    const later = { ...no, validity: { notBefore: 4 } };
    expect(kinds(plan([later, ...was.slice(1)], [later, ...will.slice(1)], [call()]))).toEqual([0, 0, 1]);
    // It came after the call, or the call says a revision that was never in force for everybody.
    expect(kinds(plan(was, will, [call({ policyRevision: 0 })]))).toEqual([0, 0, 1]);
    // The workload has got its labels after the call.
    const since = { workloadOf: () => ({ namespace: 'r', labels: {}, since: 6 }) };
    expect(kinds(plan(was, will, [call()], since))).toEqual([0, 0, 1]);
  });

  it('does not know what a text says of which only the beginning was recorded', () => {
    const now = [policy('p', [rule('/a*')])];
    const candidate = [policy('p', [rule('/a/b*')], { revision: 0 })];
    const cut = call({ path: '/a…', cut: { host: false, path: true } });
    expect(plan(now, candidate, [cut]).unknown.groups[0]?.because).toEqual(['path']);
  });

  it('does not know claims of a token, nor whether there was one where tokens without a subject are accepted', () => {
    const claim = { key: 'request.auth.claims[g]', values: ['u'], notValues: [] };
    const candidate = [policy('p', [rule('/a', { when: [claim] })], { revision: 0 })];
    const now = [policy('p', [rule('/a')])];
    expect(kinds(plan(now, candidate, [call()]))).toEqual([1, 0, 0]);
    expect(kinds(plan(now, candidate, [call({ tokenSubject: 'u' })]))).toEqual([0, 0, 1]);
    expect(kinds(plan(now, candidate, [call()], { tokensWithoutSubject: true }))).toEqual([0, 0, 1]);
  });

  it('does not know what an authorizer says that was not asked', () => {
    const now = [policy('p', [rule('/a')])];
    const ask = policy('ask', [rule('/a')], { action: 'CUSTOM', provider: 'opa', revision: 0 });
    expect(plan(now, [...now, ask], [call()]).unknown.groups[0]?.because).toEqual(['the authorizer opa']);
    // One that refused and is no longer asked.
    const refused = call({ decision: 'deny', reason: 'custom-rule', rule: 'r/ask@1#0' });
    expect(kinds(plan([...now, { ...ask, revision: 1 }], now, [refused]))).toEqual([0, 1, 0]);
  });

  it('leaves out what was refused for what is none of the policies, and counts it by reason', () => {
    const seen = [call({ reason: 'rate-limited', decision: 'deny', calls: 3 }), call({ reason: 'malformed-request' })];
    const { calls } = plan([policy('p', [rule('/a')])], [], [...seen, call()]);
    expect(calls).toEqual({
      recorded: 5,
      replayed: 1,
      untouched: 0,
      notReplayed: { 'rate-limited': 3, 'malformed-request': 1 },
    });
  });

  it('asks the policies of the caller too, where there are any about the calls that go out', () => {
    const now = [policy('p', [rule('/a')])];
    const workloadOf = (id: string) => ({ namespace: id === CALLED ? 'r' : 'n', labels: {}, since: 0 });
    const egress = (target: string) =>
      policy('out', [{ from: [{ principals: [m(target)], namespaces: [] }], to: [] }], {
        ...{ namespace: 'n', direction: 'egress', revision: 0 },
      });
    expect(kinds(plan(now, [...now, egress('a/ns/r/sa/called')], [call()], { workloadOf }))).toEqual([0, 0, 0]);
    const closed = plan(now, [...now, egress('a/ns/r/sa/other')], [call()], { workloadOf });
    expect(kinds(closed)).toEqual([1, 0, 0]);
    expect(closed.unused).toEqual(['n/out']);
  });

  it('names the policies of the candidate that no call needed; one that only marks is needed where it marks', () => {
    const after = [
      policy('p', [rule('/a')]),
      policy('shadow', [rule('/a')], { shadow: true, action: 'DENY' }),
      policy('audit', [rule('/*')], { action: 'AUDIT' }),
      policy('idle', [rule('/idle')]),
      policy('elsewhere', [rule('/a')], { namespace: 'other' }),
    ];
    expect(plan(after, after, [call()]).unused).toEqual(['other/elsewhere', 'r/idle']);
  });

  it('counts calls whose paths differ in ids as one group, and keeps a few ids of calls', () => {
    const now = [policy('p', [rule('/*')])];
    const calls = [1, 2, 3, 4].map((n) => call({ path: `/items/${n}`, calls: n, example: `id-${n}`, last: n }));
    const { newlyDenied } = plan(now, [], [...calls, call({ path: '/other', example: 'one' })]);
    expect(
      newlyDenied.groups.map(({ operation, calls: n, last, examples }) => [operation.path, n, last, examples]),
    ).toEqual([
      ['/items/{*}', 10, 4, ['id-1', 'id-2', 'id-3']],
      ['/other', 1, 1, ['one']],
    ]);
    expect(plan(now, [], calls.slice(0, 1)).newlyDenied.groups[0]?.operation.path).toBe('/items/1');
  });

  it('keeps so many groups and no more, and counts the others', () => {
    const now = [policy('p', [rule('/*')])];
    const letters = (n: number): string =>
      String.fromCharCode(97 + (n % 26)) + (n < 26 ? '' : letters(Math.floor(n / 26)));
    const calls = Array.from({ length: MAX_GROUPS + 10 }, (_, n) => call({ path: `/x/${letters(n)}` }));
    const { newlyDenied } = plan(now, [], calls);
    expect(newlyDenied.calls).toBe(calls.length);
    expect(newlyDenied.groups).toHaveLength(MAX_LISTED);
    expect(newlyDenied.unlisted.calls).toBe(calls.length - MAX_LISTED);
  });
});

it('a segment that looks like an id stands for any other', () => {
  const shapes = [
    '/orders/17',
    '/o/0193b2c4-aaaa-7bbb-8ccc-000000000001/x',
    '/v1/list',
    '/a.b/Get',
    '/t/eyJhbGciOiJFUzI1NiJ9abc',
  ];
  expect(shapes.map(pathShape)).toEqual(['/orders/{*}', '/o/{*}/x', '/v1/list', '/a.b/Get', '/t/{*}']);
});
