import { hash } from 'node:crypto';
import { join } from 'node:path';
import { readSecretFile, writeFileDurably } from '../../../base/durable.ts';
import type { Logger } from '../../../base/log.ts';
import { encodeDifference, fromIdentityUpdate } from '../../../wire/identity-watch.ts';
import { identityUpdateCodec } from '../../../wire/loader.ts';
import type { AgentState } from './agent-identities.ts';

/** What of a state outlives the process. */
export type KeptState = Pick<AgentState, 'entries' | 'bundle' | 'federated'>;

/**
 * What the control plane said last, on disk (0600), so that an agent which starts while it is away serves the bundles, and one
 * which starts while it is there is sent only what differs. No keys: those of workloads live and die with the process.
 *
 * A line with the SHA-256 of the rest and whose it is, then one IdentityUpdate. What is damaged or another agent's counts as
 * absent.
 */
export class IdentityFile {
  readonly path: string;
  readonly #agentId: string;
  readonly #trustDomain: string;
  readonly #logger: Logger;

  constructor(o: {
    readonly stateDirectory: string;
    readonly agentId: string;
    readonly trustDomain: string;
    readonly logger: Logger;
  }) {
    this.path = join(o.stateDirectory, 'identities.state');
    this.#agentId = o.agentId;
    this.#trustDomain = o.trustDomain;
    this.#logger = o.logger;
  }

  /** Durable once it resolves. */
  async save(state: KeptState): Promise<void> {
    const body = Buffer.concat(
      encodeDifference({
        upserted: [...state.entries.values()],
        removed: [],
        bundles: [state.bundle, ...state.federated.values()],
        removedBundles: [],
      }),
    );
    await writeFileDurably(this.path, Buffer.concat([this.#head(body), body]));
  }

  async load(): Promise<KeptState | undefined> {
    const bytes = await readSecretFile(this.path);
    if (bytes === undefined) return undefined;
    try {
      const body = bytes.subarray(bytes.indexOf('\n') + 1);
      if (!bytes.subarray(0, bytes.length - body.length).equals(this.#head(body)))
        throw new Error('not ours, or damaged');
      const { upserted, bundles } = fromIdentityUpdate(identityUpdateCodec.decode(body));
      const byDomain = new Map(bundles.map((bundle) => [bundle.trustDomain, bundle]));
      const bundle = byDomain.get(this.#trustDomain);
      if (bundle === undefined) throw new Error('no bundle');
      byDomain.delete(this.#trustDomain);
      return { entries: new Map(upserted.map((entry) => [entry.id, entry])), bundle, federated: byDomain };
    } catch (error) {
      this.#logger.warn({ path: this.path, err: error }, 'the stored entries and bundles cannot be used');
      return undefined;
    }
  }

  #head(body: Buffer): Buffer {
    return Buffer.from(`${hash('sha256', body)} 1 ${this.#agentId}\n`);
  }
}
