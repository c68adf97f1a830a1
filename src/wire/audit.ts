import { unreachable } from '../base/errors.ts';
import type {
  Batch,
  BatchEncoding,
  LogPin,
  ShipAck,
  ShipHello,
  ShipLogged,
  ShipNack,
  ShipNackCode,
  ShipWelcome,
} from '../core/audit/ship.ts';
import * as field from './fields.ts';
import type { Batch__Output as ProtoBatchOutput } from './gen/writ/v1/Batch.ts';
import type { LogPin__Output } from './gen/writ/v1/LogPin.ts';
import type { ShipAck__Output } from './gen/writ/v1/ShipAck.ts';
import type { ShipHello__Output } from './gen/writ/v1/ShipHello.ts';
import type { ShipLogged__Output } from './gen/writ/v1/ShipLogged.ts';
import type { ShipNack__Output } from './gen/writ/v1/ShipNack.ts';
import type { ShipNackCode as ProtoNackCode } from './gen/writ/v1/ShipNackCode.ts';
import type { ShipRequest, ShipRequest__Output } from './gen/writ/v1/ShipRequest.ts';
import type { ShipResponse, ShipResponse__Output } from './gen/writ/v1/ShipResponse.ts';
import type { ShipWelcome__Output } from './gen/writ/v1/ShipWelcome.ts';

/** Canonical header of a batch: it becomes a log entry, and those are smaller than 64 KiB. */
export const MAX_HEADER_BYTES = 64 * 1024 - 1;
/** ASN.1 of an ECDSA signature, or an RSA one of at most 4096 bits. */
const MAX_SIGNATURE_BYTES = 512;
const ED25519_BYTES = { key: 32, signature: 64 } as const;
const MAX_MESSAGE_LENGTH = 4096;
const MAX_PINS = 64;
const MAX_CHECKPOINT_BYTES = 256 * 1024;
/** Trees of 2^63 leaves need no more. */
const MAX_CONSISTENCY = 63;
const MAX_LOG_KEYS = 8;
/** What fits into a gRPC message; the ledger has the finer limits, and answers them with a NACK. */
const MAX_EVENTS_BYTES = 4 * 1024 * 1024;

export type ShipRequestMessage = { readonly hello: ShipHello } | { readonly batch: Batch };
export type ShipResponseMessage =
  | { readonly welcome: ShipWelcome }
  | { readonly ack: ShipAck }
  | { readonly nack: ShipNack }
  | { readonly logged: ShipLogged };

export const batchEncodings = field.enumMap<BatchEncoding, 'BATCH_ENCODING_IDENTITY' | 'BATCH_ENCODING_ZSTD'>({
  identity: 'BATCH_ENCODING_IDENTITY',
  zstd: 'BATCH_ENCODING_ZSTD',
});

export const nackCodes = field.enumMap<ShipNackCode, Extract<ProtoNackCode, string>>({
  gap: 'SHIP_NACK_CODE_GAP',
  fork: 'SHIP_NACK_CODE_FORK',
  fenced: 'SHIP_NACK_CODE_FENCED',
  'bad-signature': 'SHIP_NACK_CODE_BAD_SIGNATURE',
  'bad-root': 'SHIP_NACK_CODE_BAD_ROOT',
  'too-large': 'SHIP_NACK_CODE_TOO_LARGE',
  'retry-later': 'SHIP_NACK_CODE_RETRY_LATER',
  clone: 'SHIP_NACK_CODE_CLONE',
});

export function toShipRequest(message: ShipRequestMessage): ShipRequest {
  if ('hello' in message) {
    const { hello } = message;
    return {
      hello: {
        bootId: hello.bootId,
        epoch: field.toU64(hello.epoch),
        nextSeq: field.toU64(hello.nextSeq),
        lastBatchHash: hello.lastBatchHash,
        batchKey: hello.batchKey,
        batchKeySignature: hello.batchKeySignature,
        time: field.toTime(hello.time),
        ...(hello.log !== undefined && {
          log: { pins: hello.log.map(({ origin, size }) => ({ origin, size: field.toU64(size) })) },
        }),
      },
    };
  }
  const { batch } = message;
  return {
    batch: {
      header: batch.header,
      signature: batch.signature,
      events: batch.events,
      encoding: batchEncodings.to(batch.encoding),
    },
  };
}

export function fromShipRequest(message: ShipRequest__Output): ShipRequestMessage {
  switch (message.message) {
    case 'hello':
      return { hello: fromHello(field.required(message.hello, 'hello')) };
    case 'batch':
      return { batch: fromBatch(field.required(message.batch, 'batch')) };
    case undefined:
      throw field.invalid('message', 'is missing');
    default:
      return unreachable(message.message);
  }
}

function fromHello(hello: ShipHello__Output): ShipHello {
  return Object.freeze({
    bootId: field.text(hello.bootId, 'hello.boot_id', 128),
    epoch: field.u64(hello.epoch, 'hello.epoch'),
    nextSeq: field.u64(hello.nextSeq, 'hello.next_seq'),
    lastBatchHash: field.hashOrEmpty(hello.lastBatchHash, 'hello.last_batch_hash'),
    batchKey: field.bytesOf(hello.batchKey, 'hello.batch_key', ED25519_BYTES.key),
    batchKeySignature: field.bytes(hello.batchKeySignature, 'hello.batch_key_signature', {
      min: 1,
      max: MAX_SIGNATURE_BYTES,
    }),
    time: field.time(hello.time, 'hello.time'),
    ...(hello.log !== null && { log: field.list(hello.log.pins, 'hello.log.pins', fromPin, { max: MAX_PINS }) }),
  });
}

function fromPin(pin: LogPin__Output, path: string): LogPin {
  return Object.freeze({
    origin: field.text(pin.origin, `${path}.origin`, 255),
    size: field.u64(pin.size, `${path}.size`),
  });
}

function fromBatch(batch: ProtoBatchOutput): Batch {
  return Object.freeze({
    header: field.bytes(batch.header, 'batch.header', { min: 1, max: MAX_HEADER_BYTES }),
    signature: field.bytesOf(batch.signature, 'batch.signature', ED25519_BYTES.signature),
    events: field.bytes(batch.events, 'batch.events', { min: 1, max: MAX_EVENTS_BYTES }),
    encoding: batchEncodings.from(batch.encoding, 'batch.encoding'),
  });
}

export function toShipResponse(message: ShipResponseMessage): ShipResponse {
  if ('welcome' in message) {
    const { welcome } = message;
    return {
      welcome: {
        streamId: field.toU64(welcome.streamId),
        expectedEpoch: field.toU64(welcome.expectedEpoch),
        expectedSeq: field.toU64(welcome.expectedSeq),
        expectedPrevHash: welcome.expectedPrevHash,
        creditBatches: welcome.creditBatches,
        sendsLog: welcome.sendsLog ?? false,
      },
    };
  }
  if ('ack' in message) {
    const { ack } = message;
    return {
      ack: {
        epoch: field.toU64(ack.epoch),
        durableThroughSeq: field.toU64(ack.durableThroughSeq),
        batchHash: ack.batchHash,
      },
    };
  }
  if ('logged' in message) {
    const { logged } = message;
    return {
      logged: {
        checkpoint: logged.checkpoint,
        consistency: [...logged.consistency],
        keys: [...logged.keys],
        epoch: field.toU64(logged.epoch),
        loggedThroughSeq: field.toU64(logged.loggedThroughSeq),
      },
    };
  }
  const { nack } = message;
  return {
    nack: {
      code: nackCodes.to(nack.code),
      expectedEpoch: field.toU64(nack.expectedEpoch),
      expectedSeq: field.toU64(nack.expectedSeq),
      expectedPrevHash: nack.expectedPrevHash,
      message: field.cut(nack.message, MAX_MESSAGE_LENGTH),
    },
  };
}

export function fromShipResponse(message: ShipResponse__Output): ShipResponseMessage {
  switch (message.message) {
    case 'welcome':
      return { welcome: fromWelcome(field.required(message.welcome, 'welcome')) };
    case 'ack':
      return { ack: fromAck(field.required(message.ack, 'ack')) };
    case 'nack':
      return { nack: fromNack(field.required(message.nack, 'nack')) };
    case 'logged':
      return { logged: fromLogged(field.required(message.logged, 'logged')) };
    case undefined:
      throw field.invalid('message', 'is missing');
    default:
      return unreachable(message.message);
  }
}

function fromWelcome(welcome: ShipWelcome__Output): ShipWelcome {
  if (welcome.creditBatches < 1) throw field.invalid('welcome.credit_batches', 'is missing');
  return Object.freeze({
    streamId: field.u64(welcome.streamId, 'welcome.stream_id'),
    expectedEpoch: field.u64(welcome.expectedEpoch, 'welcome.expected_epoch'),
    expectedSeq: field.u64(welcome.expectedSeq, 'welcome.expected_seq'),
    expectedPrevHash: field.hashOrEmpty(welcome.expectedPrevHash, 'welcome.expected_prev_hash'),
    creditBatches: welcome.creditBatches,
    ...(welcome.sendsLog && { sendsLog: true }),
  });
}

function fromAck(ack: ShipAck__Output): ShipAck {
  return Object.freeze({
    epoch: field.u64(ack.epoch, 'ack.epoch'),
    durableThroughSeq: field.u64(ack.durableThroughSeq, 'ack.durable_through_seq'),
    batchHash: field.hash(ack.batchHash, 'ack.batch_hash'),
  });
}

function fromLogged(logged: ShipLogged__Output): ShipLogged {
  return Object.freeze({
    checkpoint: field.bytes(logged.checkpoint, 'logged.checkpoint', { min: 1, max: MAX_CHECKPOINT_BYTES }),
    consistency: field.list(logged.consistency, 'logged.consistency', field.hash, { max: MAX_CONSISTENCY }),
    keys: field.list(logged.keys, 'logged.keys', (key, path) => field.text(key, path, 4096), { max: MAX_LOG_KEYS }),
    epoch: field.u64(logged.epoch, 'logged.epoch'),
    loggedThroughSeq: field.u64(logged.loggedThroughSeq, 'logged.logged_through_seq'),
  });
}

function fromNack(nack: ShipNack__Output): ShipNack {
  return Object.freeze({
    code: nackCodes.from(nack.code, 'nack.code'),
    expectedEpoch: field.u64(nack.expectedEpoch, 'nack.expected_epoch'),
    expectedSeq: field.u64(nack.expectedSeq, 'nack.expected_seq'),
    expectedPrevHash: field.hashOrEmpty(nack.expectedPrevHash, 'nack.expected_prev_hash'),
    message: field.cut(nack.message, MAX_MESSAGE_LENGTH),
  });
}
