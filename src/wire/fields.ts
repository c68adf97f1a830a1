import { AppError } from '../base/errors.ts';
import { parseSpiffeId, parseTrustDomain } from '../core/identity/spiffe-id.ts';
import type { Timestamp, Timestamp__Output } from './gen/google/protobuf/Timestamp.ts';

/**
 * Checks of single fields of a received message. All of it is attacker-controlled; what is missing or out of bounds is
 * `invalid`, naming the field as the .proto file does (`hello.boot_id`). And the way back, where a value that cannot be
 * encoded is a defect of ours (`internal`).
 */

export function invalid(path: string, why: string): AppError {
  return new AppError('invalid', `${path} ${why}.`);
}

/** A message field that must be set. */
export function required<T>(value: T | null | undefined, path: string): T {
  if (value === null || value === undefined) throw invalid(path, 'is missing');
  return value;
}

/** A string that must not be empty. `maxLength` in UTF-16 units, default 2048. */
export function text(value: string, path: string, maxLength = 2048): string {
  if (value === '') throw invalid(path, 'is missing');
  return textOrEmpty(value, path, maxLength);
}

export function textOrEmpty(value: string, path: string, maxLength = 2048): string {
  if (value.length > maxLength) throw invalid(path, `is longer than ${maxLength} characters`);
  return value;
}

/** A SPIFFE ID; as it came, since a valid one has a single spelling. */
export function spiffeId(value: string, path: string): string {
  return named(path, () => parseSpiffeId(text(value, path)).uri);
}

export function trustDomain(value: string, path: string): string {
  return named(path, () => parseTrustDomain(text(value, path)));
}

/** Says which field it was that a parser of core refused. */
function named<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof AppError) || error.message.startsWith(path)) throw error;
    throw new AppError('invalid', `${path}: ${error.message}`, { cause: error });
  }
}

/** A repeated field. */
export function list<T, U>(
  values: readonly T[],
  path: string,
  convert: (value: T, path: string) => U,
  bounds: { readonly min?: number; readonly max?: number } = {},
): readonly U[] {
  if (values.length < (bounds.min ?? 0)) throw invalid(path, 'is missing');
  if (bounds.max !== undefined && values.length > bounds.max)
    throw invalid(path, `has more than ${bounds.max} elements`);
  return Object.freeze(values.map((value, index) => convert(value, `${path}[${index}]`)));
}

/** A uint64 that fits into a safe integer: beyond 2^53 - 1 is nothing that we ever count. */
export function u64(value: string, path: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0) throw invalid(path, `is out of range: ${value}`);
  return number;
}

/** TCP port, 1 to 65535. */
export function port(value: number, path: string): number {
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw invalid(path, `is not a port: ${value}`);
  return value;
}

export function bytes(value: Buffer, path: string, bounds: { readonly min: number; readonly max: number }): Buffer {
  if (value.length < bounds.min) {
    throw invalid(path, value.length === 0 ? 'is missing' : `is shorter than ${bounds.min} bytes`);
  }
  if (value.length > bounds.max) throw invalid(path, `is longer than ${bounds.max} bytes`);
  return value;
}

export function bytesOf(value: Buffer, path: string, length: number): Buffer {
  if (value.length === 0) throw invalid(path, 'is missing');
  if (value.length !== length) throw invalid(path, `is ${value.length} bytes long, not ${length}`);
  return value;
}

/** SHA-256. */
export function hash(value: Buffer, path: string): Buffer {
  return bytesOf(value, path, 32);
}

/** SHA-256, or empty for none. */
export function hashOrEmpty(value: Buffer, path: string): Buffer {
  return value.length === 0 ? value : hash(value, path);
}

/** `host:port`; the host is a DNS name, an IPv4 address, or an IPv6 address in brackets. */
export function address(value: string, path: string): string {
  const match = /^(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})$/.exec(
    text(value, path),
  );
  if (match === null) throw invalid(path, 'is not host:port');
  port(Number(match[1]), path);
  return value;
}

/** Milliseconds since the epoch; finer parts are cut. */
export function time(value: Timestamp__Output | null, path: string): number {
  const { seconds, nanos } = required(value, path);
  const ms = Number(seconds) * 1000 + Math.floor(nanos / 1_000_000);
  // The range of Timestamp, year 1 to 9999.
  if (
    !Number.isSafeInteger(ms) ||
    ms < -62_135_596_800_000 ||
    ms > 253_402_300_799_999 ||
    nanos < 0 ||
    nanos > 999_999_999
  ) {
    throw invalid(path, 'is not a time');
  }
  return ms;
}

export function toTime(ms: number): Timestamp {
  const whole = Math.floor(safe(Math.floor(ms)) / 1000);
  return { seconds: String(whole), nanos: (Math.floor(ms) - whole * 1000) * 1_000_000 };
}

export function toU64(value: number): string {
  if (value < 0) throw new AppError('internal', `${value} cannot be encoded as uint64.`);
  return String(safe(value));
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw new AppError('internal', `${value} is not a safe integer.`);
  return value;
}

/** Cuts and repairs what is only meant for people to read. */
export function cut(value: string, maxLength: number): string {
  return (value.length <= maxLength ? value : `${value.slice(0, maxLength - 1)}…`).toWellFormed();
}

/** Both directions of an enum, from the one table core name → proto name. UNSPECIFIED and unknown numbers are `invalid`. */
export interface EnumMap<Core extends string, Proto extends string> {
  to(value: Core): Proto;
  from(value: string | number, path: string): Core;
}

export function enumMap<Core extends string, Proto extends string>(
  table: Readonly<Record<Core, Proto>>,
): EnumMap<Core, Proto> {
  const forward = new Map(Object.entries<Proto>(table));
  const back = new Map(Object.entries<Proto>(table).map(([core, proto]) => [proto as string | number, core as Core]));
  return {
    to(value) {
      const proto = forward.get(value);
      if (proto === undefined) throw new AppError('internal', `${value} has no counterpart in the proto files.`);
      return proto;
    },
    from(value, path) {
      const core = back.get(value);
      if (core === undefined) throw invalid(path, `has a value that is not known here: ${value}`);
      return core;
    },
  };
}
