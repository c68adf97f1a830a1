import { X509Certificate } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { bundlePem, certificatePem } from '../../core/identity/bundle.ts';
import type { ServerIdentity } from './services.ts';

export interface TlsOptions {
  readonly identity: Watch<ServerIdentity>;
  readonly bundle: Watch<TrustBundle>;
  readonly handshakeTimeoutMs: number;
  readonly logger: Logger;
}

/**
 * TLS 1.3 with the server's own identity, which is swapped without a restart when it or the bundle changes; connections that
 * exist go on. A client certificate is asked for and not required: TLS verifies the path of one that comes against the roots
 * of the bundle, and `peer.ts` decides what a caller without one may do.
 *
 * The root is sent at the end of the chain, so that a newcomer who knows nothing but its fingerprint can verify the rest.
 *
 * Everything that leans on how the gRPC library takes its certificates is in this file. Its own certificate provider would
 * do, but sets neither a least TLS version nor a time limit for handshakes.
 */
export class SwappedCredentials extends ServerCredentials {
  readonly #options: TlsOptions;
  readonly #unsubscribe: readonly (() => void)[];

  constructor(options: TlsOptions) {
    super(
      { requestCert: true, rejectUnauthorized: false, handshakeTimeout: options.handshakeTimeoutMs },
      contextOptions(options.identity.current, options.bundle.current),
    );
    this.#options = options;
    const update = () => this.#update();
    this.#unsubscribe = [options.identity.subscribe(update), options.bundle.subscribe(update)];
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }

  #update(): void {
    const { identity, bundle, logger } = this.#options;
    this.updateSecureContextOptions(contextOptions(identity.current, bundle.current));
    logger.info({ notAfter: identity.current.notAfter, bundle: bundle.current.sequence }, 'TLS identity replaced');
  }
}

function contextOptions(identity: ServerIdentity, bundle: TrustBundle): SecureContextOptions {
  return {
    minVersion: 'TLSv1.3',
    cert: [...identity.chain, ...rootOf(identity.chain, bundle)].map(certificatePem).join(''),
    key: identity.privateKey.export({ format: 'pem', type: 'pkcs8' }),
    // Never undefined: TLS would then believe whoever the machine's own root store vouches for.
    ca: bundlePem(bundle),
  };
}

/** The root that the chain hangs from, unless the chain has it already. */
function rootOf(chain: readonly Buffer[], bundle: TrustBundle): readonly Buffer[] {
  const last = chain.at(-1);
  if (last === undefined || bundle.roots.some((root) => root.equals(last))) return [];
  const certificate = new X509Certificate(last);
  const root = bundle.roots.find((der) => {
    const candidate = new X509Certificate(der);
    return certificate.checkIssued(candidate) && certificate.verify(candidate.publicKey);
  });
  return root === undefined ? [] : [root];
}
