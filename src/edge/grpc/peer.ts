import type { ServerUnaryCall } from '@grpc/grpc-js';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import { isAgentId } from '../../core/identity/agent-id.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { checkLeaf } from '../../core/identity/profile.ts';
import { isReserved } from '../../core/identity/spiffe-id.ts';

/** What of a call says who makes it. */
export type AuthenticatedCall = Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext'>;

const MAX_CACHED = 4096;

/**
 * Who calls. TLS has verified the path of the certificate against the roots of the bundle when the connection was made, and
 * that the caller holds the key; the library hands out the leaf of such a path only. Here it is read as an X.509-SVID
 * (X509-SVID.md §5.2), of our own trust domain, and within its lifetime on every call: a connection outlives certificates.
 *
 * The intermediates are not seen here; a leaf never outlives those that Writ issues.
 */
export class Peers {
  readonly #bundle: Watch<TrustBundle>;
  readonly #clock: Clock;
  /** By certificate fingerprint, least recently used first. Reading a certificate costs more than the rest of a call. */
  readonly #known = new Map<string, PeerIdentity>();

  constructor(options: { readonly bundle: Watch<TrustBundle>; readonly clock: Clock }) {
    this.#bundle = options.bundle;
    this.#clock = options.clock;
  }

  /**
   * Throws `unauthenticated` for a caller that did not prove a valid identity, `forbidden` for one that is neither a workload
   * nor an agent.
   */
  identify(call: AuthenticatedCall): PeerIdentity {
    const certificate = call.getAuthContext().sslPeerCertificate;
    if (certificate === undefined) {
      throw new AppError(
        'unauthenticated',
        'This service needs a client certificate of this trust domain that is valid now. Enroll first.',
      );
    }
    const peer = this.#known.get(certificate.fingerprint256) ?? readPeer(certificate.raw);
    if (peer.id.trustDomain !== this.#bundle.current.trustDomain) {
      throw new AppError('unauthenticated', `The client certificate is of the trust domain ${peer.id.trustDomain}.`);
    }
    this.checkLifetime(peer);
    this.#remember(certificate.fingerprint256, peer);
    if (isReserved(peer.id) && !isAgentId(peer.id)) {
      throw new AppError('forbidden', `${peer.id.uri} is neither a workload nor an agent.`);
    }
    return peer;
  }

  /** As `identify`, for services that anybody may call; undefined for a caller without a valid identity. */
  identifyIfAny(call: AuthenticatedCall): PeerIdentity | undefined {
    try {
      return this.identify(call);
    } catch (error) {
      if (error instanceof AppError) return undefined;
      throw error;
    }
  }

  /** For every message of a long stream. Throws `unauthenticated`. */
  checkLifetime(peer: PeerIdentity): void {
    const now = this.#clock.now();
    if (now < peer.notBefore) throw new AppError('unauthenticated', 'The client certificate is not valid yet.');
    if (now >= endOf(peer)) throw new AppError('unauthenticated', 'The client certificate has expired. Renew it.');
  }

  /** Calls `fn` when the identity expires, until the returned function is called. */
  onExpiry(peer: PeerIdentity, fn: () => void): () => void {
    return this.#clock.after(endOf(peer) - this.#clock.now(), fn);
  }

  #remember(fingerprint: string, peer: PeerIdentity): void {
    this.#known.delete(fingerprint);
    this.#known.set(fingerprint, peer);
    if (this.#known.size <= MAX_CACHED) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }
}

/** RFC 5280 §4.1.2.5: the last second belongs to the lifetime. */
function endOf(peer: PeerIdentity): number {
  return peer.notAfter + 1000;
}

function readPeer(der: Buffer): PeerIdentity {
  try {
    const leaf = parseCertificate(der);
    const id = checkLeaf(leaf);
    if (leaf.subjectSerialNumber === '') throw new AppError('invalid', 'The certificate names no instance.');
    return Object.freeze({
      id,
      instanceId: leaf.subjectSerialNumber,
      serial: leaf.serial,
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      certificate: leaf.der,
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError('unauthenticated', `The client certificate is refused. ${error.message}`, { cause: error });
  }
}
