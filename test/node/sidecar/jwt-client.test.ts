import { expect, it } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { jwtKey, thumbprint } from '../../../src/core/identity/bundle.ts';
import { signJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { workloadId } from '../../../src/core/identity/spiffe-id.ts';
import type { ControlPlaneClients } from '../../../src/node/sidecar/control-plane.ts';
import { JwtClient } from '../../../src/node/sidecar/jwt-client.ts';
import { toSignJwtResponse } from '../../../src/wire/identity-sign.ts';
import { FakeClock } from '../../support/clock.ts';

const id = workloadId('example.org', 'shop', 'web');

function setUp() {
  const clock = new FakeClock();
  const [old, next] = [generateKeyPair(), generateKeyPair()];
  const [oldKid, nextKid] = [thumbprint(old.publicKey), thumbprint(next.publicKey)];
  const keys = [jwtKey(old.publicKey, oldKid), jwtKey(next.publicKey, nextKid)];
  const bundle = new WatchSource<TrustBundle>({ trustDomain: 'example.org', roots: [], jwks: { keys }, sequence: 1 });
  let signer = { kid: oldKid, privateKey: old.privateKey };
  let calls = 0;
  const signJwt = (_request: unknown, _options: unknown, done: (error: null, response: unknown) => void) => {
    calls += 1;
    const now = clock.now();
    void signJwtSvid({ id, audience: ['a'], ...signer, now, ttlSeconds: 300 }).then((token) =>
      done(null, decoded(toSignJwtResponse({ ...token, spiffeId: id.uri }))),
    );
  };
  const clients = new WatchSource({ identity: { signJwt } } as unknown as ControlPlaneClients);
  return {
    clock,
    bundle,
    oldKid,
    calls: () => calls,
    rotate: () => {
      signer = { kid: nextKid, privateKey: next.privateKey };
    },
    client: new JwtClient({ clients, bundle, clock }),
    nextKey: keys.slice(1),
  };
}

/** What the other side of the wire reads. */
function decoded(message: object): object {
  return JSON.parse(JSON.stringify(message));
}

it('a token is handed out again when another key signs', async () => {
  const { client, rotate, calls } = setUp();
  const first = await client.get('a');
  rotate();
  expect(await client.get('a')).toBe(first);
  expect(calls()).toBe(1);
});

it('a token whose key is tainted, or has left the bundle, is not handed out again', async () => {
  for (const change of [
    ({ oldKid }: { oldKid: string }) => ({ tainted: [oldKid] }),
    ({ nextKey }: { nextKey: TrustBundle['jwks']['keys'] }) => ({ jwks: { keys: nextKey } }),
  ]) {
    const bench = setUp();
    const first = await bench.client.get('a');
    bench.rotate();
    bench.bundle.set({ ...bench.bundle.current, ...change(bench), sequence: 2 });
    const second = await bench.client.get('a');
    expect(second.token).not.toBe(first.token);
    expect(await bench.client.get('a')).toBe(second);
    expect(bench.calls()).toBe(2);
  }
});
