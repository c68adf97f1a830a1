import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { PeerIdentity } from '../../../src/core/identity/chain.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import type { IdentityPort } from '../../../src/edge/grpc/services.ts';
import { fromRenewResponse, toRenewRequest } from '../../../src/wire/identity.ts';
import { fromSignJwtResponse, toSignJwtRequest } from '../../../src/wire/identity-sign.ts';
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
