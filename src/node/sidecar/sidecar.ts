import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { pooledRandom, secureRandom } from '../../base/random.ts';
import { Lifetime, runTasks } from '../../base/tasks.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { workloadOf } from '../../core/identity/spiffe-id.ts';
import type { InboundEndpoint } from '../../wire/policy.ts';
import { joinAddress } from '../agent/address.ts';
import { controlPlaneIdentitySource } from '../agent/enroll.ts';
import { SvidKeeper } from '../agent/svid-keeper.ts';
import { startAdmin } from './admin.ts';
import type { RecordingRule } from './call-recorder.ts';
import { CallRecorder } from './call-recorder.ts';
import type { SidecarConfig, SidecarInbound } from './config.ts';
import { ControlPlane } from './control-plane.ts';
import { Enforcer } from './enforce.ts';
import { GrpcShipTransport } from './grpc-ship-transport.ts';
import { startInbound } from './inbound.ts';
import { JwtClient } from './jwt-client.ts';
import type { Limits } from './limits.ts';
import { defaultLimits } from './limits.ts';
import type { Listener } from './listener.ts';
import { LogPins } from './log-pins.ts';
import { meshTrust } from './mesh-trust.ts';
import { startOutbound } from './outbound.ts';
import { PolicyCache } from './policy-cache.ts';
import { PolicyClient, sameBundle } from './policy-client.ts';
import type { PolicyState } from './policy-state.ts';
import { QuarantineKeeper } from './quarantine/keeper.ts';
import { RollbackConsent } from './rollback-consent.ts';
import { Shipper } from './shipper.ts';
import { Spool } from './spool.ts';
import type { SidecarStatus } from './status.ts';
import { describeStatus } from './status.ts';
import { TokenVerifier } from './token.ts';

export type { SidecarConfig } from './config.ts';

export interface SidecarDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** For people, in `writ get proxies` and the status. */
  readonly version: string;
  readonly limits?: Partial<Limits>;
  /** Gives up waiting for the control plane at the first start. */
  readonly signal?: AbortSignal;
}

export interface RunningSidecar {
  readonly spiffeId: string;
  readonly inbound: readonly Listener[];
  readonly outbound: Listener;
  readonly admin: Listener;
  readonly status: () => SidecarStatus;
  /** Resolves when it was closed; rejects when it cannot go on. */
  readonly done: Promise<void>;
  /** Says goodbye, lets what is in flight finish (10 s at most), ships what is recorded, closes everything. Idempotent. */
  close(): Promise<void>;
}

/** How long the other sidecars get to hear of a goodbye before the ports close. */
const GOODBYE_MS = 250;
/** How long a stopping sidecar tries to hand over its last records; the rest is shipped after the next start. */
const LAST_SHIPMENT_MS = 2_000;

/**
 * Starts a sidecar. Resolves when it has a valid identity and its ports are open; until the first policy has come it
 * refuses calls. What was opened is closed again when something on the way fails.
 */
export async function startSidecar(config: SidecarConfig, deps: SidecarDeps): Promise<RunningSidecar> {
  const lifetime = new Lifetime();
  try {
    return await open(config, deps, lifetime);
  } catch (error) {
    await lifetime.close();
    throw error;
  }
}

async function open(config: SidecarConfig, deps: SidecarDeps, lifetime: Lifetime): Promise<RunningSidecar> {
  const { clock, logger, version } = deps;
  const { server, stateDirectory } = config;
  const limits: Limits = { ...defaultLimits, ...deps.limits };
  const random = pooledRandom(secureRandom);

  const source = controlPlaneIdentitySource({ server, trust: config.trust, clock });
  const { proof, joinTokenFile } = config;
  const keeper = await SvidKeeper.open(
    {
      stateDirectory,
      source,
      clock,
      logger,
      ...(proof !== undefined && { proof }),
      ...(joinTokenFile !== undefined && { joinTokenFile }),
    },
    deps.signal,
  );
  const identity = keeper.current;
  const self = identity.current.id;
  const spool = await Spool.open({ directory: join(stateDirectory, 'spool'), clock, logger });
  lifetime.defer('spool', () => spool.close());

  const trust = new WatchSource(keeper.bundle.current);
  const controlPlane = new ControlPlane({ server, identity, bundle: trust, clock });
  lifetime.defer('control plane', () => controlPlane.close());
  const endpoints: InboundEndpoint[] = [];
  const quarantineKeeper = await QuarantineKeeper.open({ stateDirectory, logger });
  const quarantine = quarantineKeeper.current;
  const policyClient = await PolicyClient.open({
    clients: controlPlane.clients,
    cache: new PolicyCache({ stateDirectory, spiffeId: self.uri, logger }),
    quarantine: quarantineKeeper,
    trustDomain: self.trustDomain,
    inbound: () => endpoints,
    version,
    onRefused: () => keeper.refused(),
    clock,
    logger,
  });
  const policy = policyClient.state;
  lifetime.defer('trust', followTrust(trust, keeper, policy, logger));
  const peers = meshTrust(trust, policy);
  lifetime.defer('trust of peers', peers.stop);

  const transport = new GrpcShipTransport(controlPlane.clients);
  const shipper = new Shipper({
    spool,
    pins: await LogPins.open(stateDirectory, logger),
    consent: new RollbackConsent(stateDirectory, clock),
    transport,
    identity: () => ({ instanceId: identity.current.instanceId, privateKey: identity.current.privateKey }),
    clock,
    logger,
  });

  const tokens = new TokenVerifier({ audiences: [...audiencesOf(self), ...(config.jwtAudiences ?? [])], clock });
  const { streamAgeMs } = limits;
  const deciding = { identity, policy, quarantine, streamAgeMs, tokens };
  const recorder = new CallRecorder({ spool, rules: config.inbound.map(recordingOf), clock, logger });
  lifetime.defer('counted calls', () => recorder.close());
  const enforcer = new Enforcer({ ...deciding, recorder, clock, logger, random });
  lifetime.defer('checks', async () => enforcer.close());
  const stopListening: Listener[] = [];
  const opened = async (listener: Promise<Listener>): Promise<Listener> => {
    stopListening.push(await listener);
    return await listener;
  };
  lifetime.defer('ports', () => drainAll(stopListening, limits.drainMs));
  const inbound: Listener[] = [];
  for (const each of config.inbound) {
    const shared = { identity, trust: peers.trust, enforcer, quarantine, policy, limits, clock, logger, random };
    const listener = await opened(startInbound(each, shared));
    inbound.push(listener);
    endpoints.push({
      address: each.advertise ?? joinAddress(listener.host, listener.port),
      protocol: each.protocol,
      applicationPort: each.application.port,
    });
  }
  const outbound = await opened(
    startOutbound(config.outbound, { ...deciding, trust: peers.trust, recorder, limits, clock, logger, random }),
  );
  const jwt = new JwtClient({ clients: controlPlane.clients, bundle: trust, clock });
  // Also none that was fetched before.
  const token = async (audience: string) => {
    if (quarantine.current.ids.has(self.uri)) throw new AppError('forbidden', `${self.uri} is in quarantine.`);
    return await jwt.get(audience);
  };
  const status = () =>
    describeStatus(
      {
        version,
        identity: identity.current,
        policy: policy.current,
        audit: { ...shipper.status, spool: spool.usage, degradedCalls: recorder.degradedCalls },
        plainTextCalls: enforcer.plainTextCalls,
        endpoints,
        outbound,
      },
      clock.now(),
    );
  const admin = await opened(startAdmin(config.admin, { token, status, logger }));
  logger.info({ spiffeId: self.uri, outbound: outbound.port, admin: admin.port, endpoints }, 'sidecar is up');

  const stop = new AbortController();
  const done = runTasks(
    [
      { name: 'identity', run: (signal) => keeper.run(signal) },
      { name: 'policy', run: (signal) => policyClient.run(signal) },
      { name: 'audit', run: (signal) => shipper.run(signal) },
    ],
    stop.signal,
  );
  // Whoever cares awaits `done`; that nobody does yet is no reason to crash.
  done.catch((error: unknown) => logger.fatal({ err: error }, 'the sidecar cannot go on'));

  const shutDown = async () => {
    if (policy.current?.connected) {
      await policyClient.goodbye();
      await sleep(clock, GOODBYE_MS);
    }
    await drainAll(stopListening, limits.drainMs);
    await shipLast(shipper, policy, clock);
    stop.abort();
    await done.catch(() => undefined);
    await lifetime.close();
  };
  let closing: Promise<void> | undefined;
  return {
    spiffeId: self.uri,
    inbound,
    outbound,
    admin,
    status,
    done,
    close() {
      closing ??= shutDown();
      return closing;
    },
  };
}

/** What the control plane pushed last is what everything is verified with, and what is kept over restarts. */
function followTrust(
  trust: WatchSource<TrustBundle>,
  keeper: SvidKeeper,
  policy: Watch<PolicyState | undefined>,
  logger: Logger,
): () => void {
  const adopt = (state: PolicyState | undefined) => {
    if (state === undefined || sameBundle(trust.current, state.bundle)) return;
    trust.set(state.bundle);
    logger.info({ sequence: state.bundle.sequence }, 'trust bundle replaced');
    keeper
      .adopt(state.bundle)
      .catch((error: unknown) => logger.error({ err: error }, 'the trust bundle could not be stored; it is in force'));
  };
  const stored = policy.current;
  if (stored !== undefined && stored.bundle.sequence >= trust.current.sequence) adopt(stored);
  const stops = [
    policy.subscribe(adopt),
    // Enrolled anew, for an identity that had expired.
    keeper.bundle.subscribe((bundle) => {
      if (!sameBundle(trust.current, bundle)) trust.set(bundle);
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

function recordingOf({ application, record = 'strict', whenFull = 'refuse' }: SidecarInbound): RecordingRule {
  return { port: application.port, record, whenFull };
}

/** Names under which callers may ask for a token that is meant for this workload. */
function audiencesOf(self: SpiffeId): string[] {
  const workload = workloadOf(self);
  if (workload === undefined) return [self.uri];
  const service = `${workload.service}.${workload.namespace}`;
  // The second is what callers of other trust domains call it.
  const names = [`${service}.mesh`, `${service}.${self.trustDomain}.mesh`];
  return [self.uri, ...names.flatMap((name) => [name, `http://${name}`, `https://${name}`])];
}

async function drainAll(listeners: readonly Listener[], ms: number): Promise<void> {
  await Promise.all(listeners.map((listener) => listener.drain(ms)));
}

/** While the control plane listens, what is still in the spool is worth a moment. */
async function shipLast(shipper: Shipper, policy: Watch<PolicyState | undefined>, clock: Clock): Promise<void> {
  const until = clock.now() + LAST_SHIPMENT_MS;
  while (policy.current?.connected && shipper.status.pending > 0 && clock.now() < until) await sleep(clock, 50);
}
