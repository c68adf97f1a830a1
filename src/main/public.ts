import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Lifetime } from '../base/tasks.ts';
import type { Authority } from '../control/authority/authority.ts';
import { startBundleEndpoint, svidTls } from '../edge/federation/bundle-endpoint.ts';
import { startDiscovery } from '../edge/oidc/discovery.ts';
import type { PublicConfig } from './public-config.ts';
import { watchTlsFiles } from './tls-files.ts';

/** Opens what is served to anybody, as far as it is configured; returns where. */
export async function servePublic(
  config: PublicConfig,
  deps: {
    readonly authority: Pick<Authority, 'bundle' | 'serverIdentity'>;
    readonly clock: Clock;
    readonly logger: Logger;
  },
  life: Lifetime,
): Promise<Readonly<Record<string, string>>> {
  const { authority, logger } = deps;
  const { bundle } = authority;
  const { federation, oidc, issuer } = config;
  const addresses: Record<string, string> = {};
  if (federation !== undefined) {
    const { tls, stop } =
      federation.tls === 'svid' ? svidTls(authority.serverIdentity) : await watchTlsFiles(federation.tls, deps);
    life.defer('the certificate of the bundle endpoint', stop);
    const endpoint = await startBundleEndpoint({ ...federation, bundle, tls, logger });
    life.defer('the bundle endpoint', () => endpoint.close());
    addresses.bundleEndpoint = `${federation.host}:${endpoint.port}`;
  }
  if (oidc !== undefined && issuer !== undefined) {
    const files = oidc.tls === undefined ? undefined : await watchTlsFiles(oidc.tls, deps);
    if (files !== undefined) life.defer('the certificate of OIDC discovery', files.stop);
    const discovery = await startDiscovery({ ...oidc, issuer, bundle, tls: files?.tls, logger });
    life.defer('OIDC discovery', () => discovery.close());
    addresses.oidc = `${oidc.host}:${discovery.port}`;
  }
  return addresses;
}
