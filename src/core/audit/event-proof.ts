import { AppError } from '../../base/errors.ts';
import { decodeEvent, MAX_EVENT_BYTES } from './canonical.ts';
import type { AuditEvent } from './event.ts';
import type { LogPolicy, TrustedCheckpoint } from './log-policy.ts';
import { verifyCheckpoint } from './log-policy.ts';
import type { ReadLogRecord } from './log-record.ts';
import { isBoundTo, isSignedBySidecar, MAX_LOG_RECORD_BYTES, parseLogRecord } from './log-record.ts';
import { HASH_BYTES, leafHash, verifyInclusion } from './merkle.ts';
import { fromBase64 } from './note.ts';
import { parseProof } from './tlog-proof.ts';

/**
 * What a proof about one event holds besides the path through the log (`extra` of a .tlog-proof): the event, its path through
 * its batch, and the log entry of the batch. JSON; bytes are in base64. Nothing of it is believed: the event is hashed up to
 * the root in the entry, and the entry up to the root in the checkpoint.
 */
export interface EventEvidence {
  /** Canonical bytes. */
  readonly event: Buffer;
  /** Position in the batch, from 0. */
  readonly position: number;
  /** From the event's sibling to the child of the batch's root. */
  readonly path: readonly Buffer[];
  /** The log entry. */
  readonly record: Buffer;
  /** Of the sidecar, DER. */
  readonly certificate: Buffer;
  /** By its key, over the batch key. */
  readonly keySignature: Buffer;
}

/** What a proof has proved. */
export interface ProvenEvent {
  readonly event: AuditEvent;
  readonly record: ReadLogRecord;
  /** Sequence number of the event in its sidecar's epoch. */
  readonly sequence: number;
  /** Of the batch, in the log. */
  readonly leaf: number;
  readonly checkpoint: TrustedCheckpoint;
}

const MAX_CERTIFICATE_BYTES = 16 * 1024;
const MAX_SIGNATURE_BYTES = 512;
/** A batch has at most 4,096 events. */
const MAX_PATH = 12;

export function encodeEvidence(evidence: EventEvidence): Buffer {
  return Buffer.from(
    JSON.stringify({
      v: 1,
      event: evidence.event.toString('base64'),
      position: evidence.position,
      path: evidence.path.map((hash) => hash.toString('base64')),
      record: evidence.record.toString('base64'),
      certificate: evidence.certificate.toString('base64'),
      keySignature: evidence.keySignature.toString('base64'),
    }),
    'utf8',
  );
}

/**
 * The event that a .tlog-proof proves to those who hold `policy`: what a sidecar signed, where it stands in its batch, and
 * that the batch is in the log. No network, no clock. All of the proof is attacker-controlled. Throws `proof-refused`.
 *
 * Not proved: that the identity of the sidecar was given to the right process. The authority of the trust domain gives it,
 * and what it has given is in the log too.
 */
export function verifyEventProof(bytes: Uint8Array, policy: LogPolicy): ProvenEvent {
  const proof = parseProof(bytes);
  if (proof.extra === undefined) throw refused('it does not say which event it is about');
  const evidence = parseEvidence(proof.extra);
  const record = parseLogRecord(evidence.record);
  const checkpoint = verifyCheckpoint(proof.checkpoint, policy);
  const isInLog = verifyInclusion({
    index: proof.index,
    size: checkpoint.size,
    leafHash: leafHash(evidence.record),
    proof: proof.path,
    root: checkpoint.root,
  });
  if (!isInLog) throw refused('the log that the checkpoint signs does not hold this batch in this place');
  const isInBatch = verifyInclusion({
    index: evidence.position,
    size: record.batch.count,
    leafHash: leafHash(evidence.event),
    proof: evidence.path,
    root: record.batch.root,
  });
  if (!isInBatch) throw refused('the batch does not hold this event in this place');
  if (!isSignedBySidecar(record)) throw refused('the batch is not signed by the key that it names');
  if (!isBoundTo(record, evidence.certificate, evidence.keySignature))
    throw refused('the key that signed the batch is not that of the sidecar');
  return Object.freeze({
    event: eventIn(evidence.event),
    record,
    sequence: record.batch.firstSeq + evidence.position,
    leaf: proof.index,
    checkpoint,
  });
}

/** Throws `proof-refused`. */
export function parseEvidence(extra: Buffer): EventEvidence {
  const fields = parseObject(extra);
  if (fields.v !== 1) throw refused('its evidence is of another version');
  const { position, path } = fields;
  if (typeof position !== 'number' || !Number.isSafeInteger(position) || position < 0)
    throw refused('the position of the event is malformed');
  if (!Array.isArray(path) || path.length > MAX_PATH) throw refused('the path through the batch is malformed');
  return Object.freeze({
    event: bytesIn(fields.event, 'event', MAX_EVENT_BYTES),
    position,
    path: path.map((hash) => bytesIn(hash, 'path', HASH_BYTES)),
    record: bytesIn(fields.record, 'record', MAX_LOG_RECORD_BYTES),
    certificate: bytesIn(fields.certificate, 'certificate', MAX_CERTIFICATE_BYTES),
    keySignature: bytesIn(fields.keySignature, 'keySignature', MAX_SIGNATURE_BYTES),
  });
}

function parseObject(bytes: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw refused('its evidence is not a JSON object');
}

function bytesIn(value: unknown, name: string, max: number): Buffer {
  const bytes = typeof value === 'string' ? fromBase64(value) : undefined;
  if (bytes === undefined || bytes.length > max) throw refused(`${name} in its evidence is malformed`);
  return bytes;
}

function eventIn(bytes: Buffer): AuditEvent {
  try {
    return decodeEvent(bytes);
  } catch (cause) {
    throw refused('the event is of a kind that this version does not know', cause);
  }
}

function refused(why: string, cause?: unknown): AppError {
  return new AppError('proof-refused', `The proof is refused: ${why}.`, { cause });
}
