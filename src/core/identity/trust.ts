import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from './bundle.ts';
import { parseCertificate } from './certificate.ts';
import type { PeerIdentity } from './chain.ts';
import { verifyPeer } from './chain.ts';
import { checkLeaf } from './profile.ts';

/**
 * Everything that a workload trusts: its own trust domain and those that it federates with. Each bundle stays by itself
 * (SPIFFE_Federation.md §4.2): an authority can vouch only for identities of the one trust domain that it belongs to.
 */
export interface Trust {
  readonly own: TrustBundle;
  /** By trust domain, the own one never among them. */
  readonly federated: ReadonlyMap<string, TrustBundle>;
}

/**
 * A bundle of the own trust domain among the federated ones is left out: whoever delivers it could name other authorities
 * for identities that are ours.
 */
export function trustOf(own: TrustBundle, federated: Iterable<TrustBundle>): Trust {
  const byDomain = new Map<string, TrustBundle>();
  for (const bundle of federated) if (bundle.trustDomain !== own.trustDomain) byDomain.set(bundle.trustDomain, bundle);
  return Object.freeze({ own, federated: byDomain });
}

/** The one bundle that verifies identities of this trust domain; undefined when it is not trusted here. */
export function bundleFor(trust: Trust, trustDomain: string): TrustBundle | undefined {
  return trustDomain === trust.own.trustDomain ? trust.own : trust.federated.get(trustDomain);
}

/**
 * Verifies a peer with the bundle of the trust domain that its own certificate names, and no other. The name is the
 * peer's claim; the chain then has to lead to that trust domain's roots.
 *
 * @param chain as for `verifyPeer`
 * @throws AppError `peer-refused`
 */
export function verifyPeerIn(chain: readonly Buffer[], trust: Trust, o: { readonly now: number }): PeerIdentity {
  const trustDomain = claimedTrustDomain(chain[0]);
  const bundle = bundleFor(trust, trustDomain);
  if (bundle === undefined) {
    throw new AppError(
      'peer-refused',
      `The peer's certificate is refused. It belongs to the trust domain ${trustDomain}, which is not trusted here.`,
    );
  }
  return verifyPeer(chain, bundle, o);
}

function claimedTrustDomain(leaf: Buffer | undefined): string {
  if (leaf === undefined) throw new AppError('peer-refused', "The peer's certificate is refused. There is none.");
  try {
    return checkLeaf(parseCertificate(leaf)).trustDomain;
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
    throw new AppError('peer-refused', `The peer's certificate is refused. ${error.message}`, { cause: error });
  }
}
