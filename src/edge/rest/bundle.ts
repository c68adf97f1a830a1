import { Type } from 'typebox';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { bundlePem, publicJwks, spiffeBundle } from '../../core/identity/bundle.ts';
import type { App } from './app.ts';
import { isUnchanged, toEtag } from './etag.ts';
import { accepts } from './negotiate.ts';
import { closed, unchanged } from './schemas.ts';

const PEM = 'application/x-pem-file';
const none = Type.Object({}, closed);
const Jwks = Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.Unknown())) }, { description: 'RFC 7517' });
const SpiffeBundle = Type.Object(
  {
    keys: Type.Array(Type.Record(Type.String(), Type.Unknown())),
    spiffe_sequence: Type.Optional(Type.Integer()),
    spiffe_refresh_hint: Type.Optional(Type.Integer({ description: 'Seconds.' })),
  },
  { description: 'SPIFFE trust bundle: JWKS with `use` x509-svid and jwt-svid.' },
);

/**
 * GET /v1/bundle and /v1/jwks: what verifiers need. Public, and nothing to trust because it came from here: whoever
 * verifies must have got it, or its fingerprint, over a channel that they trust.
 */
export function bundle(app: App, deps: { readonly bundle: Watch<TrustBundle> }): void {
  app.get(
    '/v1/bundle',
    {
      config: { public: true },
      schema: {
        operationId: 'getBundle',
        summary: 'The trust bundle as SPIFFE document; with `Accept: application/x-pem-file`, its X.509 roots as PEM.',
        tags: ['trust'],
        security: [],
        querystring: none,
        response: {
          200: {
            description: 'The bundle.',
            content: { 'application/json': { schema: SpiffeBundle }, [PEM]: { schema: Type.String() } },
          },
          304: unchanged,
        },
      },
    },
    async (request, reply) => {
      const current = deps.bundle.current;
      reply.header('etag', toEtag(current.sequence)).header('vary', 'accept');
      if (isUnchanged(request.headers['if-none-match'], current.sequence)) return reply.code(304).send(undefined);
      if (accepts(request.headers.accept, ['application/json', PEM]) === PEM)
        return reply.type(PEM).send(bundlePem(current));
      const { keys, ...members } = spiffeBundle(current);
      return { ...members, keys: keys.map((key) => ({ ...key })) };
    },
  );

  app.get(
    '/v1/jwks',
    {
      config: { public: true },
      schema: {
        operationId: 'getJwks',
        summary: 'Public keys that verify JWT-SVIDs.',
        tags: ['trust'],
        security: [],
        querystring: none,
        response: { 200: Jwks },
      },
    },
    async () => ({ keys: publicJwks(deps.bundle.current).keys.map((key) => ({ ...key })) }),
  );
}
