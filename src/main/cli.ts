#!/usr/bin/env node
import type { Schema } from '../base/config.ts';
import { createLogger } from '../base/log.ts';
import type { ServiceCommand } from '../cli/run.ts';
import { runCli } from '../cli/run.ts';
import type { World } from '../cli/world.ts';
import { agentConfig, agentSchema } from './agent-config.ts';
import { configFile, migrateConfig, migrateSchema, serverConfig, serverSchema } from './config.ts';
import { devSchema } from './dev/options.ts';
import { endAtOnce, endWith, failureOf, realWorld, stopSignal, tellParent } from './process.ts';
import { acceptRollbackConfig, acceptRollbackSchema, sidecarConfig, sidecarSchema } from './sidecar-config.ts';
import { witnessConfig, witnessSchema } from './witness-config.ts';

/**
 * The binary `writ`. Compositions are imported when they are run: a `writ get` should not load a gRPC server.
 */

type Flags = Parameters<ServiceCommand['run']>[0];

const childFlags = [{ usage: '--exit-with-parent', description: 'stop when the supervisor is gone', hidden: true }];

function services(world: World): readonly ServiceCommand[] {
  return [
    {
      name: 'dev',
      summary: 'Run a control plane and a demo mesh on this machine, for trying out.',
      schema: devSchema,
      oneLineErrors: true,
      run: async (flags) => {
        const { runDev } = await import('./dev.ts');
        await runDev(await sources(flags, world), world);
      },
    },
    service('server', 'Run the control plane.', serverSchema, async (flags) => {
      const config = serverConfig(await sources(flags, world));
      const { runServer } = await import('./server.ts');
      const logger = createLogger({ name: 'writ-server', level: config.logLevel });
      await runServer(config, { ...running(world), logger });
    }),
    service('sidecar', 'Run the sidecar of one workload.', sidecarSchema, async (flags) => {
      const config = sidecarConfig(await sources(flags, world));
      const { runSidecar } = await import('./sidecar.ts');
      const logger = createLogger({ name: 'writ-sidecar', level: config.logLevel });
      await runSidecar(config, { ...running(world), logger });
    }),
    service(
      'accept-rollback',
      'Let a sidecar go on with a control plane that was restored from a backup and has lost records.',
      acceptRollbackSchema,
      async (flags) => {
        const { stateDirectory } = acceptRollbackConfig(await sources(flags, world));
        const { RollbackConsent } = await import('../node/sidecar/rollback-consent.ts');
        await new RollbackConsent(stateDirectory, world.clock).give();
        world.stdout(
          'If the control plane has gone back in time, the sidecar goes on with it within an hour, once, and records it.\n',
        );
      },
    ),
    service('agent', 'Run the agent of one machine: identities for its processes.', agentSchema, async (flags) => {
      const config = agentConfig(await sources(flags, world));
      const { runAgent } = await import('./agent.ts');
      const logger = createLogger({ name: 'writ-agent', level: config.logLevel });
      await runAgent(config, { ...running(world), logger });
    }),
    service(
      'witness',
      'Cosign the checkpoints of audit logs, so that none of them has two histories.',
      witnessSchema,
      async (flags) => {
        const config = witnessConfig(await sources(flags, world));
        const { runWitness } = await import('./witness.ts');
        const logger = createLogger({ name: 'writ-witness', level: config.logLevel });
        await runWitness(config, { ...running(world), logger });
      },
    ),
    service(
      'migrate',
      'Bring the store to the schema of this version. Takes the settings of server.',
      migrateSchema,
      async (flags) => {
        const config = migrateConfig(await sources(flags, world));
        const { runMigrate } = await import('./migrate.ts');
        const { from, to } = await runMigrate(config, {
          logger: createLogger({ name: 'writ-migrate', level: config.logLevel }),
          clock: world.clock,
        });
        world.stdout(
          from === to ? `The store is at schema ${to} already.\n` : `The store went from schema ${from} to ${to}.\n`,
        );
      },
    ),
  ];
}

function service(name: string, summary: string, schema: Schema, run: (flags: Flags) => Promise<void>): ServiceCommand {
  return {
    name,
    summary,
    schema,
    flags: childFlags,
    run: async (flags) => {
      try {
        await run(flags);
      } catch (error) {
        await tellParent(failureOf(error));
        throw error;
      }
    },
  };
}

/** What every long-running composition gets. */
function running(world: World) {
  return {
    signal: world.signal,
    clock: world.clock,
    version: world.version,
    /** Called once it serves. */
    onReady: () => void tellParent({ type: 'ready' }),
  };
}

async function sources(flags: Flags, world: World) {
  const { config, 'exit-with-parent': _, ...settings } = flags;
  const file = await configFile(typeof config === 'string' ? config : undefined, world.env);
  return { flags: settings, env: world.env, ...(file !== undefined && { file }) };
}

// A reader such as `head` that has seen enough is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

const argv = process.argv.slice(2);
const signal = stopSignal(argv.includes('--exit-with-parent'));
const world = realWorld(signal);
const available = services(world);
// Timers of ours do not keep a process alive; while a command runs, waiting is work.
const alive = setInterval(() => undefined, 2 ** 30);
if (!available.some((each) => each.name === argv[0])) endAtOnce(signal);
const status = await runCli(argv, world, available);
clearInterval(alive);
endWith(status);
