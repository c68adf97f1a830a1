import { Type } from 'typebox';
import type { SidecarRecord, SidecarRecords } from '../../control/ledger/sidecar-records.ts';
import type { Proxies, ProxyStatus } from '../../control/registry/proxies.ts';
import type { Cursors } from '../../control/store/page.ts';
import type { App } from './app.ts';
import { closed, cursor, DEFAULT_LIMIT, limit, nullable, oneOf, revision, spiffeId, time } from './schemas.ts';
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
    serving: Type.Boolean({ description: 'Whether its endpoints are part of the mesh.' }),
    desiredRevision: revision,
    desiredChange: nullable(
      Type.Integer({ description: 'The policy change of which it should have the candidate; null: of none.' }),
    ),
    staleSince: nullable(time),
    acknowledgedRevision: nullable(revision),
    acknowledgedAt: nullable(time),
    connectedSince: nullable(time),
    lastSeen: time,
    endpoints: Type.Array(Type.String(), { description: 'host:port of its inbound listeners.' }),
    ports: Type.Array(Type.Object({ port: Type.Integer(), protocol: oneOf(['http', 'tcp']) }, closed), {
      description: 'Of its application, which policies name, and what it speaks there.',
    }),
    record: nullable(
      Type.Object(
        {
          heardAt: nullable({ ...time, description: 'Until when everything that it has recorded is known here.' }),
          staleSince: nullable({
            ...time,
            description:
              'Since when nothing is heard of it: what is shown of its calls ends there. null while it is fresh.',
          }),
          epoch: nullable(
            Type.Integer({ description: 'Of its record. Each one more is an admission that records are missing.' }),
          ),
          gaps: Type.Integer({ description: 'How often it has admitted that.' }),
        },
        { ...closed, description: 'How far its record of calls is known here; null where nobody asks.' },
      ),
    ),
    lastError: nullable(Type.String({ description: 'Why it rejected a snapshot. Text of the sidecar.' })),
    plainTextPorts: Type.Array(Type.Integer(), {
      description:
        'Ports of its application at which callers without a certificate are let in. A warning: mostly none.',
    }),
    quarantined: Type.Boolean({ description: 'Whether its identity is in quarantine.' }),
    quarantineRevision: nullable(
      Type.Unsafe<number>({
        ...revision,
        description: 'Of the list of identities in quarantine that it obeys; null when it has not said so.',
      }),
    ),
  },
  closed,
);

const SCOPE = 'proxies';

export interface ProxiesDeps {
  readonly proxies: Pick<Proxies, 'list'>;
  readonly cursors: Pick<Cursors, 'open' | 'page'>;
  /** Whether an identity is in quarantine. Default: none is. */
  readonly inQuarantine?: ((spiffeId: string) => boolean) | undefined;
  /** Ports at which a sidecar lets plain text in. Default: none. */
  readonly plainTextPorts?: ((status: ProxyStatus) => readonly number[]) | undefined;
  /** How fresh the records of sidecars are. Default: nobody knows. */
  readonly records?: Pick<SidecarRecords, 'of'> | undefined;
  readonly revision: () => number;
}

/** GET /v1/proxies */
export function proxies(app: App, deps: ProxiesDeps): void {
  app.get(
    '/v1/proxies',
    {
      schema: {
        operationId: 'listProxies',
        summary: 'Sidecars, and which policy revision each has acknowledged.',
        tags: ['proxies'],
        querystring: Type.Object({ limit, cursor }, closed),
        response: {
          200: Type.Object({ items: Type.Array(ProxyOutput), nextCursor: nullable(Type.String()), revision }, closed),
        },
      },
    },
    async (request) => {
      const { limit: most = DEFAULT_LIMIT, cursor: from } = request.query;
      const [id = '', instance = ''] = deps.cursors.open(SCOPE, from) ?? [];
      const rest = deps.proxies.list().filter((status) => isBehind(status, String(id), String(instance)));
      const page = deps.cursors.page(SCOPE, rest.slice(0, most + 1), most, (last) => [last.spiffeId, last.instanceId]);
      const { inQuarantine = () => false, plainTextPorts = () => [] } = deps;
      const records = await deps.records?.of(
        page.items.map(({ instanceId, connectedSince, lastSeen }) => ({
          instanceId,
          since: connectedSince ?? lastSeen,
        })),
      );
      const items = page.items.map((status) => ({
        ...toProxy(status, inQuarantine(status.spiffeId)),
        record: toRecord(records?.get(status.instanceId)),
        plainTextPorts: [...plainTextPorts(status)],
      }));
      return { items, nextCursor: page.nextCursor, revision: deps.revision() };
    },
  );
}

/** In the order of the list. */
function isBehind(status: ProxyStatus, id: string, instance: string): boolean {
  return status.spiffeId > id || (status.spiffeId === id && status.instanceId > instance);
}

function toRecord(record: SidecarRecord | undefined) {
  if (record === undefined) return null;
  const { heardAt, staleSince, epoch, gaps } = record;
  return { heardAt: toTimeOrNull(heardAt), staleSince: toTimeOrNull(staleSince), epoch, gaps };
}

function toProxy(status: ProxyStatus, quarantined: boolean) {
  return {
    instanceId: status.instanceId,
    spiffeId: status.spiffeId,
    version: status.version,
    connected: status.connected,
    state: status.state,
    serving: status.serving,
    desiredRevision: status.desiredRevision,
    desiredChange: status.desiredChange,
    staleSince: toTimeOrNull(status.staleSince),
    acknowledgedRevision: status.acknowledgedRevision,
    acknowledgedAt: toTimeOrNull(status.acknowledgedAt),
    connectedSince: toTimeOrNull(status.connectedSince),
    lastSeen: toTime(status.lastSeen),
    endpoints: [...status.endpoints],
    ports: (status.ports ?? []).map(({ applicationPort, protocol }) => ({ port: applicationPort, protocol })),
    lastError: status.lastError,
    quarantined,
    quarantineRevision: status.quarantineRevision ?? null,
  };
}
