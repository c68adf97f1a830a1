import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Watch } from '../base/watch.ts';
import type { PolicySet } from '../control/policies/current.ts';
import { IssuerKeys } from '../control/policies/keys/issuer-keys.ts';
import { StoredKeys } from '../control/policies/keys/key-storage.ts';
import type { Store } from '../control/store/store.ts';
import { keysFetcher } from '../edge/keys/fetch-keys.ts';
import type { TokenKeysConfig } from './token-keys-config.ts';

/** The keys of those who issue tokens to end users. Throws `usage` for a file of authorities that cannot be read. */
export async function openIssuerKeys(
  config: TokenKeysConfig,
  deps: {
    readonly store: Store;
    readonly policies: Watch<Pick<PolicySet, 'requestAuthentications'>>;
    readonly clock: Clock;
    readonly logger: Logger;
  },
): Promise<IssuerKeys> {
  const { store, policies, clock, logger } = deps;
  const { hosts, allowLoopback } = config;
  const ca = config.caFile === undefined ? undefined : await readCa(config.caFile);
  const fetch = keysFetcher({ ca, hosts, allowLoopback });
  return await IssuerKeys.open({ policies, fetch, storage: new StoredKeys(store), clock, logger });
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AppError('usage', `Cannot read tokenKeys.caFile ${file}: ${reason(cause)}.`, { cause });
  }
}
