import { createPrivateKey } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { WatchSource } from '../../src/base/watch.ts';
import type { TrustBundle } from '../../src/core/identity/bundle.ts';
import { parsePemCertificates } from '../../src/core/identity/bundle.ts';
import { verifyPeer } from '../../src/core/identity/chain.ts';
import { rootFingerprintOf } from '../../src/core/identity/root-of.ts';
import { parseSpiffeId } from '../../src/core/identity/spiffe-id.ts';
import { controlPlaneIdentitySource } from '../../src/node/agent/enroll.ts';
import type { Lease } from '../../src/node/agent/identities/agent-identities.ts';
import { openAgentIdentities } from '../../src/node/agent/identities/agent-identities.ts';
import { SvidKeeper } from '../../src/node/agent/svid-keeper.ts';
import { SvidStore } from '../../src/node/agent/svid-store.ts';
import { startAgentServer } from '../../src/node/agent/workload-api/agent-server.ts';
import { workloadApi } from '../../src/node/agent/workload-api/workload-api.ts';
import { ControlPlane } from '../../src/node/sidecar/control-plane.ts';
import type { Admitted, Connection } from './control-plane.ts';

/** Agents as `writ agent` runs them, all in one process, with one workload beside each. It ends when its parent does. */
export type RotationAgentsRequest =
  | ({
      readonly kind: 'start';
      readonly agents: readonly Admitted[];
      readonly directory: string;
      /** The first of them serve the Workload API on these. */
      readonly sockets: readonly string[];
      /** Workloads come one after the other, all within this time. */
      readonly withinMs: number;
    } & Connection)
  /** Answered when every agent and every workload has a certificate below this root. */
  | { readonly kind: 'await'; readonly root: string }
  | { readonly kind: 'count' };

export interface RotationAgentsDone {
  readonly kind: 'done';
  /** New certificates that were verified with the bundle of some other agent, and those of them that it refused. */
  readonly verified: number;
  readonly refused: number;
}

interface Agent {
  readonly keeper: SvidKeeper;
  readonly lease: Lease;
  readonly bundle: () => TrustBundle | undefined;
}

const running: Agent[] = [];
const roots = new WeakMap<readonly Buffer[], string>();
let verified = 0;
let refused = 0;

process.on('disconnect', () => process.exit(0));
process.on('message', (request: RotationAgentsRequest) => {
  handle(request).then(
    () => process.send?.({ kind: 'done', verified, refused } satisfies RotationAgentsDone),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    },
  );
});

async function handle(request: RotationAgentsRequest): Promise<void> {
  switch (request.kind) {
    case 'start': {
      const started = performance.now();
      for (const [index, agent] of request.agents.entries()) {
        running.push(await startAgent(request, agent, index));
        await pause(
          Math.max(0, started + (request.withinMs * (index + 1)) / request.agents.length - performance.now()),
        );
      }
      return;
    }
    case 'await':
      while (!running.every((agent) => chainsOf(agent).every((chain) => isBelow(chain, agent, request.root)))) {
        await pause(100);
      }
      return;
    case 'count':
      return;
  }
}

/** As `main/agent.ts` does it, and one workload. */
async function startAgent(
  o: RotationAgentsRequest & { readonly kind: 'start' },
  admitted: Admitted,
  index: number,
): Promise<Agent> {
  const stateDirectory = join(o.directory, `agent-${index}`);
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
  const { trustDomain, sequence, address } = o;
  const deps = { clock: systemClock, logger: silentLogger };
  await new SvidStore(stateDirectory).save({
    bundle: { trustDomain, roots: parsePemCertificates(o.roots), jwks: { keys: [] }, sequence },
    svid: {
      ...admitted,
      id: parseSpiffeId(admitted.spiffeId),
      chain: admitted.chain.map((der) => Buffer.from(der, 'base64')),
      privateKey: createPrivateKey(o.key),
    },
  });
  const source = controlPlaneIdentitySource({
    server: address, // Never asked: who has an identity needs no more than its own bundle.
    trust: { bundleFile: '' },
    clock: systemClock,
  });
  const keeper = await SvidKeeper.open({ stateDirectory, source, agent: true, ...deps });
  const trust = new WatchSource(keeper.bundle.current);
  const controlPlane = new ControlPlane({
    server: address,
    identity: keeper.current,
    bundle: trust,
    clock: systemClock,
  });
  const identities = await openAgentIdentities({
    clients: controlPlane.clients,
    trustDomain,
    agentId: admitted.spiffeId,
    stateDirectory,
    version: 'bench',
    onRefused: () => keeper.refused(),
    ...deps,
  });
  identities.state.subscribe(() => {
    const bundle = identities.state.current?.bundle;
    if (bundle === undefined || bundle.sequence <= trust.current.sequence) return;
    trust.set(bundle);
    void keeper.adopt(bundle);
  });
  const { signal } = new AbortController();
  void keeper.run(signal);
  void identities.run(signal);

  const selectors = [`bench:name:w/${index}`];
  while (identities.grantsFor(selectors).length === 0) await identities.state.next(identities.state.version);
  const [grant] = identities.grantsFor(selectors);
  if (grant === undefined) throw new Error('no grant');
  const lease = identities.x509(grant);
  lease.svid.subscribe((svid) => {
    if (svid !== undefined) verifyElsewhere(svid.chain);
  });
  while (lease.svid.current === undefined) await lease.svid.next(lease.svid.version);
  const socketPath = o.sockets[index];
  if (socketPath !== undefined) {
    const attestors = [{ type: 'bench', attest: async () => selectors }];
    await startAgentServer({ socketPath, identities, attestors, services: [workloadApi], ...deps });
  }
  return { keeper, lease, bundle: () => identities.state.current?.bundle };
}

/** Would a workload beside some other agent take it? */
function verifyElsewhere(chain: readonly Buffer[]): void {
  const bundle = running[Math.floor(Math.random() * running.length)]?.bundle();
  if (bundle === undefined) return;
  verified += 1;
  try {
    verifyPeer(chain, bundle, { now: Date.now() });
  } catch {
    refused += 1;
  }
}

function chainsOf({ keeper, lease }: Agent): readonly (readonly Buffer[])[] {
  return [keeper.current.current.chain, lease.svid.current?.chain ?? []];
}

function isBelow(chain: readonly Buffer[], agent: Agent, root: string): boolean {
  const bundle = agent.bundle();
  let found = roots.get(chain);
  if (found === undefined && bundle !== undefined) {
    found = rootFingerprintOf(chain, bundle);
    if (found !== undefined) roots.set(chain, found);
  }
  return found === root;
}
