import { join } from 'node:path';
import type { Lifetime } from '../../base/tasks.ts';
import { NamedTokens } from '../../control/access/named-tokens.ts';
import { Identities } from '../../control/authority/identities.ts';
import { directGrants } from '../../control/authority/nodes/direct-grants.ts';
import { Enrollment } from '../../control/authority/nodes/enrollment.ts';
import { LogFeed } from '../../control/ledger/log/log-feed.ts';
import { SidecarRecords } from '../../control/ledger/sidecar-records.ts';
import { PolicyHistory } from '../../control/policies/history.ts';
import { plainTextPortsOf } from '../../control/policies/plain-text-ports.ts';
import { Planner } from '../../control/policies/plan.ts';
import { PlanReceipts } from '../../control/policies/plan-receipts.ts';
import { Quarantines } from '../../control/policies/quarantines.ts';
import { RevisionTexts } from '../../control/policies/revision-texts.ts';
import { Suggestions } from '../../control/policies/suggest.ts';
import { startGrpcServer } from '../../edge/grpc/server.ts';
import { createHealthServer } from '../../edge/rest/health.ts';
import { createRestServer } from '../../edge/rest/server.ts';
import { openAttestors } from '../attestation.ts';
import type { ServerConfig } from '../config.ts';
import { servePublic } from '../public.ts';
import type { ServerDeps } from '../server.ts';
import { checks } from './checks.ts';
import type { State } from './state.ts';

/** Opens the faces of the control plane: health, gRPC, what is public, and REST. */
export async function serve(config: ServerConfig, deps: ServerDeps, life: Lifetime, state: State): Promise<void> {
  const { clock, logger, version } = deps;
  const { authority, joinTokens, entries, proxies, publisher, ledger, index } = state;
  const health = await createHealthServer({ ready: () => checks(state), clock, logger }, config.health);
  life.defer('health', () => health.close());
  const { trustDomain, attestation } = config;
  const attestors = await openAttestors(attestation, { trustDomain, joinTokens, clock, logger });
  const grpc = await startGrpcServer({
    ...config.grpc,
    identity: authority.serverIdentity,
    bundle: authority.bundle,
    services: {
      nodes: state.nodes,
      enrollment: new Enrollment({
        authority,
        attestors,
        nodes: state.nodes,
        grantsFor: directGrants(state.entrySet, clock, trustDomain),
        quarantine: state.quarantine,
        recorder: state.recorder,
        clock,
        logger,
      }),
      identity: new Identities({
        authority,
        entries: state.entrySet,
        views: state.views,
        nodes: state.nodes,
        quarantine: state.quarantine,
        recorder: state.recorder,
        clock,
        logger,
      }),
      agents: state.agents,
      policy: {
        published: publisher.current,
        quarantine: state.quarantine.current,
        proxies,
        entries: state.entrySet,
        changes: state.entrySet.current,
      },
      audit: { connect: (caller, hello) => ledger.connect(caller, hello), log: new LogFeed({ log: state.log, clock }) },
    },
    clock,
    logger,
  });
  life.defer('gRPC', () => grpc.close());
  const open = await servePublic(config.public, { authority, clock, logger }, life);
  const namedTokens = new NamedTokens({ store: state.store, clock });
  const trustDomains = { own: trustDomain, aliases: config.trustDomainAliases };
  const planning = {
    ...{ store: state.store, policies: state.policies.current, entries: state.entrySet, clock },
    ...{ rootNamespace: config.rootNamespace, trustDomain, trustDomains },
  };
  const rest = await createRestServer(
    {
      planner: new Planner({ ...planning, receipts: new PlanReceipts({ store: state.store, clock }) }),
      suggestions: new Suggestions(planning),
      policies: state.directWrites,
      changes: state.changes,
      changeViews: state.changeViews,
      history: new PolicyHistory(state.store),
      entries,
      joinTokens,
      nodes: state.nodes,
      nodeClocks: [state.agents, ledger],
      quarantines: new Quarantines({ store: state.store, trustDomain, clock, recorder: state.recorder }),
      inQuarantine: (spiffeId) => state.quarantine.has(spiffeId),
      plainTextPorts: ({ spiffeId, ports = [] }) => {
        const labels = state.entrySet.current.current.ofIdentity(spiffeId)?.labels;
        const workload = { spiffeId, labels, ports: ports.map(({ applicationPort }) => applicationPort) };
        return plainTextPortsOf(workload, state.policies.current.current.peerAuthentications, config.rootNamespace);
      },
      records: new SidecarRecords({ store: state.store, index, ledger, clock }),
      tokenKeys: state.issuerKeys,
      authorities: state.rotation,
      federation: state.federation,
      poller: state.poller,
      idempotency: state.idempotency,
      proxies,
      cursors: state.store.cursors,
      audit: index,
      trail: state.trail,
      revisionTexts: new RevisionTexts(state.store),
      log: state.log,
      logIsPublic: config.audit.isPublic,
      sinks: () => state.sinks.map(({ status }) => status),
      bundle: authority.bundle,
      tokens: {
        authenticate: async (token) => state.tokens.authenticate(token) ?? (await namedTokens.authenticate(token)),
      },
      namedTokens,
      clock,
      logger,
      rootNamespace: config.rootNamespace,
      info: {
        version,
        addresses: {
          gRPC: `${config.grpc.host}:${grpc.port}`,
          health: `${config.health.host}:${health.port}`,
          ...open,
        },
        tokenFile: join(config.dataDir, 'admin-token'),
        trustDomainAliases: config.trustDomainAliases,
        authorizers: config.authorizers.authorizers.map(({ name }) => name),
      },
    },
    config.rest,
  );
  life.defer('REST', () => rest.close());
  logger.info({ rest: rest.url, grpc: grpc.port, health: health.port }, 'the control plane serves');
}
