import { join, relative } from 'node:path';
import type { Sources } from '../base/config.ts';
import { Lifetime } from '../base/tasks.ts';
import { Client } from '../cli/client.ts';
import { DEV_FILE, readContext, targetOf } from '../cli/context.ts';
import { styleFor } from '../cli/style.ts';
import type { World } from '../cli/world.ts';
import type { BannerFacts } from './dev/banner.ts';
import { banner } from './dev/banner.ts';
import type { DevDirectory } from './dev/directory.ts';
import { openDirectory, writeContext } from './dev/directory.ts';
import { showLive } from './dev/live.ts';
import { Mesh } from './dev/mesh.ts';
import { devOptions } from './dev/options.ts';
import type { Ports } from './dev/ports.ts';
import { agentSocket, checkPorts, LOOPBACK, planPorts, serviceNames } from './dev/ports.ts';
import { agentSpec, serverSpec, serviceSpec, sidecarSpec } from './dev/processes.ts';
import { ensureUserEntry, setUp, untilInSync } from './dev/setup.ts';

/** After an unclean end, what was left running gets so long to notice, in milliseconds. */
const ORPHAN_PATIENCE_MS = 16_000;

/**
 * `writ dev`: a control plane and a demo mesh, each part a process of its own, set up over the same interfaces that
 * everybody uses. Returns when `world.signal` aborts and everything has stopped; throws, with everything stopped, when
 * something cannot be started.
 */
export async function runDev(sources: Sources, world: World): Promise<void> {
  const startedAt = world.clock.now();
  const options = devOptions(sources);
  const ports = planPorts(options.portBase);
  const life = new Lifetime();
  try {
    const directory = await openDirectory(options);
    life.defer('the data directory', () => directory.release());
    await checkPorts(ports, { clock: world.clock, patienceMs: directory.uncleanEnd ? ORPHAN_PATIENCE_MS : 0 });
    const addr = `http://${LOOPBACK}:${ports.rest}`;
    const socket = agentSocket(options.portBase, process.platform);
    await writeContext(directory, { addr, agentSocket: socket, pid: process.pid });
    life.defer('the context', () => writeContext(directory, { addr, agentSocket: socket }));

    const mesh = new Mesh(world, directory);
    life.defer('the mesh', () => mesh.stop());
    await Promise.all([
      mesh.start('server', [serverSpec(directory, ports)]),
      mesh.start(
        'service',
        serviceNames.map((name) => serviceSpec(name, ports, options.traffic)),
      ),
    ]);
    const client = await clientFor(addr, directory, world);
    const entries = await setUp(client, directory);
    const [agent] = await Promise.all([
      startAgent(mesh, { ports, directory, client, socket }),
      mesh.start(
        'sidecar',
        serviceNames.map((name) => sidecarSpec(name, ports, directory, client, entries[name])),
      ),
    ]);
    const behind = await untilInSync(client, world);

    const style = styleFor('auto', world);
    const seconds = (world.clock.now() - startedAt) / 1000;
    const facts = { ports, agent, traffic: options.traffic, ...(await shownPaths(directory, world)) };
    // The mesh is shown all the same: what is wrong with a sidecar is found out best while it runs.
    if (behind.length > 0) world.stderr(`! Not in sync yet: ${behind.join(', ')}. Logs: ${facts.logs}\n`);
    world.stdout(banner({ ...facts, seconds, version: world.version }, style));
    await showLive(client, world, style);
  } catch (error) {
    // Told to stop while starting: what was cut short by that is no failure.
    if (!world.signal.aborted) throw error;
  } finally {
    if (world.signal.aborted) world.stderr('\nStopping …\n');
    await life.close();
  }
}

/** The agent, and with it an identity for the user's own processes; undefined where there can be none. */
async function startAgent(
  mesh: Mesh,
  o: {
    readonly ports: Ports;
    readonly directory: DevDirectory;
    readonly client: Client;
    readonly socket: string | undefined;
  },
): Promise<BannerFacts['agent']> {
  const { ports, directory, client, socket } = o;
  if (socket === undefined) return undefined;
  await mesh.start('agent', [agentSpec(ports, directory, client, socket)]);
  return { socket, user: await ensureUserEntry(client, directory) };
}

async function clientFor(addr: string, directory: DevDirectory, world: World): Promise<Client> {
  const found = {
    addr,
    tokenFile: directory.tokenFile,
    source: 'writ dev',
    hint: `Its log: ${join(directory.logs, 'server.log')}`,
  };
  return new Client(await targetOf(found, false), { fetch: world.fetch });
}

/** Paths as the user would write them, and whether the CLI finds this control plane without being told. */
async function shownPaths(directory: DevDirectory, world: World) {
  const shown = (path: string) => {
    const short = relative(world.startedIn, path);
    return short.startsWith('..') ? path : short;
  };
  const context = await readContext(join(world.startedIn, DEV_FILE));
  return {
    tokenFile: shown(directory.tokenFile),
    bundleFile: shown(directory.bundleFile),
    logs: shown(directory.logs),
    found: context?.tokenFile === directory.tokenFile,
  };
}
