import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { IdentityHandlers } from '../../wire/gen/writ/v1/Identity.ts';
import type { RenewRequest__Output } from '../../wire/gen/writ/v1/RenewRequest.ts';
import type { SignJwtRequest__Output } from '../../wire/gen/writ/v1/SignJwtRequest.ts';
import type { IssuedCertificate } from '../../wire/identity.ts';
import { fromRenewRequest, fromSignJwtRequest, toRenewResponse, toSignJwtResponse } from '../../wire/identity.ts';
import type { CallContext } from './calls.ts';
import { unaryForPeers } from './calls.ts';
import type { IdentityPort } from './services.ts';

/** Identities for callers that have one. Whose it is comes from the certificate, never from the message. */
export function identityHandlers(context: CallContext, identities: IdentityPort): IdentityHandlers {
  return {
    Renew: unaryForPeers(context, async (message: RenewRequest__Output, peer) => {
      const { csr } = fromRenewRequest(message);
      return toRenewResponse(certificateOf(await identities.renew(peer, csr)));
    }),
    SignJwt: unaryForPeers(context, async (message: SignJwtRequest__Output, peer) => {
      const { audience } = fromSignJwtRequest(message);
      const issued = await identities.signJwt(peer, audience);
      return toSignJwtResponse({ ...issued, spiffeId: peer.id.uri });
    }),
  };
}

export function certificateOf(svid: X509Svid): IssuedCertificate {
  return {
    chain: svid.chain,
    spiffeId: svid.id.uri,
    instanceId: svid.instanceId,
    notBefore: svid.notBefore,
    notAfter: svid.notAfter,
  };
}
