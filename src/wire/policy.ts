import { unreachable } from '../base/errors.ts';
import type { EndpointProtocol, Quarantine, Snapshot } from '../core/policy/snapshot.ts';
import * as field from './fields.ts';
import type { InboundEndpoint__Output } from './gen/writ/v1/InboundEndpoint.ts';
import type { PolicyHello__Output } from './gen/writ/v1/PolicyHello.ts';
import type { Snapshot as ProtoSnapshot, Snapshot__Output } from './gen/writ/v1/Snapshot.ts';
import type { WatchPolicyRequest, WatchPolicyRequest__Output } from './gen/writ/v1/WatchPolicyRequest.ts';
import { snapshotCodec } from './loader.ts';
import { fromQuarantine, toQuarantine } from './quarantine.ts';
import { endpointProtocols } from './snapshot-content.ts';

export { decodeSnapshotContent, encodeSnapshotContent } from './snapshot-content.ts';

/** Of the text of a NACK, in UTF-16 units; longer ones are cut. */
export const MAX_NACK_ERROR_LENGTH = 4096;
const MAX_INBOUND = 64;
const MAX_FEATURES = 64;

/** Where other sidecars reach this one. */
export interface InboundEndpoint {
  /** host:port. */
  readonly address: string;
  readonly protocol: EndpointProtocol;
  /** Port of the local application, which policies name. */
  readonly applicationPort: number;
}

export interface PolicyHello {
  readonly inbound: readonly InboundEndpoint[];
  readonly version: string;
  /** Of the snapshot in force; empty for none. */
  readonly haveHash: Buffer;
  /** What of snapshots the sidecar understands beyond the first release. Absent for nothing. */
  readonly features?: readonly string[];
}

/** What a sidecar says on `Policy.Watch`. */
export type PolicyMessage =
  | ({ readonly kind: 'hello' } & PolicyHello)
  | {
      readonly kind: 'ack';
      readonly revision: number;
      readonly hash: Buffer;
      /** Of the quarantine that is in force. Absent for none received yet. */
      readonly quarantineRevision?: number;
    }
  | { readonly kind: 'nack'; readonly revision: number; readonly hash: Buffer; readonly error: string }
  | { readonly kind: 'goodbye' };

export function toPolicyMessage(message: PolicyMessage): WatchPolicyRequest {
  switch (message.kind) {
    case 'hello':
      return {
        hello: {
          inbound: message.inbound.map((endpoint) => ({
            address: endpoint.address,
            protocol: endpointProtocols.to(endpoint.protocol),
            applicationPort: endpoint.applicationPort,
          })),
          version: message.version,
          haveHash: message.haveHash,
          features: [...(message.features ?? [])],
        },
      };
    case 'ack':
      return {
        ack: {
          revision: field.toU64(message.revision),
          hash: message.hash,
          quarantineRevision: field.toU64(message.quarantineRevision ?? 0),
        },
      };
    case 'nack':
      return {
        nack: {
          revision: field.toU64(message.revision),
          hash: message.hash,
          error: field.cut(message.error, MAX_NACK_ERROR_LENGTH),
        },
      };
    case 'goodbye':
      return { goodbye: {} };
    default:
      return unreachable(message);
  }
}

export function fromPolicyMessage(message: WatchPolicyRequest__Output): PolicyMessage {
  switch (message.message) {
    case 'hello':
      return Object.freeze({ kind: 'hello', ...fromHello(field.required(message.hello, 'hello')) });
    case 'ack': {
      const ack = field.required(message.ack, 'ack');
      return Object.freeze({
        kind: 'ack',
        revision: field.u64(ack.revision, 'ack.revision'),
        hash: field.hash(ack.hash, 'ack.hash'),
        ...withRevision(field.u64(ack.quarantineRevision, 'ack.quarantine_revision')),
      });
    }
    case 'nack': {
      const nack = field.required(message.nack, 'nack');
      return Object.freeze({
        kind: 'nack',
        revision: field.u64(nack.revision, 'nack.revision'),
        hash: field.hash(nack.hash, 'nack.hash'),
        error: field.cut(nack.error, MAX_NACK_ERROR_LENGTH),
      });
    }
    case 'goodbye':
      return Object.freeze({ kind: 'goodbye' });
    case undefined:
      throw field.invalid('message', 'is missing');
    default:
      return unreachable(message.message);
  }
}

function withRevision(quarantineRevision: number): { readonly quarantineRevision?: number } {
  return quarantineRevision === 0 ? {} : { quarantineRevision };
}

function fromHello(hello: PolicyHello__Output): PolicyHello {
  return {
    inbound: field.list(hello.inbound, 'hello.inbound', fromInbound, { max: MAX_INBOUND }),
    version: field.text(hello.version, 'hello.version', 128),
    haveHash: field.hashOrEmpty(hello.haveHash, 'hello.have_hash'),
    ...(hello.features.length > 0 && {
      features: field.list(hello.features, 'hello.features', (value, at) => field.text(value, at, 64), {
        max: MAX_FEATURES,
      }),
    }),
  };
}

function fromInbound(endpoint: InboundEndpoint__Output, path: string): InboundEndpoint {
  return Object.freeze({
    address: field.address(endpoint.address, `${path}.address`),
    protocol: endpointProtocols.from(endpoint.protocol, `${path}.protocol`),
    applicationPort: field.port(endpoint.applicationPort, `${path}.application_port`),
  });
}

export function toSnapshot(snapshot: Snapshot): ProtoSnapshot {
  return {
    revision: field.toU64(snapshot.revision),
    hash: snapshot.hash,
    ...(snapshot.content !== undefined && { content: snapshot.content }),
    publishedAt: field.toTime(snapshot.publishedAt),
    ...(snapshot.quarantine !== undefined && { quarantine: toQuarantine(snapshot.quarantine) }),
  };
}

export function fromSnapshot(message: Snapshot__Output): Snapshot {
  return Object.freeze({
    revision: field.u64(message.revision, 'revision'),
    hash: field.hash(message.hash, 'hash'),
    content: message.content,
    publishedAt: field.time(message.publishedAt, 'published_at'),
    ...(message.quarantine !== null && { quarantine: fromQuarantine(message.quarantine, 'quarantine') }),
  });
}

/** The bytes of a whole Snapshot message: `Policy.Watch` sends them as they are, to everybody whom they concern. */
export function encodeSnapshot(snapshot: Snapshot): Buffer {
  return snapshotCodec.encode(toSnapshot(snapshot));
}

/** The part of a Snapshot message that holds the quarantine, to be put behind the rest of one. */
export function encodeQuarantine(quarantine: Quarantine): Buffer {
  return snapshotCodec.encode({ quarantine: toQuarantine(quarantine) });
}
