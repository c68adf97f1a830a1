import { encodeSnapshot } from '../../wire/policy.ts';
import type { Published } from './services.ts';

/** Whole Snapshot messages as bytes: encoded once, however many sidecars are sent the same. */
export class SnapshotBytes {
  readonly #byPublished = new WeakMap<Published, Map<string, Buffer>>();

  of(published: Published, snapshot: { readonly hash: Buffer; readonly content: Buffer | undefined }): Buffer {
    let known = this.#byPublished.get(published);
    if (known === undefined) {
      known = new Map();
      this.#byPublished.set(published, known);
    }
    const key = `${snapshot.hash.toString('base64')} ${snapshot.content !== undefined}`;
    let bytes = known.get(key);
    if (bytes === undefined) {
      bytes = encodeSnapshot({ ...snapshot, revision: published.revision, publishedAt: published.publishedAt });
      known.set(key, bytes);
    }
    return bytes;
  }
}
