import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { PolicyFindingCode } from '../../../src/core/policy/findings.ts';
import { MAX_FINDINGS, policyFindings, policyWarnings } from '../../../src/core/policy/findings.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import { expectAppError } from '../../support/errors.ts';
import { document } from './support.ts';

/** What is found, where `⟦` stands in the text, in this order. */
type Expected = readonly [code: PolicyFindingCode, pointer: string, message: RegExp];
type Example = readonly [text: string, ...Expected[]];

function unmarked(marked: string): { text: string; marks: string[] } {
  const marks = marked.split('\n').flatMap((line, index) =>
    line
      .split('⟦')
      .slice(0, -1)
      .map((_, i, parts) => `${index + 1}:${parts.slice(0, i + 1).join('').length + 1}`),
  );
  return { text: marked.replaceAll('⟦', ''), marks };
}

const withRule = (text: string) => document(`action: ALLOW\nrules:\n- ${text}`);
const withSource = (text: string) => withRule(`from: [{source: ${text}}]`);
const withOperation = (text: string) => withRule(`to: [{operation: ${text}}]`);
/** @param direction Lines of the spec besides its rules. */
const egress = (direction: string, rules = '[]') =>
  document(`\n${direction}\nrules: ${rules}`, { apiVersion: 'writ.dev/v1' });
const RULE = '/spec/rules/0';
const SOURCE = `${RULE}/from/0/source`;
const OPERATION = `${RULE}/to/0/operation`;

const users = (rule: string) =>
  `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: u, namespace: shop}\nspec:\n  jwtRules:\n  - ${rule}\n`;
const peers = (spec: string) =>
  `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: ${spec}\n`;
const JWT = '/spec/jwtRules/0';
const withKeys = 'issuer: a, jwksUri: "https://a.example/keys"';

const theAuthentications: Example[] = [
  [users('{issuer: ⟦joe@example.com}'), ['invalid-issuer', `${JWT}/issuer`, /There is neither "jwks" nor "jwksUri"/]],
  [users('{issuer: ⟦"http://a.example"}'), ['invalid-issuer', `${JWT}/issuer`, /Use "https:\/\/"/]],
  [
    users('{issuer: ⟦" a", jwks: "{}"}').replace('"{}"', '⟦"{}"'),
    ['invalid-issuer', `${JWT}/issuer`, /that of no token/],
    ['invalid-jwks', `${JWT}/jwks`, /no list "keys"/],
  ],
  [users('⟦{audiences: [a]}'), ['missing-field', JWT, /"issuer" is missing/]],
  [users('{issuer: a, jwks: ⟦"x"}'), ['invalid-jwks', `${JWT}/jwks`, /It is not JSON/]],
  [
    users(`{issuer: a, jwks: ⟦'{"keys":[{"kty":"oct","k":"AAAA"}]}'}`),
    ['invalid-jwks', `${JWT}/jwks`, /symmetric key/],
  ],
  [
    users(`{issuer: a, jwks: ⟦'{"keys":[{"kty":"EC","crv":"P-256","d":"AA"}]}'}`),
    ['invalid-jwks', `${JWT}/jwks`, /private key/],
  ],
  [users(`{issuer: a, jwks: ⟦'{"keys":[],"keys":[]}'}`), ['invalid-jwks', `${JWT}/jwks`, /a member stands twice/]],
  [
    users('{issuer: a, jwksUri: ⟦"http://a.example/keys"}'),
    ['invalid-jwks-uri', `${JWT}/jwksUri`, /could put other keys/],
  ],
  [
    users('{issuer: a, jwksUri: ⟦"https://u:p@a.example/keys"}'),
    ['invalid-jwks-uri', `${JWT}/jwksUri`, /user name or password/],
  ],
  [
    users('{issuer: a, jwksUri: ⟦"file:///etc/passwd"}'),
    ['invalid-jwks-uri', `${JWT}/jwksUri`, /does not begin with "https/],
  ],
  [
    users('{issuer: a, jwksUri: "https://a.example/", ⟦jwks: "{}"}').replace(
      'jwksUri: "https://a.example/", ⟦jwks: "{}"',
      'jwks: "{}", ⟦jwksUri: "https://a.example/"',
    ),
    ['conflicting-fields', `${JWT}/jwksUri`, /said twice/],
  ],
  [
    users(`{${withKeys}, fromHeaders: [{name: ⟦cookie}]}`),
    ['invalid-token-place', `${JWT}/fromHeaders/0/name`, /Use "fromCookies"/],
  ],
  [
    users(`{${withKeys}, fromHeaders: [{name: ⟦"a b"}]}`),
    ['invalid-token-place', `${JWT}/fromHeaders/0/name`, /not the name of a header/],
  ],
  [
    users(`{${withKeys}, fromHeaders: [{name: a, prefix: ⟦"ä"}]}`),
    ['invalid-token-place', `${JWT}/fromHeaders/0/prefix`, /can stand before it/],
  ],
  [users(`{${withKeys}, fromParams: [⟦"a&b"]}`), ['invalid-token-place', `${JWT}/fromParams/0`, /query parameter/]],
  [users(`{${withKeys}, fromCookies: [⟦"a;b"]}`), ['invalid-token-place', `${JWT}/fromCookies/0`, /a cookie/]],
  [
    users(`{${withKeys}, outputPayloadToHeader: ⟦Authorization}`),
    ['invalid-token-place', `${JWT}/outputPayloadToHeader`, /authenticate with/],
  ],
  [
    users(`{${withKeys}, outputClaimToHeaders: [{header: ⟦x_forwarded_client_cert, claim: sub}]}`),
    ['invalid-token-place', `${JWT}/outputClaimToHeaders/0/header`, /every HTTP server/],
  ],
  [
    users(`{${withKeys}, outputClaimToHeaders: [{header: x-a, claim: ⟦"a\\tb"}]}`),
    ['invalid-claim', `${JWT}/outputClaimToHeaders/0/claim`, /no token that is read/],
  ],
  [
    users(`{${withKeys}, ⟦outputClaimToHeaders: [{header: x-a, claim: a}, {header: X_A, claim: b}]}`),
    ['conflicting-fields', `${JWT}/outputClaimToHeaders`, /Two values/],
  ],
  [users(`{${withKeys}, timeout: ⟦5}`), ['wrong-type', `${JWT}/timeout`, /must stand a string/]],
  [users(`{${withKeys}, timeout: ⟦2m}`), ['invalid-duration', `${JWT}/timeout`, /from 1ms to 1m/]],
  [
    users(`{${withKeys}, forwardOriginalToken: ⟦"yes"}`),
    ['wrong-type', `${JWT}/forwardOriginalToken`, /true or false/],
  ],
  [users(`{${withKeys}, ⟦audience: a}`), ['unknown-field', `${JWT}/audience`, /Did you mean "audiences"/]],
  [peers('{mtls: {mode: ⟦Strict}}'), ['invalid-mtls-mode', '/spec/mtls/mode', /Did you mean "STRICT"/]],
  [
    peers('{⟦portLevelMtls: {8080: {mode: STRICT}}}'),
    ['ports-without-selector', '/spec/portLevelMtls', /has no selector/],
  ],
  [
    peers('{selector: {matchLabels: {a: b}}, portLevelMtls: {⟦0: {mode: STRICT}}}'),
    ['yaml-key', '/spec/portLevelMtls', /Quote it/],
  ],
  [
    peers('{selector: {matchLabels: {a: b}}, portLevelMtls: {⟦http: {mode: STRICT}}}'),
    ['invalid-port', '/spec/portLevelMtls/http', /from 1 to 65535/],
  ],
  [
    peers('{}').replace('namespace: shop', 'namespace: shop, annotations: {⟦istio.io/dry-run: "true"}'),
    ['invalid-dry-run', '/metadata/annotations/istio.io~1dry-run', /means nothing for a PeerAuthentication/],
  ],
];

const theText: Example[] = [
  [`⟦#${'x'.repeat(1024 * 1024)}`, ['too-large', '', /has 1048577 bytes, the limit is 1048576/]],
  [`[${','.repeat(299_999)}⟦${','.repeat(100_000)}]`, ['too-large', '', /more than 300000 words and signs/]],
  [`${'['.repeat(64)}⟦${'['.repeat(100_000)}`, ['too-deep', '', /nested too deeply/]],
  [`${'- '.repeat(64)}⟦${'- '.repeat(100_000)}`, ['too-deep', '', /nested too deeply/]],
  ['a: [1⟦', ['yaml-syntax', '', /not YAML: Flow sequence/]],
  [`${'}'.repeat(20)}⟦${'}'.repeat(1000)}`, ['yaml-syntax', '', /The text is not YAML or JSON/]],
  ['⟦', ['no-policy', '', /holds no policy/]],
  ['⟦# a\n---\n# b\n---\n', ['no-policy', '', /holds no policy/]],
  ['⟦apiVersion: v1\nkind: List\nitems: []\n', ['no-policy', '', /holds no policy/]],
  [`${'---\n'.repeat(1000)}⟦---\n`, ['too-many-items', '', /more than 1000 documents/]],
  [`⟦%YAML 1.1\n---\n${document('{}')}`, ['yaml-tag', '', /Remove the %YAML directive/]],
  [
    document('rules:\n- from: &all [{source: {namespaces: [a]}}]\n- from: ⟦*all'),
    ['yaml-alias', '/spec/rules/1/from', /The alias "\*all" stands for text elsewhere/],
  ],
  [document('\n⟦<<: {action: DENY}\nrules: []'), ['unknown-field', '/spec/<<', /Unknown field "<<" in "spec"/]],
  [withSource('{namespaces: [!!str ⟦1]}'), ['yaml-tag', `${SOURCE}/namespaces/0`, /The tag ".*str" is not read/]],
  [withSource('{namespaces: [a], ⟦7: [a]}'), ['yaml-key', SOURCE, /A key must be a string/]],
  [withSource('{namespaces: [a], ? ⟦[x] : [a]}'), ['yaml-key', SOURCE, /A key must be a string/]],
  [
    document('\naction: DENY\n⟦action: ALLOW\nrules: [{}]'),
    ['duplicate-key', '/spec/action', /"action" stands twice in one mapping/],
  ],
  [
    document('{}').replace('  name: p', '  name: p\n  managedFields: [{a: 1, ⟦a: 2}]'),
    ['duplicate-key', '/metadata/managedFields/0/a', /"a" stands twice/],
  ],
  [
    `${document('{}')}---\n⟦${document('{}')}`,
    ['duplicate-policy', '', /shop\/p stands here a second time; the first begins at line 1/],
  ],
];

const limits = (spec: string) =>
  `apiVersion: writ.dev/v1\nkind: RateLimit\nmetadata: {name: r, namespace: shop}\nspec: ${spec}\n`;
const theRateLimits: Example[] = [
  [limits('⟦{}'), ['empty-field', '/spec', /limits nothing\. Give it "total", "perSource" or "overrides"/]],
  [limits('⟦[]'), ['wrong-type', '/spec', /must stand a mapping/]],
  [
    limits('{total: {requests: 1}}').replace('writ.dev/v1', '⟦security.istio.io/v1'),
    ['unknown-api-version', '/apiVersion', /Write one of "writ\.dev\/v1"/],
  ],
  [limits('{⟦totl: {requests: 1}, perSource: {requests: 1}}'), ['unknown-field', '/spec/totl', /Did you mean "total"/]],
  [limits('{total: ⟦{period: 1s}}'), ['missing-field', '/spec/total', /"requests" is missing/]],
  [
    limits('{total: {requests: ⟦0}}'),
    ['invalid-rate', '/spec/total/requests', /not "0"\. To let nobody in, write a DENY/],
  ],
  [limits('{total: {requests: ⟦1e3}}'), ['invalid-rate', '/spec/total/requests', /from 1 to 1000000000, not "1e3"/]],
  [limits('{total: {requests: ⟦1.5}}'), ['invalid-rate', '/spec/total/requests', /whole number/]],
  [limits('{total: {requests: ⟦"5"}}'), ['invalid-rate', '/spec/total/requests', /whole number/]],
  [limits('{total: {requests: ⟦[5]}}'), ['invalid-rate', '/spec/total/requests', /1000000000\./]],
  [limits('{total: {requests: ⟦1000000001}}'), ['invalid-rate', '/spec/total/requests', /to 1000000000/]],
  [limits('{total: {requests: 1, period: ⟦1}}'), ['wrong-type', '/spec/total/period', /a string, not the number 1/]],
  [
    limits('{perSource: {requests: 1, period: ⟦1d}}'),
    ['invalid-duration', '/spec/perSource/period', /from 100ms to 24h/],
  ],
  [limits('{perSource: {requests: 1, period: ⟦99ms}}'), ['invalid-duration', '/spec/perSource/period', /"99ms"/]],
  [limits('{overrides: ⟦[]}'), ['empty-field', '/spec/overrides', /list is empty/]],
  [limits('{overrides: [⟦{requests: 1}]}'), ['missing-field', '/spec/overrides/0', /whom it is for/]],
  [
    limits('{overrides: [{requests: 1, principals: [⟦"spiffe://a/ns/b/sa/c"]}]}'),
    ['spiffe-scheme', '/spec/overrides/0/principals/0', /without "spiffe:\/\/"/],
  ],
  [
    limits('{overrides: [{requests: 1, serviceAccounts: [⟦a/b/c]}]}'),
    ['invalid-service-account', '/spec/overrides/0/serviceAccounts/0', /a\/b\/c/],
  ],
  [
    limits('{selector: {matchLabels: {⟦"a b": c}}, total: {requests: 1}}'),
    ['invalid-label', '/spec/selector/matchLabels/a b', /can be carried by no workload/],
  ],
];

const theDocument: Example[] = [
  ['⟦- a', ['wrong-type', '', /Here must stand a mapping, not a list/]],
  ['⟦hello', ['wrong-type', '', /not the string "hello"/]],
  [
    document('{}').replace('.io/v1', '.io/v2').replace(': sec', ': ⟦sec'),
    [
      'unknown-api-version',
      '/apiVersion',
      /Write one of "security.istio.io\/v1", "security.istio.io\/v1beta1", "writ.dev\/v1"/,
    ],
  ],
  ['apiVersion: ⟦v2\nkind: List\nitems: []\n', ['unknown-api-version', '/apiVersion', /Write one of "v1", /]],
  ['apiVersion: v1\nkind: ⟦Service\nspec: {foo: 1}\n', ['unknown-kind', '/kind', /The kind "Service" is not read/]],
  [document('{}').replace('kind: A', 'kind: ⟦a'), ['unknown-kind', '/kind', /Only "AuthorizationPolicy"/]],
  [
    '⟦kind: AuthorizationPolicy\nmetadata: {name: a, namespace: b}\nspec: {}\n',
    ['missing-field', '', /"apiVersion" is missing/],
  ],
  [
    '⟦⟦⟦⟦{}',
    ['missing-field', '', /"kind"/],
    ['missing-field', '', /"apiVersion"/],
    ['missing-field', '', /"metadata"/],
    ['missing-field', '', /"spec"/],
  ],
  ['⟦{apiVersion: v1, kind: List}', ['missing-field', '', /"items" is missing/]],
  [
    document('{}').replace('  namespace: shop\n', '').replace('name: p', '⟦name: p'),
    ['missing-field', '/metadata', /"namespace" is missing/],
  ],
  [
    document('{}').replace('name: p', 'name: ⟦My_Policy'),
    ['invalid-name', '/metadata/name', /"My_Policy" is not a DNS name/],
  ],
  [document('{}').replace('name: p', 'name: ⟦a..b'), ['invalid-name', '/metadata/name', /is not a DNS name/]],
  [document('{}').replace('name: p', `name: ⟦${'a'.repeat(254)}`), ['invalid-name', '/metadata/name', /at most 253/]],
  [document('{}').replace('name: p', 'name: ⟦""'), ['empty-field', '/metadata/name', /text is empty/]],
  [
    document('{}').replace('name: p', 'name: ⟦12'),
    ['wrong-type', '/metadata/name', /a string, not the number 12 \(quote it/],
  ],
  [
    document('{}').replace('namespace: shop', 'namespace: ⟦a.b'),
    ['invalid-name', '/metadata/namespace', /not a DNS label/],
  ],
  [
    document('{}').replace('namespace: shop', `namespace: ⟦${'a'.repeat(64)}`),
    ['invalid-name', '/metadata/namespace', /at most 63/],
  ],
  [
    document('{}').replace('namespace: shop', 'namespace: ⟦-a'),
    ['invalid-name', '/metadata/namespace', /not a DNS label/],
  ],
  [
    document('{}').replace('  name: p', '  name: p\n  ⟦Labels: {}'),
    ['unknown-field', '/metadata/Labels', /Did you mean "labels"/],
  ],
  [
    document('{}').replace('  name: p', '  name: p\n  annotations: {istio.io/dry-run: ⟦"yes"}'),
    ['invalid-dry-run', '/metadata/annotations/istio.io~1dry-run', /is "yes"\. Write "true" or "false"/],
  ],
  [`${document('{}')}⟦rules: []\n`, ['unknown-field', '/rules', /"rules" belongs in "spec"/]],
  [
    `${document('{}')}⟦zebra: 1\n`,
    ['unknown-field', '/zebra', /The fields here are "apiVersion", "kind", "metadata", "spec"/],
  ],
  [document('⟦'), ['empty-field', '/spec', /Nothing stands here, where a mapping must/]],
];

const theSpec: Example[] = [
  [document('\n⟦a~b/c: {}\nrules: []'), ['unknown-field', '/spec/a~0b~1c', /"a~b\/c" in "spec"/]],
  [document('\n⟦selectors: {}\nrules: []'), ['unknown-field', '/spec/selectors', /Did you mean "selector"/]],
  [
    document('\n⟦matchLabels: {}\nrules: []'),
    ['unknown-field', '/spec/matchLabels', /"matchLabels" belongs in "selector"/],
  ],
  [document('\ntargetRefs: ⟦{}\nrules: []'), ['wrong-type', '/spec/targetRefs', /a list, not a mapping/]],
  [
    document('\ntargetRefs: [⟦⟦{}]\nrules: []'),
    ['missing-field', '/spec/targetRefs/0', /"kind" is missing/],
    ['missing-field', '/spec/targetRefs/0', /"name" is missing/],
  ],
  [
    document('\ntargetRefs: [{kind: ⟦Deployment, name: a, group: apps}]\nrules: []'),
    [
      'invalid-target',
      '/spec/targetRefs/0/kind',
      /for a "Deployment"\. Write one of "Service", "ServiceEntry", "Gateway"/,
    ],
  ],
  [
    document('\ntargetRef: {kind: ⟦gateway, name: a}\nrules: []'),
    ['invalid-target', '/spec/targetRef/kind', /Did you mean "Gateway"/],
  ],
  [
    document('\ntargetRef: {kind: Gateway, name: a, group: ⟦apps}\nrules: []'),
    ['invalid-target', '/spec/targetRef/group', /of the group "gateway\.networking\.k8s\.io", not "apps"/],
  ],
  [
    document('\ntargetRef: ⟦{kind: Gateway, name: a}\nrules: []'),
    ['invalid-target', '/spec/targetRef', /of the group "gateway\.networking\.k8s\.io", not ""/],
  ],
  [
    document('\ntargetRef: {kind: Service, name: a, ⟦namespace: b}\nrules: []'),
    ['invalid-target', '/spec/targetRef/namespace', /in the namespace of the policy\. Leave "namespace" out/],
  ],
  [
    document('\ntargetRef: {kind: Service, name: a, ⟦sectionName: b}\nrules: []'),
    ['invalid-target', '/spec/targetRef/sectionName', /A target is whole\. Leave "sectionName" out/],
  ],
  [
    document('\n⟦targetRef: {kind: Service, name: a}\ntargetRefs: [{kind: Service, name: a}]\nrules: []'),
    ['conflicting-fields', '/spec/targetRef', /Keep one of the three/],
  ],
  [
    document('\nselector: {matchLabels: {a: b}}\n⟦targetRefs: [{kind: Service, name: a}]\nrules: []'),
    ['conflicting-fields', '/spec/targetRefs', /Keep one of the three/],
  ],
  [
    document('\n⟦provider: ⟦{}\nrules: []'),
    ['invalid-provider', '/spec/provider', /the action here is ALLOW/],
    ['missing-field', '/spec/provider', /"name" is missing/],
  ],
  [document('\naction: ⟦CUSTOM\nrules: [{}]'), ['invalid-provider', '/spec/action', /A CUSTOM must say who is asked/]],
  [
    document(`\naction: CUSTOM\nprovider: {name: ⟦${'x'.repeat(254)}}\nrules: [{}]`),
    ['too-large', '/spec/provider/name', /has 254 characters, the limit is 253/],
  ],
  [
    document('\naction: CUSTOM\nprovider: {name: a}\n⟦rules: []'),
    ['deny-without-rules', '/spec/rules', /A CUSTOM without rules asks about nothing/],
  ],
  [
    document('\naction: CUSTOM\nprovider: {name: a}\nrules: [{from: [{source: {⟦namespaces: [b]}}]}]'),
    ['custom-caller', `${SOURCE}/namespaces`, /A CUSTOM does not choose by "namespaces"/],
  ],
  [
    document('\naction: CUSTOM\nprovider: {name: a}\nrules: [{when: [{key: ⟦source.principal, values: [b/c]}]}]'),
    ['custom-caller', `${RULE}/when/0/key`, /A CUSTOM does not choose by "source\.principal"/],
  ],
  [
    document('\naction: CUSTOM\nprovider: {name: a}\nmode: ⟦Shadow\nrules: [{}]'),
    ['invalid-mode', '/spec/mode', /cannot be tried without asking it/],
  ],
  [egress('direction: ⟦egress'), ['invalid-direction', '/spec/direction', /Did you mean "Egress"/]],
  [egress('direction: ⟦Sideways'), ['invalid-direction', '/spec/direction', /neither "Ingress" nor "Egress"\./]],
  [
    document('\ndirection: ⟦Egress\nrules: []'),
    ['invalid-direction', '/spec/direction', /write "apiVersion: writ\.dev\/v1"/],
  ],
  [
    egress('direction: ⟦Egress\naction: CUSTOM\nprovider: {name: a}', '[{}]'),
    ['invalid-direction', '/spec/direction', /No authorizer is asked about calls that go out/],
  ],
  [
    egress('direction: Egress', '[{⟦from: [{source: {namespaces: [a]}}]}]'),
    ['invalid-direction', `${RULE}/from`, /say in "to" whom it calls/],
  ],
  [
    egress('direction: Egress', '[{when: [{key: ⟦source.ip, values: [10.0.0.1]}]}]'),
    ['invalid-direction', `${RULE}/when/0/key`, /"source\.ip" is not known yet/],
  ],
  [
    egress('direction: Egress', '[{when: [{key: ⟦"request.auth.claims[a]", values: [b]}]}]'),
    ['invalid-direction', `${RULE}/when/0/key`, /is not known yet/],
  ],
  [
    egress('direction: Egress', '[{to: [{operation: {⟦serviceAccounts: [a], namespaces: [b]}}]}]'),
    ['conflicting-fields', `${OPERATION}/serviceAccounts`, /stand in one operation/],
  ],
  [
    egress('direction: Egress', '[{to: [{operation: {⟦requestPrincipals: [a]}}]}]'),
    ['unknown-field', `${OPERATION}/requestPrincipals`, /"requestPrincipals" belongs in "source"/],
  ],
  [
    withOperation('{⟦principals: [a/b]}'),
    ['unknown-field', `${OPERATION}/principals`, /"principals" belongs in "source"/],
  ],
  [
    document('{⟦rules: [], action: AUDIT}'),
    ['deny-without-rules', '/spec/rules', /An AUDIT without rules marks nothing/],
  ],
  [document('\nmode: ⟦shadow\nrules: []'), ['invalid-mode', '/spec/mode', /Did you mean "Shadow"/]],
  [document('\nmode: ⟦DryRun\nrules: []'), ['invalid-mode', '/spec/mode', /neither "Enforce" nor "Shadow"/]],
  [
    document('\naction: AUDIT\nmode: ⟦Shadow\nrules: [{}]'),
    ['invalid-mode', '/spec/mode', /An AUDIT decides nothing that could be tried/],
  ],
  [
    document('\naction: AUDIT\nrules: [{}]').replace(
      '  name: p',
      '  name: p\n  annotations: {⟦istio.io/dry-run: "true"}',
    ),
    ['invalid-dry-run', '/metadata/annotations/istio.io~1dry-run', /decides nothing that could be tried/],
  ],
  [
    document('\n⟦mode: Enforce\nrules: []').replace('  name: p', '  name: p\n  annotations: {istio.io/dry-run: "T"}'),
    ['conflicting-fields', '/spec/mode', /Keep one of the two/],
  ],
  [document('\nvalidity: ⟦{}\nrules: []'), ['empty-field', '/spec/validity', /names no time/]],
  [
    document('\nvalidity: {⟦until: 2026-01-01T00:00:00Z}\nrules: []'),
    ['unknown-field', '/spec/validity/until', /The fields here are "notBefore", "notAfter"/],
  ],
  ...[
    '2026-12-24',
    '2026-12-24T18:00:00',
    '2026-02-30T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-12-24T25:00:00Z',
    'soon',
  ].map(
    (time): Example => [
      document(`\nvalidity: {notAfter: ⟦"${time}"}\nrules: []`),
      ['invalid-validity', '/spec/validity/notAfter', /is not a time\. Write it with date, time and zone/],
    ],
  ),
  [
    document('\nvalidity: {notBefore: 2026-01-02T00:00:00Z, notAfter: ⟦2026-01-02T01:00:00+01:00}\nrules: []'),
    ['invalid-validity', '/spec/validity/notAfter', /ends before it begins/],
  ],
  [document('\nreason: ⟦""\nrules: []'), ['empty-field', '/spec/reason', /text is empty/]],
  [
    document(`\nreason: ⟦${'x'.repeat(1025)}\nrules: []`),
    ['too-large', '/spec/reason', /has 1025 characters, the limit is 1024/],
  ],
  [document('\naction: ⟦deny\nrules: [{}]'), ['invalid-action', '/spec/action', /Did you mean "DENY"/]],
  [
    document('\naction: ⟦block\nrules: [{}]'),
    ['invalid-action', '/spec/action', /none of ALLOW, DENY, AUDIT and CUSTOM/],
  ],
  [document('\naction: ⟦1\nrules: [{}]'), ['wrong-type', '/spec/action', /not the number 1/]],
  [document('{action: ⟦DENY}'), ['deny-without-rules', '/spec/action', /To deny every call, write "rules: \[\{\}\]"/]],
  [document('{action: DENY, ⟦rules: []}'), ['deny-without-rules', '/spec/rules', /denies nothing/]],
  [document('\nselector: ⟦app\nrules: []'), ['wrong-type', '/spec/selector', /a mapping, not the string "app"/]],
  [
    document('\nselector: {matchLabels: ⟦}\nrules: []'),
    ['empty-field', '/spec/selector/matchLabels', /where a mapping must/],
  ],
  [
    document('\nselector: {⟦matchExpressions: []}\nrules: []'),
    ['unsupported-field', '/spec/selector/matchExpressions', /not enforced/],
  ],
  ...['a*', '*', '-a', 'a/b/c', '/a', 'Ü', `${'a'.repeat(64)}`, ''].map(
    (key): Example => [
      document(`\nselector: {matchLabels: {⟦"${key}": x}}\nrules: []`),
      [
        'invalid-label',
        `/spec/selector/matchLabels/${key.replaceAll('/', '~1')}`,
        /label key .* can be carried by no workload/,
      ],
    ],
  ),
  ...['a*', '*', '-a', 'a/b', 'a b', `${'a'.repeat(64)}`].map(
    (value): Example => [
      document(`\nselector: {matchLabels: {app: ⟦"${value}"}}\nrules: []`),
      ['invalid-label', '/spec/selector/matchLabels/app', /label value .* can be carried by no workload/],
    ],
  ),
  [
    document('\nselector: {matchLabels: {app: ⟦true}}\nrules: []'),
    ['wrong-type', '/spec/selector/matchLabels/app', /the boolean true \(quote it/],
  ],
  [document('\nrules: ⟦{}\naction: ALLOW'), ['wrong-type', '/spec/rules', /a list, not a mapping/]],
  [
    document(`\naction: ALLOW\nrules: ⟦[${'{},'.repeat(513)}]`),
    ['too-many-items', '/spec/rules', /has 513 items, the limit is 512/],
  ],
];

const theRule: Example[] = [
  [document('\naction: ALLOW\nrules: [⟦null]'), ['empty-field', '/spec/rules/0', /where a mapping must/]],
  [withRule('⟦form: []'), ['unknown-field', `${RULE}/form`, /Did you mean "from"/]],
  [withRule('⟦source: {}'), ['unknown-field', `${RULE}/source`, /"source" belongs in "from"/]],
  [withRule('when: ⟦[]'), ['empty-field', `${RULE}/when`, /list is empty/]],
  [withRule('when: [⟦{values: [a]}]'), ['missing-field', `${RULE}/when/0`, /"key" is missing/]],
  [
    withRule('when: [⟦{key: source.ip}]'),
    ['missing-field', `${RULE}/when/0`, /A condition needs "values" or "notValues"/],
  ],
  [withRule('when: [{key: source.ip, values: ⟦[]}]'), ['empty-field', `${RULE}/when/0/values`, /list is empty/]],
  [withRule('when: [{key: ⟦"", values: [a]}]'), ['empty-field', `${RULE}/when/0/key`, /text is empty/]],
  ...[
    ['source.Principal', /Did you mean "source\.principal"/],
    ['destination.labels[app]', /A policy chooses workloads by its namespace and selector/],
    ['destination.namespace', /A policy chooses workloads/],
    ['destination.name', /A policy chooses workloads/],
    ['destination.user', /A policy chooses workloads/],
    ['request.headers', /Write the name of one field in brackets/],
    ['request.headers[]', /Write the name of one field in brackets/],
    ['request.headers[a][b]', /Write the name of one field in brackets/],
    ['request.headers[a b]', /Write the name of one field in brackets/],
    ['request.headers[:path]', /for the path, use "paths"/],
    ['request.auth.claims', /Write each name in brackets/],
    ['request.auth.claims[a', /Write each name in brackets/],
    ['operation.host', /The keys are "source\.principal"/],
    ['zebra', /The keys are "source\.principal"/],
  ].map(
    ([key, words]): Example => [
      withRule(`when: [{key: ⟦"${key}", values: [a]}]`),
      ['unknown-condition-key', `${RULE}/when/0/key`, words as RegExp],
    ],
  ),
  [
    withRule('when: [{key: ⟦"experimental.envoy.filters.a.b[c]", values: [d]}]'),
    ['unsupported-field', `${RULE}/when/0/key`, /is not enforced by Writ yet/],
  ],
  ...['Connection', 'x-forwarded-client-cert', 'te'].map(
    (name): Example => [
      withRule(`when: [{key: "⟦request.headers[${name}]", values: [d]}]`.replace('"⟦', '⟦"')),
      ['invalid-condition-key', `${RULE}/when/0/key`, /set or taken away by sidecars/],
    ],
  ),
  [withRule('from: ⟦[]'), ['empty-field', `${RULE}/from`, /list is empty/]],
  [withRule('to: ⟦[]'), ['empty-field', `${RULE}/to`, /list is empty/]],
  [withRule('from: ⟦'), ['empty-field', `${RULE}/from`, /where a list must/]],
  [withRule('from: ⟦{source: {namespaces: [a]}}'), ['wrong-type', `${RULE}/from`, /a list, not a mapping/]],
  [
    withRule(`from: ⟦[${'{source: {namespaces: [a]}},'.repeat(513)}]`),
    ['too-many-items', `${RULE}/from`, /limit is 512/],
  ],
  [withRule(`to: ⟦[${'{operation: {ports: [1]}},'.repeat(513)}]`), ['too-many-items', `${RULE}/to`, /limit is 512/]],
  [withRule('from: [⟦{}]'), ['missing-field', `${RULE}/from/0`, /"source" is missing/]],
  [withRule('to: [⟦null]'), ['empty-field', `${RULE}/to/0`, /where a mapping must/]],
  [
    withRule('from: [⟦{⟦namespaces: [a]}]'),
    ['missing-field', `${RULE}/from/0`, /"source"/],
    ['unknown-field', `${RULE}/from/0/namespaces`, /"namespaces" belongs in "source"/],
  ],
  [withSource('⟦{}'), ['empty-field', SOURCE, /source names nothing. Give it "principals" or "notPrincipals" or/]],
  [withOperation('⟦{}'), ['empty-field', OPERATION, /operation names nothing. Give it "methods" or "notMethods" or/]],
  [withSource('⟦null'), ['empty-field', SOURCE, /where a mapping must/]],
  [withSource('{⟦principal: [a/b]}'), ['unknown-field', `${SOURCE}/principal`, /Did you mean "principals"/]],
  [withOperation('{⟦path: [/]}'), ['unknown-field', `${OPERATION}/path`, /Did you mean "paths"/]],
  [
    withSource('{⟦serviceAccounts: [a], namespaces: [b]}'),
    ['conflicting-fields', `${SOURCE}/serviceAccounts`, /"namespaces" stand in one source/],
  ],
  [
    withSource('{⟦notServiceAccounts: [a], notPrincipals: [a/b]}'),
    ['conflicting-fields', `${SOURCE}/notServiceAccounts`, /"notPrincipals" stand in one source/],
  ],
  [
    withSource(`{serviceAccounts: ⟦[${'a,'.repeat(17)}]}`),
    ['too-many-items', `${SOURCE}/serviceAccounts`, /has 17 items, the limit is 16/],
  ],
  [withSource('{principals: ⟦[]}'), ['empty-field', `${SOURCE}/principals`, /list is empty/]],
  [
    withSource('{principals: ⟦example.org/a}'),
    ['wrong-type', `${SOURCE}/principals`, /a list, not the string "example.org\/a"/],
  ],
  [
    withSource(`{namespaces: ⟦[${'a,'.repeat(10_001)}]}`),
    ['too-many-items', `${SOURCE}/namespaces`, /has 10001 items, the limit is 10000/],
  ],
];

const theValues: Example[] = [
  ...['a/b/c', 'a/*', '*', 'a b', '/a', `${'a'.repeat(321)}`].map(
    (text): Example => [
      withSource(`{serviceAccounts: [⟦"${text}"]}`),
      ['invalid-service-account', `${SOURCE}/serviceAccounts/0`, /is neither a name nor "namespace\/name"/],
    ],
  ),
  ...['a/b', 'Example.org', 'a:80'].map(
    (text): Example => [
      withSource(`{trustDomains: [⟦"${text}"]}`),
      ['invalid-trust-domain', `${SOURCE}/trustDomains/0`, /can match none/],
    ],
  ),
  ...['*a*', 'a*b'].map(
    (text): Example => [
      withSource(`{notTrustDomains: [⟦"${text}"]}`),
      ['wildcard-in-middle', `${SOURCE}/notTrustDomains/0`, /does not stand alone, first or last/],
    ],
  ),
  ...['plain', '/sub', 'iss/'].map(
    (text): Example => [
      withSource(`{requestPrincipals: [⟦"${text}"]}`),
      ['invalid-request-principal', `${SOURCE}/requestPrincipals/0`, /is not "issuer\/subject"/],
    ],
  ),
  [
    withSource('{requestPrincipals: [⟦"iss*/sub"]}'),
    ['wildcard-in-middle', `${SOURCE}/requestPrincipals/0`, /does not stand alone/],
  ],
  ...[
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '10.0.0.1/33',
    '10.0.0.0/08',
    'fe80::1%eth0',
    '1::2::3',
    '::/129',
    'host',
    '10.0.0.*',
  ].map(
    (text): Example => [
      withSource(`{ipBlocks: [⟦"${text}"]}`),
      ['invalid-ip-block', `${SOURCE}/ipBlocks/0`, /is neither an IP address nor a block/],
    ],
  ),
  [
    withSource('{notRemoteIpBlocks: [⟦"10.0.0.1/8"]}'),
    ['invalid-ip-block', `${SOURCE}/notRemoteIpBlocks/0`, /has bits beyond its length/],
  ],
  ...['https://a', 'a/b', 'a b', 'user@a', 'ä'].map(
    (text): Example => [
      withOperation(`{hosts: [⟦"${text}"]}`),
      ['invalid-host', `${OPERATION}/hosts/0`, /can match no request/],
    ],
  ),
  ...['a.', 'a.:80'].map(
    (text): Example => [
      withOperation(`{hosts: [⟦"${text}"]}`),
      ['invalid-host', `${OPERATION}/hosts/0`, /the dot at its end is taken away/],
    ],
  ),
  [withOperation('{hosts: [⟦"a.*.b"]}'), ['wildcard-in-middle', `${OPERATION}/hosts/0`, /does not stand alone/]],
  ...['A', 'a:80', 'a b'].map(
    (text): Example => [
      withRule(`when: [{key: connection.sni, values: [⟦"${text}"]}]`),
      ['invalid-server-name', `${RULE}/when/0/values/0`, /can match none/],
    ],
  ),
  [
    withRule('when: [{key: destination.port, values: [⟦"0"]}]'),
    ['invalid-port', `${RULE}/when/0/values/0`, /not a number from 1 to 65535/],
  ],
  [
    withRule('when: [{key: "request.headers[a]", notValues: [⟦"a*b"]}]'),
    ['wildcard-in-middle', `${RULE}/when/0/notValues/0`, /does not stand alone/],
  ],
  [withOperation('{paths: [⟦"a/{*}"]}'), ['invalid-template', `${OPERATION}/paths/0`, /does not begin with "\/"/]],
  ...['/{**}/{*}', '/{**}/a/{**}'].map(
    (text): Example => [
      withOperation(`{paths: [⟦"${text}"]}`),
      ['invalid-template', `${OPERATION}/paths/0`, /must be the last/],
    ],
  ),
  ...['/a{*}', '/{*}/{b}', '/{**}a'].map(
    (text): Example => [
      withOperation(`{paths: [⟦"${text}"]}`),
      ['invalid-template', `${OPERATION}/paths/0`, /must be whole segments/],
    ],
  ),
  [withOperation('{paths: [⟦"/{*}//b"]}'), ['invalid-template', `${OPERATION}/paths/0`, /a segment is empty/]],
  [
    withOperation('{notPaths: [⟦"/{*}/../b"]}'),
    ['path-not-normalized', `${OPERATION}/notPaths/0`, /paths are normalised/],
  ],

  [withSource('{principals: [⟦""]}'), ['empty-field', `${SOURCE}/principals/0`, /text is empty/]],
  [withSource('{principals: [⟦null]}'), ['empty-field', `${SOURCE}/principals/0`, /where a string must/]],
  [
    withSource('{principals: ["a/b", ⟦"spiffe://example.org/ns/a/sa/b"]}'),
    ['spiffe-scheme', `${SOURCE}/principals/1`, /Write "example.org\/ns\/a\/sa\/b"/],
  ],
  [withSource('{principals: [⟦"spiffe://*"]}'), ['spiffe-scheme', `${SOURCE}/principals/0`, /Write "\*"/]],
  [withSource('{principals: [⟦"spiffe://"]}'), ['spiffe-scheme', `${SOURCE}/principals/0`, /Write "\*"/]],
  ...[
    'example.org',
    'Example.org/a',
    'example.org/',
    'example.org/a//b',
    'example.org/a/',
    'example.org/../a',
    'a b/c',
    'example.org/ä',
    'example.org:80/a',
    '/ns/shop/sa/web',
    'example.org//*',
    'Example.org/*',
    '/ns*',
    '*/',
    '*ä',
    '* ',
    `${'a'.repeat(3000)}/b`,
  ].map(
    (principal): Example => [
      withSource(`{principals: [⟦"${principal}"]}`),
      [
        'invalid-principal',
        `${SOURCE}/principals/0`,
        /can match no workload: .* An example is "example.org\/ns\/shop\/sa\/web"/,
      ],
    ],
  ),
  ...['a b', 'a/b', 'ä', 'a/*', '*:', '%'].map(
    (namespace): Example => [
      withSource(`{namespaces: [⟦"${namespace}"]}`),
      ['invalid-namespace', `${SOURCE}/namespaces/0`, /can match none: a namespace has only letters/],
    ],
  ),
  // policy 8
  ...['a/*/b', '*a*', '**', 'a**', '**a'].flatMap((text): Example[] => [
    [
      withSource(`{principals: [⟦"${text}"]}`),
      ['wildcard-in-middle', `${SOURCE}/principals/0`, /Istio would take it literally/],
    ],
    [
      withSource(`{namespaces: [⟦"${text}"]}`),
      ['wildcard-in-middle', `${SOURCE}/namespaces/0`, /Write "\*", "\*suffix", "prefix\*"/],
    ],
    [
      withOperation(`{methods: [⟦"${text}"]}`),
      ['wildcard-in-middle', `${OPERATION}/methods/0`, /does not stand alone/],
    ],
  ]),
  ...['/a/*/b', '*a*', '**', '/a/**'].map(
    (path): Example => [
      withOperation(`{paths: [⟦"${path}"]}`),
      ['wildcard-in-middle', `${OPERATION}/paths/0`, /does not stand alone/],
    ],
  ),
  [withOperation('{methods: [⟦get]}'), ['invalid-method', `${OPERATION}/methods/0`, /Write "GET"/]],
  [withOperation('{methods: [⟦"*ost"]}'), ['invalid-method', `${OPERATION}/methods/0`, /Write "\*OST"/]],
  [
    withOperation('{methods: [⟦"GET POST"]}'),
    ['invalid-method', `${OPERATION}/methods/0`, /not an upper-case HTTP token\.$/],
  ],
  [
    withOperation('{methods: [⟦"GET,POST"]}'),
    ['invalid-method', `${OPERATION}/methods/0`, /not an upper-case HTTP token/],
  ],
  [
    withOperation('{paths: [⟦admin]}'),
    ['invalid-path', `${OPERATION}/paths/0`, /must begin with "\/" or "\*". Write "\/admin"/],
  ],
  [withOperation('{paths: [⟦"admin/*"]}'), ['invalid-path', `${OPERATION}/paths/0`, /Write "\/admin\/\*"/]],
  [withOperation('{paths: [⟦"/a?b=c"]}'), ['invalid-path', `${OPERATION}/paths/0`, /query and fragment are not part/]],
  [withOperation('{paths: [⟦"/a#b"]}'), ['invalid-path', `${OPERATION}/paths/0`, /query and fragment are not part/]],
  [withOperation('{paths: [⟦"/café"]}'), ['invalid-path', `${OPERATION}/paths/0`, /Write "\/caf%C3%A9"/]],
  [withOperation('{paths: [⟦"*é"]}'), ['invalid-path', `${OPERATION}/paths/0`, /Write "\*%C3%A9"/]],
  [withOperation('{paths: [⟦"/a b/*"]}'), ['invalid-path', `${OPERATION}/paths/0`, /Write "\/a%20b\/\*"/]],
  [
    withOperation('{paths: [⟦"/100%"]}'),
    ['invalid-path', `${OPERATION}/paths/0`, /can match no request: .* Write "\/100%25"/],
  ],
  [withOperation('{paths: [⟦"/\\ud800"]}'), ['invalid-path', `${OPERATION}/paths/0`, /must escape\.$/]],
  [withOperation('{paths: [⟦"/%c0%af"]}'), ['invalid-path', `${OPERATION}/paths/0`, /not UTF-8/]],
  [withOperation('{paths: [⟦"/%00"]}'), ['invalid-path', `${OPERATION}/paths/0`, /escaped NUL/]],
  [withOperation('{paths: [⟦"/a//b"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/a\/b"/]],
  [withOperation('{paths: [⟦"/a/../b"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/b"/]],
  [withOperation('{paths: [⟦"/a//*"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/a\/\*"/]],
  [withOperation('{paths: [⟦"/a/./*"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/a\/\*"/]],
  [withOperation('{paths: [⟦"*//b"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\*\/b"/]],
  [withOperation('{paths: [⟦"*/../b"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /are compared\.$/]],
  [withOperation('{paths: [⟦"/caf%c3%a9"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/caf%C3%A9"/]],
  [withOperation('{paths: [⟦"/%61"]}'), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/a"/]],
  [
    withOperation('{paths: [⟦"/v1/keys%3Arotate"]}'),
    ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/v1\/keys:rotate"/],
  ],
  [withOperation("{paths: [⟦'/a\\b']}"), ['path-not-normalized', `${OPERATION}/paths/0`, /Write "\/a\/b"/]],
  [withOperation('{paths: [⟦"/a/{*}/b*"]}'), ['invalid-template', `${OPERATION}/paths/0`, /no other wildcards/]],
  ...[
    '0',
    '65536',
    '-1',
    '1.5',
    '080',
    '0x50',
    '8e1',
    '"0"',
    '"80 "',
    '"080"',
    '"8*"',
    '"*"',
    '"http"',
    '"１"',
    '100000',
  ].map(
    (port): Example => [
      withOperation(`{ports: [⟦${port}]}`),
      ['invalid-port', `${OPERATION}/ports/0`, /is not a number from 1 to 65535/],
    ],
  ),
  [withOperation('{ports: [⟦true]}'), ['wrong-type', `${OPERATION}/ports/0`, /the boolean true/]],
];

describe.each([
  ['text', theText],
  ['document', theDocument],
  ['rate limits', theRateLimits],
  ['spec', theSpec],
  ['rule', theRule],
  ['values', theValues],
  ['authentications', theAuthentications],
])('findings of the %s', (_, examples) => {
  test.each(examples.map((example) => [shown(example[0]), example] as const))('%s', async (_title, example) => {
    const [marked, ...expected] = example;
    const { text, marks } = unmarked(marked);
    const error = await expectAppError(() => parsePolicies(text), 'invalid-document');
    expect(error.details.map((d) => [`${d.line}:${d.column}`, d.code, d.pointer, d.message])).toEqual(
      expected.map(([code, pointer, message], i) => [marks[i], code, pointer, expect.stringMatching(message)]),
    );
  });
});

/** The line with the mark. */
function shown(marked: string): string {
  const line = marked.split('\n').find((l) => l.includes('⟦')) ?? marked;
  const at = line.indexOf('⟦');
  return line.slice(Math.max(0, at - 40), at + 60).trim();
}

test('everything is found at once, in the order of the text, and nothing is half taken', async () => {
  const text = `${document('{rules: [{}]}', { name: 'fine' })}---
apiVersion: security.istio.io/v9
kind: AuthorizationPolicy
metadata:
  name: second
spec:
  action: Deny
  rules:
  - from:
    - source:
        principal: [example.org/ns/shop/sa/web]
        principals: ["spiffe://example.org/ns/shop/sa/web", example.org/*/web]
    to:
    - operation: {methods: [get, POST], paths: [admin, /a/../b], ports: [http, 0]}
    when: [{key: source.name}]
---
kind: [
`;
  const error = await expectAppError(
    () => parsePolicies(text, { file: 'shop.yaml' }),
    'invalid-document',
    /^shop\.yaml:8:13: The apiVersion "security\.istio\.io\/v9" is not read\. .* \(the first of 14 findings\)$/,
  );
  expect(error.details.map((d) => `${d.file}:${d.line}:${d.column} ${d.code}`)).toEqual([
    'shop.yaml:8:13 unknown-api-version',
    'shop.yaml:11:3 missing-field',
    'shop.yaml:13:11 invalid-action',
    'shop.yaml:17:9 unknown-field',
    'shop.yaml:18:22 spiffe-scheme',
    'shop.yaml:18:61 wildcard-in-middle',
    'shop.yaml:20:29 invalid-method',
    'shop.yaml:20:49 invalid-path',
    'shop.yaml:20:56 path-not-normalized',
    'shop.yaml:20:74 invalid-port',
    'shop.yaml:20:80 invalid-port',
    'shop.yaml:21:12 missing-field',
    'shop.yaml:21:18 unknown-condition-key',
    'shop.yaml:24:1 yaml-syntax',
  ]);
});

test('a list longer than people read is cut, and the rest is counted', async () => {
  const text = withOperation(`{ports: [${'0,'.repeat(MAX_FINDINGS + 5)}]}`);
  const error = await expectAppError(() => parsePolicies(text), 'invalid-document');
  expect(error.details).toHaveLength(MAX_FINDINGS + 1);
  expect(error.details.at(-1)).toMatchObject({
    code: 'too-many-findings',
    message: '5 more findings are not listed. Mend these first.',
  });
});

test('a message never repeats more than a line of the text', async () => {
  const long = 'x'.repeat(100_000);
  for (const text of [
    `!${long} a`,
    `*${long}`,
    document(`{${long.slice(0, 1000)}: 1}`),
    document(`{action: ${long}, rules: [{}]}`),
    withOperation(`{paths: ["${long}"], methods: ["${long}*x"], ports: ["${long}"]}`),
    withSource(`{principals: ["${long}"], namespaces: ["/${long}"]}`),
  ]) {
    const error = await expectAppError(() => parsePolicies(text), 'invalid-document');
    for (const finding of error.details) expect(finding.message.length).toBeLessThan(600);
    expect(error.message.length).toBeLessThan(700);
  }
});

describe('the table of findings', () => {
  const errors = Object.keys(policyFindings);
  const codes = [...errors, ...Object.keys(policyWarnings)];

  test('every code has its paragraph in docs/policy-findings.md, and no other has', async () => {
    const page = await readFile(new URL('../../../docs/policy-findings.md', import.meta.url), 'utf8');
    const sections = [...page.matchAll(/^## `(.+)`\n\n([\s\S]*?)(?=^## |(?![\s\S]))/gm)];
    expect(sections.map((s) => s[1])).toEqual(codes);
    for (const [, code, text = ''] of sections) {
      expect(text.trim(), code).toMatch(/^\S[\s\S]{80,}/);
      expect(text, code).toMatch(/\*\*Mend:\*\*\s\S/);
    }
  });

  test('every code is found by an example of this file', () => {
    const found = [theText, theDocument, theSpec, theRule, theValues, theAuthentications, theRateLimits].flatMap(
      (examples) => examples.flatMap(([, ...expected]) => expected.map(([code]) => code)),
    );
    expect([...new Set([...found, 'too-many-findings'])].sort()).toEqual([...errors].sort());
  });
});
