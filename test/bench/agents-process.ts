import { createPrivateKey } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { WatchSource } from '../../src/base/watch.ts';
import { parsePemCertificates } from '../../src/core/identity/bundle.ts';
import { parseSpiffeId } from '../../src/core/identity/spiffe-id.ts';
import { keepHeapSmall } from '../../src/main/small-heap.ts';
import { channelOptions, controlPlaneCredentials } from '../../src/node/agent/control-plane-tls.ts';
import type { AgentIdentities } from '../../src/node/agent/identities/agent-identities.ts';
import { openAgentIdentities } from '../../src/node/agent/identities/agent-identities.ts';
import { startAgentServer } from '../../src/node/agent/workload-api/agent-server.ts';
import { workloadApi } from '../../src/node/agent/workload-api/workload-api.ts';
import { clients } from '../../src/wire/loader.ts';
import type { Admitted, Connection } from './control-plane.ts';

/** The agents' side of the agent benchmark, a process of its own. It ends when its parent does. */
export type AgentsRequest =
  | ({ readonly kind: 'agents'; readonly agents: readonly Admitted[]; readonly directory: string } & Connection)
  /** From now on workloads with these selectors wait beside the agent. */
  | { readonly kind: 'wait'; readonly agent: number; readonly names: readonly string[] }
  | ({
      readonly kind: 'workloads';
      readonly agent: Admitted;
      readonly directory: string;
      readonly socket: string;
      readonly entries: number;
    } & Connection)
  | { readonly kind: 'memory' };

export type AgentsReply = { readonly kind: 'done'; readonly rssBytes: number } | { readonly kind: 'held' };

const running: AgentIdentities[] = [];
const reply = (message: AgentsReply) => process.send?.(message);

process.on('disconnect', () => process.exit(0));
process.on('message', (request: AgentsRequest) => {
  handle(request).then(
    () => reply({ kind: 'done', rssBytes: process.memoryUsage.rss() }),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    },
  );
});

async function handle(request: AgentsRequest): Promise<void> {
  switch (request.kind) {
    case 'agents': {
      for (const [index, agent] of request.agents.entries()) {
        const directory = join(request.directory, `agent-${index}`);
        running.push(await startAgent(request, agent, directory));
      }
      await Promise.all(running.map((agent) => until(agent, () => agent.state.current?.connected === true)));
      return;
    }
    case 'wait': {
      const agent = running[request.agent];
      if (agent === undefined) throw new Error('no such agent');
      void hold(agent, request.names).then(() => reply({ kind: 'held' }));
      return;
    }
    case 'workloads': {
      keepHeapSmall();
      const agent = await startAgent(request, request.agent, request.directory);
      await until(agent, () => (agent.state.current?.entries.size ?? 0) >= request.entries);
      let connected = 0;
      await startAgentServer({
        socketPath: request.socket,
        identities: agent,
        // Every call is another workload: the parent is one process, and so many of them would not fit.
        attestors: [{ type: 'bench', attest: async () => [`bench:name:w/${connected++ % request.entries}`] }],
        services: [workloadApi],
        clock: systemClock,
        logger: silentLogger,
        limits: {
          maxStreamsPerProcess: 10_000,
          maxStreamsPerUser: 10_000,
          maxAttestationsPerProcess: 10_000,
          maxAttestationsPerUser: 10_000,
          callsPerSecond: 10_000,
          callBurst: 10_000,
        },
      });
      return;
    }
    case 'memory':
      return;
  }
}

async function startAgent(connection: Connection, agent: Admitted, directory: string) {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { roots, key, trustDomain, sequence, address } = connection;
  const bundle = { trustDomain, roots: parsePemCertificates(roots), jwks: { keys: [] }, sequence };
  const svid = {
    id: parseSpiffeId(agent.spiffeId),
    instanceId: agent.instanceId,
    chain: agent.chain.map((der) => Buffer.from(der, 'base64')),
    privateKey: createPrivateKey(key),
    notBefore: 0,
    notAfter: Number.MAX_SAFE_INTEGER,
  };
  const credentials = controlPlaneCredentials({ bundle, svid, clock: systemClock });
  const identities = await openAgentIdentities({
    clients: new WatchSource({ identity: new clients.Identity(address, credentials, channelOptions) }),
    trustDomain,
    agentId: agent.spiffeId,
    stateDirectory: directory,
    version: 'bench',
    clock: systemClock,
    logger: silentLogger,
  });
  void identities.run(new AbortController().signal);
  return identities;
}

/** Resolves when the workload holds its SVID. */
async function hold(agent: AgentIdentities, selectors: readonly string[]): Promise<void> {
  await until(agent, () => agent.grantsFor(selectors).length > 0);
  const [grant] = agent.grantsFor(selectors);
  if (grant === undefined) throw new Error('no grant');
  const { svid } = agent.x509(grant);
  while (svid.current === undefined) await svid.next(svid.version);
}

async function until(agent: AgentIdentities, isIt: () => boolean): Promise<void> {
  while (!isIt()) await agent.state.next(agent.state.version);
}
