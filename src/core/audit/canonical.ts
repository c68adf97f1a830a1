import { AppError } from '../../base/errors.ts';
import { decisionReasons } from '../policy/model.ts';
import { adminActions, adminOutcomes, MAX_DETAIL_TEXT } from './admin-event.ts';
import type { AuditEvent } from './event.ts';
import { gapReasons, identityActions, identityOutcomes, MAX_RECORDED_TEXT } from './event.ts';
import type { Field } from './field.ts';
import {
  asciiField,
  callerTextField,
  countField,
  hexField,
  measuredField,
  oneOfField,
  optionalField,
  textListField,
  traceField,
} from './field.ts';

/**
 * The bytes of an event: what is hashed, signed and stored. Compact JSON with the fields of the table below in that order,
 * so that equal events have equal bytes. The version of this encoding is in the batch header.
 */

/** Longest encoding of one event, in bytes: all texts at their limit and every character escaped fit. */
export const MAX_EVENT_BYTES = 96 * 1024;

/** 9999-12-31T23:59:59.999Z: whatever is shown as a date must be one. */
const MAX_TIME = 253_402_300_799_999;

/** Longest id, serial number, name or address, in UTF-16 units. */
const MAX_SHORT_TEXT = 128;

/** Everything known about the fields of each kind. Their order is the order of the bytes. */
const fields: { readonly [K in AuditEvent['kind']]: Fields<Extract<AuditEvent, { kind: K }>> } = {
  decision: {
    call: asciiField(1, 64),
    time: measuredField(MAX_TIME),
    source: asciiField(0, 2048),
    destination: asciiField(0, 2048),
    protocol: oneOfField(['http', 'grpc', 'tcp']),
    method: callerTextField(MAX_RECORDED_TEXT),
    host: callerTextField(MAX_RECORDED_TEXT),
    path: callerTextField(MAX_RECORDED_TEXT),
    port: countField(65_535),
    decision: oneOfField(['allow', 'deny']),
    reason: oneOfField(decisionReasons),
    rule: asciiField(0, 1024),
    policyRevision: countField(),
    traceId: traceField(),
    tokenSubject: callerTextField(MAX_RECORDED_TEXT),
    certificateSerial: hexField(64),
    // Absent from events of the first release and from nearly all others, whose bytes are as they were.
    shadowDecision: optionalField(oneOfField(['allow', 'deny'])),
    shadowRule: optionalField(asciiField(1, 1024)),
    auditRule: optionalField(asciiField(1, 1024)),
    direction: optionalField(oneOfField(['outbound'])),
    transport: optionalField(oneOfField(['plaintext'])),
    endUser: optionalField(callerTextField(MAX_RECORDED_TEXT)),
  },
  completion: {
    call: asciiField(1, 64),
    time: measuredField(MAX_TIME),
    status: countField(999),
    durationMs: measuredField(),
    bytesIn: countField(),
    bytesOut: countField(),
    // Absent from events of the first release and from nearly all others, whose bytes are as they were.
    cutReason: optionalField(oneOfField(decisionReasons)),
    cutRule: optionalField(asciiField(1, 1024)),
    cutRevision: optionalField(countField()),
  },
  heartbeat: { time: measuredField(MAX_TIME) },
  gap: {
    time: measuredField(MAX_TIME),
    reason: oneOfField(gapReasons),
    epoch: countField(),
    fromSeq: countField(),
    calls: optionalField(countField()),
    since: optionalField(measuredField(MAX_TIME)),
    source: optionalField(asciiField(0, 2048)),
    destination: optionalField(asciiField(0, 2048)),
    operation: optionalField(asciiField(1, 64)),
    rule: optionalField(asciiField(0, 1024)),
    policyRevision: optionalField(countField()),
  },
  identity: {
    time: measuredField(MAX_TIME),
    action: oneOfField(identityActions),
    outcome: oneOfField(identityOutcomes),
    // Texts, not checked SPIFFE IDs: a refusal must be recorded whatever the caller claimed to be.
    subject: callerTextField(MAX_RECORDED_TEXT),
    actor: callerTextField(MAX_RECORDED_TEXT),
    entry: callerTextField(MAX_SHORT_TEXT),
    instance: callerTextField(MAX_SHORT_TEXT),
    serial: callerTextField(MAX_SHORT_TEXT),
    method: callerTextField(MAX_SHORT_TEXT),
    selectors: textListField({ maxItems: 64, maxUnits: 512, maxTotalUnits: 5120 }),
    audience: textListField({ maxItems: 32, maxUnits: 512, maxTotalUnits: 2048 }),
    expiresAt: measuredField(MAX_TIME),
    reason: callerTextField(1024),
    source: callerTextField(MAX_SHORT_TEXT),
  },
  admin: {
    time: measuredField(MAX_TIME),
    action: oneOfField(adminActions),
    outcome: oneOfField(adminOutcomes),
    actor: callerTextField(MAX_SHORT_TEXT),
    role: callerTextField(MAX_SHORT_TEXT),
    credential: callerTextField(MAX_SHORT_TEXT),
    source: callerTextField(MAX_SHORT_TEXT),
    operation: callerTextField(MAX_SHORT_TEXT),
    permission: callerTextField(MAX_SHORT_TEXT),
    object: callerTextField(MAX_RECORDED_TEXT),
    query: callerTextField(1024),
    request: callerTextField(MAX_SHORT_TEXT),
    status: countField(999),
    count: countField(),
    lastTime: measuredField(MAX_TIME),
    before: hexField(64),
    after: hexField(64),
    detail: callerTextField(MAX_DETAIL_TEXT),
    reason: callerTextField(1024),
  },
};

type Fields<E> = { readonly [F in Exclude<keyof E, 'kind'>]-?: Field<E[F]> };

const tables: ReadonlyMap<string, readonly (readonly [string, Field<unknown>])[]> = new Map(
  Object.entries(fields).map(([kind, table]) => [kind, Object.entries(table as Record<string, Field<unknown>>)]),
);

/**
 * The canonical bytes. Texts that a caller chose are cut to what is recorded, a malformed trace id is recorded as none, and
 * what a clock has said is made to fit. Throws `invalid`, naming the field, for anything else that is out of range: a defect in whoever made the event.
 */
export function encodeEvent(event: AuditEvent): Buffer {
  const record = event as unknown as Readonly<Record<string, unknown>>;
  const canonical: Record<string, unknown> = { kind: event.kind };
  for (const [name, field] of tableOf(event.kind)) {
    const value = field.record(record[name]);
    if (!field.accepts(value)) throw invalid(`the field ${name} of the ${event.kind} is out of range`);
    if (value !== undefined) canonical[name] = value;
  }
  return Buffer.from(JSON.stringify(canonical), 'utf8');
}

/** The event in `bytes`, which come from a sidecar. Throws `invalid` for everything that `encodeEvent` does not write. */
export function decodeEvent(bytes: Uint8Array): AuditEvent {
  if (bytes.length > MAX_EVENT_BYTES) throw invalid(`it is longer than ${MAX_EVENT_BYTES} bytes`);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parsed = parseObject(buffer);
  const kind = parsed.kind;
  if (typeof kind !== 'string') throw invalid('it has no kind');
  const canonical: Record<string, unknown> = { kind };
  for (const [name, field] of tableOf(kind)) {
    const value = Object.hasOwn(parsed, name) ? parsed[name] : undefined;
    if (!field.accepts(value)) throw invalid(`the field ${name} is missing or out of range`);
    if (value !== undefined) canonical[name] = Array.isArray(value) ? Object.freeze(value) : value;
  }
  // One spelling per event: no other order, spacing, escapes, unknown or repeated keys, or broken UTF-8.
  if (!Buffer.from(JSON.stringify(canonical), 'utf8').equals(buffer)) throw invalid('it is not in canonical form');
  return Object.freeze(canonical) as unknown as AuditEvent;
}

function tableOf(kind: string): readonly (readonly [string, Field<unknown>])[] {
  const table = tables.get(kind);
  if (table === undefined) throw invalid('its kind is unknown');
  return table;
}

function parseObject(bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw invalid('it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('it is not an object');
  return value as Record<string, unknown>;
}

function invalid(why: string, cause?: unknown): AppError {
  return new AppError('invalid', `Not an audit event: ${why}.`, { cause });
}
