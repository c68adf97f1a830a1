import { Type } from 'typebox';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { App } from './app.ts';
import { closed } from './schemas.ts';

/** What the server says about itself. */
export interface ServerInfo {
  readonly version: string;
  /** Shown on the page: name → address, such as { gRPC: '127.0.0.1:8444' }. */
  readonly addresses: Readonly<Record<string, string>>;
  /** File that holds the admin token: the page says so, while it is served on a loopback address only. */
  readonly tokenFile?: string;
  /** Names that policies may use for the trust domain as well. Default: none. */
  readonly trustDomainAliases?: readonly string[];
  /** Names of the external authorizers that CUSTOM policies may ask. Default: none. */
  readonly authorizers?: readonly string[];
}

/** GET /v1/info */
export function info(app: App, deps: { readonly info: ServerInfo; readonly bundle: Watch<TrustBundle> }): void {
  app.get(
    '/v1/info',
    {
      schema: {
        operationId: 'getInfo',
        summary: 'Version, trust domain and addresses of this server.',
        tags: ['server'],
        querystring: Type.Object({}, closed),
        response: {
          200: Type.Object(
            {
              version: Type.String(),
              trustDomain: Type.String(),
              trustDomainAliases: Type.Array(Type.String(), {
                description: 'Names that policies may use for the trust domain as well.',
              }),
              authorizers: Type.Array(Type.String(), {
                description: 'External authorizers that CUSTOM policies may name.',
              }),
              addresses: Type.Record(Type.String(), Type.String()),
            },
            closed,
          ),
        },
      },
    },
    async () => ({
      version: deps.info.version,
      trustDomain: deps.bundle.current.trustDomain,
      trustDomainAliases: [...(deps.info.trustDomainAliases ?? [])],
      authorizers: [...(deps.info.authorizers ?? [])],
      addresses: { ...deps.info.addresses },
    }),
  );
}
