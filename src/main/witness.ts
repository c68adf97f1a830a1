import { once } from 'node:events';
import { join } from 'node:path';
import { makePrivateDirectory, writeFileDurably } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import { lockDirectory } from '../base/journal/lock.ts';
import { secureRandom } from '../base/random.ts';
import { Lifetime } from '../base/tasks.ts';
import { serveWitness } from '../node/witness/serve-witness.ts';
import { Witness } from '../node/witness/witness.ts';
import { WitnessFiles } from '../node/witness/witness-files.ts';
import { readLogPolicy } from './log-policy-file.ts';
import type { ServerDeps } from './server.ts';
import { watchTlsFiles } from './tls-files.ts';
import type { WitnessConfig } from './witness-config.ts';

/** One witness of logs: serves until `signal` aborts. Its public key is in the file `vkey` of its directory. */
export async function runWitness(config: WitnessConfig, deps: ServerDeps): Promise<void> {
  const { clock, logger, signal } = deps;
  const { name, stateDirectory, listen } = config;
  const life = new Lifetime();
  try {
    const { logs } = await readLogPolicy(config.policyFile);
    if (logs.length === 0)
      throw new AppError('usage', `${config.policyFile} has no log line: there is nothing to witness.`);
    await makePrivateDirectory(stateDirectory);
    // Two of them would each cosign a history of its own.
    life.defer('the lock', lockDirectory(stateDirectory));
    const files = await WitnessFiles.open(stateDirectory, name, secureRandom);
    const witness = await Witness.open({ name, files, logs, now: () => clock.now(), logger });
    await writeFileDurably(join(stateDirectory, 'vkey'), `${witness.vkey}\n`, { mode: 0o644 });
    const tls = config.tls === undefined ? undefined : await watchTlsFiles(config.tls, deps);
    if (tls !== undefined) life.defer('the certificate', tls.stop);
    const served = await serveWitness({ ...listen, witness, tls: tls?.tls, clock, logger });
    life.defer('the witness', () => served.close());
    const origins = [...new Set(logs.map(({ key }) => key.name))];
    logger.info({ name, vkey: witness.vkey, port: served.port, logs: origins }, 'the witness serves');
    deps.onReady();
    if (!signal.aborted) await once(signal, 'abort');
  } finally {
    await life.close();
  }
}
