import { crc32c } from './crc32c.ts';

/**
 * One record in a journal, big-endian: u32 CRC-32C of all that follows ‖ u32 length of the payload ‖ u64 number ‖
 * u32 number − (number of the last record that was durable when this one was written) ‖ payload.
 *
 * The checksum is seeded with the segment's salt. Payloads are attacker-controlled: without the salt somebody could put
 * frames into a payload that would be taken for records where a crash has torn it.
 */
export const FRAME_BYTES = 20;

export interface Frame {
  readonly number: number;
  /** This record proves that the records up to here had been made durable. */
  readonly durable: number;
  readonly payload: Buffer;
  /** Offset behind the frame. */
  readonly end: number;
}

export interface FrameOptions {
  /** Number of the first payload. */
  readonly first: number;
  /** Number of the last record that is durable already. */
  readonly durable: number;
  readonly salt: number;
}

export function encodeFrames(payloads: readonly Uint8Array[], options: FrameOptions): Buffer {
  const buffer = Buffer.allocUnsafe(payloads.reduce((sum, payload) => sum + FRAME_BYTES + payload.length, 0));
  let offset = 0;
  let number = options.first;
  for (const payload of payloads) {
    buffer.writeUInt32BE(payload.length, offset + 4);
    buffer.writeUInt32BE(Math.floor(number / 2 ** 32), offset + 8);
    buffer.writeUInt32BE(number % 2 ** 32, offset + 12);
    buffer.writeUInt32BE(number - options.durable, offset + 16);
    buffer.set(payload, offset + FRAME_BYTES);
    const end = offset + FRAME_BYTES + payload.length;
    buffer.writeUInt32BE(crc32c(buffer, offset + 4, end, options.salt), offset);
    offset = end;
    number += 1;
  }
  return buffer;
}

/** The payload length that the bytes at `offset` claim, if there is room for a frame's head. */
export function claimedLength(buffer: Buffer, offset: number): number | undefined {
  return buffer.length - offset < FRAME_BYTES ? undefined : buffer.readUInt32BE(offset + 4);
}

/** The whole, intact frame at `offset`, if there is one. */
export function readFrame(buffer: Buffer, offset: number, salt: number): Frame | undefined {
  const length = claimedLength(buffer, offset);
  if (length === undefined || length > buffer.length - offset - FRAME_BYTES) return undefined;
  const high = buffer.readUInt32BE(offset + 8);
  if (high > MAX_HIGH) return undefined;
  const end = offset + FRAME_BYTES + length;
  if (crc32c(buffer, offset + 4, end, salt) !== buffer.readUInt32BE(offset)) return undefined;
  const number = high * 2 ** 32 + buffer.readUInt32BE(offset + 12);
  const durable = number - buffer.readUInt32BE(offset + 16);
  return { number, durable, payload: buffer.subarray(offset + FRAME_BYTES, end), end };
}

/** High half of 2^53 − 1. */
const MAX_HIGH = 0x1f_ffff;

export interface Search {
  readonly offset: number;
  /** Bounds of the frame's number. They also keep the search fast: almost no offset gets as far as its checksum. */
  readonly lowest: number;
  readonly highest: number;
  /** The frame must prove that records up to this one were durable. Default: any. */
  readonly durable?: number;
  readonly salt: number;
}

/** The first intact frame at or behind `offset` that fits, to find where a damaged region ends. */
export function findFrame(
  buffer: Buffer,
  search: Search,
): { readonly offset: number; readonly frame: Frame } | undefined {
  const { lowest, highest, durable = 0, salt } = search;
  for (let offset = search.offset; offset + FRAME_BYTES <= buffer.length; offset++) {
    const number = buffer.readUInt32BE(offset + 8) * 2 ** 32 + buffer.readUInt32BE(offset + 12);
    if (number < lowest || number > highest) continue;
    if (number - buffer.readUInt32BE(offset + 16) < durable) continue;
    const frame = readFrame(buffer, offset, salt);
    if (frame !== undefined) return { offset, frame };
  }
  return undefined;
}
