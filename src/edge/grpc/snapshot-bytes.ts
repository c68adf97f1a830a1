import type { Quarantine } from '../../core/policy/snapshot.ts';
import { encodeQuarantine, encodeSnapshot } from '../../wire/policy.ts';
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

/** Messages that only bring the quarantine: the list, which may be long, is encoded once for everybody. */
export class QuarantineBytes {
  readonly #lists = new WeakMap<Quarantine, Buffer>();

  /** @param before the message before on the stream, and the time by our clock */
  of(
    quarantine: Quarantine,
    before: { readonly revision: number; readonly hash: Buffer; readonly publishedAt: number },
  ): Buffer {
    let list = this.#lists.get(quarantine);
    if (list === undefined) {
      list = encodeQuarantine(quarantine);
      this.#lists.set(quarantine, list);
    }
    // Messages one after the other are one message with the fields of both.
    return Buffer.concat([encodeSnapshot({ ...before, content: undefined }), list]);
  }
}
