import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { migrate } from '../control/store/store.ts';
import type { ServerConfig } from './config.ts';
import { resolveStore } from './secrets.ts';

/** Brings the store to the schema of this version. */
export async function runMigrate(
  config: Pick<ServerConfig, 'store'>,
  deps: { readonly clock: Clock; readonly logger: Logger },
): Promise<{ readonly from: number; readonly to: number }> {
  return migrate(await resolveStore(config.store), deps);
}
