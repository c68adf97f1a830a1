import { timingSafeEqual } from 'node:crypto';
import type { DetailedPeerCertificate, PeerCertificate, SecureContextOptions } from 'node:tls';
import { createSecureContext } from 'node:tls';
import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js';
import { credentials } from '@grpc/grpc-js';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { bundlePem, certificatePem } from '../../core/identity/bundle.ts';
import { verifyPeer } from '../../core/identity/chain.ts';
import { controlPlaneId } from '../../core/identity/spiffe-id.ts';
import { KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS, MAX_SNAPSHOT_BYTES } from '../../wire/limits.ts';
import type { Svid } from './svid.ts';

/** Leaf, intermediate, and a few roots while they are exchanged; more is an attack on whoever reads it. */
const MAX_SERVED = 8;

/** How every gRPC connection to the control plane is made. Proxies that the environment names are not used. */
export const channelOptions: ChannelOptions = Object.freeze({
  'grpc.max_receive_message_length': MAX_SNAPSHOT_BYTES,
  'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  'grpc.enable_http_proxy': 0,
  // TLS wants a name, and an address is none. What the server is, its SPIFFE ID says.
  'grpc.ssl_target_name_override': 'writ-control-plane',
  // A connection made with one certificate is never used for another one.
  'grpc.use_local_subchannel_pool': 1,
});

/**
 * TLS 1.3 to the control plane, which must present its SPIFFE ID below a root of the bundle; with our own certificate,
 * where we have one. Host names mean nothing here.
 */
export function controlPlaneCredentials(o: {
  readonly bundle: TrustBundle;
  readonly svid: Svid | undefined;
  readonly clock: Clock;
}): ChannelCredentials {
  const own: SecureContextOptions =
    o.svid === undefined
      ? {}
      : {
          key: o.svid.privateKey.export({ type: 'pkcs8', format: 'pem' }),
          cert: o.svid.chain.map(certificatePem).join(''),
        };
  const context = createSecureContext({ minVersion: 'TLSv1.3', ca: bundlePem(o.bundle), ...own });
  return credentials.createFromSecureContext(context, {
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      try {
        verifyControlPlane(servedCertificates(certificate as DetailedPeerCertificate), o.bundle, o.clock.now());
        return undefined;
      } catch (error) {
        return error instanceof Error ? error : new Error('refused');
      }
    },
  });
}

/**
 * Throws `peer-refused` unless the certificates, leaf first, are those of the control plane of the bundle's trust domain.
 * Certificates after the first self-signed one do not count.
 */
export function verifyControlPlane(served: readonly Buffer[], bundle: TrustBundle, now: number): void {
  const rootAt = served.findIndex((der) => bundle.roots.some((root) => root.equals(der)));
  const peer = verifyPeer(rootAt === -1 ? served : served.slice(0, rootAt + 1), bundle, { now });
  const expected = controlPlaneId(bundle.trustDomain).uri;
  if (peer.id.uri !== expected) {
    throw new AppError('peer-refused', `The server is ${peer.id.uri}, and not the control plane, ${expected}.`);
  }
}

/** What a server presented, leaf first, as far as each certificate names the next one. */
export function servedCertificates(leaf: DetailedPeerCertificate): Buffer[] {
  const chain: Buffer[] = [];
  let certificate: DetailedPeerCertificate | undefined = leaf;
  while (certificate?.raw !== undefined && chain.length < MAX_SERVED) {
    chain.push(certificate.raw);
    // Node ends the list by letting the last one point to itself.
    const next: DetailedPeerCertificate | undefined = certificate.issuerCertificate;
    certificate = next === certificate ? undefined : next;
  }
  return chain;
}

/** In constant time, as a comparison with something that an attacker may probe for should be. */
export function sameBytes(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
