import type { SecureContextOptions } from 'node:tls';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { certificatePem, spiffeBundle } from '../../core/identity/bundle.ts';
import type { ServerIdentity } from '../grpc/services.ts';
import type { PublicDocument, PublicDocuments } from './public-documents.ts';
import { servePublicDocuments } from './public-documents.ts';

export interface BundleEndpointOptions {
  readonly host: string;
  readonly port: number;
  readonly bundle: Watch<TrustBundle>;
  readonly tls: Watch<SecureContextOptions>;
  readonly logger: Logger;
}

/**
 * Serves our bundle to other trust domains (SPIFFE_Federation.md §5). Always the newest, on each request: it may not be kept
 * by anybody between. GET only, no client certificate asked for, `application/json`.
 */
export function startBundleEndpoint(o: BundleEndpointOptions): Promise<PublicDocuments> {
  const document = () => bundleDocument(o.bundle.current);
  // The address is whatever the partner was told; both spellings are in use.
  const documents = new Map([
    ['/', document],
    ['/bundle', document],
    ['/.well-known/spiffe/bundle.json', document],
  ]);
  return servePublicDocuments({ host: o.host, port: o.port, tls: o.tls, documents, logger: o.logger });
}

function bundleDocument(bundle: TrustBundle): PublicDocument {
  return { body: JSON.stringify(spiffeBundle(bundle)), contentType: 'application/json', maxAgeSeconds: 0 };
}

/** For https_spiffe: the control plane's own X.509-SVID, and each one that replaces it. */
export function svidTls(identity: Watch<ServerIdentity>): {
  readonly tls: Watch<SecureContextOptions>;
  readonly stop: () => void;
} {
  const tls = new WatchSource(fromIdentity(identity.current));
  return { tls, stop: identity.subscribe((next) => tls.set(fromIdentity(next))) };
}

function fromIdentity({ chain, privateKey }: ServerIdentity): SecureContextOptions {
  return {
    cert: chain.map(certificatePem).join(''),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
}
