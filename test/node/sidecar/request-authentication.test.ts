import { once } from 'node:events';
import type { IncomingHttpHeaders, OutgoingHttpHeaders, Server } from 'node:http';
import { createServer } from 'node:http';
import { connect, createServer as createHttp2 } from 'node:http2';
import { describe, expect, onTestFinished, test } from 'vitest';
import { signJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import type { Condition, Policy } from '../../../src/core/policy/model.ts';
import type { JwtRule } from '../../../src/core/policy/request-authentication.ts';
import { authenticationOf } from '../../../src/node/sidecar/authentication-state.ts';
import type { PolicyState } from '../../../src/node/sidecar/policy-state.ts';
import { FakeClock } from '../../support/clock.ts';
import { authentication, EndUsers } from '../../support/end-users.ts';
import { dial, fetchHttp, rawExchange } from './http.ts';
import { allow, ORDERS, policy, startPair, WEB } from './mesh.ts';

const users = new EndUsers();

function userTokens(...rules: JwtRule[]): Partial<PolicyState> {
  const content = {
    policies: [],
    services: [],
    bundle: {} as never,
    requestAuthentications: [authentication(...rules)],
  };
  return authenticationOf(content, undefined);
}

/** An application that answers with what it got. */
function echo() {
  return createServer((req, res) => res.end(JSON.stringify({ url: req.url, headers: req.headers })));
}

async function start(rules: JwtRule[], policies: readonly Policy[] = [allow()], clock?: FakeClock) {
  const pair = await startPair(echo(), clock === undefined ? {} : { clock });
  pair.orders.push(policies, [], userTokens(...rules));
  const call = async (o: Omit<Parameters<typeof fetchHttp>[0], 'port'> = {}) => {
    const answer = await fetchHttp({ port: pair.outbound.port, ...o });
    const seen =
      answer.status === 200 ? (JSON.parse(answer.text) as { url: string; headers: Record<string, string> }) : undefined;
    return { ...answer, seen };
  };
  return { ...pair, call };
}

function bearer(token: string) {
  return { headers: { authorization: `Bearer ${token}` } };
}

function when(key: string, ...values: string[]): Policy {
  const conditions: Condition[] = [{ key, values, notValues: [] }];
  return policy('users', 'ALLOW', [{ from: [], to: [], when: conditions }]);
}

describe('rule 49: the tokens of end users', () => {
  test('a call without one goes on, and one with a good one, which the application does not get', async () => {
    const { call, orders } = await start([users.rule()]);
    expect((await call()).status).toBe(200);
    const { seen } = await call(bearer(users.token()));
    expect(seen?.headers.authorization).toBeUndefined();
    expect(orders.recorder.decisions.map((event) => event.endUser)).toEqual([
      undefined,
      'https://accounts.example/alice',
    ]);
    expect(orders.recorder.decisions[1]?.tokenSubject).toBe('');
  });

  test('one that is not good ends the call with 401, on the record, and says which rule', async () => {
    const { call, orders } = await start([users.rule({ audiences: ['bank'] })]);
    for (const token of [users.token(), 'opaque', new EndUsers({ issuer: 'https://evil.example' }).token()]) {
      const answer = await call(bearer(token));
      expect([answer.status, answer.headers['x-writ-reason'], answer.headers['www-authenticate']]).toEqual([
        401,
        'token-refused',
        'Bearer error="invalid_token"',
      ]);
      expect(JSON.parse(answer.text)).toMatchObject({ code: 'token-refused', rule: 'shop/users@3#0' });
      expect(answer.text).not.toContain(token);
    }
    expect(orders.recorder.decisions).toHaveLength(3);
    expect(orders.recorder.decisions[0]).toMatchObject({
      decision: 'deny',
      reason: 'token-refused',
      rule: 'shop/users@3#0',
    });
  });

  test('with requestPrincipals a token becomes mandatory', async () => {
    const { call } = await start([users.rule()], [when('request.auth.principal', 'https://accounts.example/alice')]);
    expect((await call()).status).toBe(403);
    expect((await call(bearer(users.token()))).status).toBe(200);
    expect((await call(bearer(users.token({ sub: 'bob' })))).status).toBe(403);
  });

  test('rule 15: claims decide, nested ones and lists too, and those with blanks that a rule names', async () => {
    const rule = users.rule({ spaceDelimitedClaims: ['roles'] });
    for (const [key, value, claims] of [
      ['request.auth.claims[groups]', 'admins', { groups: ['users', 'admins'] }],
      ['request.auth.claims[org][team]', 'red', { org: { team: 'red' } }],
      ['request.auth.claims[roles]', 'admin', { roles: 'user admin' }],
      ['request.auth.claims[scope]', 'write', { scope: 'read write' }],
      ['request.auth.audiences', 'shop', {}],
      ['request.auth.presenter', 'app', { azp: 'app' }],
    ] as const) {
      const { call } = await start([rule], [when(key, value)]);
      expect((await call(bearer(users.token(claims)))).status, key).toBe(200);
      expect((await call(bearer(users.token({ aud: 'x' })))).status, key).toBe(403);
    }
  });

  test('several issuers: each token is verified by the keys of its own', async () => {
    const others = new EndUsers({ issuer: 'https://other.example', kid: 'k1', alg: 'RS256' });
    const { call } = await start([users.rule(), others.rule()]);
    expect((await call(bearer(others.token()))).status).toBe(200);
    expect((await call(bearer(users.token()))).status).toBe(200);
    // Signed by the one, in the name of the other.
    expect((await call(bearer(others.token({ iss: users.issuer })))).status).toBe(401);
  });

  test('two rules for one issuer: one of them is enough', async () => {
    const { call } = await start([users.rule({ audiences: ['bank'] }), users.rule({ audiences: ['shop'] })]);
    expect((await call(bearer(users.token()))).status).toBe(200);
  });

  test('a preflight carries no token that would be looked at', async () => {
    const { call } = await start([users.rule()]);
    const headers = {
      ...bearer('opaque').headers,
      origin: 'https://a.example',
      'access-control-request-method': 'PUT',
    };
    expect((await call({ method: 'OPTIONS', headers })).status).toBe(200);
    expect((await call({ method: 'GET', headers })).status).toBe(401);
    expect((await call({ method: 'OPTIONS', ...bearer('opaque') })).status).toBe(401);
  });
});

describe('where tokens stand', () => {
  test('in a header with a prefix, in the query, in a cookie: and they are taken out of each', async () => {
    const { call } = await start([
      users.rule({ fromHeaders: [{ name: 'x-token', prefix: 'jwt ' }], fromParams: ['t'], fromCookies: ['session'] }),
    ]);
    const token = users.token();
    const one = await call({ headers: { 'X-Token': `JWT ${token}`, cookie: 'a=1' } });
    expect(one.seen?.headers).toMatchObject({ cookie: 'a=1' });
    expect(one.seen?.headers).not.toHaveProperty('x-token');
    const two = await call({ path: `/a/./b?x=%20&t=${token}&y` });
    expect(two.seen?.url).toBe('/a/b?x=%20&y');
    const three = await call({ headers: { cookie: `a=1; session=${token}; b=2` } });
    expect(three.seen?.headers.cookie).toBe('a=1; b=2');
    const four = await call({ headers: { cookie: `session=${token}` } });
    expect(four.seen?.headers).not.toHaveProperty('cookie');
    // The very same one in all three places is one token.
    const all = await call({
      path: `/?t=${token}`,
      headers: { 'x-token': `jwt ${token}`, cookie: `session=${token}` },
    });
    expect(all.seen).toMatchObject({ url: '/' });
    expect(JSON.stringify(all.seen)).not.toContain(token);
  });

  test('forwardOriginalToken leaves it where it is', async () => {
    const { call } = await start([users.rule({ forwardOriginalToken: true })]);
    const token = users.token();
    expect((await call(bearer(token))).seen?.headers.authorization).toBe(`Bearer ${token}`);
    expect((await call({ path: `/?access_token=${token}` })).seen?.url).toBe(`/?access_token=${token}`);
  });

  test('two tokens that are not the same are refused, also when both are good', async () => {
    const { call } = await start([users.rule()]);
    const answer = await call({ path: `/?access_token=${users.token({ sub: 'bob' })}`, ...bearer(users.token()) });
    expect(answer.status).toBe(401);
    expect(JSON.parse(answer.text).detail).toBe('It carries several tokens, which are not the same.');
  });

  test('a token beside a good one, in a spelling that only some applications read, is found', async () => {
    const { call } = await start([users.rule({ fromHeaders: [{ name: 'x-token', prefix: '' }] })]);
    expect((await call({ headers: { 'x-token': users.token(), x_token: 'evil' } })).status).toBe(401);
    const { call: query } = await start([users.rule()]);
    expect((await query({ path: `/?access_token=${users.token()};access_token=evil` })).status).toBe(401);
  });

  test('a token that may stand in one place does not count in another', async () => {
    const others = new EndUsers({ issuer: 'https://other.example' });
    const { call } = await start([
      users.rule({ fromHeaders: [{ name: 'x-user', prefix: '' }] }),
      others.rule({ fromHeaders: [{ name: 'x-other', prefix: '' }] }),
    ]);
    expect((await call({ headers: { 'x-user': users.token() } })).status).toBe(200);
    expect((await call({ headers: { 'x-other': users.token() } })).status).toBe(401);
  });

  test('two Authorization fields are no request', async () => {
    const { call, outbound } = await start([users.rule()]);
    expect((await call()).status).toBe(200);
    const socket = await dial(outbound.port);
    const token = users.token();
    const text = await rawExchange(
      socket,
      `GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\nAuthorization: Bearer ${token}\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
    );
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('what the application is told', () => {
  const rule = users.rule({
    outputPayloadToHeader: 'x-payload',
    outputClaims: [
      { header: 'x-user', claim: 'sub' },
      { header: 'x-level', claim: 'level' },
      { header: 'x-team', claim: 'org.team' },
      { header: 'x-url', claim: 'https://example.com/role' },
      { header: 'x-list', claim: 'groups' },
    ],
  });

  test('the payload and claims that are texts, numbers or booleans', async () => {
    const { call } = await start([rule]);
    const claims = { level: 3, org: { team: 'red' }, 'https://example.com/role': true, groups: ['a'] };
    const token = users.token(claims);
    const { seen } = await call(bearer(token));
    expect(seen?.headers).toMatchObject({ 'x-user': 'alice', 'x-level': '3', 'x-team': 'red', 'x-url': 'true' });
    expect(seen?.headers['x-payload']).toBe(token.split('.')[1]);
    expect(seen?.headers).not.toHaveProperty('x-list');
  });

  test.each(['HTTP/1.1', 'HTTP/2'])('callers cannot say it behind the body either: %s', async (version) => {
    const seen: { x: string; trailers: string[] }[] = [];
    const note = (headers: IncomingHttpHeaders, trailers: object) =>
      seen.push({ x: String(headers['x-user']), trailers: Object.keys(trailers) });
    const http1 = createServer((req, res) =>
      req.resume().on('end', () => {
        note(req.headers, req.trailers);
        res.end();
      }),
    );
    const http2 = createHttp2();
    http2.on('stream', (stream, headers) => {
      let trailers: object = {};
      stream.on('trailers', (fields) => {
        trailers = fields;
      });
      stream.resume().on('end', () => {
        note(headers, trailers);
        stream.respond({ ':status': 200 }, { endStream: true });
      });
    });
    const pair = await startPair(version === 'HTTP/2' ? http2 : http1);
    pair.orders.push([allow()], [], userTokens(rule));
    for (const authorization of ['', `Bearer ${users.token()}`]) {
      if (version === 'HTTP/1.1') {
        const head = `POST / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n`;
        const token = authorization === '' ? '' : `Authorization: ${authorization}\r\n`;
        const lies = 'X_User: root\r\nx-payload: e30\r\nx-sum: 1\r\n';
        await rawExchange(await dial(pair.outbound.port), `${head}${token}\r\n0\r\n${lies}\r\n`);
      } else {
        const session = connect(`http://127.0.0.1:${pair.outbound.port}`);
        const token = authorization === '' ? {} : { authorization };
        const headers = { ':method': 'POST', ':authority': 'orders.shop.mesh', ...token };
        const stream = session.request(headers, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ x_user: 'root', 'x-payload': 'e30', 'x-sum': '1' }));
        stream.end('body');
        await once(stream.resume(), 'close');
        session.close();
      }
    }
    expect(seen).toEqual([
      { x: 'undefined', trailers: ['x-sum'] },
      { x: 'alice', trailers: ['x-sum'] },
    ]);
  });

  test('callers cannot say it themselves, with a token or without, however they spell it', async () => {
    const { call } = await start([rule]);
    const lies = { 'x-user': 'root', 'X-Level': '9', x_team: 'blue', 'x-payload': 'e30', X_LIST: 'a' };
    for (const headers of [lies, { ...lies, ...bearer(users.token()).headers }]) {
      const { seen } = await call({ headers });
      const told = Object.entries(seen?.headers ?? {}).filter(([name]) =>
        /^x[-_](user|level|team|payload|list)$/.test(name),
      );
      expect(told.every(([name, value]) => (name === 'x-user' && value === 'alice') || name === 'x-payload')).toBe(
        true,
      );
      expect(JSON.stringify(told)).not.toMatch(/"(root|blue|e30|9)"/);
    }
  });

  test('rules see what the application sees: no header that the caller made up', async () => {
    const { call } = await start([rule], [when('request.headers[x-user]', 'alice')]);
    expect((await call({ headers: { 'x-user': 'alice' } })).status).toBe(403);
    expect((await call(bearer(users.token()))).status).toBe(200);
    expect(
      (await call({ headers: { 'x-user': 'alice', ...bearer(users.token({ sub: 'bob' })).headers } })).status,
    ).toBe(403);
  });

  test('a claim that would become another field, or another value, is not told', async () => {
    const { call } = await start([rule]);
    for (const sub of ['a\r\nx-admin: 1', 'a\0', ' alice', 'alice\n', '']) {
      const { seen } = await call(bearer(users.token({ sub })));
      expect(seen?.headers, JSON.stringify(sub)).not.toHaveProperty('x-user');
      expect(seen?.headers).not.toHaveProperty('x-admin');
    }
    const { seen } = await call(bearer(users.token({ sub: 'Zoë €' })));
    expect(Buffer.from(seen?.headers['x-user'] ?? '', 'latin1').toString('utf8')).toBe('Zoë €');
  });
});

describe('beside JWT-SVIDs', () => {
  async function svid(pair: Awaited<ReturnType<typeof start>>): Promise<string> {
    const { token } = await signJwtSvid({
      id: parseSpiffeId(WEB),
      audience: [ORDERS],
      ...pair.authority.jwt,
      now: Date.now(),
      ttlSeconds: 300,
    });
    return token;
  }

  test('a JWT-SVID in Authorization is verified as before, and no end user is looked for in it', async () => {
    const pair = await start([users.rule()]);
    const token = await svid(pair);
    const { seen } = await pair.call(bearer(token));
    expect(seen?.headers.authorization).toBe(`Bearer ${token}`);
    expect(pair.orders.recorder.decisions).toMatchObject([{ tokenSubject: WEB }]);
    expect(pair.orders.recorder.decisions[0]?.endUser).toBeUndefined();
  });

  test('with both, rules see the end user, and both are on the record', async () => {
    const pair = await start(
      [users.rule({ fromHeaders: [{ name: 'x-user', prefix: '' }] })],
      [when('request.auth.principal', 'https://accounts.example/alice')],
    );
    const answer = await pair.call({ headers: { ...bearer(await svid(pair)).headers, 'x-user': users.token() } });
    expect(answer.status).toBe(200);
    expect(pair.orders.recorder.decisions).toMatchObject([
      { tokenSubject: WEB, endUser: 'https://accounts.example/alice' },
    ]);
  });

  test('an issuer of tokens to end users cannot make a workload of ours', async () => {
    const { call } = await start([users.rule()]);
    expect((await call(bearer(users.token({ sub: WEB })))).status).toBe(401);
  });
});

test('a token that was accepted once is refused when it has ended, and when its key has gone', async () => {
  const clock = new FakeClock(Date.now());
  const { call, orders } = await start([users.rule()], [allow()], clock);
  const token = users.token({ exp: Math.floor(clock.now() / 1000) + 100 });
  expect((await call(bearer(token))).status).toBe(200);
  expect((await call(bearer(token))).status).toBe(200);
  clock.jump(161_000);
  expect((await call(bearer(token))).status).toBe(401);
  const fresh = users.token({ exp: Math.floor(clock.now() / 1000) + 100 });
  expect((await call(bearer(fresh))).status).toBe(200);
  orders.push([allow()], [], userTokens(users.rule({ jwks: new EndUsers().jwks })));
  expect((await call(bearer(fresh))).status).toBe(401);
});

test('over HTTP/2: a token in crumbs of cookies, in a field that stands twice, in the query', async () => {
  const application = createHttp2((req, res) => res.end(JSON.stringify({ url: req.url, headers: req.headers })));
  const pair = await startPair(application as unknown as Server);
  const rule = users.rule({
    fromHeaders: [{ name: 'x-user', prefix: '' }],
    fromParams: ['t'],
    fromCookies: ['session'],
    outputClaims: [{ header: 'x-sub', claim: 'sub' }],
  });
  pair.orders.push([allow()], [], userTokens(rule));
  const session = connect(`http://127.0.0.1:${pair.outbound.port}`);
  onTestFinished(() => session.destroy());
  const ask = async (headers: OutgoingHttpHeaders) => {
    const stream = session.request({ ':authority': 'orders.shop.mesh', ':path': '/', ...headers });
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text += chunk;
    });
    const [answer] = (await once(stream, 'response')) as [{ ':status': number }];
    await once(stream, 'end');
    return { status: answer[':status'], seen: JSON.parse(text) as { url: string; headers: Record<string, string> } };
  };
  const token = users.token();
  const one = await ask({ cookie: ['a=1', `session=${token}`, 'b=2'], 'x-sub': 'root' });
  expect(one).toMatchObject({ status: 200, seen: { headers: { cookie: 'a=1; b=2', 'x-sub': 'alice' } } });
  const two = await ask({ ':path': `/a/../b?t=${token}&y=1`, 'x-user': token });
  expect(two).toMatchObject({ status: 200, seen: { url: '/b?y=1' } });
  expect(JSON.stringify(two.seen)).not.toContain(token);
  expect((await ask({ 'x-user': [token, users.token({ sub: 'bob' })] })).status).toBe(401);
  expect((await ask({ 'x-user': `${token}x` })).status).toBe(401);
});

test('keys that come with a policy and are none keep the last good policy', () => {
  expect(() => userTokens(users.rule({ jwks: '{"keys":[]}' }))).toThrow(/It holds no key that signs tokens/);
});
