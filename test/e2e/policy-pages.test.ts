import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { objects, startAuthorizer } from '../node/sidecar/authorizer.ts';
import type { DevMesh } from '../support/dev-mesh.ts';
import { eventually, run, startDevMesh } from '../support/dev-mesh.ts';
import { blocks, followGuide, freePorts, withPorts } from '../support/guide.ts';
import { tempDirectory } from '../support/temp.ts';
import { itWithTools } from '../support/tools.ts';

/** Pages on policy, in real processes. */

const cli = resolve(import.meta.dirname, '../../src/main/cli.ts');

async function follow(directory: string, commands: string, seconds = 60): Promise<string> {
  const { code, output } = await followGuide(directory, commands, seconds);
  expect(code, output).toBe(0);
  return output;
}

describe('in a mesh of writ dev', { timeout: 150_000 }, () => {
  let mesh: DevMesh;

  beforeAll(async () => {
    mesh = await startDevMesh(['--no-traffic']);
  }, 120_000);
  afterAll(() => mesh?.dispose());

  const followPage = (page: string, seconds?: number) =>
    follow(
      mesh.directory,
      blocks(page, 'console').replaceAll(/127\.0\.0\.1:(\d+)/g, (_, port) => `127.0.0.1:${mesh.port(Number(port))}`),
      seconds,
    );

  itWithTools(['bash', 'curl', 'timeout'], 'docs/policy.md: from default deny to a grant that ends', async () => {
    const output = await followPage('docs/policy.md', 100);
    const said = [
      /^x-writ-rule: default-deny/m,
      /^DENY {2}shop\/web → shop\/payments {2}GET \/invoices\/17$/m,
      /^ {8}- "\/invoices\/\{\*\}" # 2$/m,
      /^error +mistake\.yaml:\d+:\d+: .* \[wildcard-in-middle\]$/m,
      /^4 cases: 4 met, 0 not\.$/m,
      /^Newly allowed: 2 calls\n.*\n {2}2 +shop\/web +shop\/payments +GET \/invoices\/\{\*\} .* default-deny +shop\/web-invoices \(new\)#0 /m,
      / deny .* allow shop\/web-invoices@\d+#0 /m,
      /^policy change \d+ proposed: \+shop\/web-invoices$/m,
      /^error: ann proposed the policy change \d+, so somebody else must approve it/m,
      /^step 2 of 2: 100% \(1 sidecar\), baking/m,
      /^policy change \d+ applied, as revision \d+$/m,
      /^200$/m,
      /^shop\/payments +synced +\d+\/\d+ /m,
      /^\+ {6}to: \[\{operation: \{methods: \[GET, DELETE\]/m,
      /^policy\/shop\/web-invoices rolled back to revision \d+, as revision \d+$/m,
      /^x-writ-reason: quarantined/m,
      /^3 of 3 connected sidecars obey\.$/m,
      /^‼ none has ended or ends within a week: shop\/web-invoices end(s in|ed) \d+s/m,
      /^warning +policy\/shop\/web-invoices:1:1: .* \[validity-over\]$/m,
    ];
    for (const one of said) expect(output).toMatch(one);
    expect(output).not.toMatch(/Newly denied/);

    const log = await readFile(join(mesh.directory, '.writ/dev/logs/server.log'), 'utf8');
    expect(log).toMatch(/"policy":"shop\/web-invoices".*a policy ends soon/);
    expect(log).toMatch(/"policy":"shop\/web-invoices".*a policy has ended/);

    const revisions = await (await mesh.rest('GET', '/v1/policies/shop/web-invoices/revisions')).json();
    expect(revisions).toMatchObject({
      items: [
        { operation: 'delete', author: 'admin', reason: 'SHOP-16: the trial is over' },
        { operation: 'put', author: 'admin', reason: 'SHOP-16: the trial is over' },
        { operation: 'put', author: 'admin', reason: 'SHOP-15: reads only' },
        { operation: 'put', author: 'admin', reason: 'SHOP-14: in a hurry' },
        { operation: 'put', author: 'ann', reason: 'SHOP-12: web shows invoices, on trial' },
        { operation: 'delete', author: 'admin', reason: 'SHOP-12: it does what it should' },
        { operation: 'put', author: 'admin', reason: 'SHOP-12: on trial' },
      ],
    });
  });

  itWithTools(['bash', 'curl', 'timeout'], 'docs/rate-limits.md can be followed from top to bottom', async () => {
    const output = await followPage('docs/rate-limits.md');
    expect(output).toMatch(/^HTTP\/1\.1 429 /m);
    expect(output).toMatch(/^retry-after: [0-9]+/im);
    expect(output).toMatch(/^x-writ-reason: rate-limited/im);
    expect(output).toMatch(/^x-writ-rule: shop\/orders@[0-9]+/im);
  });

  itWithTools(['bash', 'curl', 'timeout'], 'docs/egress.md can be followed from top to bottom', async () => {
    const output = await followPage('docs/egress.md');
    expect(output).toMatch(/Not let out by default-deny: the egress policies/);
    expect(output).toMatch(/^200$/m);
    expect(output).toMatch(/"direction": ?"outbound"/);
  });

  itWithTools(
    ['curl'],
    'what kubectl prints is applied as it is: a List, of cluster.local, with AUDIT; and comes out as it went in',
    async () => {
      const applied = await run(process.execPath, [cli, 'apply', '-f', '-'], { cwd: mesh.directory, input: printed });
      expect(applied.code, applied.stderr).toBe(0);
      const url = `http://127.0.0.1:${mesh.port(9111)}/printed`;
      await eventually('web is let in', 10_000, async () => {
        const { stdout } = await run('curl', [
          '-s',
          '-o',
          '/dev/null',
          '-w',
          '%{http_code}',
          '-H',
          'Host: payments.shop.mesh',
          url,
        ]);
        return stdout === '200' ? true : undefined;
      });
      const call = await eventually('the call on the record', 10_000, async () => {
        const answer = await mesh.rest('GET', '/v1/audit/events?path=/printed&decision=allow&limit=1');
        return ((await answer.json()) as { items: readonly { rule: string; auditRule: string }[] }).items[0];
      });
      expect(call).toMatchObject({
        rule: expect.stringMatching(/^shop\/web-printed@\d+#0$/),
        auditRule: expect.stringMatching(/^shop\/watch@\d+#0$/),
      });
      const again = await run(process.execPath, [cli, 'diff', '-f', '-'], { cwd: mesh.directory, input: printed });
      expect(again).toMatchObject({ code: 0, stdout: '' });
    },
  );
});

describe('with a control plane and sidecars of its own', { timeout: 120_000 }, () => {
  itWithTools(['bash', 'curl', 'openssl', 'timeout'], 'docs/external-authorizers.md can be followed', async () => {
    const opa = await startAuthorizer();
    opa.answer = ({ attributes }) => objects({ status: { code: 403 }, body: `not for ${attributes.source.principal}` });
    const directory = await tempDirectory();
    const ports = await freePorts([8080, 8443, 8444, 9090, 15000, 15001, 15006, 15010, 15011]);
    ports.set(9191, Number(opa.authorizer.address.split(':')[1]));
    const own = (text: string) => withPorts(text, ports);
    await writeFile(
      join(directory, 'server.yaml'),
      own(`${blocks('docs/operations.md', 'yaml')}${blocks('docs/external-authorizers.md', 'yaml')}`),
    );
    const output = await follow(directory, own(`${setUp}${blocks('docs/external-authorizers.md', 'console')}`));
    expect(output).toMatch(/^x-writ-reason: custom-rule/m);
    expect(output).toMatch(/^200$/m);
    expect(opa.questions[0]?.attributes).toMatchObject({
      source: { principal: 'spiffe://example.org/ns/shop/sa/web' },
      destination: { principal: 'spiffe://example.org/ns/shop/sa/orders' },
      request: { http: { path: '/admin' } },
    });
  });
});

/** As `kubectl get authorizationpolicies,peerauthentications -n shop -o yaml` does. */
const printed = `apiVersion: v1
items:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{"annotations":{}}}
    creationTimestamp: "2026-01-31T08:00:00Z"
    generation: 1
    name: web-printed
    namespace: shop
    resourceVersion: "4711"
    uid: 8a1c6a56-6f3f-4a5e-9d0e-0d6d3f0b9a11
  spec:
    rules:
    - from:
      - source:
          principals:
          - cluster.local/ns/shop/sa/web
    selector:
      matchLabels:
        app: payments
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    creationTimestamp: "2026-01-31T08:00:00Z"
    generation: 1
    name: watch
    namespace: shop
  spec:
    action: AUDIT
    rules:
    - to:
      - operation:
          paths:
          - /print*
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata:
    creationTimestamp: "2026-01-31T08:00:00Z"
    generation: 1
    name: default
    namespace: shop
  spec:
    mtls:
      mode: STRICT
kind: List
metadata:
  resourceVersion: ""
`;

/** The mesh of docs/operations.md, in short. */
const setUp = `(umask 077; openssl rand -hex 32 > writ-passphrase)
writ server --config server.yaml 2> server.log &
until curl -sf http://127.0.0.1:9090/readyz; do sleep 0.2; done
writ context save --addr http://127.0.0.1:8443 --token-file ./writ-data/admin-token
writ entry create shop/web --label app=web
writ entry create shop/orders --label app=orders
writ join-token create shop/web --out web.token
writ join-token create shop/orders --out orders.token
'${process.execPath}' -e "require('http').createServer((q, s) => s.end('ok')).listen(8080, '127.0.0.1')" &
trust='--server 127.0.0.1:8444 --trust-bundle-file ./writ-data/bundle.pem'
writ sidecar $trust --state-dir ./orders --join-token-file orders.token --inbound listen=127.0.0.1:15006,application=127.0.0.1:8080 --outbound-listen 127.0.0.1:15001 --admin-listen 127.0.0.1:15000 2> orders.log &
writ sidecar $trust --state-dir ./web --join-token-file web.token --outbound-listen 127.0.0.1:15011 --admin-listen 127.0.0.1:15010 2> web.log &
until curl -sf http://127.0.0.1:15010/readyz && curl -sf http://127.0.0.1:15000/readyz; do sleep 0.2; done
cat > allow.yaml <<'YAML'
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules: [{from: [{source: {namespaces: [shop]}}]}]
YAML
writ apply -f allow.yaml
until curl -sf -o answer -H 'Host: orders.shop.mesh' http://127.0.0.1:15011/; do sleep 0.1; done
`;
