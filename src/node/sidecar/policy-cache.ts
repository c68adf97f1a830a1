import { hash } from 'node:crypto';
import { join } from 'node:path';
import { readSecretFile, writeFileDurably } from '../../base/durable.ts';
import type { Logger } from '../../base/log.ts';

/** A snapshot as it came from the control plane. */
export interface CachedSnapshot {
  readonly revision: number;
  readonly hash: Buffer;
  readonly content: Buffer;
  /** Milliseconds since the epoch. */
  readonly publishedAt: number;
  /** When this sidecar last heard that it was current. */
  readonly receivedAt: number;
}

/**
 * The last good snapshot on disk, so that a sidecar which restarts while the control plane is away goes on with it. One
 * file: the SHA-256 of the rest, then JSON. What is damaged, or was for another identity, counts as absent: then calls
 * are refused until the control plane is back.
 */
export class PolicyCache {
  readonly path: string;
  readonly #spiffeId: string;
  readonly #logger: Logger;

  constructor(o: { readonly stateDirectory: string; readonly spiffeId: string; readonly logger: Logger }) {
    this.path = join(o.stateDirectory, 'policy.snapshot');
    this.#spiffeId = o.spiffeId;
    this.#logger = o.logger;
  }

  /** Durable once it resolves. */
  async save(snapshot: CachedSnapshot): Promise<void> {
    const body = JSON.stringify({
      version: 1,
      spiffeId: this.#spiffeId,
      revision: snapshot.revision,
      publishedAt: snapshot.publishedAt,
      receivedAt: snapshot.receivedAt,
      hash: snapshot.hash.toString('hex'),
      content: snapshot.content.toString('base64'),
    } satisfies CacheFile);
    await writeFileDurably(this.path, `${hash('sha256', body)}\n${body}\n`);
  }

  async load(): Promise<CachedSnapshot | undefined> {
    const text = (await readSecretFile(this.path))?.toString('utf8');
    if (text === undefined) return undefined;
    const [checksum, body = ''] = text.split('\n');
    if (checksum !== hash('sha256', body)) {
      this.#logger.warn({ path: this.path }, 'the stored policy is damaged and not used');
      return undefined;
    }
    const file = JSON.parse(body) as CacheFile;
    if (file.version !== 1 || file.spiffeId !== this.#spiffeId) {
      this.#logger.warn({ path: this.path, spiffeId: file.spiffeId }, 'the stored policy is not ours and not used');
      return undefined;
    }
    return {
      revision: file.revision,
      publishedAt: file.publishedAt,
      receivedAt: file.receivedAt,
      hash: Buffer.from(file.hash, 'hex'),
      content: Buffer.from(file.content, 'base64'),
    };
  }
}

interface CacheFile {
  readonly version: number;
  readonly spiffeId: string;
  readonly revision: number;
  readonly publishedAt: number;
  readonly receivedAt: number;
  readonly hash: string;
  readonly content: string;
}
