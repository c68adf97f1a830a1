import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createLocalJWKSet, errors, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditRecord } from '../../src/core/audit/event.ts';
import type { DevMesh } from '../support/dev-mesh.ts';
import { eventually, run, startDevMesh, writ } from '../support/dev-mesh.ts';
import { getByCurl, getByNode } from '../support/http.ts';
import { runningProcesses } from '../support/processes.ts';
import { itWithTools, missingTools } from '../support/tools.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const orders = 'spiffe://example.org/ns/shop/sa/orders';
const payments = 'spiffe://example.org/ns/shop/sa/payments';

const allowWebPayments = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: allow-web-payments
  namespace: shop
spec:
  selector:
    matchLabels:
      app: payments
  action: ALLOW
  rules:
    - from:
        - source:
            principals: [example.org/ns/shop/sa/web]
`;

const noCurl = missingTools('curl');
const get = noCurl === '' ? getByCurl : getByNode;
const title = noCurl === '' ? 'a mesh' : `a mesh [called by Node: ${noCurl}]`;
if (noCurl !== '') process.stderr.write(`${title}\n`);

/**
 * The whole of Writ as a user runs it: the control plane, three sidecars and three services, each a process of its own;
 * curl and openssl from outside, where they are there. The steps build on each other.
 */
describe(title, { timeout: 120_000 }, () => {
  let mesh: DevMesh;

  beforeAll(async () => {
    mesh = await startDevMesh(['--no-traffic']);
  }, 120_000);
  afterAll(() => mesh?.dispose());

  const call = (service: string, path = '/', more: Readonly<Record<string, string>> = {}) =>
    get(`http://127.0.0.1:${mesh.port(9111)}${path}`, { ...more, Host: `${service}.shop.mesh` });

  const search = async (query: string): Promise<AuditRecord[]> => {
    const items: AuditRecord[] = [];
    let cursor: string | null = null;
    do {
      const page = await mesh.rest(
        'GET',
        `/v1/audit/events?limit=500&${query}${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
      );
      expect(page.status).toBe(200);
      const body = (await page.json()) as { items: AuditRecord[]; nextCursor: string | null };
      items.push(...body.items);
      cursor = body.nextCursor;
    } while (cursor !== null);
    return items;
  };

  it('01 lets web call orders, and denies web calling payments with the rule that decided', async () => {
    const allowed = await call('orders', '/step-01');
    expect(allowed.status).toBe(200);
    const denied = await call('payments', '/step-01');
    expect(denied.status).toBe(403);
    expect(denied.headers['x-writ-rule']).toBe('default-deny');
  });

  it('02 shows both calls in the audit within 2 s: who, whom, what, verdict, rule and revision', async () => {
    const records = await eventually('both calls in the audit', 2000, async () => {
      const found = await search('path=/step-01');
      return found.length >= 2 && found.every((r) => r.status !== null && r.proof.state === 'sealed')
        ? found
        : undefined;
    });
    expect(records).toHaveLength(2);
    const allowed = records.find((r) => r.destination === orders);
    expect(allowed).toMatchObject({
      source: web,
      operation: { protocol: 'http', method: 'GET', host: 'orders.shop.mesh', path: '/step-01' },
      decision: 'allow',
      reason: 'allow-rule',
      rule: expect.stringMatching(/^shop\/[a-z-]+@\d+#\d+$/),
      status: 200,
      proof: { state: 'sealed' },
    });
    expect(allowed?.policyRevision).toBeGreaterThan(0);
    expect(records.find((r) => r.destination === payments)).toMatchObject({
      source: web,
      operation: { method: 'GET', path: '/step-01' },
      decision: 'deny',
      reason: 'default-deny',
      rule: 'default-deny',
      status: 403,
    });
  });

  it('03 obeys a new ALLOW within 1 s, and its deletion within 1 s', async () => {
    const policy = '/v1/policies/shop/allow-web-payments';
    const put = await mesh.rest('PUT', policy, {
      body: allowWebPayments,
      headers: { 'content-type': 'application/yaml', 'if-none-match': '*' },
    });
    expect(put.status).toBe(201);
    await eventually('payments allowed', 1000, async () =>
      (await call('payments')).status === 200 ? true : undefined,
    );
    const etag = put.headers.get('etag') ?? '';
    expect((await mesh.rest('DELETE', policy, { headers: { 'if-match': '"0"' } })).status).toBe(412);
    expect((await mesh.rest('DELETE', policy, { headers: { 'if-match': etag } })).status).toBe(200);
    await eventually('payments denied', 1000, async () => ((await call('payments')).status === 403 ? true : undefined));
  });

  it('04 keeps the old revision when a policy has mistakes, and names all of them with line and column', async () => {
    const before = await mesh.rest('GET', '/v1/policies?namespace=shop');
    const broken = allowWebPayments.replace('action: ALLOW', 'action: ALOW').replace('principals', 'principal');
    const put = await mesh.rest('PUT', '/v1/policies/shop/allow-web-payments', {
      body: broken,
      headers: { 'content-type': 'application/yaml', 'if-none-match': '*' },
    });
    expect(put.status).toBe(422);
    expect(put.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    const problem = (await put.json()) as { code: string; errors: { line: number; column: number }[] };
    expect(problem.code).toBe('invalid-document');
    expect(problem.errors.map((e) => e.line)).toEqual([10, 14]);
    expect(await (await mesh.rest('GET', '/v1/policies?namespace=shop')).text()).toBe(await before.text());
  });

  it('05 gives web a JWT that verifies with jose for its audience, and for nothing else', async () => {
    const fetched = await get(`http://127.0.0.1:${mesh.port(9131)}/v1/jwt?audience=https://billing.example`);
    expect(fetched.status).toBe(200);
    const { token } = JSON.parse(fetched.body) as { token: string };
    const jwks = createLocalJWKSet(JSON.parse((await get(mesh.url('/v1/jwks'))).body));
    const verify = (jwt: string, audience: string, currentDate = new Date()) =>
      jwtVerify(jwt, jwks, { audience, currentDate, algorithms: ['ES256'], requiredClaims: ['sub', 'exp', 'aud'] });

    const { payload, protectedHeader } = await verify(token, 'https://billing.example');
    expect(payload.sub).toBe(web);
    expect(protectedHeader).toMatchObject({ alg: 'ES256', kid: expect.any(String) });
    await expect(verify(token, 'https://other.example')).rejects.toThrow(errors.JWTClaimValidationFailed);
    const afterExpiry = new Date(((payload.exp ?? 0) + 1) * 1000);
    await expect(verify(token, 'https://billing.example', afterExpiry)).rejects.toThrow(errors.JWTExpired);
    const [, body, signature] = token.split('.');
    for (const alg of ['none', 'HS256', 'ES384']) {
      const header = Buffer.from(JSON.stringify({ ...protectedHeader, alg })).toString('base64url');
      await expect(verify(`${header}.${body}.${signature}`, 'https://billing.example')).rejects.toThrow();
    }
  });

  it('06 records the subject of a JWT that a caller presents, and refuses one for another audience', async () => {
    const fetchJwt = async (audience: string) => {
      const url = `http://127.0.0.1:${mesh.port(9131)}/v1/jwt?audience=${encodeURIComponent(audience)}`;
      return (JSON.parse((await get(url)).body) as { token: string }).token;
    };
    const good = await call('orders', '/step-06-good', { Authorization: `Bearer ${await fetchJwt(orders)}` });
    const bad = await call('orders', '/step-06-bad', { Authorization: `Bearer ${await fetchJwt(payments)}` });
    expect([good.status, bad.status]).toEqual([200, 401]);
    await eventually('both in the audit', 2000, async () => {
      const [accepted] = await search('path=/step-06-good');
      const [refused] = await search('path=/step-06-bad');
      if (accepted === undefined || refused === undefined) return undefined;
      expect(accepted.tokenSubject).toBe(web);
      expect(refused).toMatchObject({ decision: 'deny', reason: 'token-refused' });
      return true;
    });
  });

  itWithTools(
    ['openssl'],
    '07 serves certificates that openssl verifies: one URI SAN, an hour at most, leaf key usage',
    async () => {
      const shown = await run('openssl', [
        's_client',
        '-connect',
        `127.0.0.1:${mesh.port(9122)}`,
        '-showcerts',
        '-tls1_3',
      ]);
      const [leaf, ...rest] = shown.stdout.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
      expect(rest.length, shown.stdout + shown.stderr).toBeGreaterThan(0);
      const intermediates = join(mesh.directory, 'intermediates.pem');
      await writeFile(intermediates, rest.join('\n'));
      const verified = await run(
        'openssl',
        [
          'verify',
          '-x509_strict',
          '-purpose',
          'sslserver',
          '-CAfile',
          join(mesh.directory, '.writ/dev/bundle.pem'),
          '-untrusted',
          intermediates,
        ],
        { input: leaf ?? '' },
      );
      expect(verified.stdout + verified.stderr).toMatch(/: OK/);
      const text = (await run('openssl', ['x509', '-noout', '-text'], { input: leaf ?? '' })).stdout;
      expect(text.match(/URI:/g)).toHaveLength(1);
      expect(text).toContain(`URI:${orders}`);
      expect(text).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
      expect(text).toMatch(/CA:FALSE/);
      expect(text).toMatch(/TLS Web Server Authentication, TLS Web Client Authentication/);
      const [from, until] = ['Not Before', 'Not After ?'].map((name) =>
        Date.parse(new RegExp(`${name}: (.*)`).exec(text)?.[1] ?? ''),
      );
      expect((until ?? 0) - (from ?? 0)).toBeLessThanOrEqual(3_610_000);
      expect((until ?? 0) - (from ?? 0)).toBeGreaterThan(0);
    },
  );

  it('08 refuses a caller without a certificate before the application sees anything', async () => {
    expect((await get(`https://127.0.0.1:${mesh.port(9122)}/step-08`)).outcome).toBe('failed');
    expect(await search('path=/step-08')).toEqual([]);
  });

  it('09 goes on while the control plane is killed, and then has every forwarded call exactly once', async () => {
    const killed = await controlPlanePid(mesh);
    const answered: string[] = [];
    let n = 0;
    const callSome = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const path = `/step-09/${n++}`;
        const { status } = await call('orders', path);
        expect(status, path).toBe(200);
        answered.push(path);
      }
    };
    await callSome(10);
    // In the middle of the stream of calls: some batches are on their way, some acknowledged, some not cut yet.
    const [,] = await Promise.all([callSome(40), Promise.resolve().then(() => process.kill(killed, 'SIGKILL'))]);
    await mesh.printed(/The control plane stopped \(signal SIGKILL\); starting it again/);
    await callSome(20);
    await eventually('the control plane is back', 30_000, async () => {
      if ((await controlPlanePid(mesh)) === killed) return undefined;
      return (await mesh.rest('GET', '/v1/proxies')).status === 200 ? true : undefined;
    });
    await callSome(10);
    const recorded = await eventually('all calls in the audit', 20_000, async () => {
      const paths = (await search('path=/step-09/*')).map((r) => r.operation.path);
      return new Set(paths).size >= answered.length ? paths : undefined;
    });
    expect([...recorded].sort()).toEqual([...answered].sort());
    expect(answered).toHaveLength(80);
  });

  it('10 brings back a sidecar that is killed in the middle, and loses and doubles no call that was answered', async () => {
    const killed = await ordersSidecarPid(mesh);
    const answered: string[] = [];
    const calls = (async () => {
      for (let i = 0; i < 60; i++) {
        const path = `/step-10/${i}`;
        if ((await call('orders', path)).status === 200) answered.push(path);
      }
    })();
    process.kill(killed, 'SIGKILL');
    await calls;
    await eventually('orders answers again', 20_000, async () => {
      const path = `/step-10/after`;
      if ((await call('orders', path)).status !== 200) return undefined;
      answered.push(path);
      return true;
    });
    const recorded = await eventually('all answered calls in the audit', 20_000, async () => {
      const paths = (await search('path=/step-10/*'))
        .filter((r) => r.decision === 'allow')
        .map((r) => r.operation.path);
      return answered.every((path) => paths.includes(path)) ? paths : undefined;
    });
    for (const path of answered)
      expect(
        recorded.filter((p) => p === path),
        path,
      ).toHaveLength(1);
  });

  it('11 explains a decision on the command line: exit 1 for deny, 0 for allow, with the rule and its source line', async () => {
    const ask = (to: string) =>
      writ(mesh, ['policy', 'check', '--from', 'shop/web', '--to', `shop/${to}`, '--method', 'GET', '--path', '/']);
    const denied = await ask('payments');
    expect([denied.code, denied.stdout]).toEqual([1, expect.stringMatching(/deny[\s\S]*default-deny/i)]);
    const allowed = await ask('orders');
    expect([allowed.code, allowed.stdout]).toEqual([0, expect.stringMatching(/allow[\s\S]*shop\/[a-z-]+@\d+#0/i)]);
  });

  it('12 stops with Ctrl-C, completely', async () => {
    expect(await mesh.stop()).toBe(0);
    const ports = [8080, 8444, 9090, 9101, 9111, 9121, 9131].map((port) => mesh.port(port));
    for (const port of ports) {
      expect((await get(`http://127.0.0.1:${port}/`)).outcome, `port ${port}`).toBe('refused');
    }
  });
});

/** Of the process that listens on this documented port with this flag, as its command line says. */
async function pidOf(mesh: DevMesh, command: 'server' | 'sidecar', flag: string, documented: number): Promise<number> {
  const wanted = `--${flag}=127.0.0.1:${mesh.port(documented)}`;
  const found = (await runningProcesses()).filter(
    (each) => each.command.includes(` ${command} `) && each.command.includes(wanted),
  );
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`${found.length} processes with ${wanted}`);
  return only.pid;
}

const controlPlanePid = (mesh: DevMesh) => pidOf(mesh, 'server', 'rest-listen', 8080);
const ordersSidecarPid = (mesh: DevMesh) => pidOf(mesh, 'sidecar', 'outbound-listen', 9112);
