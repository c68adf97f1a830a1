import { describe, expect, it } from 'vitest';
import { spiffeBundle } from '../../../src/core/identity/bundle.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { createWorld, expectProblem } from './world.ts';

const url = '/v1/federation/partner.example';
const partner = createTestAuthority({ trustDomain: 'partner.example' });
const bundle = JSON.stringify(spiffeBundle({ ...partner.bundle, sequence: 4 }));
const body = { bundleEndpoint: { url: 'https://partner.example/bundle', profile: 'https_web' } };
const spiffe = {
  bundleEndpoint: {
    url: 'https://partner.example:8445/',
    profile: 'https_spiffe',
    spiffeId: 'spiffe://partner.example/writ/control-plane',
  },
  bundle,
  services: [{ namespace: 'shop', name: 'orders', endpoints: [{ address: '10.0.0.1:15006', protocol: 'http' }] }],
};

describe('/v1/federation', () => {
  it('is put, shown, listed and deleted, each with its revision, and recorded', async () => {
    const world = await createWorld();
    const put = await world.request({ method: 'PUT', url, payload: spiffe });
    expect(put.statusCode).toBe(201);
    expect(put.headers.location).toBe(url);
    expect(put.json()).toMatchObject({
      trustDomain: 'partner.example',
      bundleEndpoint: { ...spiffe.bundleEndpoint, caCertificates: null },
      services: spiffe.services,
      bundle: {
        sequence: '4',
        roots: [expect.stringMatching(/^[0-9a-f]{64}$/)],
        jwtKeys: [partner.jwt.kid],
        lastError: null,
      },
    });
    const shown = await world.request({ url });
    expect(shown.json()).toEqual(put.json());
    expect((await world.request({ url, headers: { 'if-none-match': String(shown.headers.etag) } })).statusCode).toBe(
      304,
    );
    expect((await world.request({ url: '/v1/federation' })).json().items).toEqual([put.json()]);

    expectProblem(await world.request({ method: 'DELETE', url }), 428, 'precondition-required');
    const gone = await world.request({ method: 'DELETE', url, headers: { 'if-match': String(put.headers.etag) } });
    expect(gone.statusCode).toBe(204);
    expectProblem(await world.request({ url }), 404, 'not-found');
    const facts = { subject: 'spiffe://partner.example', outcome: 'granted', actor: 'admin' };
    expect(world.recorder.events).toMatchObject([
      { action: 'federation.put', ...facts },
      { action: 'federation.delete', ...facts },
    ]);
  });

  it('spiffe 50: URL, profile and trust domain are given, and everything wrong with them is said', async () => {
    const world = await createWorld();
    const refused = async (change: object) => {
      const response = await world.request({ method: 'PUT', url, payload: { ...spiffe, ...change } });
      return expectProblem(response, 422, 'invalid-document').errors?.map(({ pointer }) => pointer);
    };
    const endpoint = (change: object) => ({ bundleEndpoint: { ...spiffe.bundleEndpoint, ...change } });
    for (const bad of [
      'http://partner.example/',
      'https://u:p@partner.example/',
      'https://@partner.example/',
      'https://partner.example/#x',
      'file:///etc/passwd',
      'partner.example',
    ]) {
      expect(await refused(endpoint({ url: bad }))).toEqual(['/bundleEndpoint/url']);
    }
    expect(await refused(endpoint({ spiffeId: null }))).toEqual(['/bundleEndpoint/spiffeId']);
    expect(await refused(endpoint({ spiffeId: 'spiffe://partner.example' }))).toEqual(['/bundleEndpoint/spiffeId']);
    expect(await refused(endpoint({ caCertificates: 'x' }))).toEqual(['/bundleEndpoint/caCertificates']);
    expect(await refused({ bundle: '{"keys":[],"keys":[]}' })).toEqual(['/bundle']);
    expect(await refused({ bundle: null })).toEqual(['/bundle']);
    expect(
      await refused({
        ...endpoint({ url: 'x', spiffeId: null }),
        services: [{ namespace: 'shop', name: 'a.b', endpoints: [{ address: 'nowhere', protocol: 'http' }] }],
      }),
    ).toEqual([
      '/bundleEndpoint/url',
      '/bundleEndpoint/spiffeId',
      '/services/0/name',
      '/services/0/endpoints/0/address',
    ]);
    expect(world.recorder.events).toEqual([]);
    const own = await world.request({ method: 'PUT', url: '/v1/federation/example.org', payload: body });
    expect(expectProblem(own, 422, 'invalid-document').errors).toMatchObject([{ pointer: '/trustDomain' }]);
  });

  it('a key in place of certificates is refused, and not repeated', async () => {
    const world = await createWorld();
    const key = partner.issue('spiffe://partner.example/ns/x/sa/y').pem.key;
    const payload = { bundleEndpoint: { ...body.bundleEndpoint, caCertificates: key } };
    const response = await world.request({ method: 'PUT', url, payload });
    expectProblem(response, 422, 'invalid-document');
    expect(response.body).not.toContain(key.split('\n')[1]);
  });

  it('a dry run changes nothing; the same again changes nothing; another revision is refused', async () => {
    const world = await createWorld();
    const dry = await world.request({ method: 'PUT', url: `${url}?dryRun=true`, payload: body });
    expect(dry.json()).toMatchObject({ revision: 0, warnings: [] });
    expectProblem(await world.request({ url }), 404, 'not-found');
    const first = await world.request({ method: 'PUT', url, payload: body, headers: { 'if-none-match': '*' } });
    const again = await world.request({ method: 'PUT', url, payload: body });
    expect(again.headers.etag).toBe(first.headers.etag);
    expect(world.recorder.events).toHaveLength(1);
    const unsaid = await world.request({ method: 'PUT', url, payload: spiffe });
    expect(expectProblem(unsaid, 428, 'precondition-required').detail).toContain(
      JSON.parse(String(first.headers.etag)),
    );
    expectProblem(
      await world.request({ method: 'PUT', url, payload: body, headers: { 'if-none-match': '*' } }),
      412,
      'precondition-failed',
    );
    expectProblem(
      await world.request({ method: 'PUT', url, payload: spiffe, headers: { 'if-match': '"9999"' } }),
      412,
      'precondition-failed',
    );
    const gone = await world.request({ method: 'DELETE', url: `${url}?dryRun=true`, headers: { 'if-match': '*' } });
    expect(gone.json()).toMatchObject({ trustDomain: 'partner.example', warnings: [{ code: 'calls-end' }] });
    expect((await world.request({ url })).statusCode).toBe(200);
  });

  it('refresh asks now, and says why there is nothing', async () => {
    const world = await createWorld();
    await world.request({ method: 'PUT', url, payload: body });
    const failed = await world.request({ method: 'POST', url: `${url}:refresh` });
    expectProblem(failed, 503, 'unavailable');
    expect((await world.request({ url })).json().bundle.lastError).toBe(
      'unavailable: The bundle endpoint could not be reached.',
    );
    world.partner.answer = async () => Buffer.from(bundle);
    const done = await world.request({ method: 'POST', url: `${url}:refresh` });
    expect(done.json().bundle).toMatchObject({ sequence: '4', lastError: null, roots: [expect.any(String)] });
    expect(world.partner.asked).toEqual([body.bundleEndpoint.url, body.bundleEndpoint.url]);
    expectProblem(
      await world.request({ method: 'POST', url: '/v1/federation/nobody.example:refresh' }),
      404,
      'not-found',
    );
  });

  it('a refresh can be tried first: asked and checked, and nothing is stored, not even that it failed', async () => {
    const world = await createWorld();
    await world.request({ method: 'PUT', url, payload: body });
    const before = (await world.request({ url })).json();
    const dry = () => world.request({ method: 'POST', url: `${url}:refresh?dryRun=true` });
    expectProblem(await dry(), 503, 'unavailable');
    world.partner.answer = async () => Buffer.from('{"keys":[],"keys":[]}');
    expect((await dry()).statusCode).toBeGreaterThanOrEqual(400);
    world.partner.answer = async () => Buffer.from(bundle);
    expect((await dry()).json()).toMatchObject({ bundle: { sequence: '4', jwtKeys: [partner.jwt.kid] }, warnings: [] });
    expect((await world.request({ url })).json()).toEqual(before);
    await world.request({ method: 'POST', url: `${url}:refresh` });
    expect((await dry()).json().warnings).toMatchObject([{ code: 'unchanged' }]);
    world.partner.answer = async () => Buffer.from(JSON.stringify(spiffeBundle({ ...partner.bundle, sequence: 3 })));
    expectProblem(await dry(), 409, 'conflict');
  });

  it('nothing is changed that cannot be recorded', async () => {
    const world = await createWorld();
    world.recorder.fail();
    expectProblem(await world.request({ method: 'PUT', url, payload: body }), 503, 'unavailable');
    expectProblem(await world.request({ url }), 404, 'not-found');
  });
});
