import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { Lifetime, runTasks } from '../base/tasks.ts';
import { keepBundleFile } from './bundle-file.ts';
import type { ServerConfig } from './config.ts';
import { bundleFile } from './server/files.ts';
import { serve } from './server/serve.ts';
import { openState } from './server/state.ts';

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

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
