import { join } from 'node:path';
import { makePrivateDirectory } from '../../base/durable.ts';
import type { Lifetime } from '../../base/tasks.ts';
import { IdempotencyKeys } from '../../control/access/idempotency.ts';
import { AdminTokens } from '../../control/access/tokens.ts';
import { JoinTokens } from '../../control/authority/attest/join-token.ts';
import { Authority } from '../../control/authority/authority.ts';
import { SqlAuthorities } from '../../control/authority/authority-store.ts';
import { Entries } from '../../control/authority/entries/entries.ts';
import { EntrySet } from '../../control/authority/entries/entry-set.ts';
import { FederatedBundles } from '../../control/authority/federation/federated-bundles.ts';
import { Federation } from '../../control/authority/federation/federation.ts';
import { BundlePoller } from '../../control/authority/federation/poller.ts';
import { SealedFileKeyStore } from '../../control/authority/keys/key-store.ts';
import { DiskUpstream } from '../../control/authority/keys/upstream-disk.ts';
import { Nodes } from '../../control/authority/nodes/nodes.ts';
import { Rotation } from '../../control/authority/rotation.ts';
import { LedgerAdminRecorder } from '../../control/ledger/admin-recorder.ts';
import { AdminTrail } from '../../control/ledger/admin-trail.ts';
import { AuditIndex } from '../../control/ledger/index.ts';
import { Ledger } from '../../control/ledger/ledger.ts';
import { leafIn, openAuditLog } from '../../control/ledger/log/open.ts';
import { EventProducer } from '../../control/ledger/producer.ts';
import { LedgerRecorder } from '../../control/ledger/recorder.ts';
import { StagedPublisher } from '../../control/policies/changes/staged-publisher.ts';
import { Stages } from '../../control/policies/changes/stages.ts';
import { WithCandidate } from '../../control/policies/changes/with-candidate.ts';
import { FederatesWith } from '../../control/policies/federates-with.ts';
import { LapseReminders } from '../../control/policies/lapse-reminders.ts';
import type { PublisherOptions } from '../../control/policies/publisher.ts';
import { Publisher } from '../../control/policies/publisher.ts';
import { InQuarantine } from '../../control/policies/quarantine.ts';
import { PolicyStore } from '../../control/policies/store.ts';
import { AgentViews } from '../../control/registry/agent-views.ts';
import { Agents } from '../../control/registry/agents.ts';
import { Proxies } from '../../control/registry/proxies.ts';
import { openStore } from '../../control/store/store.ts';
import { bundleFetcher } from '../../edge/federation/fetch-bundle.ts';
import { witnessAsker } from '../../edge/witness/ask-witness.ts';
import { SnapshotEncoder } from '../../wire/snapshot-memory.ts';
import { readWitnesses } from '../audit-config.ts';
import { readAuthorizers } from '../authorizers-config.ts';
import { writeBundleFile } from '../bundle-file.ts';
import type { ServerConfig } from '../config.ts';
import { openChanges } from '../policy-changes.ts';
import { recordStart } from '../record-start.ts';
import { readPassphrase, resolveStore } from '../secrets.ts';
import type { ServerDeps } from '../server.ts';
import { openSinks } from '../sinks.ts';
import { openIssuerKeys } from '../token-keys.ts';
import { bundleFile } from './files.ts';

/** What the control plane knows and decides, opened in the order in which it depends on each other; nobody reaches it yet. */
export async function openState(
  config: ServerConfig,
  deps: Pick<ServerDeps, 'clock' | 'logger' | 'version'>,
  life: Lifetime,
) {
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

export type State = Awaited<ReturnType<typeof openState>>;
