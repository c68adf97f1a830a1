import { Type } from 'typebox';
import type { Node, Nodes } from '../../control/authority/nodes/nodes.ts';
import type { App } from './app.ts';
import { warnings } from './dry-run.ts';
import {
  closed,
  cursor,
  DEFAULT_LIMIT,
  dryRun,
  empty,
  limit,
  nullable,
  oneOf,
  revision,
  spiffeId,
  time,
} from './schemas.ts';
import { toTime } from './time.ts';

const instanceId = Type.String({
  pattern: "^[A-Za-z0-9'()+,./=?-]{1,64}$",
  description: 'Instance: the serialNumber in the subject of its certificates.',
});
const kind = oneOf(['agent', 'workload'] as const, { description: 'A workload that attested itself, or an agent.' });
const method = Type.String({
  minLength: 1,
  maxLength: 64,
  description: 'How it attested: join_token, x509pop, k8s_psat, oidc.',
});

const NodeOutput = Type.Object(
  {
    instanceId,
    spiffeId,
    kind,
    method,
    entryId: nullable(Type.String({ description: 'The entry that gave a workload its identity.' })),
    selectors: Type.Array(Type.String(), { description: 'What its attestation has shown.' }),
    serial: Type.String({ description: 'Of the certificate in use.' }),
    renewed: Type.Boolean({ description: 'Whether it was issued a newer certificate that it has not used yet.' }),
    canReattest: Type.Boolean({ description: 'Whether it attests again instead of renewing.' }),
    banned: Type.Boolean(),
    attestedAt: time,
    lastSeen: Type.String({ format: 'date-time', description: 'To the minute.' }),
    expiresAt: Type.String({ format: 'date-time', description: 'When its last certificate expires.' }),
    bundleSequence: nullable(Type.Integer({ description: 'The trust bundle that it has acknowledged.' })),
    clockSkewMs: nullable(
      Type.Integer({
        description:
          'How far its clock was ahead when it connected; null when it is not connected to this control plane.',
      }),
    ),
    warnings,
  },
  closed,
);

const params = Type.Object({ instanceId }, closed);
const ofWrite = Type.Object({ dryRun }, closed);

export type NodesPort = Pick<Nodes, 'list' | 'get' | 'ban' | 'unban' | 'evict'>;

/** Who knows how far clocks of nodes are off, by instance: as `NodeOutput.clockSkewMs`. */
export interface NodeClocks {
  clockSkewMs(instanceId: string): number | null;
}

/** GET /v1/nodes; GET, DELETE /v1/nodes/{instanceId}; POST /v1/nodes/{instanceId}:ban, :unban */
export function nodes(
  app: App,
  deps: {
    readonly nodes: NodesPort;
    /** The first that knows answers. */
    readonly clocks: readonly NodeClocks[];
  },
): void {
  const toOutput = (node: Node) => ({ ...fieldsOf(node), clockSkewMs: skewOf(deps.clocks, node.instanceId) });
  app.get(
    '/v1/nodes',
    {
      schema: {
        operationId: 'listNodes',
        summary: 'What has attested itself: agents, and workloads without one.',
        tags: ['nodes'],
        querystring: Type.Object(
          {
            kind: Type.Optional(kind),
            method: Type.Optional(method),
            spiffeId: Type.Optional(spiffeId),
            banned: Type.Optional(Type.Boolean()),
            limit,
            cursor,
          },
          closed,
        ),
        response: {
          200: Type.Object({ items: Type.Array(NodeOutput), nextCursor: nullable(Type.String()), revision }, closed),
        },
      },
    },
    async (request) => {
      const page = await deps.nodes.list({ ...request.query, limit: request.query.limit ?? DEFAULT_LIMIT });
      return { items: page.items.map(toOutput), nextCursor: page.nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/nodes/:instanceId',
    {
      schema: {
        operationId: 'getNode',
        summary: 'One node.',
        tags: ['nodes'],
        params,
        querystring: Type.Object({}, closed),
        response: { 200: NodeOutput },
      },
    },
    async (request) => toOutput(await deps.nodes.get(request.params.instanceId)),
  );

  for (const verb of ['ban', 'unban'] as const) {
    app.post(
      `/v1/nodes/:instanceId([^/:]+)::${verb}`,
      {
        schema: {
          operationId: `${verb}Node`,
          summary: summaries[verb],
          tags: ['nodes'],
          params,
          querystring: ofWrite,
          response: { 200: NodeOutput },
        },
      },
      async (request) => {
        const { dryRun: isDry } = request.query;
        const write = { actor: request.caller ?? '', source: request.ip, dryRun: isDry };
        const node = toOutput(await deps.nodes[verb](request.params.instanceId, write));
        return isDry === true ? { ...node, warnings: [] } : node;
      },
    );
  }

  app.delete(
    '/v1/nodes/:instanceId',
    {
      schema: {
        operationId: 'evictNode',
        summary: 'Evict a node: its access ends at once, and comes back only by attesting again. Lifts a ban.',
        tags: ['nodes'],
        params,
        querystring: ofWrite,
        response: { 200: { ...NodeOutput, description: 'Dry run: what would go.' }, 204: empty },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const write = { actor: request.caller ?? '', source: request.ip, dryRun: isDry };
      const node = await deps.nodes.evict(request.params.instanceId, write);
      if (isDry !== true) return reply.code(204).send(undefined);
      return reply.code(200).send({ ...toOutput(node), warnings: node.canReattest ? [comesBack] : [] });
    },
  );
}

const summaries = {
  ban: 'Ban a node: its access ends at once, open streams included, and it cannot attest again until the ban is lifted.',
  unban: 'Lift the ban of a node.',
} as const;

const comesBack = {
  code: 'comes-back',
  detail: 'It can attest again at any time, and will. Ban it to keep it away.',
};

function skewOf(clocks: readonly NodeClocks[], instanceId: string): number | null {
  for (const each of clocks) {
    const skewMs = each.clockSkewMs(instanceId);
    if (skewMs !== null) return Math.round(skewMs);
  }
  return null;
}

function fieldsOf(node: Node) {
  return {
    instanceId: node.instanceId,
    spiffeId: node.spiffeId,
    kind: node.kind,
    method: node.method,
    entryId: node.entryId,
    selectors: [...node.selectors],
    serial: node.serial,
    renewed: node.nextSerial !== null,
    canReattest: node.canReattest,
    banned: node.banned,
    attestedAt: toTime(node.attestedAt),
    lastSeen: toTime(node.lastSeen),
    expiresAt: toTime(node.expiresAt),
    bundleSequence: node.bundleSequence,
  };
}
