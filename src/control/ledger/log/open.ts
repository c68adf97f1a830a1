import type { Clock } from '../../../base/clock.ts';
import { makePrivateDirectory } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { Files } from '../../../base/journal/files.ts';
import { localFiles } from '../../../base/journal/files.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom } from '../../../base/random.ts';
import type { LogPolicy } from '../../../core/audit/log-policy.ts';
import { LogTree } from '../../../core/audit/log-tree.ts';
import { splitTile } from '../../../core/audit/tile.ts';
import type { SecretStore } from '../../authority/keys/key-store.ts';
import type { Store } from '../../store/store.ts';
import type { AuditIndex } from '../index.ts';
import type { Ledger } from '../ledger.ts';
import { AuditLog } from './audit-log.ts';
import { openLogKeys } from './keys.ts';
import { SqlCheckpointLock } from './lock.ts';
import { LogFiles } from './log-files.ts';
import type { SequencerLimits } from './sequencer.ts';
import { Sequencer } from './sequencer.ts';
import type { AskWitness } from './witness-client.ts';
import { witnessedFile } from './witnessed-file.ts';
import type { WitnessesOptions } from './witnesses.ts';
import { Witnesses } from './witnesses.ts';

export interface OpenLogOptions {
  /** Of this log alone; it is created (0700) if need be. */
  readonly directory: string;
  /** Default: those of `directory`. For tests. */
  readonly files?: Files;
  readonly origin: string;
  readonly ledger: Ledger;
  /** See `AuditLogOptions`. */
  readonly leafOf: (id: string) => Promise<number>;
  readonly store: Store;
  readonly secrets: Pick<SecretStore, 'load' | 'save'>;
  readonly databaseRestored: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  readonly limits?: Partial<SequencerLimits>;
  /** Who is asked to cosign its checkpoints, and how many of them it takes. */
  readonly witnesses?: { readonly policy: LogPolicy; readonly ask: AskWitness } | undefined;
}

/**
 * The log of a ledger: recovered, or begun where there is none. Whoever has the ledger's directory locked is the only one who
 * sequences it; should the directory have been copied to another machine, the lock in the database lets one of them go on.
 *
 * @throws AppError as `Sequencer.open` and `openLogKeys`
 */
export async function openAuditLog(
  o: OpenLogOptions,
): Promise<{ readonly sequencer: Sequencer; readonly log: AuditLog; readonly witnesses: Witnesses | undefined }> {
  const { ledger, leafOf, origin, clock, logger } = o;
  await makePrivateDirectory(o.directory);
  const files = new LogFiles(o.files ?? localFiles(o.directory));
  const lock = new SqlCheckpointLock(o.store, origin);
  const isNew = (await lock.read()) === undefined && (await files.published()).length === 0;
  const keys = await openLogKeys({
    secrets: o.secrets,
    origin,
    now: () => clock.now(),
    random: o.random ?? secureRandom,
    mayCreate: isNew,
  });
  const { databaseRestored } = o;
  const sequencer = await Sequencer.open({
    ledger,
    files,
    lock,
    keys,
    clock,
    logger,
    databaseRestored,
    ...(o.limits !== undefined && { limits: o.limits }),
  });
  const { published } = sequencer;
  const witnesses =
    o.witnesses === undefined ? undefined : await openWitnesses(o, o.witnesses, { files, keys, published });
  return { sequencer, log: new AuditLog({ ledger, files, keys, published, witnesses, leafOf }), witnesses };
}

function openWitnesses(
  { directory, clock, logger }: OpenLogOptions,
  asked: NonNullable<OpenLogOptions['witnesses']>,
  { files, ...log }: Pick<WitnessesOptions, 'keys' | 'published'> & { readonly files: LogFiles },
): Promise<Witnesses> {
  const tree = (size: number) => new LogTree(async (id) => splitTile(await files.tile(id), id.width), size);
  return Witnesses.open({
    ...log,
    ...asked,
    consistency: (size, to) => tree(to.checkpoint.size).consistency(size),
    rootAt: (size) => tree(size).root(),
    saved: witnessedFile(directory),
    clock,
    logger,
  });
}

/** The batch that holds an event. Those of every kind share one space of ids. Throws `not-found`. */
export async function leafIn(index: Pick<AuditIndex, 'get' | 'getIdentity' | 'getAdmin'>, id: string): Promise<number> {
  const { proof } = await index
    .get(id)
    .catch(unlessMissing(() => index.getIdentity(id)))
    .catch(unlessMissing(() => index.getAdmin(id)));
  // The index knows of nothing that is not in the ledger.
  return proof.leaf ?? Number.MAX_SAFE_INTEGER;
}

function unlessMissing<T>(next: () => Promise<T>): (error: unknown) => Promise<T> {
  return (error) => {
    if (error instanceof AppError && error.code === 'not-found') return next();
    throw error;
  };
}
