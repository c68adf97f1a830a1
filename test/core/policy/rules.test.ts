import { describe, expect, it, test } from 'vitest';
import { compile } from '../../../src/core/policy/compile.ts';
import { decide, decideEgress } from '../../../src/core/policy/decide.ts';
import type { Decision, HttpRequest, Policy, Request } from '../../../src/core/policy/model.ts';
import { parsePolicies, readPolicies } from '../../../src/core/policy/parse.ts';
import { normalizePath } from '../../../src/core/policy/path.ts';
import { selects } from '../../../src/core/policy/selects.ts';
import { expandAliases } from '../../../src/core/policy/trust-domain-aliases.ts';
import * as support from './support.ts';
import { parseOne, web } from './support.ts';

/**
 * The numbered rules of AuthorizationPolicy, through the parser: what Istio's operators write, and what then happens. Where
 * Writ differs, the title says so; there are two differences: default deny, and errors in place of surprises.
 */

/** A spec of one line is a mapping, too. */
function document(spec: string, o: { name?: string } = {}): string {
  return support.document(`${spec.trim()}\n# That is all.`, o);
}

function decided(
  spec: string,
  request: Partial<Omit<Request, 'http'>> & { readonly http?: Partial<HttpRequest> } = {},
): Decision {
  const { http, ...rest } = request;
  return decide(compile([parseOne(document(`\n${spec}`))], 1), {
    source: web,
    port: 8080,
    time: 1_000,
    ...rest,
    http: { method: 'GET', path: '/', ...http },
  });
}

/** Whether a rule with these parts allows the request. */
function allows(rule: string, request: Parameters<typeof decided>[1] = {}): boolean {
  return decided(`rules: [${rule}]`, request).decision === 'allow';
}

function denies(rule: string, request: Parameters<typeof decided>[1] = {}): boolean {
  return decided(`action: DENY\nrules: [${rule}]`, request).reason === 'deny-rule';
}

const source = (fields: string) => `{from: [{source: {${fields}}}]}`;
const operation = (fields: string) => `{to: [{operation: {${fields}}}]}`;
const when = (...conditions: string[]) => `{when: [${conditions.map((c) => `{${c}}`).join(', ')}]}`;
const header = (name: string, ...values: string[]) => ({ http: { headers: new Map([[name, values]]) } });
const token = (claims: Record<string, unknown>, trustDomain = 'example.org') => ({
  http: { token: { trustDomain, claims } },
});
const from = (id: string) => ({ source: `spiffe://${id}` });

function codes(spec: string, o: { metadata?: string } = {}): readonly string[] {
  const text = document(`\n${spec}`).replace('  name: p', `  name: p${o.metadata ?? ''}`);
  const { errors, warnings } = readPolicies(text);
  return [...errors, ...warnings].map((finding) => finding.code);
}

describe('shape and matching', () => {
  it('rule 1: selector or at most 16 targets, at most 512 rules, one of four actions, a provider for CUSTOM', () => {
    expect(codes(`selector: {matchLabels: {app: web}}\naction: DENY\nrules: [${'{},'.repeat(512)}]`)).toEqual([]);
    expect(codes(`rules: [${'{},'.repeat(513)}]\naction: ALLOW`)).toEqual(['too-many-items']);
    const targets = (count: number) => `targetRefs: [${'{kind: Service, name: a},'.repeat(count)}]\nrules: []`;
    expect(codes(targets(16))).toEqual([]);
    expect(codes(targets(17))).toEqual(['too-many-items']);
    expect(codes('action: CUSTOM\nprovider: {name: a}\nrules: [{}]')).toEqual([]);
    expect(parseOne(document('{}')).action).toBe('ALLOW');
  });

  it('rule 2: any from and any to, and all of when', () => {
    const rule =
      '{from: [{source: {namespaces: [a]}}, {source: {namespaces: [shop]}}], when: [{key: destination.port, values: ["8080"]}, {key: source.trustDomain, values: [example.org]}]}';
    expect(allows(rule)).toBe(true);
    expect(allows(rule, { port: 8081 })).toBe(false);
    expect(allows(rule, from('other.org/ns/shop/sa/web'))).toBe(false);
    expect(allows(rule, from('example.org/ns/b/sa/web'))).toBe(false);
  });

  it('rule 3: fields of a source are ANDed, values of a field ORed, each with its not twin', () => {
    const rule = source('trustDomains: [example.org, b.org], notTrustDomains: [b.org], ipBlocks: [10.0.0.0/8]');
    const near = { connection: { peerIp: '10.1.1.1' } };
    expect(allows(rule, near)).toBe(true);
    expect(allows(rule, { ...near, ...from('b.org/ns/shop/sa/web') })).toBe(false);
    expect(allows(rule, { connection: { peerIp: '11.1.1.1' } })).toBe(false);
  });

  it('rule 4: fields of an operation likewise, and conditions have values, notValues or both', () => {
    const rule = operation('hosts: [shop], notMethods: [DELETE], ports: ["8080"], notPaths: [/admin*]');
    expect(allows(rule, { http: { host: 'shop' } })).toBe(true);
    expect(allows(rule, { http: { host: 'shop', method: 'DELETE' } })).toBe(false);
    expect(allows(rule, { http: { host: 'shop', path: '/admin/x' } })).toBe(false);
    expect(allows(rule, { http: { host: 'other' } })).toBe(false);
    const both = when('key: "request.headers[a]", values: ["x*"], notValues: ["xy"]');
    expect(allows(both, header('a', 'xz'))).toBe(true);
    expect(allows(both, header('a', 'xy'))).toBe(false);
  });

  it('rule 5: a not twin is the field and none of its values', () => {
    const rule = source('principals: ["example.org/*"], notPrincipals: [example.org/ns/shop/sa/web, "*/sa/db"]');
    expect(allows(rule)).toBe(false);
    expect(allows(rule, from('example.org/ns/shop/sa/db'))).toBe(false);
    expect(allows(rule, from('example.org/ns/shop/sa/api'))).toBe(true);
    expect(allows(rule, from('other.org/ns/shop/sa/api'))).toBe(false);
    const ports = operation('notPorts: ["9090"]');
    expect(allows(ports)).toBe(true);
    expect(allows(ports, { port: 9090 })).toBe(false);
  });

  it('rule 6: what is absent matches no value, and so satisfies every not', () => {
    expect(allows(when('key: "request.headers[a]", values: ["*"]'))).toBe(false);
    expect(allows(when('key: "request.headers[a]", notValues: ["*"]'))).toBe(true);
    expect(allows(source('notRequestPrincipals: ["iss/*"]'))).toBe(true);
    expect(denies(source('notRequestPrincipals: ["*"]'))).toBe(true);
    expect(denies(source('notRequestPrincipals: ["*"]'), token({ iss: 'i', sub: 's' }))).toBe(false);
    expect(allows(source('notNamespaces: [a]'), from('example.org/other'))).toBe(true);
  });

  it('rule 6: who comes in plain text is nobody: matched by what asks for no caller, and by every not twin', () => {
    const nobody = { source: '', plaintext: true as const };
    for (const asks of [
      ...['principals: ["*"]', 'namespaces: ["*"]', 'trustDomains: ["*"]', 'serviceAccounts: [web]'],
      ...['principals: ["*web"], notPrincipals: ["a*"]', 'namespaces: ["*"], notNamespaces: [a]'],
    ]) {
      expect(allows(source(asks), nobody), asks).toBe(false);
      expect(denies(source(asks), nobody), asks).toBe(false);
    }
    for (const excludes of [
      ...['notPrincipals: ["*"]', 'notNamespaces: ["*"]', 'notTrustDomains: ["*"]', 'notServiceAccounts: [web]'],
    ]) {
      expect(allows(source(excludes), nobody), excludes).toBe(true);
      expect(denies(source(excludes), nobody), excludes).toBe(true);
    }
    expect(allows('{}', nobody)).toBe(true);
    expect(allows(operation('paths: [/]'), nobody)).toBe(true);
    expect(allows(operation('paths: [/a]'), nobody)).toBe(false);
  });

  it('rule 6: who has no identity of a workload and does not come in plain text is denied whatever the rules say', () => {
    for (const caller of ['', 'spiffe://example.org', 'spiffe://', 'https://example.org/a']) {
      expect(allows('{}', { source: caller }), caller).toBe(false);
      expect(allows(source('notPrincipals: [a.org/ns/a/sa/a]'), { source: caller }), caller).toBe(false);
    }
    // Who came in plain text has no identity that was verified.
    expect(allows('{}', { source: web, plaintext: true })).toBe(false);
  });

  it('rule 7: exact, prefix, suffix and presence, in every string field', () => {
    const tries = (value: string, text: string) =>
      allows(when(`key: "request.auth.claims[a]", values: ["${value}"]`), token({ a: text, sub: 's' }));
    expect(tries('abc', 'abc')).toBe(true);
    expect(tries('abc', 'abcd')).toBe(false);
    expect(['abc', 'abcd', 'ab'].map((text) => tries('abc*', text))).toEqual([true, true, false]);
    expect(['abc', 'xabc', 'bc'].map((text) => tries('*abc', text))).toEqual([true, true, false]);
    expect(['a', ''].map((text) => tries('*', text))).toEqual([true, false]);
  });

  it('rule 8, with our difference: a * in the middle or a second one is an error, not a literal', () => {
    for (const rule of [
      source('notPrincipals: ["a/*/b"]'),
      source('trustDomains: ["*a*"]'),
      operation('hosts: ["a.*.b"]'),
      operation('notPaths: ["/a/*/b"]'),
      operation('notMethods: ["G*T"]'),
      when('key: "request.headers[a]", values: ["*x*"]'),
      when('key: connection.sni, values: ["a.*.b"]'),
    ]) {
      expect(codes(`rules: [${rule}]\naction: DENY`), rule).toEqual(['wildcard-in-middle']);
    }
  });

  it('rule 9: case matters, but not in hosts and in names of headers', () => {
    expect(allows(operation('hosts: ["Shop.Example.org", "A*"]'), { http: { host: 'sHOP.example.ORG' } })).toBe(true);
    expect(allows(operation('hosts: ["A*"]'), { http: { host: 'abc' } })).toBe(true);
    expect(allows(when('key: "request.headers[X-Tenant]", values: [a]'), header('x-tenant', 'a'))).toBe(true);
    expect(allows(when('key: "request.headers[X-Tenant]", values: [a]'), header('x-tenant', 'A'))).toBe(false);
    expect(allows(operation('notMethods: [GET]'), { http: { method: 'GET' } })).toBe(false);
  });

  it('rule 10: principals are compared without spiffe://', () => {
    expect(allows(when('key: source.principal, values: ["*/sa/web"]'))).toBe(true);
    expect(allows(when('key: source.principal, values: ["example.org/ns/shop/*"]'))).toBe(true);
    expect(allows(when('key: source.principal, values: ["*"]'))).toBe(true);
    expect(codes(`action: DENY\nrules: [${source('notPrincipals: ["spiffe://a/b"]')}]`)).toEqual(['spiffe-scheme']);
  });

  it('rule 11: namespaces; strictly in their one place, and a * in the middle is an error', () => {
    expect(allows(when('key: source.namespace, values: ["sh*"]'))).toBe(true);
    expect(allows(source('notNamespaces: [shop]'))).toBe(false);
    expect(allows(when('key: source.namespace, values: [shop]'), from('example.org/x/ns/shop/sa/web'))).toBe(false);
    expect(codes(`rules: [${source('namespaces: ["a*b"]')}]`)).toEqual(['wildcard-in-middle']);
  });

  it('rule 12: service accounts, of the own namespace or with one, in any trust domain', () => {
    expect(allows(source('serviceAccounts: [web]'))).toBe(true);
    expect(allows(source('serviceAccounts: [shop/web]'), from('other.org/ns/shop/sa/web'))).toBe(true);
    expect(allows(source('serviceAccounts: [web]'), from('example.org/ns/other/sa/web'))).toBe(false);
    expect(allows(source('notServiceAccounts: [web]'))).toBe(false);
    expect(allows(when('key: source.serviceAccount, values: [shop/web]'))).toBe(true);
    expect(allows(source('serviceAccounts: [web]'), from('example.org/ns/shop/sa/web2'))).toBe(false);
    expect(codes(`rules: [${source('serviceAccounts: [a], principals: [a/b]')}]`)).toEqual(['conflicting-fields']);
    expect(codes(`rules: [${source('serviceAccounts: ["a*"]')}]`)).toEqual(['invalid-service-account']);
  });

  it('rule 13: trust domains, whole or with a * at one end', () => {
    const tries = (value: string) => allows(source(`trustDomains: ["${value}"]`));
    expect(['example.org', '*', 'example.*', '*.org', 'example', 'xample.org', 'other.org'].map(tries)).toEqual([
      ...[true, true, true, true],
      ...[false, false, false],
    ]);
  });

  it.each([
    ['*', 'https://i.x', 'alice', true],
    ['https://i.x/alice', 'https://i.x', 'alice', true],
    ['https://i.x/alice', 'https://i.x', 'bob', false],
    ['https://i.x/alice', 'https://i', 'x/alice', false],
    ['*/alice', 'any', 'alice', true],
    ['*.x/alice', 'https://i.x', 'alice', true],
    ['*.y/alice', 'https://i.x', 'alice', false],
    ['https://i.x/*', 'https://i.x', 'bob', true],
    ['https://i.x/*', 'https://i.xy', 'bob', false],
    ['https://i.x/al*', 'https://i.x', 'alice', true],
    ['https://i.x/al*', 'https://i.x', 'bob', false],
    ['https*', 'https://i.x', 'bob', true],
    ['*ice', 'https://i.x', 'alice', true],
    ['*ice', 'ice', 'bob', false],
  ])('rule 14: the request principal %s and a token of %s for %s', (value, iss, sub, expected) => {
    expect(allows(source(`requestPrincipals: ["${value}"]`), token({ iss, sub }))).toBe(expected);
    expect(allows(when(`key: request.auth.principal, values: ["${value}"]`), token({ iss, sub }))).toBe(expected);
  });

  it('rule 14: a JWT-SVID without iss was issued by its trust domain, and its subject is parted before spiffe://', () => {
    const svid = token({ sub: web });
    expect(allows(source(`requestPrincipals: ["example.org/${web}"]`), svid)).toBe(true);
    expect(allows(source('requestPrincipals: ["example.org/spiffe://example.org/ns/shop/*"]'), svid)).toBe(true);
    expect(allows(source(`requestPrincipals: ["*/${web}"]`), svid)).toBe(true);
    expect(allows(source('requestPrincipals: ["example.org/*"]'), svid)).toBe(true);
    expect(allows(source(`requestPrincipals: ["example.org/${web}"]`), token({ sub: web }, 'b.org'))).toBe(false);
    expect(allows(source(`requestPrincipals: ["example.org/${web}"]`), token({ sub: web, iss: 'https://i' }))).toBe(
      false,
    );
    expect(allows(source('requestPrincipals: ["*"]'), token({ sub: 7 }))).toBe(false);
    expect(allows(source('requestPrincipals: ["*"]'))).toBe(false);
  });

  it('rule 15: audiences, presenter and claims; lists by any element, scope split, only strings', () => {
    const held = token({
      sub: 's',
      aud: ['a', 'b'],
      azp: 'p',
      scope: 'read write',
      realm: { roles: ['admin', 3], on: true },
      constructed: 'x',
    });
    expect(allows(when('key: request.auth.audiences, values: [b]'), held)).toBe(true);
    expect(allows(when('key: request.auth.audiences, notValues: [b]'), held)).toBe(false);
    expect(allows(when('key: request.auth.presenter, values: [p]'), held)).toBe(true);
    expect(allows(when('key: "request.auth.claims[scope]", values: [write]'), held)).toBe(true);
    expect(allows(when('key: "request.auth.claims[realm][roles]", values: [admin]'), held)).toBe(true);
    expect(allows(when('key: "request.auth.claims[realm][roles]", values: ["3"]'), held)).toBe(false);
    expect(allows(when('key: "request.auth.claims[realm][on]", values: ["*"]'), held)).toBe(false);
    expect(allows(when('key: "request.auth.claims[constructor]", values: ["*"]'), held)).toBe(false);
    expect(allows(when('key: "request.auth.claims[realm]", values: ["*"]'), held)).toBe(false);
  });

  it('rule 16: headers by the four forms; * is presence; :method and :authority are known', () => {
    expect(allows(when('key: "request.headers[a]", values: ["*"]'), header('a', ''))).toBe(true);
    expect(allows(when('key: "request.headers[a]", values: ["x*"]'), header('a', 'xy'))).toBe(true);
    expect(allows(when('key: "request.headers[a]", values: ["x,y"]'), header('a', 'x', 'y'))).toBe(false);
    expect(denies(when('key: "request.headers[a]", values: ["x,y"]'), header('a', 'x', 'y'))).toBe(true);
    expect(allows(when('key: "request.headers[:method]", values: [GET]'))).toBe(true);
    expect(allows(when('key: "request.headers[:authority]", values: [shop]'), { http: { host: 'shop' } })).toBe(true);
    expect(codes(`rules: [${when('key: "request.headers[:path]", values: [/]')}]`)).toEqual(['unknown-condition-key']);
  });

  it('rule 17: a host is the authority with its port, so a name alone does not match it', () => {
    expect(allows(operation('hosts: [shop]'), { http: { host: 'shop:8080' } })).toBe(false);
    expect(allows(operation('hosts: ["shop:*"]'), { http: { host: 'shop:8080' } })).toBe(true);
    expect(allows(operation('hosts: ["*.example.org"]'), { http: { host: 'a.example.org' } })).toBe(true);
    expect(codes(`action: DENY\nrules: [${operation('hosts: [shop]')}]`)).toEqual(['host-without-port']);
    expect(codes(`action: DENY\nrules: [${operation('hosts: [shop, "shop:*"]')}]`)).toEqual([]);
    expect(codes(`rules: [${operation('notHosts: [shop]')}]`)).toEqual(['host-without-port']);
    expect(codes(`rules: [${operation('hosts: [shop]')}]`)).toEqual([]);
  });

  it('rule 18: paths without query and fragment, ports as numbers', () => {
    const normal = normalizePath('/a?b#c');
    expect(normal).toMatchObject({ ok: true, path: '/a' });
    expect(allows(when('key: destination.port, values: ["8080"]'))).toBe(true);
    expect(allows(when('key: destination.port, notValues: ["8080"]'))).toBe(false);
    expect(codes(`rules: [${when('key: destination.port, values: ["80*"]')}]`)).toEqual(['invalid-port']);
  });

  it('rule 19: remote.ip is the client that trusted proxies name, and source.ip stays the peer', () => {
    const behind = { connection: { peerIp: '10.1.0.1', remoteIp: '198.51.100.7' } };
    expect(allows(source('remoteIpBlocks: [198.51.100.0/24]'), behind)).toBe(true);
    expect(allows(source('notRemoteIpBlocks: [198.51.100.0/24]'), behind)).toBe(false);
    expect(allows(source('remoteIpBlocks: [10.1.0.0/16]'), behind)).toBe(false);
    expect(allows(source('ipBlocks: [10.1.0.0/16]'), behind)).toBe(true);
    expect(allows(source('ipBlocks: [198.51.100.0/24]'), behind)).toBe(false);
    expect(allows(when('key: remote.ip, values: [198.51.100.7]'), behind)).toBe(true);
  });

  it('rule 19: addresses and blocks of both kinds; remote.ip is the peer where no proxy is trusted', () => {
    const at = (peerIp: string) => ({ connection: { peerIp } });
    const rule = source('ipBlocks: [10.1.0.0/16, 192.168.7.7, "2001:db8::/32"]');
    expect(['10.1.255.255', '10.2.0.0', '192.168.7.7', '192.168.7.8'].map((ip) => allows(rule, at(ip)))).toEqual([
      ...[true, false],
      ...[true, false],
    ]);
    expect(allows(rule, at('2001:db8:ffff::1'))).toBe(true);
    expect(allows(rule, at('2001:db9::1'))).toBe(false);
    // A dual-stack socket says so of an IPv4 caller.
    expect(allows(rule, at('::ffff:10.1.0.1'))).toBe(true);
    expect(allows(source('remoteIpBlocks: [10.1.0.0/16]'), at('10.1.0.1'))).toBe(true);
    expect(allows(source('notRemoteIpBlocks: [10.1.0.0/16]'), at('10.1.0.1'))).toBe(false);
    expect(
      allows(source('remoteIpBlocks: ["0.0.0.0/0"]'), {
        ...at('10.1.0.1'),
        http: { headers: new Map([['x-forwarded-for', ['1.2.3.4']]]) },
      }),
    ).toBe(true);
    expect(allows(source('ipBlocks: ["0.0.0.0/0"]'), at('::1'))).toBe(false);
    expect(allows(source('ipBlocks: ["0.0.0.0/0"]'))).toBe(false);
  });

  it('rule 20: every key of when that a sidecar can know; filter state is refused', () => {
    const connection = { peerIp: '10.0.0.1', ownIp: '10.0.0.2', sni: 'shop.example.org' };
    for (const condition of [
      'key: source.ip, values: [10.0.0.1]',
      'key: remote.ip, values: [10.0.0.0/24]',
      'key: destination.ip, values: [10.0.0.2]',
      'key: connection.sni, values: ["*.example.org"]',
      'key: source.trustDomain, values: [example.org]',
    ]) {
      expect(allows(when(condition), { connection }), condition).toBe(true);
      expect(allows(when(condition.replace('values', 'notValues')), { connection }), condition).toBe(false);
    }
    const filter = when('key: "experimental.envoy.filters.a[b]", values: [c]');
    expect(codes(`rules: [${filter}]`)).toEqual(['unsupported-field']);
  });

  it.each([
    ['/allow/admin/{**}', '/allow/admin/', true],
    ['/allow/admin/{**}', '/allow/admin', false],
    ['/allow/admin/{**}', '/allow/admin/foo/temp.txt', true],
    ['/foo/{*}/bar/{**}', '/foo/buzz/bar/bat/fuzz.txt', true],
    ['/foo/{*}/bar/{**}', '/foo/bar/bat.txt', false],
    ['/foo/{*}/bar/{**}', '/foo//bar/bat.txt', false],
    ['/store/{**}/cart', '/store/a/b/cart', true],
    ['/store/{**}/cart', '/store/cart', false],
    ['/store/{**}/cart', '/store/a/cart/x', false],
    ['/foo/{**}/', '/foo/bar/baz.txt', false],
    ['/{*}', '/a', true],
    ['/{*}', '/a/b', false],
    ['/{*}', '/', false],
    ['/{*}/x', '/a*b/x', true],
  ])('rule 21: the template %s and the path %s', (template, path, expected) => {
    expect(allows(operation(`paths: ["${template}"]`), { http: { path } })).toBe(expected);
    expect(allows(operation(`paths: ["/none", "${template}"]`), { http: { path } })).toBe(expected);
    expect(denies(operation(`paths: ["/"], notPaths: ["${template}"]`), { http: { path: '/' } })).toBe(true);
    expect(denies(operation(`notPaths: ["${template}"]`), { http: { path } })).toBe(!expected);
  });

  it('rule 21: the query is no part of it', () => {
    expect(normalizePath('/allow/admin?param=value')).toMatchObject({ path: '/allow/admin' });
  });
});

const gateway = (name: string) => ({ 'gateway.networking.k8s.io/gateway-name': name });
const gatewayClass = (name: string) => ({ 'gateway.networking.k8s.io/gateway-class-name': name });

describe('evaluation', () => {
  const both = (a: string, b: string) =>
    parsePolicies(`${document(`\n${a}`, { name: 'a' })}---\n${document(`\n${b}`, { name: 'b' })}`).map((d) => d.policy);
  const plain: Request = { source: web, port: 8080, time: 0, http: { method: 'GET', path: '/' } };

  it('rule 22, with our difference: DENY before ALLOW, and what nothing allows is denied', () => {
    const policies = both('rules: [{}]', `action: DENY\nrules: [${source('serviceAccounts: [web]')}]`);
    expect(decide(compile(policies, 1), plain)).toMatchObject({ decision: 'deny', rule: 'shop/b@0#0' });
    expect(decide(compile([], 1), plain)).toMatchObject({ decision: 'deny', reason: 'default-deny' });
  });

  it('rule 22: who is asked by a CUSTOM can take an ALLOW away, and is not asked about what is denied', () => {
    const ask = 'action: CUSTOM\nprovider: {name: opa}\nrules: [{}]';
    const custom = [{ provider: 'opa', rule: 'shop/b@0#0' }];
    expect(decide(compile(both('rules: [{}]', ask), 1), plain)).toEqual({
      decision: 'allow',
      reason: 'allow-rule',
      rule: 'shop/a@0#0',
      custom,
    });
    expect(decide(compile(both('action: DENY\nrules: [{}]', ask), 1), plain)).not.toHaveProperty('custom');
    // An authorizer cannot open what nothing allows.
    const alone = decide(compile(both('rules: []', ask), 1), plain);
    expect(alone).toEqual({ decision: 'deny', reason: 'default-deny', rule: 'default-deny' });
  });

  it('rule 23: tokens are verified before rules see them, also before CUSTOM, which must not look at them', () => {
    expect(allows(when('key: "request.auth.claims[sub]", values: ["*"]'))).toBe(false);
    for (const rule of [
      source('requestPrincipals: ["*"]'),
      source('notRequestPrincipals: ["*"]'),
      when('key: request.auth.principal, values: ["*"]'),
      when('key: request.auth.audiences, values: [a]'),
      when('key: request.auth.presenter, notValues: [a]'),
      when('key: "request.auth.claims[a]", values: [a]'),
    ]) {
      expect(codes(`action: CUSTOM\nprovider: {name: opa}\nrules: [${rule}]`), rule).toEqual(['custom-caller']);
    }
  });

  it('rule 24: no rules never match, an empty rule always does; a DENY or AUDIT without rules is an error', () => {
    expect(decided('rules: []').decision).toBe('deny');
    expect(decided('rules: [{}]').decision).toBe('allow');
    expect(decided('action: DENY\nrules: [{}]').reason).toBe('deny-rule');
    expect(codes('action: DENY')).toEqual(['deny-without-rules']);
    expect(codes('action: AUDIT\nrules: []')).toEqual(['deny-without-rules']);
  });

  it('rule 25: a union within an action: nothing opens what a DENY closes, any ALLOW opens', () => {
    const closed = both('action: DENY\nrules: [{}]', 'rules: [{}]');
    expect(decide(compile(closed, 1), plain).decision).toBe('deny');
    expect(decide(compile(closed.toReversed(), 1), plain)).toEqual(decide(compile(closed, 1), plain));
    expect(decide(compile(both('rules: []', 'rules: [{}]'), 1), plain).decision).toBe('allow');
  });

  it('rule 26: AUDIT marks the call and decides nothing', () => {
    const [marks] = both('action: AUDIT\nrules: [{}]', 'rules: [{}]');
    expect(decide(compile(marks === undefined ? [] : [marks], 1), plain)).toEqual({
      decision: 'deny',
      reason: 'default-deny',
      rule: 'default-deny',
      audited: 'shop/a@0#0',
    });
    const decision = decide(compile(both('action: AUDIT\nrules: [{}]', 'rules: [{}]'), 1), plain);
    expect(decision).toEqual({ decision: 'allow', reason: 'allow-rule', rule: 'shop/b@0#0', audited: 'shop/a@0#0' });
  });

  it('rule 27: every provider whose CUSTOM matches must agree, each named once with its first rule', () => {
    const ask = (name: string, provider: string, rules: string) =>
      document(`\naction: CUSTOM\nprovider: {name: ${provider}}\nrules: ${rules}`, { name });
    const text = [
      ask('c', 'two', '[{}]'),
      ask('d', 'one', `[${operation('paths: [/a]')}, {}]`),
      ask('e', 'one', '[{}]'),
      ask('f', 'three', `[${operation('paths: [/a]')}]`),
      document('\nrules: [{}]', { name: 'open' }),
    ].join('---\n');
    const policies = parsePolicies(text).map((d) => d.policy);
    const custom = [
      { provider: 'one', rule: 'shop/d@0#1' },
      { provider: 'two', rule: 'shop/c@0#0' },
    ];
    expect(decide(compile(policies, 1), plain).custom).toEqual(custom);
    expect(decide(compile(policies.toReversed(), 1), plain).custom).toEqual(custom);
    const onTcp = decide(compile(policies, 1), { source: web, port: 1 });
    expect(onTcp).toMatchObject({ decision: 'allow', custom });
  });

  it('rule 28: a policy holds in its namespace, or everywhere from the root namespace, by all labels', () => {
    const one = parseOne(document('\nselector: {matchLabels: {app: web}}\nrules: []'));
    expect(selects(one, { namespace: 'shop', labels: { app: 'web', x: 'y' } }, 'root')).toBe(true);
    expect(selects(one, { namespace: 'shop', labels: { app: 'db' } }, 'root')).toBe(false);
    expect(selects(one, { namespace: 'other', labels: { app: 'web' } }, 'root')).toBe(false);
    expect(selects(one, { namespace: 'other', labels: { app: 'web' } }, 'shop')).toBe(true);
  });

  it.each([
    ['{kind: Service, name: web}', 'shop', 'web', {}, true],
    ['{kind: Service, group: "", name: web}', 'shop', 'web', {}, true],
    ['{kind: Service, group: core, name: web}', 'shop', 'web', {}, true],
    ['{kind: Service, name: web}', 'shop', 'api', {}, false],
    ['{kind: Service, name: web}', 'other', 'web', {}, false],
    ['{kind: Service, name: web}', 'shop', undefined, {}, false],
    ['{kind: Gateway, group: gateway.networking.k8s.io, name: g}', 'shop', 'x', gateway('g'), true],
    ['{kind: Gateway, group: gateway.networking.k8s.io, name: g}', 'shop', 'x', gateway('h'), false],
    ['{kind: Gateway, group: gateway.networking.k8s.io, name: g}', 'other', 'x', gateway('g'), false],
    ['{kind: GatewayClass, group: gateway.networking.k8s.io, name: c}', 'shop', 'x', gatewayClass('c'), false],
    ['{kind: ServiceEntry, group: networking.istio.io, name: e}', 'shop', 'e', {}, false],
  ] as const)(
    'rule 29: the target %s and a workload of %s named %s',
    (target, namespace, service, labels, expected) => {
      const workload = { namespace, labels, ...(service !== undefined && { service }) };
      for (const field of [`targetRefs: [${target}]`, `targetRef: ${target}`]) {
        const one = parseOne(document(`\n${field}\nrules: [{}]`));
        expect(selects(one, workload, 'root'), field).toBe(expected);
      }
      const several = parseOne(document(`\ntargetRefs: [{kind: Service, name: none}, ${target}]\nrules: [{}]`));
      expect(selects(several, workload, 'root')).toBe(expected);
    },
  );

  it('rule 29: a GatewayClass reaches every namespace from the root namespace; a Service there does not', () => {
    const klass = parseOne(
      document('\ntargetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: c}]\nrules: []'),
    );
    expect(selects(klass, { namespace: 'other', labels: gatewayClass('c') }, 'shop')).toBe(true);
    expect(selects(klass, { namespace: 'other', labels: gatewayClass('d') }, 'shop')).toBe(false);
    const service = parseOne(document('\ntargetRefs: [{kind: Service, name: web}]\nrules: []'));
    expect(selects(service, { namespace: 'other', service: 'web', labels: {} }, 'shop')).toBe(false);
  });

  it('rule 29: a ServiceEntry has no sidecar, which is a warning', () => {
    const target = '{kind: ServiceEntry, group: networking.istio.io, name: e}';
    expect(codes(`targetRefs: [${target}]\nrules: []`)).toEqual(['selects-nothing']);
  });

  it('rule 30: the decision names the rule that made it, whether it allows or denies', () => {
    expect(decided(`rules: [${source('namespaces: [a]')}, {}]`).rule).toBe('shop/p@0#1');
    expect(decided('action: DENY\nrules: [{}]').rule).toBe('shop/p@0#0');
    expect(decided('rules: []').rule).toBe('default-deny');
  });

  it('rule 31: what is decided depends on the policies of the moment and nothing else', () => {
    const before = compile(both('rules: [{}]', 'rules: []'), 1);
    expect(decide(before, plain).decision).toBe('allow');
    expect(decide(compile([], 2, before), plain).decision).toBe('deny');
    expect(decide(before, plain).decision).toBe('allow');
  });

  it('rule 32, with our difference: an unknown key is an error, in a document and in what a sidecar compiles', () => {
    expect(codes(`action: DENY\nrules: [${when('key: source.name, values: [a]')}]`)).toEqual(['unknown-condition-key']);
    const foreign: Policy = {
      ...parseOne(document('\naction: DENY\nrules: [{}]')),
      rules: [{ from: [], to: [], when: [{ key: 'source.name', values: ['a'], notValues: [] }] }],
    };
    expect(() => compile([foreign], 1)).toThrow('which this version of Writ does not understand');
  });
});

describe('TCP', () => {
  const tcp = (spec: string): Decision =>
    decide(compile([parseOne(document(`\n${spec}`))], 1), {
      source: web,
      port: 8080,
      time: 0,
      connection: { sni: 'a' },
    });
  const httpOnly = [
    operation('hosts: ["*"]'),
    operation('notHosts: [a]'),
    operation('methods: ["*"]'),
    operation('notMethods: [GET]'),
    operation('paths: ["*"]'),
    operation('notPaths: [/a]'),
    source('requestPrincipals: ["*"]'),
    source('notRequestPrincipals: ["*"]'),
    when('key: "request.headers[a]", notValues: [b]'),
    when('key: request.auth.principal, notValues: [a/b]'),
    when('key: request.auth.audiences, notValues: [b]'),
    when('key: request.auth.presenter, notValues: [b]'),
    when('key: "request.auth.claims[a]", notValues: [b]'),
  ];

  it.each(httpOnly)('rule 33: %s is for HTTP only', (rule) => {
    expect(tcp(`rules: [${rule}]`).decision).toBe('deny');
  });

  it('rule 34: an ALLOW with any such field does not match, others do', () => {
    expect(tcp(`rules: [${operation('notMethods: [GET]')}, ${source('namespaces: [shop]')}]`).rule).toBe('shop/p@0#1');
    expect(tcp(`rules: [${when('key: connection.sni, values: [a]')}]`).decision).toBe('allow');
    expect(tcp(`rules: [${operation('notPorts: ["1"]')}]`).decision).toBe('allow');
  });

  it.each(httpOnly)('rule 35, with our difference: a DENY with %s does not widen to all of TCP', (rule) => {
    expect(tcp(`action: DENY\nrules: [${rule}]`).reason).toBe('default-deny');
  });

  it('rule 36: one language in every place: a DENY with HTTP fields never loses only those fields', () => {
    const rule = '{from: [{source: {namespaces: [shop]}}], to: [{operation: {notPaths: [/a], ports: ["8080"]}}]}';
    expect(tcp(`action: DENY\nrules: [${rule}]`).reason).toBe('default-deny');
    expect(denies(rule, { http: { path: '/b' } })).toBe(true);
  });
});

describe('normalisation', () => {
  it.each([
    ['/app/%2E./admin', '/admin'],
    ['/app\\admin', '/app/admin'],
    ['/app//../admin', '/app/admin'],
    ['/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc', '/app/admin/abc'],
    ['/..;/admin', '/..;/admin'],
    ['/Admin', '/Admin'],
    ['/%252e', '/%252e'],
  ])('rule 37 and 38: at the strictest level, %s is %s', (target, path) => {
    expect(normalizePath(target)).toMatchObject({ ok: true, path });
  });

  it('rule 37: NUL is refused, and what is decided on is what is forwarded', () => {
    expect(normalizePath('/a%00b').ok).toBe(false);
    expect(normalizePath('/a/../b?c')).toMatchObject({ path: '/b', target: '/b?c' });
  });
});

describe('trust domain aliases', () => {
  const domains = (own: string, ...aliases: string[]) => ({ own, aliases });
  const principalsOf = (values: string, own: ReturnType<typeof domains>) =>
    JSON.stringify(expandAliases(parseOne(document(`\nrules: [${source(values)}]\naction: ALLOW`)), own).rules);
  const allowed = (values: string, id: string, own: ReturnType<typeof domains>) => {
    const one = expandAliases(parseOne(document(`\nrules: [${source(values)}]\naction: ALLOW`)), own);
    return decide(compile([one], 1), { source: `spiffe://${id}`, port: 1 }).decision === 'allow';
  };

  it('rule 39: a principal of the own trust domain, an alias or cluster.local is one of all of them', () => {
    const own = domains('td1', 'old');
    for (const td of ['td1', 'old', 'cluster.local']) {
      for (const caller of ['td1', 'old']) {
        expect(allowed(`principals: ["${td}/ns/a/sa/b"]`, `${caller}/ns/a/sa/b`, own), td).toBe(true);
        expect(allowed(`notPrincipals: ["${td}/ns/a/sa/b"]`, `${caller}/ns/a/sa/b`, own), td).toBe(false);
      }
    }
    expect(allowed('trustDomains: [old]', 'td1/ns/a/sa/b', own)).toBe(true);
    expect(allowed('principals: ["td1/ns/a/sa/b"]', 'other/ns/a/sa/b', own)).toBe(false);
  });

  it('rule 40: * and unknown trust domains stay as they are, and so does what has not five parts', () => {
    for (const value of ['*', 'other/ns/a/sa/b', 'td1/ns/a/*', 'td1/x', '*/ns/a/sa/b']) {
      const one = parseOne(document(`\naction: ALLOW\nrules: [${source(`principals: ["${value}"]`)}]`));
      expect(expandAliases(one, domains('td1', 'old')), value).toBe(one);
    }
  });

  it('rule 41: the examples', () => {
    const texts = (json: string) =>
      [...json.matchAll(/"kind":"(\w+)","value":"([^"]+)"/g)].map((m) => `${m[1]} ${m[2]}`);
    expect(
      texts(principalsOf('principals: [cluster.local/ns/a/sa/b]', domains('td1', 'cluster.local', 'some-td'))),
    ).toEqual(['exact td1/ns/a/sa/b', 'exact cluster.local/ns/a/sa/b', 'exact some-td/ns/a/sa/b']);
    expect(texts(principalsOf('principals: ["*bar/ns/foo/sa/x"]', domains('td1', 'foobar'))).toSorted()).toEqual([
      'exact td1/ns/foo/sa/x',
      'suffix bar/ns/foo/sa/x',
    ]);
  });
});

describe('shadow mode, validity, reason', () => {
  const dry = '\n  annotations: {istio.io/dry-run: "true"}';
  const shadowed = (spec: string, request: Partial<Request> = {}): Decision => {
    const text = `${document(`\n${spec}`, { name: 'try' }).replace('  name: try', `  name: try${dry}`)}---\n${document('\nrules: [{from: [{source: {namespaces: [shop]}}]}]', { name: 'live' })}`;
    const policies = parsePolicies(text).map((d) => d.policy);
    return decide(compile(policies, 1), { source: web, port: 1, http: { method: 'GET', path: '/' }, ...request });
  };

  it('rule 42: a dry-run policy changes nothing, and mode: Shadow is the same', () => {
    const text = document('\nmode: Shadow\nrules: [{}]');
    expect(parseOne(text)).toEqual(parseOne(document('\nrules: [{}]').replace('  name: p', `  name: p${dry}`)));
    expect(decided('mode: Shadow\nrules: [{}]')).toEqual({
      decision: 'deny',
      reason: 'default-deny',
      rule: 'default-deny',
      shadow: { decision: 'allow', rule: 'shop/p@0#0' },
    });
    expect(decided('mode: Enforce\nrules: [{}]').decision).toBe('allow');
  });

  it('rule 43: one verdict, that of all policies as if the shadow ones were enforced, beside the decision', () => {
    expect(shadowed('action: DENY\nrules: [{}]')).toEqual({
      decision: 'allow',
      reason: 'allow-rule',
      rule: 'shop/live@0#0',
      shadow: { decision: 'deny', rule: 'shop/try@0#0' },
    });
    // An enforced ALLOW has spoken already.
    expect(shadowed('rules: [{}]')).toEqual({ decision: 'allow', reason: 'allow-rule', rule: 'shop/live@0#0' });
    expect(shadowed('rules: [{}]', { source: 'spiffe://example.org/ns/a/sa/b' })).toMatchObject({
      decision: 'deny',
      shadow: { decision: 'allow', rule: 'shop/try@0#0' },
    });
  });

  test('a policy with a validity holds from its first moment until just before its last', () => {
    const spec = 'validity: {notBefore: "1970-01-01T00:00:05Z", notAfter: "1970-01-01T00:00:07Z"}\nrules: [{}]';
    expect([4_999, 5_000, 6_999, 7_000].map((time) => decided(spec, { time }).decision)).toEqual([
      ...['deny', 'allow'],
      ...['allow', 'deny'],
    ]);
    expect(decided(`action: DENY\n${spec}`, { time: 5_000 }).reason).toBe('deny-rule');
    expect(decided(`action: DENY\n${spec}`, { time: 7_000 }).reason).toBe('default-deny');
  });

  test('without a time, a time-bound ALLOW does not open and a time-bound DENY stays closed', () => {
    const request: Request = { source: web, port: 1 };
    const spec = 'validity: {notAfter: "1970-01-01T00:00:07Z"}\nrules: [{}]';
    expect(decide(compile([parseOne(document(`\n${spec}`))], 1), request).decision).toBe('deny');
    const deny = parseOne(document(`\naction: DENY\n${spec}`));
    expect(decide(compile([deny], 1), request).reason).toBe('deny-rule');
  });

  test('a reason is kept', () => {
    expect(parseOne(document('\nreason: TICKET-7 the audit of May\nrules: []')).reason).toBe(
      'TICKET-7 the audit of May',
    );
  });
});

describe('validation', () => {
  it.each([
    ['selector: {matchLabels: {"a*": b}}', 'invalid-label'],
    ['selector: {matchLabels: {a: "b*"}}', 'invalid-label'],
    ['selector: {matchLabels: {"": b}}', 'invalid-label'],
    ['selector: {matchLabels: {}}\nrules: []', 'selects-everything'],
    ['selector: {}\nrules: []', 'selects-everything'],
    ['targetRefs: []\nrules: []', 'selects-everything'],
    ['targetRefs: [{kind: Service, name: ""}]', 'empty-field'],
    ['targetRefs: [{kind: Service}]', 'missing-field'],
    ['targetRefs: [{name: a}]', 'missing-field'],
    ['targetRefs: [null]', 'empty-field'],
    ['targetRefs: [{kind: Service, name: a, namespace: b}]', 'invalid-target'],
    ['targetRefs: [{kind: Service, name: a, namespace: shop}]', 'invalid-target'],
    ['targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a, sectionName: b}]', 'invalid-target'],
    ['targetRefs: [{kind: Service, name: a, namespace: "", sectionName: ""}]\nrules: []', undefined],
    ['targetRefs: [{kind: Deployment, group: apps, name: a}]', 'invalid-target'],
    ['targetRefs: [{kind: service, name: a}]', 'invalid-target'],
    ['targetRefs: [{kind: Gateway, name: a}]', 'invalid-target'],
    ['targetRefs: [{kind: Gateway, group: networking.istio.io, name: a}]', 'invalid-target'],
    ['targetRefs: [{kind: Service, group: apps, name: a}]', 'invalid-target'],
    ['targetRef: {kind: Pod, name: a}', 'invalid-target'],
    ['targetRefs: [{kind: Service, name: a}]\ntargetRef: {kind: Service, name: a}', 'conflicting-fields'],
    ['selector: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, name: a}]', 'conflicting-fields'],
    ['selector: {matchLabels: {a: b}}\ntargetRef: {kind: Service, name: a}', 'conflicting-fields'],
    ['action: CUSTOM\nprovider: {name: a}', 'deny-without-rules'],
    ['action: CUSTOM\nprovider: {name: a}\nrules: []', 'deny-without-rules'],
    ['action: CUSTOM\nrules: [{}]', 'invalid-provider'],
    ['action: CUSTOM\nprovider: {}\nrules: [{}]', 'missing-field'],
    ['action: CUSTOM\nprovider: {name: ""}\nrules: [{}]', 'empty-field'],
    ['provider: {name: a}\nrules: []', 'invalid-provider'],
    ['action: ALLOW\nprovider: {name: a}\nrules: []', 'invalid-provider'],
    ['action: DENY\nprovider: {name: a}\nrules: [{}]', 'invalid-provider'],
    ['action: AUDIT\nprovider: {name: a}\nrules: [{}]', 'invalid-provider'],
    ['action: DENY', 'deny-without-rules'],
  ])('rule 44: %s', (spec, code) => {
    expect(codes(spec)).toEqual(code === undefined ? [] : [code]);
  });

  it.each([
    ...['principals: ["*"]', 'notPrincipals: ["*"]', 'namespaces: [a]', 'notNamespaces: [a]'],
    ...['serviceAccounts: [a]', 'notServiceAccounts: [a]', 'trustDomains: [a]', 'notTrustDomains: [a]'],
    ...['requestPrincipals: ["*"]', 'notRequestPrincipals: ["*"]'],
  ])('rule 44: a CUSTOM does not choose by %s', (fields) => {
    expect(codes(`action: CUSTOM\nprovider: {name: a}\nrules: [${source(fields)}]`)).toEqual(['custom-caller']);
  });

  it.each(['source.namespace', 'source.serviceAccount', 'source.trustDomain', 'source.principal'])(
    'rule 44: a CUSTOM does not choose by the key %s',
    (key) => {
      const rule = when(`key: ${key}, values: [a${key.endsWith('principal') ? '/b' : ''}]`);
      expect(codes(`action: CUSTOM\nprovider: {name: a}\nrules: [${rule}]`)).toEqual(['custom-caller']);
    },
  );

  it('rule 44: a CUSTOM chooses by where the caller is, by the operation, and by headers', () => {
    const rules = [
      source('ipBlocks: [10.0.0.0/8], notRemoteIpBlocks: [10.1.0.0/16]'),
      operation('hosts: ["a*"], paths: [/a], notMethods: [GET], ports: ["80"]'),
      when('key: "request.headers[a]", values: [b]', 'key: source.ip, values: [10.0.0.1]'),
      when('key: connection.sni, notValues: [b]'),
    ];
    expect(codes(`action: CUSTOM\nprovider: {name: a}\nrules: [${rules.join(', ')}]`)).toEqual([]);
  });

  it.each([
    ['null', 'empty-field'],
    ['{from: []}', 'empty-field'],
    ['{to: []}', 'empty-field'],
    ['{from: [null]}', 'empty-field'],
    ['{from: [{source: null}]}', 'empty-field'],
    ['{to: [{operation: null}]}', 'empty-field'],
    [source(''), 'empty-field'],
    [operation(''), 'empty-field'],
    [source('principals: [""]'), 'empty-field'],
    [source('notRequestPrincipals: [""]'), 'empty-field'],
    [source('ipBlocks: [300.0.0.1]'), 'invalid-ip-block'],
    [source('notIpBlocks: [10.0.0.0/40]'), 'invalid-ip-block'],
    [operation('notPorts: ["-1"]'), 'invalid-port'],
    [operation('notPorts: ["65536"]'), 'invalid-port'],
    [source('serviceAccounts: [a/b/c]'), 'invalid-service-account'],
    [source('trustDomains: [a/b]'), 'invalid-trust-domain'],
    [source('trustDomains: ["a*b"]'), 'wildcard-in-middle'],
    [operation('paths: ["/{**}/{*}"]'), 'invalid-template'],
    [operation('paths: ["/{a}/{*}"]'), 'invalid-template'],
    [operation('notPaths: ["/{*}/b*"]'), 'invalid-template'],
    [source('serviceAccounts: [a], namespaces: [b]'), 'conflicting-fields'],
  ])('rule 45: %s', (rule, code) => {
    expect(codes(`action: DENY\nrules: [${rule}]`)).toEqual([code]);
  });

  it.each([
    [when('key: "", values: [a]'), 'empty-field'],
    [when('key: source.ip'), 'missing-field'],
    [when('key: "request.headers[a", values: [a]'), 'unknown-condition-key'],
    [when('key: request.auth.claims, values: [a]'), 'unknown-condition-key'],
    [when('key: unknown, values: [a]'), 'unknown-condition-key'],
    [when('key: destination.namespace, values: [a]'), 'unknown-condition-key'],
    [when('key: "destination.labels[a]", values: [a]'), 'unknown-condition-key'],
    [when('key: destination.name, values: [a]'), 'unknown-condition-key'],
    [when('key: destination.user, values: [a]'), 'unknown-condition-key'],
    [when('key: source.ip, values: [a]'), 'invalid-ip-block'],
    [when('key: destination.port, values: [a]'), 'invalid-port'],
  ])('rule 46: %s', (rule, code) => {
    expect(codes(`action: DENY\nrules: [${rule}]`)).toEqual([code]);
  });

  it.each([
    ['maybe', 'ALLOW', 'invalid-dry-run'],
    ['true', 'AUDIT', 'invalid-dry-run'],
    ['true', 'CUSTOM', 'invalid-dry-run'],
    ['1', 'DENY', undefined],
    ['F', 'ALLOW', undefined],
  ])('rule 46: dry-run %s on %s', (value, action, code) => {
    const metadata = `\n  annotations: {istio.io/dry-run: "${value}"}`;
    const provider = action === 'CUSTOM' ? '\nprovider: {name: a}' : '';
    expect(codes(`action: ${action}${provider}\nrules: [{}]`, { metadata })).toEqual(code === undefined ? [] : [code]);
  });

  it('rule 47, with our difference: a DENY by HTTP attributes denies no TCP, so there is nothing to warn of', () => {
    expect(codes(`action: DENY\nrules: [${operation('methods: [GET]')}]`)).toEqual([]);
  });

  it('rule 48: an ALLOW that only excludes what may be absent is a warning', () => {
    expect(codes(`rules: [${source('notRequestPrincipals: ["a/*"]')}]`)).toEqual(['matches-absent']);
    expect(codes(`rules: [${when('key: "request.headers[a]", notValues: [b]')}]`)).toEqual(['matches-absent']);
    expect(codes(`rules: [${source('notNamespaces: [b]')}]`)).toEqual(['matches-absent']);
    expect(codes(`rules: [${source('notPrincipals: [a/b]')}]`)).toEqual(['matches-absent']);
    expect(codes(`rules: [${source('notTrustDomains: [a]')}]`)).toEqual(['matches-absent']);
    expect(codes(`rules: [${source('principals: ["*"], notTrustDomains: [a]')}]`)).toEqual([]);
    expect(codes(`rules: [${source('namespaces: ["*"], notNamespaces: [b]')}]`)).toEqual([]);
    expect(codes(`rules: [${source('requestPrincipals: ["*"], notRequestPrincipals: ["a/*"]')}]`)).toEqual([]);
    expect(codes(`action: DENY\nrules: [${source('notRequestPrincipals: ["*"]')}]`)).toEqual([]);
  });
});

describe('calls that go out', () => {
  const out = (spec: string) =>
    parseOne(document(`\ndirection: Egress\n${spec}`).replace('security.istio.io/v1', 'writ.dev/v1'));
  const to = (id: string, http: Partial<HttpRequest> = {}): Request => ({
    source: `spiffe://${id}`,
    port: 8080,
    time: 0,
    http: { method: 'GET', path: '/', ...http },
  });
  const goes = (spec: string, request: Request) => decideEgress(compile([out(spec)], 1), request);

  test('are open as long as no policy about them is enforced', () => {
    const open = { decision: 'allow', reason: 'egress-open', rule: 'egress-open' };
    expect(decideEgress(compile([], 1), to('example.org/ns/shop/sa/db'))).toEqual(open);
    expect(goes('action: AUDIT\nrules: [{}]', to('example.org/ns/shop/sa/db'))).toEqual({
      ...open,
      audited: 'shop/p@0#0',
    });
    expect(goes('mode: Shadow\nrules: [{}]', to('example.org/ns/shop/sa/db'))).toEqual({
      ...open,
      shadow: { decision: 'allow', rule: 'shop/p@0#0' },
    });
    // Who tries it sees what would no longer go out.
    expect(goes('mode: Shadow\nrules: []', to('example.org/ns/shop/sa/db'))).toEqual({
      ...open,
      shadow: { decision: 'deny', rule: 'default-deny' },
    });
  });

  test('are denied by default as soon as one is, and stay so when it no longer holds', () => {
    expect(goes('rules: []', to('example.org/ns/shop/sa/db')).reason).toBe('default-deny');
    expect(
      goes('action: DENY\nrules: [{to: [{operation: {namespaces: [x]}}]}]', to('example.org/ns/a/sa/b')).reason,
    ).toBe('default-deny');
    const over = 'validity: {notAfter: "1960-01-01T00:00:00Z"}\nrules: [{}]';
    expect(goes(over, to('example.org/ns/shop/sa/db')).reason).toBe('default-deny');
  });

  test('are matched by whom they reach and by the call, each operation by itself', () => {
    const spec =
      'rules: [{to: [{operation: {serviceAccounts: [db], ports: ["8080"]}}, {operation: {namespaces: [logs], methods: [POST]}}]}]';
    expect(goes(spec, to('example.org/ns/shop/sa/db')).rule).toBe('shop/p@0#0');
    expect(goes(spec, to('example.org/ns/logs/sa/x', { method: 'POST' })).decision).toBe('allow');
    expect(goes(spec, to('example.org/ns/logs/sa/x')).decision).toBe('deny');
    // The method is that of the other operation.
    expect(goes(spec, { ...to('example.org/ns/shop/sa/db', { method: 'POST' }), port: 9 }).decision).toBe('deny');
    const tcp: Request = { source: 'spiffe://example.org/ns/shop/sa/db', port: 8080 };
    expect(goes(spec, tcp).decision).toBe('allow');
    expect(goes(spec, { ...tcp, source: 'spiffe://example.org/ns/logs/sa/x' }).decision).toBe('deny');
  });

  test.each([
    ['principals: ["example.org/ns/shop/*"]', 'example.org/ns/shop/sa/db', 'example.org/ns/a/sa/db'],
    ['notPrincipals: ["*/sa/db"]', 'example.org/ns/shop/sa/x', 'example.org/ns/shop/sa/db'],
    ['namespaces: [shop]', 'example.org/ns/shop/sa/x', 'example.org/ns/a/sa/x'],
    ['notNamespaces: [shop]', 'example.org/ns/a/sa/x', 'example.org/ns/shop/sa/x'],
    ['serviceAccounts: [a/db]', 'example.org/ns/a/sa/db', 'example.org/ns/shop/sa/db'],
    ['notServiceAccounts: [db]', 'example.org/ns/a/sa/db', 'example.org/ns/shop/sa/db'],
    ['trustDomains: [b.org]', 'b.org/ns/a/sa/db', 'example.org/ns/a/sa/db'],
    ['notTrustDomains: [b.org]', 'example.org/ns/a/sa/db', 'b.org/ns/a/sa/db'],
  ])('say whom they may reach by %s', (field, yes, no) => {
    const spec = `rules: [{to: [{operation: {${field}}}]}]`;
    expect(goes(spec, to(yes)).decision).toBe('allow');
    expect(goes(spec, to(no)).decision).toBe('deny');
    const closing = compile([out(`action: DENY\n${spec}`), { ...out('rules: [{}]'), name: 'open' }], 1);
    expect(decideEgress(closing, to(yes)).reason).toBe('deny-rule');
    expect(decideEgress(closing, to(no)).decision).toBe('allow');
  });

  test('say whom they may not reach without a warning, since whom a call reaches has an identity', () => {
    const warned = (field: string) =>
      readPolicies(
        document(`\ndirection: Egress\nrules: [{to: [{operation: {${field}}}]}]`).replace(
          'security.istio.io/v1',
          'writ.dev/v1',
        ),
      ).warnings.map(({ code }) => code);
    expect(warned('notPrincipals: [a/b]')).toEqual([]);
    expect(warned('notTrustDomains: [a]')).toEqual([]);
    expect(warned('notNamespaces: [a]')).toEqual(['matches-absent']);
  });

  test('can be matched by headers and ports', () => {
    const spec = `rules: [${when('key: "request.headers[a]", values: [b]', 'key: destination.port, values: ["8080"]')}]`;
    const id = 'example.org/ns/shop/sa/db';
    expect(goes(spec, to(id, { headers: new Map([['a', ['b']]]) })).decision).toBe('allow');
    expect(goes(spec, to(id)).decision).toBe('deny');
  });

  test('are denied to who has no identity of a workload', () => {
    for (const id of ['', 'spiffe://', 'spiffe://example.org']) {
      const request = { ...to('x'), source: id };
      expect(goes('rules: [{}]', request).reason).toBe('default-deny');
      expect(decideEgress(compile([], 1), request).reason).toBe('default-deny');
    }
  });

  test('an aliased trust domain is one of all of them there too', () => {
    const one = expandAliases(out('rules: [{to: [{operation: {principals: [old/ns/a/sa/b]}}]}]'), {
      own: 'td1',
      aliases: ['old'],
    });
    expect(decideEgress(compile([one], 1), to('td1/ns/a/sa/b')).decision).toBe('allow');
    expect(decideEgress(compile([one], 1), to('other/ns/a/sa/b')).decision).toBe('deny');
  });
});

describe('what kubectl prints', () => {
  // Printed by `kubectl get authorizationpolicies -A -o yaml` of Istio, names changed.
  const printed = `apiVersion: v1
items:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{"annotations":{},"name":"ask","namespace":"shop"},"spec":{"action":"CUSTOM"}}
    creationTimestamp: "2026-01-07T09:21:13Z"
    generation: 3
    labels:
      app.kubernetes.io/managed-by: Helm
    managedFields:
    - apiVersion: security.istio.io/v1
      fieldsType: FieldsV1
      fieldsV1:
        f:spec:
          .: {}
          f:action: {}
      manager: helm
      operation: Update
      time: "2026-01-07T09:21:13Z"
    name: ask
    namespace: shop
    ownerReferences:
    - {apiVersion: apps/v1, kind: Deployment, name: x, uid: 1f0}
    resourceVersion: "48213"
    uid: 0a8ab7cb-27b5-4f2b-9c6c-0d0a1a5c6a11
  spec:
    action: CUSTOM
    provider:
      name: my-ext-authz
    rules:
    - to:
      - operation:
          hosts:
          - a.example.org
          - a.example.org:*
          paths:
          - /headers
    selector:
      matchLabels:
        app: httpbin
  status:
    conditions:
    - {lastTransitionTime: "2026-01-07T09:21:13Z", message: ok, observedGeneration: "3", reason: Accepted, status: "True", type: WaypointAccepted}
- apiVersion: security.istio.io/v1beta1
  kind: AuthorizationPolicy
  metadata:
    name: waypoint
    namespace: shop
  spec:
    action: ALLOW
    rules:
    - from:
      - source:
          principals:
          - cluster.local/ns/shop/sa/web
      to:
      - operation:
          methods:
          - GET
          ports:
          - "8080"
      when:
      - key: request.auth.claims[group]
        values:
        - admin
    targetRefs:
    - group: ""
      kind: Service
      name: orders
  status: {}
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    annotations:
      istio.io/dry-run: "true"
    name: nothing
    namespace: shop
  spec: {}
kind: List
metadata:
  resourceVersion: ""
`;

  test('is taken as it is, items and documents alike', () => {
    const { errors, documents } = readPolicies(printed);
    expect(errors).toEqual([]);
    expect(documents.map(({ policy }) => [policy.name, policy.action, policy.provider, policy.targets])).toEqual([
      ['ask', 'CUSTOM', 'my-ext-authz', undefined],
      ['waypoint', 'ALLOW', undefined, [{ kind: 'Service', name: 'orders' }]],
      ['nothing', 'ALLOW', undefined, undefined],
    ]);
    const again = documents.map((each) => each.source).join('---\n');
    expect(parsePolicies(again).map((each) => each.policy)).toEqual(documents.map((each) => each.policy));
  });
});

describe('what proxies got wrong', () => {
  test('CVE-2026-26308: a header that is sent twice gets past no DENY and into no ALLOW', () => {
    const admin = when('key: "request.headers[x-role]", values: [admin]');
    expect(denies(admin, header('x-role', 'user', 'admin'))).toBe(true);
    expect(denies(admin, header('x-role', 'admin', 'user'))).toBe(true);
    expect(allows(admin, header('x-role', 'admin', 'user'))).toBe(false);
    expect(allows(admin, header('x-role', 'admin', 'admin'))).toBe(false);
    const notEvil = when('key: "request.headers[x-role]", values: ["*"], notValues: [evil]');
    expect(allows(notEvil, header('x-role', 'good', 'evil'))).toBe(false);
    expect(denies(when('key: "request.headers[x-role]", notValues: [good]'), header('x-role', 'good', 'evil'))).toBe(
      true,
    );
  });

  test('CVE-2019-9901 and CVE-2021-29492: a template sees only normalised paths', () => {
    for (const target of ['/admin/../admin/x', '/a%2f..%2fadmin/x', '//admin/x', '/%61dmin/x', '/a\\..\\admin\\x']) {
      const normal = normalizePath(target);
      expect(normal.ok && denies(operation('paths: ["/admin/{**}"]'), { http: { path: normal.path } }), target).toBe(
        true,
      );
    }
  });

  test('CVE-2019-9900: a NUL in a header is no end of it', () => {
    const admin = when('key: "request.headers[a]", values: [admin]');
    expect(allows(admin, header('a', 'admin\0x'))).toBe(false);
    expect(denies(when('key: "request.headers[a]", notValues: [admin]'), header('a', 'admin\0x'))).toBe(true);
    // Nor does one join issuer and subject in another place.
    expect(allows(source('requestPrincipals: ["a/b"]'), token({ iss: 'a\0b', sub: 'c' }))).toBe(false);
    expect(allows(source('requestPrincipals: ["*"]'), token({ iss: 'a', sub: 'b\0c' }))).toBe(false);
  });

  test('CVE-2021-32779: a fragment is no part of the path', () => {
    expect(normalizePath('/admin#/public')).toMatchObject({ path: '/admin', target: '/admin' });
  });

  test('CVE-2026-33186: a path without its first slash is refused before any rule', () => {
    expect(normalizePath('admin').ok).toBe(false);
  });

  test('CVE-2026-73511 and CVE-2026-73551: path parameters stay in their segment, and {*} takes it whole', () => {
    expect(normalizePath('/..;/admin')).toMatchObject({ path: '/..;/admin' });
    expect(denies(operation('paths: ["/{*}/admin"]'), { http: { path: '/..;/admin' } })).toBe(true);
    expect(denies(operation('paths: ["/{*}/b"]'), { http: { path: '/a;x/b' } })).toBe(true);
  });

  test('CVE-2026-73552: no text of a rule or request becomes a regular expression', () => {
    const text = `${'a'.repeat(40)}!`;
    expect(allows(when(`key: "request.headers[a]", values: ["(a+)+$"]`), header('a', text))).toBe(false);
    expect(allows(operation('hosts: [".*"]'.replace('.*', 'a.c')), { http: { host: 'abc' } })).toBe(false);
    expect(allows(operation('paths: ["/a.c/{*}"]'), { http: { path: '/abc/x' } })).toBe(false);
  });

  test('CVE-2021-32777: a CUSTOM sees every value of a header that is sent several times', () => {
    const ask = (request: Parameters<typeof decided>[1]) => {
      const text = `${document('\nrules: [{}]', { name: 'open' })}---\n${document(
        `\naction: CUSTOM\nprovider: {name: opa}\nrules: [${when('key: "request.headers[x-role]", values: [admin]')}]`,
        { name: 'ask' },
      )}`;
      const policies = parsePolicies(text).map((each) => each.policy);
      const http = { method: 'GET', path: '/', ...request?.http };
      return decide(compile(policies, 1), { source: web, port: 1, http }).custom?.length ?? 0;
    };
    expect(ask(header('x-role', 'user', 'admin'))).toBe(1);
    expect(ask(header('x-role', 'admin', 'user'))).toBe(1);
    expect(ask(header('x-role', 'user', 'user'))).toBe(0);
  });

  test('CVE-2023-27487: a header that says what the path was is a header and nothing else', () => {
    const headers = new Map([
      ['x-envoy-original-path', ['/public']],
      ['x-original-url', ['/public']],
      ['x-forwarded-prefix', ['/public']],
    ]);
    expect(allows(operation('paths: [/public]'), { http: { path: '/admin', headers } })).toBe(false);
    expect(denies(operation('paths: [/admin]'), { http: { path: '/admin', headers } })).toBe(true);
  });

  test('CVE-2023-27488: what is not UTF-8 matches nothing but itself', () => {
    const admin = when('key: "request.headers[a]", values: [admin]');
    // As Node reads bytes of a header, and as a decoder would replace them.
    for (const text of ['admin\xff', '\xc0\xa1dmin', 'admin\ufffd', '\ud800admin']) {
      expect(allows(admin, header('a', text))).toBe(false);
      expect(denies(when('key: "request.headers[a]", values: ["*"], notValues: [admin]'), header('a', text))).toBe(
        true,
      );
    }
    expect(normalizePath('/%ff').ok && normalizePath('/%c0%af..').ok).toBe(false);
  });

  test('CVE-2024-45806: headers of proxies say nothing of who calls, unless a proxy is trusted', () => {
    const headers = new Map([
      ['x-forwarded-for', ['10.0.0.1']],
      ['x-envoy-external-address', ['10.0.0.1']],
      ['x-real-ip', ['10.0.0.1']],
      ['x-forwarded-client-cert', ['URI=spiffe://example.org/ns/shop/sa/web']],
    ]);
    const request = { connection: { peerIp: '203.0.113.9' }, http: { headers } };
    expect(allows(source('remoteIpBlocks: [10.0.0.0/8]'), request)).toBe(false);
    expect(allows(source('ipBlocks: [10.0.0.0/8]'), request)).toBe(false);
    expect(allows(source('serviceAccounts: [web]'), { ...request, ...from('example.org/ns/shop/sa/evil') })).toBe(
      false,
    );
    const xfcc = when('key: "request.headers[x-forwarded-client-cert]", values: ["*"]');
    expect(codes(`rules: [${xfcc}]`)).toEqual(['invalid-condition-key']);
  });

  test('CVE-2025-66220 and CVE-2026-47778: a NUL ends no identity', () => {
    const nul = from('example.org/ns/shop/sa/web\0.evil');
    expect(allows(source('principals: [example.org/ns/shop/sa/web]'), nul)).toBe(false);
    expect(allows(source('serviceAccounts: [web]'), nul)).toBe(false);
    expect(denies(source('principals: ["*"], notPrincipals: [example.org/ns/shop/sa/web]'), nul)).toBe(true);
  });

  test('CVE-2022-21656: only a SPIFFE ID is an identity, not another name of the same spelling', () => {
    for (const id of ['example.org/ns/shop/sa/web', 'https://example.org/ns/shop/sa/web', 'DNS:example.org']) {
      expect(allows(source('principals: ["*"]'), { source: id }), id).toBe(false);
      expect(allows('{}', { source: id }), id).toBe(false);
    }
  });

  test('a host with a dot at its end, in another case or with a port gets past no DENY that names it with its ports', () => {
    const rule = operation('hosts: [admin.example.org, "admin.example.org:*"]');
    for (const host of ['admin.example.org.', 'ADMIN.example.org', 'admin.example.org:443', 'admin.example.org.:443']) {
      expect(denies(rule, { http: { host } }), host).toBe(true);
    }
  });
});
