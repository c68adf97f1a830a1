import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { makePrivateDirectory } from '../base/durable.ts';
import type { Logger } from '../base/log.ts';
import { Lifetime, runTasks } from '../base/tasks.ts';
import { IdempotencyKeys } from '../control/access/idempotency.ts';
import { NamedTokens } from '../control/access/named-tokens.ts';
import { AdminTokens } from '../control/access/tokens.ts';
import { JoinTokens } from '../control/authority/attest/join-token.ts';
import { Authority } from '../control/authority/authority.ts';
import { SqlAuthorities } from '../control/authority/authority-store.ts';
import { Entries } from '../control/authority/entries/entries.ts';
import { EntrySet } from '../control/authority/entries/entry-set.ts';
import { FederatedBundles } from '../control/authority/federation/federated-bundles.ts';
import { Federation } from '../control/authority/federation/federation.ts';
import { BundlePoller } from '../control/authority/federation/poller.ts';
import { Identities } from '../control/authority/identities.ts';
import { SealedFileKeyStore } from '../control/authority/keys/key-store.ts';
import { DiskUpstream } from '../control/authority/keys/upstream-disk.ts';
import { directGrants } from '../control/authority/nodes/direct-grants.ts';
import { Enrollment } from '../control/authority/nodes/enrollment.ts';
import { Nodes } from '../control/authority/nodes/nodes.ts';
import { Rotation } from '../control/authority/rotation.ts';
import { LedgerAdminRecorder } from '../control/ledger/admin-recorder.ts';
import { AdminTrail } from '../control/ledger/admin-trail.ts';
import { AuditIndex } from '../control/ledger/index.ts';
import { Ledger } from '../control/ledger/ledger.ts';
import { LogFeed } from '../control/ledger/log/log-feed.ts';
import { leafIn, openAuditLog } from '../control/ledger/log/open.ts';
import type { Sequencer } from '../control/ledger/log/sequencer.ts';
import { EventProducer } from '../control/ledger/producer.ts';
import { LedgerRecorder } from '../control/ledger/recorder.ts';
import { SidecarRecords } from '../control/ledger/sidecar-records.ts';
import { StagedPublisher } from '../control/policies/changes/staged-publisher.ts';
import { Stages } from '../control/policies/changes/stages.ts';
import { WithCandidate } from '../control/policies/changes/with-candidate.ts';
import { FederatesWith } from '../control/policies/federates-with.ts';
import { PolicyHistory } from '../control/policies/history.ts';
import { LapseReminders } from '../control/policies/lapse-reminders.ts';
import { plainTextPortsOf } from '../control/policies/plain-text-ports.ts';
import { Planner } from '../control/policies/plan.ts';
import { PlanReceipts } from '../control/policies/plan-receipts.ts';
import type { PublisherOptions } from '../control/policies/publisher.ts';
import { Publisher } from '../control/policies/publisher.ts';
import { InQuarantine } from '../control/policies/quarantine.ts';
import { Quarantines } from '../control/policies/quarantines.ts';
import { RevisionTexts } from '../control/policies/revision-texts.ts';
import { PolicyStore } from '../control/policies/store.ts';
import { Suggestions } from '../control/policies/suggest.ts';
import { AgentViews } from '../control/registry/agent-views.ts';
import { Agents } from '../control/registry/agents.ts';
import { Proxies } from '../control/registry/proxies.ts';
import type { Store } from '../control/store/store.ts';
import { openStore } from '../control/store/store.ts';
import { bundleFetcher } from '../edge/federation/fetch-bundle.ts';
import { startGrpcServer } from '../edge/grpc/server.ts';
import type { Check } from '../edge/rest/health.ts';
import { createHealthServer } from '../edge/rest/health.ts';
import { createRestServer } from '../edge/rest/server.ts';
import { witnessAsker } from '../edge/witness/ask-witness.ts';
import { SnapshotEncoder } from '../wire/snapshot-memory.ts';
import { openAttestors } from './attestation.ts';
import { readWitnesses } from './audit-config.ts';
import { readAuthorizers } from './authorizers-config.ts';
import { keepBundleFile, writeBundleFile } from './bundle-file.ts';
import type { ServerConfig } from './config.ts';
import { openChanges } from './policy-changes.ts';
import { servePublic } from './public.ts';
import { recordStart } from './record-start.ts';
import { readPassphrase, resolveStore } from './secrets.ts';
import { openSinks } from './sinks.ts';
import { openIssuerKeys } from './token-keys.ts';

export interface ServerDeps {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
  /** Called once everything serves. */
  readonly onReady: () => void;
}

/**
 * The control plane: everything is opened in the order in which it depends on each other, serves until `signal` aborts or
 * a part fails, and is closed in reverse order.
 */
export async function runServer(config: ServerConfig, deps: ServerDeps): Promise<void> {
  const life = new Lifetime();
  try {
    const state = await openState(config, deps, life);
    await serve(config, deps, life, state);
    deps.onReady();
    const { authority, rotation, nodes, agents, proxies, poller, issuerKeys, index, sequencer } = state;
    await runTasks(
      [
        { name: 'authority', run: (signal) => authority.run(signal) },
        { name: 'rotation', run: (signal) => rotation.run(signal) },
        {
          name: 'bundle file',
          run: (signal) =>
            keepBundleFile(bundleFile(config), { bundle: authority.bundle, logger: deps.logger }, signal),
        },
        { name: 'nodes', run: (signal) => nodes.run(signal) },
        { name: 'agents', run: (signal) => agents.run(signal) },
        { name: 'proxies', run: (signal) => proxies.run(signal) },
        { name: 'federation', run: (signal) => poller.run(signal) },
        { name: 'keys of issuers', run: (signal) => issuerKeys.run(signal) },
        { name: 'rollouts', run: (signal) => state.rollouts.run(signal) },
        { name: 'audit index', run: (signal) => index.run(signal) },
        { name: 'audit log', run: (signal) => sequencer.run(signal) },
        { name: 'witnesses', run: async (signal) => state.witnesses?.run(signal) },
        ...state.sinks.map((sink) => ({
          name: `sink ${sink.status.name}`,
          run: (signal: AbortSignal) => sink.run(signal),
        })),
        { name: 'until told to stop', run: untilAborted },
      ],
      deps.signal,
    );
  } finally {
    await life.close();
  }
}

type State = Awaited<ReturnType<typeof openState>>;

async function openState(config: ServerConfig, deps: ServerDeps, life: Lifetime) {
  const { clock, logger } = deps;
  const { trustDomain, rootNamespace, dataDir } = config;
  await makePrivateDirectory(dataDir);

  const passphrase = await readPassphrase(config.passphraseFile);
  const keyStore = new SealedFileKeyStore({ directory: join(dataDir, 'keys'), passphrase });
  const store = await openStore(await resolveStore(config.store), { clock, logger });
  life.defer('the store', () => store.close());
  const authorities = new SqlAuthorities(store);
  const upstream = config.upstream && { upstream: new DiskUpstream({ trustDomain, ...config.upstream }) };
  const authority = await Authority.open({
    trustDomain,
    keyStore,
    store: authorities,
    ...upstream,
    clock,
    logger,
    lifetimes: {
      x509Seconds: config.lifetimes.x509,
      jwtSeconds: config.lifetimes.jwt,
      intermediateSeconds: config.lifetimes.intermediate,
      rootSeconds: config.lifetimes.root,
      tokenKeySeconds: config.lifetimes.jwtKey,
    },
    ...(config.public.issuer !== undefined && { jwtIssuer: config.public.issuer }),
  });
  logger.info({ trustDomain, rootFingerprint: authority.rootFingerprint }, 'the authority is open');

  const ledger = await Ledger.open({ directory: join(dataDir, 'ledger'), clock, logger });
  life.defer('the ledger', () => ledger.close());
  // Closed before the ledger, and behind everything that records: what was asked for is on the record or refused.
  const producer = new EventProducer({ ledger, identity: () => authority.serverIdentity.current, clock, logger });
  life.defer('the recorder', () => producer.close());
  const recorder = new LedgerRecorder({ producer, clock });
  const trail = new AdminTrail({ recorder: new LedgerAdminRecorder({ producer, clock }), clock, logger });
  life.defer('the end on the record', () => trail.report({ action: 'stop', outcome: 'done' }));
  life.defer('the record of administration', () => trail.close());

  await recordStart(trail, config, deps.version);

  // What sidecars pin: public, and handed to them by whoever sets them up.
  await writeBundleFile(bundleFile(config), authority.bundle.current);
  const tokens = await AdminTokens.open({ file: join(dataDir, 'admin-token') });
  const entries = new Entries({ store, trustDomain, clock, recorder });
  const entrySet = await EntrySet.open({ store, trustDomain, clock, logger });
  life.defer('the entries', () => entrySet.close());
  const joinTokens = new JoinTokens({ store, clock });
  const nodes = await Nodes.open({ store, recorder, clock, logger });
  life.defer('the nodes', () => nodes.close());
  const views = new AgentViews({ trustDomain, entries: entrySet.current });
  life.defer('what agents may hand out', () => views.close());
  const federation = new Federation({ store, trustDomain, clock, recorder });
  const federated = await FederatedBundles.open({ store, clock, logger });
  life.defer('the federation', () => federated.close());
  const poller = new BundlePoller({
    store,
    federated,
    bundle: authority.bundle,
    fetch: bundleFetcher({ now: () => clock.now() }),
    recorder,
    clock,
    logger,
  });
  const agents = new Agents({ views, bundle: authority.bundle, federated: federated.bundles, nodes, clock, logger });
  life.defer('the agents', () => agents.close());
  const idempotency = new IdempotencyKeys({ store, clock });

  const trustDomains = { own: trustDomain, aliases: config.trustDomainAliases };
  const policies = await PolicyStore.open({ store, clock, logger, trustDomains });
  life.defer('the policies', () => policies.close());
  const reminders = new LapseReminders({ policies: policies.current, clock, logger });
  life.defer('reminders', () => reminders.close());
  const stages = await Stages.open({ store, policies: policies.current, trustDomains, clock, logger });
  life.defer('rollouts', () => stages.close());
  const proxies = await Proxies.open({
    ...{ store, clock, logger },
    published: policies.current,
    desired: (instanceId) => stages.desired(instanceId),
  });
  life.defer('the sidecars', () => proxies.close());
  const quarantine = await InQuarantine.open({ store, clock, logger });
  life.defer('who is in quarantine', () => quarantine.close());
  const federatesWith = new FederatesWith(entrySet.current);
  life.defer('who federates with whom', () => federatesWith.close());
  const wanted = new WithCandidate(policies.current, stages);
  life.defer('whose keys are wanted', () => wanted.close());
  const issuerKeys = await openIssuerKeys(config.tokenKeys, { store, policies: wanted.current, clock, logger });
  life.defer('the keys of issuers', () => issuerKeys.close());
  const encoder = new SnapshotEncoder();
  const publisherOptions: Omit<PublisherOptions, 'policies'> = {
    services: proxies.services,
    bundle: authority.bundle,
    federation: {
      federated: federated.current,
      federatesWith: (spiffeId) => federatesWith.of(spiffeId),
      changes: federatesWith.changes,
    },
    tokenKeys: issuerKeys,
    authorizers: await readAuthorizers(config.authorizers),
    trustedProxies: config.authorizers.trustedProxies,
    encode: (content) => encoder.encode(content),
    rootNamespace,
    clock,
    logger,
  };
  const publisher = new StagedPublisher({
    policies: policies.current,
    stages,
    publisher: (objects) => new Publisher({ ...publisherOptions, policies: objects }),
  });
  life.defer('the publisher', () => publisher.close());

  const policy = await readWitnesses(config.audit.witnessFile);
  const { sequencer, log, witnesses } = await openAuditLog({
    ...config.audit,
    witnesses: policy && { policy, ask: witnessAsker() },
    directory: join(dataDir, 'log'),
    ledger,
    leafOf: (id) => leafIn(index, id),
    store,
    secrets: keyStore,
    clock,
    logger,
  });
  const sealedBelow = () => log.served.current.checkpoint.size;
  const index: AuditIndex = await AuditIndex.open({ store, ledger, sealedBelow, clock, logger });
  const sinks = await openSinks(
    config.sinks,
    {
      ...{ directory: join(dataDir, 'sinks'), ledger, trail, sealedBelow, trustDomain, clock, logger },
      ...{ logOrigin: config.audit.origin, version: deps.version },
    },
    life,
  );
  const rotation = new Rotation({
    authority,
    store: authorities,
    keyStore,
    ...upstream,
    followers: [proxies, agents],
    recorder,
    clock,
    logger,
  });
  const changes = openChanges(config, {
    ...{ store, policies, stages, publisher, proxies, index, trail, clock, logger },
    entries: entrySet,
  });
  return {
    ...changes,
    authority,
    rotation,
    store,
    tokens,
    idempotency,
    entries,
    entrySet,
    joinTokens,
    nodes,
    views,
    agents,
    federation,
    poller,
    issuerKeys,
    policies,
    quarantine,
    proxies,
    publisher,
    ledger,
    recorder,
    trail,
    index,
    sequencer,
    witnesses,
    log,
    sinks,
  };
}

async function serve(config: ServerConfig, deps: ServerDeps, life: Lifetime, state: State): Promise<void> {
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

async function checks(state: Pick<State, 'store' | 'authority' | 'sequencer'>): Promise<readonly Check[]> {
  return [await storeAnswers(state.store), authorityUsable(state.authority), logGrows(state.sequencer)];
}

function logGrows({ problem }: Pick<Sequencer, 'problem'>): Check {
  return problem === undefined ? { name: 'audit log', ok: true } : { name: 'audit log', ok: false, why: problem };
}

function authorityUsable({ problems }: Pick<Authority, 'problems'>): Check {
  return problems.length === 0
    ? { name: 'authority', ok: true }
    : { name: 'authority', ok: false, why: problems.join(' ') };
}

const bundleFile = (config: Pick<ServerConfig, 'dataDir'>) => join(config.dataDir, 'bundle.pem');

async function storeAnswers(store: Store): Promise<Check> {
  try {
    await store.db.selectFrom('feed').select('head').executeTakeFirstOrThrow();
    return { name: 'store', ok: true };
  } catch (error) {
    return { name: 'store', ok: false, why: String(error) };
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
