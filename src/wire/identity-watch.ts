import { hash } from 'node:crypto';
import { unreachable } from '../base/errors.ts';
import type { TrustBundle } from '../core/identity/bundle.ts';
import type { WorkloadEntry } from '../core/identity/workload-entry.ts';
import * as field from './fields.ts';
import type { IdentityUpdate__Output } from './gen/writ/v1/IdentityUpdate.ts';
import type { WatchIdentityRequest, WatchIdentityRequest__Output } from './gen/writ/v1/WatchIdentityRequest.ts';
import type {
  WorkloadEntry as ProtoEntry,
  WorkloadEntry__Output as ProtoEntryOutput,
} from './gen/writ/v1/WorkloadEntry.ts';
import { fromForeignTrustBundle, toTrustBundle } from './identity.ts';
import { identityUpdateCodec, trustBundleCodec } from './loader.ts';

/** Of what an agent says it holds. One that holds more says nothing of it, and gets everything. */
export const MAX_ENTRY_VERSIONS = 50_000;
export const MAX_BUNDLE_VERSIONS = 1_000;
/** Of one message: small enough that sending or reading it holds up nothing else for long. */
export const MAX_UPDATE_BYTES = 1024 * 1024;

const MAX_ID_LENGTH = 128;
const MAX_SELECTORS = 128;
const MAX_NAMES = 1_000;
/** Generous: the size of the message bounds it. */
const MAX_IN_UPDATE = 200_000;

export interface EntryVersion {
  readonly id: string;
  readonly revision: number;
}

export interface BundleVersion {
  readonly trustDomain: string;
  /** `bundleHash` of it. */
  readonly hash: Buffer;
}

export interface IdentityHello {
  /** What the agent holds from an earlier stream. */
  readonly entries: readonly EntryVersion[];
  readonly bundles: readonly BundleVersion[];
  /** Of the agent, for people. */
  readonly version: string;
  /** The agent's clock, milliseconds since the epoch. */
  readonly time: number;
}

export type IdentityMessage =
  | ({ readonly kind: 'hello' } & IdentityHello)
  | { readonly kind: 'ack'; readonly revision: number };

/** What changes between two states of an agent. */
export interface IdentityDifference {
  readonly upserted: readonly WorkloadEntry[];
  /** Entry ids. */
  readonly removed: readonly string[];
  readonly bundles: readonly TrustBundle[];
  /** Trust domains. */
  readonly removedBundles: readonly string[];
}

/** One message of a difference. */
export interface IdentityUpdate extends IdentityDifference {
  readonly revision: number;
  /** The difference goes on in the next message. */
  readonly more: boolean;
}

export function toIdentityMessage(message: IdentityMessage): WatchIdentityRequest {
  switch (message.kind) {
    case 'hello':
      return {
        hello: {
          entries: message.entries.map(({ id, revision }) => ({ id, revision: field.toU64(revision) })),
          bundles: message.bundles.map((bundle) => ({ trustDomain: bundle.trustDomain, hash: bundle.hash })),
          version: message.version,
          time: field.toTime(message.time),
        },
      };
    case 'ack':
      return { ack: { revision: field.toU64(message.revision) } };
    default:
      return unreachable(message);
  }
}

export function fromIdentityMessage(message: WatchIdentityRequest__Output): IdentityMessage {
  switch (message.message) {
    case 'hello': {
      const hello = field.required(message.hello, 'hello');
      return Object.freeze({
        kind: 'hello',
        entries: field.list(
          hello.entries,
          'hello.entries',
          (entry, path) =>
            Object.freeze({
              id: field.text(entry.id, `${path}.id`, MAX_ID_LENGTH),
              revision: field.u64(entry.revision, `${path}.revision`),
            }),
          { max: MAX_ENTRY_VERSIONS },
        ),
        bundles: field.list(
          hello.bundles,
          'hello.bundles',
          (bundle, path) =>
            Object.freeze({
              trustDomain: field.trustDomain(bundle.trustDomain, `${path}.trust_domain`),
              hash: field.hash(bundle.hash, `${path}.hash`),
            }),
          { max: MAX_BUNDLE_VERSIONS },
        ),
        version: field.textOrEmpty(hello.version, 'hello.version', 128),
        time: field.time(hello.time, 'hello.time'),
      });
    }
    case 'ack': {
      const ack = field.required(message.ack, 'ack');
      return Object.freeze({ kind: 'ack', revision: field.u64(ack.revision, 'ack.revision') });
    }
    case undefined:
      throw field.invalid('message', 'is missing');
    default:
      return unreachable(message.message);
  }
}

export function fromIdentityUpdate(message: IdentityUpdate__Output): IdentityUpdate {
  const text = (value: string, path: string) => field.text(value, path, MAX_ID_LENGTH);
  return Object.freeze({
    revision: field.u64(message.revision, 'revision'),
    upserted: field.list(message.upserted, 'upserted', fromWorkloadEntry, { max: MAX_IN_UPDATE }),
    removed: field.list(message.removed, 'removed', text, { max: MAX_IN_UPDATE }),
    bundles: field.list(message.bundles, 'bundles', fromForeignTrustBundle, { max: MAX_BUNDLE_VERSIONS }),
    removedBundles: field.list(message.removedBundles, 'removed_bundles', field.trustDomain, {
      max: MAX_BUNDLE_VERSIONS,
    }),
    more: message.more,
  });
}

/**
 * A difference as messages of at most `maxBytes`, in the order in which they are sent, still without revisions: `atRevision`
 * puts one in. Bundles come first, so that whatever is signed next can be verified.
 *
 * A protobuf message is what its pieces are, one behind the other: so an entry or bundle is encoded once, however many agents
 * are sent it.
 */
export function encodeDifference(difference: IdentityDifference, maxBytes = MAX_UPDATE_BYTES): readonly Buffer[] {
  const messages: Buffer[][] = [[]];
  let bytes = 0;
  const add = (piece: Buffer) => {
    // An entry or bundle that is longer by itself goes alone; both have limits far below that of a message.
    if (bytes > 0 && bytes + piece.length > maxBytes) {
      messages.push([]);
      bytes = 0;
    }
    messages.at(-1)?.push(piece);
    bytes += piece.length;
  };
  for (const bundle of difference.bundles) add(bundlePiece(bundle));
  for (const trustDomain of difference.removedBundles)
    add(identityUpdateCodec.encode({ removedBundles: [trustDomain] }));
  for (const id of difference.removed) add(identityUpdateCodec.encode({ removed: [id] }));
  for (const entry of difference.upserted) add(entryPiece(entry));
  const more = identityUpdateCodec.encode({ more: true });
  return messages.map((pieces, index) => Buffer.concat(index < messages.length - 1 ? [...pieces, more] : pieces));
}

/** A whole message. */
export function atRevision(encoded: Buffer, revision: number): Buffer {
  return Buffer.concat([identityUpdateCodec.encode({ revision: field.toU64(revision) }), encoded]);
}

/** SHA-256 of the serialised bundle: by it both sides see whether they have the same. */
export function bundleHash(bundle: TrustBundle): Buffer {
  let known = hashes.get(bundle);
  if (known === undefined) {
    known = hash('sha256', trustBundleCodec.encode(toTrustBundle(bundle)), 'buffer');
    hashes.set(bundle, known);
  }
  return known;
}

/** Memos of pure functions: entries and bundles are frozen and replaced, never changed. */
const hashes = new WeakMap<TrustBundle, Buffer>();
const entryPieces = new WeakMap<WorkloadEntry, Buffer>();
const bundlePieces = new WeakMap<TrustBundle, Buffer>();

function entryPiece(entry: WorkloadEntry): Buffer {
  let piece = entryPieces.get(entry);
  if (piece === undefined) {
    piece = identityUpdateCodec.encode({ upserted: [toWorkloadEntry(entry)] });
    entryPieces.set(entry, piece);
  }
  return piece;
}

function bundlePiece(bundle: TrustBundle): Buffer {
  let piece = bundlePieces.get(bundle);
  if (piece === undefined) {
    piece = identityUpdateCodec.encode({ bundles: [toTrustBundle(bundle)] });
    bundlePieces.set(bundle, piece);
  }
  return piece;
}

function toWorkloadEntry(entry: WorkloadEntry): ProtoEntry {
  return {
    id: entry.id,
    revision: field.toU64(entry.revision),
    spiffeId: entry.spiffeId,
    selectors: [...entry.selectors],
    namespaces: [...entry.namespaces],
    federatesWith: [...entry.federatesWith],
    dnsNames: [...entry.dnsNames],
    hint: entry.hint,
    expiresAt: entry.expiresAt === null ? null : field.toTime(entry.expiresAt),
  };
}

function fromWorkloadEntry(message: ProtoEntryOutput, path: string): WorkloadEntry {
  const text = (value: string, at: string) => field.text(value, at);
  return Object.freeze({
    id: field.text(message.id, `${path}.id`, MAX_ID_LENGTH),
    revision: field.u64(message.revision, `${path}.revision`),
    // A SPIFFE ID or a template of one.
    spiffeId: field.text(message.spiffeId, `${path}.spiffe_id`),
    selectors: field.list(message.selectors, `${path}.selectors`, text, { max: MAX_SELECTORS }),
    namespaces: field.list(message.namespaces, `${path}.namespaces`, text, { max: MAX_NAMES }),
    federatesWith: field.list(message.federatesWith, `${path}.federates_with`, field.trustDomain, { max: MAX_NAMES }),
    dnsNames: field.list(message.dnsNames, `${path}.dns_names`, text, { max: MAX_NAMES }),
    hint: field.textOrEmpty(message.hint, `${path}.hint`, 1024),
    expiresAt: message.expiresAt === null ? null : field.time(message.expiresAt, `${path}.expires_at`),
  });
}
