import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DevMesh } from '../support/dev-mesh.ts';
import { eventually, startDevMesh, writ } from '../support/dev-mesh.ts';
import { EndUsers } from '../support/end-users.ts';
import { getByNode } from '../support/http.ts';

interface Proxy {
  readonly spiffeId: string;
  readonly endpoints: readonly string[];
  readonly ports: readonly { readonly port: number }[];
  readonly plainTextPorts: readonly number[];
}

const selector = '  selector: {matchLabels: {app: orders}}';

/** Real processes: the control plane, three sidecars, three services, the command line. The steps build on each other. */
describe('end users and plain text in a running mesh', { timeout: 120_000 }, () => {
  let mesh: DevMesh;
  const users = new EndUsers();

  beforeAll(async () => {
    mesh = await startDevMesh(['--no-traffic']);
  }, 120_000);
  afterAll(() => mesh?.dispose());

  const call = (path: string, headers: Readonly<Record<string, string>> = {}) =>
    getByNode(`http://127.0.0.1:${mesh.port(9111)}${path}`, { ...headers, Host: 'orders.shop.mesh' });
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const put = async (path: string, kind: string, spec: string, apiVersion = 'security.istio.io/v1') => {
    const [namespace, name] = path.split('/').slice(-2);
    const body = `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec:\n${spec}\n`;
    const before = await mesh.rest('GET', path);
    const etag = before.headers.get('etag');
    const answer = await mesh.rest('PUT', path, {
      body,
      headers: {
        'content-type': 'application/yaml',
        ...(before.ok && etag !== null ? { 'if-match': etag } : { 'if-none-match': '*' }),
      },
    });
    expect(answer.ok, await answer.clone().text()).toBe(true);
    return answer;
  };
  const becomes = (what: string, status: number, attempt: () => Promise<{ status: number }>) =>
    eventually(what, 5_000, async () => ((await attempt()).status === status ? status : undefined));
  const orders = async (): Promise<Proxy> => {
    const { items } = (await (await mesh.rest('GET', '/v1/proxies')).json()) as { items: Proxy[] };
    const found = items.find(({ spiffeId }) => spiffeId.endsWith('/sa/orders'));
    if (found === undefined) throw new Error('no proxy');
    return found;
  };

  it('01 a token that is good passes, one that is not gets 401, and none at all passes', async () => {
    expect((await call('/none')).status).toBe(200);
    expect((await call('/unread', bearer('opaque'))).status).toBe(200);
    await put(
      '/v1/request-authentications/shop/users',
      'RequestAuthentication',
      `${selector}\n  jwtRules:\n  - {issuer: "${users.issuer}", audiences: [shop], jwks: '${users.jwks}'}`,
    );
    await becomes('a bad token', 401, () => call('/bad', bearer('opaque')));
    expect((await call('/good', bearer(users.token()))).status).toBe(200);
    expect((await call('/other', bearer(users.token({ aud: 'bank' })))).status).toBe(401);
    expect((await call('/none')).status).toBe(200);
  });

  it('02 with a rule that asks for a request principal, it becomes mandatory', async () => {
    await put(
      '/v1/policies/shop/users-only',
      'AuthorizationPolicy',
      `${selector}\n  action: DENY\n  rules:\n  - from: [{source: {notRequestPrincipals: ["${users.issuer}/*"]}}]`,
    );
    await becomes('a call without a token', 403, () => call('/none'));
    expect((await call('/good', bearer(users.token()))).status).toBe(200);
    expect((await mesh.rest('DELETE', '/v1/policies/shop/users-only', { headers: { 'if-match': '*' } })).ok).toBe(true);
    await becomes('a call without a token again', 200, () => call('/none'));
  });

  it('03 REST says whose keys are in force, and why those of an issuer that is not asked are not', async () => {
    const { status } = (await (await mesh.rest('GET', '/v1/request-authentications/shop/users')).json()) as {
      status: { keys: object[] };
    };
    expect(status.keys).toMatchObject([{ issuer: users.issuer, source: 'inline', state: 'fresh', keyIds: ['k1'] }]);
    // An issuer on this machine: a document must not have the control plane ask there.
    let asked = 0;
    const issuer = createServer((_req, res) => {
      asked += 1;
      res.end(users.jwks);
    });
    await new Promise<void>((done) => issuer.listen(0, '127.0.0.1', done));
    try {
      const uri = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/keys`;
      await put(
        '/v1/request-authentications/shop/inside',
        'RequestAuthentication',
        `${selector}\n  jwtRules:\n  - {issuer: inside, audiences: [shop], jwksUri: "${uri}"}`,
      );
      const found = await eventually('the state of the keys', 5_000, async () => {
        const answer = await mesh.rest('GET', '/v1/request-authentications/shop/inside');
        const [keys] = ((await answer.json()) as { status: { keys: { lastError: string | null }[] } }).status.keys;
        return keys?.lastError == null ? undefined : keys;
      });
      expect(found).toMatchObject({ state: 'missing', keyIds: [], lastError: expect.stringMatching(/does not ask/) });
      expect(asked).toBe(0);
    } finally {
      issuer.close();
    }
    await becomes('a token of that issuer', 401, () => call('/inside', bearer(users.token({ iss: 'inside' }))));
  });

  it('04 plain text gets no answer until a policy lets it in; then it is the call of nobody', async () => {
    const { endpoints, plainTextPorts } = await orders();
    expect(plainTextPorts).toEqual([]);
    const plain = () => getByNode(`http://${endpoints[0]}/plain`, { Host: 'orders.shop.mesh' });
    expect((await plain()).status).toBe(0);
    await put('/v1/peer-authentications/shop/orders', 'PeerAuthentication', `${selector}\n  mtls: {mode: PERMISSIVE}`);
    // Let in, and denied: what the demo allows, it allows to web.
    await becomes('plain text', 403, plain);
    await put(
      '/v1/policies/shop/anybody',
      'AuthorizationPolicy',
      `${selector}\n  rules:\n  - to: [{operation: {paths: [/plain]}}]`,
    );
    await becomes('plain text that a rule allows', 200, plain);
    expect((await call('/mesh')).status).toBe(200);
  });

  it('05 the record has it with nobody as its source, and every list of sidecars warns', async () => {
    const event = await eventually('the call of nobody', 5_000, async () => {
      const answer = await mesh.rest('GET', '/v1/audit/events?path=/plain&decision=allow');
      return ((await answer.json()) as { items: { source: string; decision: string }[] }).items[0];
    });
    expect(event).toMatchObject({ source: '', decision: 'allow' });
    expect((await orders()).plainTextPorts).toEqual([(await orders()).ports[0]?.port]);
    expect((await writ(mesh, ['proxies'])).stdout).toMatch(/shop\/orders .*PLAIN TEXT on [0-9]+/);
    expect((await writ(mesh, ['check'])).stdout).toMatch(/1 of 3 let plain text in, such as shop\/orders/);
  });

  it('06 STRICT ends it within a second', async () => {
    const { endpoints } = await orders();
    await put('/v1/peer-authentications/shop/orders', 'PeerAuthentication', `${selector}\n  mtls: {mode: STRICT}`);
    await eventually('the end of plain text', 5_000, async () => {
      const { status } = await getByNode(`http://${endpoints[0]}/plain`, { Host: 'orders.shop.mesh' });
      return status === 0 ? true : undefined;
    });
    expect((await call('/mesh')).status).toBe(200);
  });
});
