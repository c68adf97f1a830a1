import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { PeerIdentity } from '../../../src/core/identity/chain.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import type { GrpcLimits } from '../../../src/edge/grpc/limits.ts';
import type { IdentityPort } from '../../../src/edge/grpc/services.ts';
import type { IdentityClient } from '../../../src/wire/gen/writ/v1/Identity.ts';
import type { SignX509Response__Output } from '../../../src/wire/gen/writ/v1/SignX509Response.ts';
import { fromRenewResponse, toRenewRequest } from '../../../src/wire/identity.ts';
import {
  fromSignJwtResponse,
  fromSignX509Response,
  toSignJwtRequest,
  toSignX509Request,
} from '../../../src/wire/identity-sign.ts';
import { clients } from '../../../src/wire/loader.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { absentServices, startBench, unary, WEB } from './harness.ts';

async function start(port: Partial<IdentityPort> = {}) {
  const authority = createTestAuthority();
  const callers: PeerIdentity[] = [];
  const identity: IdentityPort = {
    ...absentServices.identity,
    renew: async (caller) => {
      callers.push(caller);
      return authority.issue(caller.id.uri, { instanceId: caller.instanceId });
    },
    signJwt: async (caller, { audience }) => {
      callers.push(caller);
      return {
        token: `for ${audience}`,
        spiffeId: caller.id.uri,
        issuedAt: 1_767_225_600_000,
        expiresAt: 1_767_225_900_000,
      };
    },
    ...port,
  };
  const bench = await startBench({ identity }, { authority });
  const svid = bench.svid(WEB, { instanceId: 'web-9' });
  return { bench, callers, svid, client: bench.client(clients.Identity, svid) };
}

const csr = createCsr(generateKeyPair().privateKey);

describe('Identity.Renew', () => {
  it('issues to the caller that the certificate names, of the same instance', async () => {
    const { client, callers, svid } = await start();
    const renewed = fromRenewResponse(await unary((callback) => client.Renew(toRenewRequest(csr), callback)));
    expect(renewed).toMatchObject({ spiffeId: WEB, instanceId: 'web-9' });
    expect(renewed.chain).toHaveLength(2);
    expect(callers).toMatchObject([
      {
        id: { uri: WEB },
        instanceId: 'web-9',
        serial: svid.serial,
        notAfter: svid.notAfter,
        certificate: svid.chain[0],
      },
    ]);
  });

  it('passes on why it is refused', async () => {
    const { client } = await start({ renew: () => Promise.reject(new AppError('forbidden', 'No entry.')) });
    await expectAppError(
      unary((callback) => client.Renew({ csr }, callback)),
      'forbidden',
      'No entry.',
    );
  });

  it('needs a CSR', async () => {
    const { client, callers } = await start();
    await expectAppError(
      unary((callback) => client.Renew({}, callback)),
      'invalid',
      'csr is missing.',
    );
    expect(callers).toEqual([]);
  });
});

describe('Identity.SignJwt', () => {
  it('names the caller, whatever the message says', async () => {
    const { client } = await start();
    const issued = fromSignJwtResponse(
      await unary((callback) =>
        client.SignJwt(toSignJwtRequest({ audience: ['spiffe://example.org/ns/shop/sa/orders'] }), callback),
      ),
    );
    expect(issued).toEqual({
      token: 'for spiffe://example.org/ns/shop/sa/orders',
      spiffeId: WEB,
      issuedAt: 1_767_225_600_000,
      expiresAt: 1_767_225_900_000,
    });
  });

  it('takes exactly one audience', async () => {
    const { client, callers } = await start();
    const sign = (audience: string[]) => unary((callback) => client.SignJwt({ audience }, callback));
    await expectAppError(sign([]), 'invalid', 'audience is missing.');
    await expectAppError(sign(['a', 'b']), 'invalid', 'audience has more than 1 elements.');
    await expectAppError(sign(['']), 'invalid', 'audience[0] is missing.');
    expect(callers).toEqual([]);
  });
});

describe('Identity.SignX509', () => {
  const item = { entryId: 'e', csr, variables: {} };

  async function agent(port: Partial<IdentityPort> = {}, limits: Partial<GrpcLimits> = {}) {
    const authority = createTestAuthority();
    const identity: IdentityPort = {
      ...absentServices.identity,
      signX509: async (_caller, items) => items.map(() => ({ value: authority.issue(WEB) })),
      signWit: async (_caller, items) => items.map(() => ({ error: new AppError('not-found', 'No.') })),
      signJwt: async () => ({ token: 't', spiffeId: WEB, issuedAt: 0, expiresAt: 1 }),
      ...port,
    };
    const bench = await startBench({ identity }, { authority, limits });
    const client = (name: string) =>
      bench.client(clients.Identity, bench.svid(`spiffe://example.org/writ/agent/test/${name}`, { instanceId: name }));
    return { bench, client };
  }

  const x509 = (client: IdentityClient, count: number) =>
    unary<SignX509Response__Output>((callback) =>
      client.SignX509(toSignX509Request(Array(count).fill(item)), callback),
    ).then((response) => fromSignX509Response(response, count));

  it('one that is refused does not fail its neighbours', async () => {
    const issued = createTestAuthority().issue(WEB);
    const { client } = await agent({
      signX509: async () => [{ value: issued }, { error: new AppError('not-found', 'No such entry.') }],
    });
    const results = await x509(client('a'), 2);
    expect(results[0]).toMatchObject({ value: { spiffeId: WEB, chain: issued.chain } });
    expect(results[1]).toMatchObject({ error: { code: 'not-found', message: 'No such entry.' } });
  });

  it('takes at most 500 items, and at least one', async () => {
    const { client } = await agent();
    await expectAppError(x509(client('a'), 501), 'invalid', 'items has more than 500 elements.');
    await expectAppError(x509(client('a'), 0), 'invalid', 'items is missing.');
  });

  it('is for agents only', async () => {
    const { bench } = await agent();
    await expectAppError(x509(bench.client(clients.Identity, bench.svid()), 1), 'forbidden', /is for agents/);
  });

  it('S4: each caller has a rate, counted in signatures of every kind, before anything is done', async () => {
    let asked = 0;
    const { client, bench } = await agent(
      {
        signX509: async (_caller, items) => {
          asked += items.length;
          return items.map(() => ({ error: new AppError('not-found', 'No.') }));
        },
      },
      { signaturesPerSecond: 10, signatureBurst: 100 },
    );
    const [a, b] = [client('a'), client('b')];
    await x509(a, 60);
    await unary((callback) => a.SignWit({ items: Array(30).fill(item) }, callback));
    await unary((callback) => a.SignJwt({ audience: ['x'], entryId: 'e' }, callback));
    const error = await expectAppError(x509(a, 20), 'exhausted', /Try again in 2 s/);
    expect(error.retryAfterSeconds).toBe(2);
    expect(asked).toBe(60);
    // What was refused cost nothing, and others are not held up.
    await x509(a, 9);
    await x509(b, 100);
    await expectAppError(
      unary((callback) => a.SignJwt({ audience: ['x'], entryId: 'e' }, callback)),
      'exhausted',
    );
    await expectAppError(
      unary((callback) => a.SignWit({ items: [item] }, callback)),
      'exhausted',
    );
    await expectAppError(
      unary((callback) => a.Renew({ csr }, callback)),
      'exhausted',
    );
    await bench.clock.advance(2_000);
    await x509(a, 20);
  });
});
