import type { Clock } from '../base/clock.ts';
import { makePrivateDirectory } from '../base/durable.ts';
import { AppError, unreachable } from '../base/errors.ts';
import { lockDirectory } from '../base/journal/lock.ts';
import type { Logger } from '../base/log.ts';
import { Lifetime, runTasks } from '../base/tasks.ts';
import { WatchSource } from '../base/watch.ts';
import { serveAdminSocket } from '../node/agent/admin/admin-socket.ts';
import type { WorkloadAttestor } from '../node/agent/attest-workload/attestor.ts';
import { DockerAttestor } from '../node/agent/attest-workload/docker.ts';
import { K8sAttestor } from '../node/agent/attest-workload/k8s.ts';
import { systemdAttestor } from '../node/agent/attest-workload/systemd.ts';
import { UnixAttestor } from '../node/agent/attest-workload/unix.ts';
import { controlPlaneIdentitySource } from '../node/agent/enroll.ts';
import type { AgentIdentities } from '../node/agent/identities/agent-identities.ts';
import { openAgentIdentities } from '../node/agent/identities/agent-identities.ts';
import { secretDiscovery } from '../node/agent/sds/sds.ts';
import { SvidKeeper } from '../node/agent/svid-keeper.ts';
import { startAgentServer } from '../node/agent/workload-api/agent-server.ts';
import { checkPeerCredentialsSupport } from '../node/agent/workload-api/peer-credentials.ts';
import { workloadApi } from '../node/agent/workload-api/workload-api.ts';
import { ControlPlane } from '../node/sidecar/control-plane.ts';
import type { AgentConfig, AttestorName } from './agent-config.ts';
import type { ServerDeps } from './server.ts';
import { keepHeapSmall } from './small-heap.ts';

/**
 * One agent: attests itself with the control plane, then hands out identities to the processes of its machine, until
 * `signal` aborts or a part fails. While the control plane is away, it goes on with what it holds.
 */
export async function runAgent(config: AgentConfig, deps: ServerDeps): Promise<void> {
  keepHeapSmall();
  const life = new Lifetime();
  try {
    checkPeerCredentialsSupport();
    const attestors = config.attestors.map((name) => makeAttestor(name, config, deps.clock));
    await makePrivateDirectory(config.stateDirectory);
    const unlock = lockDirectory(config.stateDirectory);
    life.defer('the lock', unlock);
    const keeper = await openKeeper(config, deps);
    const identities = await openIdentities(config, deps, life, keeper);
    await serve(config, deps, life, { keeper, identities, attestors });
    await runTasks(
      [
        { name: 'own identity', run: (signal) => keeper.run(signal) },
        { name: 'identities', run: (signal) => identities.run(signal) },
        { name: 'readiness', run: (signal) => tellReady(identities, deps, signal) },
      ],
      deps.signal,
    );
  } finally {
    await life.close();
  }
}

async function openKeeper(config: AgentConfig, deps: ServerDeps): Promise<SvidKeeper> {
  const { clock, logger, signal } = deps;
  const { stateDirectory, proof } = config;
  const source = controlPlaneIdentitySource({ server: config.server, trust: config.trust, clock });
  const keeper = await SvidKeeper.open(
    { stateDirectory, source, agent: true, clock, logger, ...(proof !== undefined && { proof }) },
    signal,
  );
  const { id } = keeper.current.current;
  if (config.trustDomain !== undefined && id.trustDomain !== config.trustDomain) {
    throw new AppError(
      'usage',
      `The control plane is of the trust domain ${id.trustDomain}, and this agent was told ${config.trustDomain}.`,
    );
  }
  logger.info({ spiffeId: id.uri }, 'the agent has its identity');
  return keeper;
}

async function openIdentities(config: AgentConfig, deps: ServerDeps, life: Lifetime, keeper: SvidKeeper) {
  const { clock, logger, version } = deps;
  const trust = new WatchSource(keeper.bundle.current);
  const controlPlane = new ControlPlane({ server: config.server, identity: keeper.current, bundle: trust, clock });
  life.defer('the control plane', () => controlPlane.close());
  const { id } = keeper.current.current;
  const identities = await openAgentIdentities({
    clients: controlPlane.clients,
    trustDomain: id.trustDomain,
    agentId: id.uri,
    stateDirectory: config.stateDirectory,
    version,
    onRefused: () => keeper.refused(),
    clock,
    logger,
  });
  life.defer('the identities', () => identities.close());
  life.defer('the bundle', followBundle(identities, trust, keeper, logger));
  return identities;
}

/** The bundle that was pushed last is what the control plane is verified with, also after a restart. */
function followBundle(
  identities: AgentIdentities,
  trust: WatchSource<SvidKeeper['bundle']['current']>,
  keeper: SvidKeeper,
  logger: Logger,
): () => void {
  const adopt = () => {
    const bundle = identities.state.current?.bundle;
    if (bundle === undefined || bundle === trust.current || bundle.sequence <= trust.current.sequence) return;
    trust.set(bundle);
    keeper.adopt(bundle).catch((error: unknown) => {
      logger.error({ err: error }, 'the trust bundle could not be stored; it is in force');
    });
  };
  adopt();
  return identities.state.subscribe(adopt);
}

async function serve(
  config: AgentConfig,
  deps: ServerDeps,
  life: Lifetime,
  o: {
    readonly keeper: SvidKeeper;
    readonly identities: AgentIdentities;
    readonly attestors: readonly WorkloadAttestor[];
  },
): Promise<void> {
  const { clock, logger } = deps;
  const { identities, attestors, keeper } = o;
  const admin = await serveAdminSocket({
    path: config.adminSocketPath,
    spiffeId: () => keeper.current.current.id.uri,
    identities,
    attestors,
    clock,
    logger,
  });
  life.defer('the admin socket', () => admin.close());
  const server = await startAgentServer({
    socketPath: config.socketPath,
    socketMode: config.socketMode,
    identities,
    attestors,
    services: [workloadApi, secretDiscovery(config.secretNames)],
    clock,
    logger,
  });
  life.defer('the Workload API', () => server.close());
}

/** Ready once it knows what it may hand out, now or from an earlier life. */
async function tellReady(identities: AgentIdentities, deps: ServerDeps, signal: AbortSignal): Promise<void> {
  while (identities.state.current === undefined) await identities.state.next(identities.state.version, signal);
  deps.onReady();
}

function makeAttestor(name: AttestorName, config: AgentConfig, clock: Clock): WorkloadAttestor {
  switch (name) {
    case 'unix':
      return new UnixAttestor();
    case 'systemd':
      return systemdAttestor;
    case 'docker':
      return new DockerAttestor({ socketPath: config.dockerSocketPath });
    case 'k8s': {
      const { url, tokenFile, caFile, serverName } = config.kubelet;
      return new K8sAttestor({
        kubeletUrl: url,
        tokenFile,
        caFile,
        clock,
        ...(serverName !== undefined && { serverName }),
      });
    }
    default:
      return unreachable(name);
  }
}
