import { join } from 'node:path';
import type { ServerConfig } from '../config.ts';

/** The roots, in PEM: public, and what sidecars pin. */
export const bundleFile = (config: Pick<ServerConfig, 'dataDir'>) => join(config.dataDir, 'bundle.pem');
