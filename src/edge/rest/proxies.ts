import { Type } from 'typebox';
import type { Proxies, ProxyStatus } from '../../control/registry/proxies.ts';
import type { App } from './app.ts';
import { closed, nullable, oneOf, revision, spiffeId, time } from './schemas.ts';
import { toTime, toTimeOrNull } from './time.ts';

const ProxyOutput = Type.Object(
  {
    instanceId: Type.String(),
    spiffeId,
    version: Type.String(),
    connected: Type.Boolean(),
    state: oneOf(['synced', 'pending', 'rejected', 'disconnected'], {
      description: 'Whether it has acknowledged the latest revision.',
    }),
    desiredRevision: revision,
    acknowledgedRevision: nullable(revision),
    acknowledgedAt: nullable(time),
    connectedSince: nullable(time),
    lastSeen: time,
    endpoints: Type.Array(Type.String(), { description: 'host:port of its inbound listeners.' }),
    lastError: nullable(Type.String({ description: 'Why it rejected a snapshot. Text of the sidecar.' })),
  },
  closed,
);

/** GET /v1/proxies */
export function proxies(
  app: App,
  deps: { readonly proxies: Pick<Proxies, 'list'>; readonly revision: () => number },
): void {
  app.get(
    '/v1/proxies',
    {
      schema: {
        operationId: 'listProxies',
        summary: 'Sidecars, and which policy revision each has acknowledged.',
        tags: ['proxies'],
        querystring: Type.Object({}, closed),
        response: { 200: Type.Object({ items: Type.Array(ProxyOutput), nextCursor: Type.Null(), revision }, closed) },
      },
    },
    async () => ({ items: deps.proxies.list().map(toProxy), nextCursor: null, revision: deps.revision() }),
  );
}

function toProxy(status: ProxyStatus) {
  return {
    instanceId: status.instanceId,
    spiffeId: status.spiffeId,
    version: status.version,
    connected: status.connected,
    state: status.state,
    desiredRevision: status.desiredRevision,
    acknowledgedRevision: status.acknowledgedRevision,
    acknowledgedAt: toTimeOrNull(status.acknowledgedAt),
    connectedSince: toTimeOrNull(status.connectedSince),
    lastSeen: toTime(status.lastSeen),
    endpoints: [...status.endpoints],
    lastError: status.lastError,
  };
}
