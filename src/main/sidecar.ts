import { once } from 'node:events';
import type { SidecarConfig } from '../node/sidecar/config.ts';
import { startSidecar } from '../node/sidecar/sidecar.ts';

import type { ServerDeps } from './server.ts';

/** One sidecar: serves until `signal` aborts, then says goodbye; throws when it cannot go on. */
export async function runSidecar(config: SidecarConfig, deps: ServerDeps): Promise<void> {
  const { signal, clock, logger, version } = deps;
  const sidecar = await startSidecar(config, { clock, logger, version, signal });
  try {
    deps.onReady();
    await Promise.race([sidecar.done, stopped(signal)]);
  } finally {
    await sidecar.close();
  }
}

async function stopped(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}
