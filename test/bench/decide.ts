import { compile } from '../../src/core/policy/compile.ts';
import { decide } from '../../src/core/policy/decide.ts';
import type { Policy, Request } from '../../src/core/policy/model.ts';
import type { Row } from './report.ts';
import { quantile, time } from './report.ts';

/**
 * One decision among N policies that all select the workload. In `distinct callers` each policy names another caller; in
 * `one caller` all name the same caller and differ by path, which is where an index by caller alone would not help.
 * A third of the requests match nothing.
 */
export function benchDecide(sha256PerSecond: number): Row[] {
  const reference = { name: 'one SHA-256 of 64 bytes', figure: 1e6 / sha256PerSecond };
  const shapes = {
    'distinct callers': distinctCallers,
    'one caller': oneCaller,
    'one header': oneHeader,
    'a tenth CUSTOM': tenthCustom,
  };
  const decisions = Object.entries(shapes).flatMap(([shape, make]) =>
    [10, 1_000, 10_000].map((count) => {
      const { policies, requests } = make(count);
      const compiled = compile(policies, 1);
      const median = medianMicroseconds((i) => {
        const request = requests[i % requests.length];
        if (request !== undefined) decide(compiled, request);
      });
      const target = count === 10_000 ? '≤ 2 µs' : '≤ 1 µs';
      return time(
        `decide(): ${count.toLocaleString('en-US')} policies, ${shape}, p50`,
        median,
        'µs',
        reference,
        target,
      );
    }),
  );
  return [...decisions, ...benchCompile()];
}

/** Ten thousand policies from nothing, and one of them changed. The second is what a change costs a workload. */
function benchCompile(): Row[] {
  const { policies } = distinctCallers(10_000);
  const compiled = compile(policies, 1);
  const reference = { name: 'JSON.stringify of the same policies', figure: best(3, () => JSON.stringify(policies)) };
  const changed = policies.with(5_000, { ...policy(5_000, 'example.org/ns/shop/sa/another', '/'), revision: 2 });
  return [
    time(
      'compile(): 10,000 policies',
      best(3, () => compile(policies, 1)),
      'ms',
      reference,
      '≤ 2,000 ms',
    ),
    time(
      'compile(): one of 10,000 policies changed',
      best(20, () => compile(changed, 2, compiled)),
      'ms',
      reference,
      '≤ 20 ms',
    ),
  ];
}

/** Milliseconds of the best of `n` runs: what the code takes, without what else the machine does. */
function best(n: number, run: () => unknown): number {
  const times = range(n).map(() => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  return Math.min(...times);
}

/** Median over samples of 100 calls each: one call is too short for the clock. */
function medianMicroseconds(run: (i: number) => void): number {
  const samples = new Float64Array(2000);
  for (let i = 0; i < 50_000; i++) run(i);
  for (let s = 0; s < samples.length; s++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < 100; i++) run(s * 100 + i);
    samples[s] = Number(process.hrtime.bigint() - start) / 100 / 1000;
  }
  return quantile(samples, 0.5);
}

function distinctCallers(count: number): { policies: Policy[]; requests: Request[] } {
  const policies = range(count).map((n) => policy(n, `example.org/ns/shop/sa/caller-${n}`, '/api/'));
  return {
    policies,
    requests: range(999).map((n) => request(`caller-${(n * 7919) % Math.ceil(count * 1.5)}`, '/api/x')),
  };
}

function oneCaller(count: number): { policies: Policy[]; requests: Request[] } {
  const policies = range(count).map((n) => policy(n, 'example.org/ns/shop/sa/web', `/tenant-${n}/`));
  return {
    policies,
    requests: range(999).map((n) => request('web', `/tenant-${(n * 7919) % Math.ceil(count * 1.5)}/x`)),
  };
}

/** All for one caller and path, each for another tenant in a header: conditions are found by index too. */
function oneHeader(count: number): { policies: Policy[]; requests: Request[] } {
  const policies = range(count).map((n) => {
    const one = policy(n, 'example.org/ns/shop/sa/web', '/api/');
    const when = [{ key: 'request.headers[x-tenant]', values: [`tenant-${n}`], notValues: [] }];
    return { ...one, rules: one.rules.map((rule) => ({ ...rule, when })) };
  });
  const requests = range(999).map((n) => {
    const tenant = `tenant-${(n * 7919) % Math.ceil(count * 1.5)}`;
    const { http = { method: 'GET', path: '/' }, ...rest } = request('web', '/api/x');
    return { ...rest, http: { ...http, headers: new Map([['x-tenant', [tenant]]]) } };
  });
  return { policies, requests };
}

/** As one caller; of every tenth path, one of three authorizers is to be asked. */
function tenthCustom(count: number): { policies: Policy[]; requests: Request[] } {
  const { policies, requests } = oneCaller(count);
  const custom = policies.map((each, n) =>
    n % 10 === 0 ? { ...each, name: `ask-${n}`, action: 'CUSTOM' as const, provider: `authorizer-${n % 3}` } : each,
  );
  return { policies: [...custom, { ...policy(count, 'example.org/ns/shop/sa/web', '/'), name: 'open' }], requests };
}

function policy(n: number, principal: string, pathPrefix: string): Policy {
  return {
    namespace: 'shop',
    name: `policy-${n}`,
    revision: 1,
    selector: {},
    action: 'ALLOW',
    rules: [
      {
        from: [{ principals: [{ kind: 'exact', value: principal }], namespaces: [] }],
        to: [
          {
            methods: [{ kind: 'exact', value: 'GET' }],
            paths: [{ kind: 'prefix', value: pathPrefix }],
            ports: [],
          },
        ],
      },
    ],
  };
}

function request(service: string, path: string): Request {
  return { source: `spiffe://example.org/ns/shop/sa/${service}`, port: 8080, http: { method: 'GET', path } };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}
