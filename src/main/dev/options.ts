import type { Schema, Sources } from '../../base/config.ts';
import { readConfig, withDefault } from '../../base/config.ts';
import { flag, integer, path } from '../../base/config-types.ts';
import { AppError } from '../../base/errors.ts';
import { cliVariables } from '../config.ts';
import { DEFAULT_PORT_BASE, MAX_PORT_BASE, MIN_PORT_BASE } from './ports.ts';

const DEFAULT_DATA_DIR = '.writ/dev';

/** Everything that `writ dev` can be told. None of it is needed. */
export const devSchema = {
  portBase: withDefault(
    integer({ min: MIN_PORT_BASE, max: MAX_PORT_BASE }),
    String(DEFAULT_PORT_BASE),
    'Port of REST and the console; every other port shifts with it',
  ),
  noTraffic: withDefault(flag, 'false', 'Start the services, but let them be silent until you call'),
  ephemeral: withDefault(flag, 'false', 'Keep the data in a temporary directory, gone at the end'),
  dataDir: withDefault(path, DEFAULT_DATA_DIR, 'Directory of keys, tokens, policies and the audit log'),
} as const satisfies Schema;

export interface DevOptions {
  readonly portBase: number;
  readonly traffic: boolean;
  readonly ephemeral: boolean;
  readonly dataDir: string;
}

export function devOptions(sources: Sources): DevOptions {
  const values = readConfig(devSchema, sources, { reservedVariables: cliVariables });
  // One of the two would be ignored: data that should be kept is lost, or data that should be gone is kept.
  const named = sources.flags['data-dir'] !== undefined || values.dataDir !== DEFAULT_DATA_DIR;
  if (values.ephemeral && named) {
    throw new AppError(
      'usage',
      '--ephemeral keeps the data in a temporary directory, and --data-dir in one of yours. Give only one of them.',
    );
  }
  return {
    portBase: values.portBase,
    traffic: !values.noTraffic,
    ephemeral: values.ephemeral,
    dataDir: values.dataDir,
  };
}
