import { AppError } from '../../base/errors.ts';

/**
 * A strict reader for DER (X.690 §10) from untrusted peers: minimal definite lengths only, one-byte tags, bounded size and
 * depth, nothing left over. `openDer` walks the whole tree once, so a bad length hides nowhere, not even in parts that
 * the caller ignores.
 */

export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Deepest nesting of constructed elements. A certificate needs 7. */
export const MAX_DER_DEPTH = 16;

const constructedBit = 0x20;

/**
 * Checks `bytes` from end to end and returns a reader on them. The bytes are not copied.
 *
 * @throws AppError `invalid` for anything that is not one well-formed DER element of at most `maxBytes`
 */
export function openDer(bytes: Uint8Array, limits: { readonly maxBytes: number }): DerReader {
  if (bytes.length > limits.maxBytes) throw derError(`it is longer than ${limits.maxBytes} bytes`);
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (walk(buffer, 0, buffer.length, 0) !== 1) throw derError('it must be exactly one element');
  return new DerReader(buffer, 0, buffer.length);
}

/** A cursor over the elements between two offsets. */
export class DerReader {
  readonly #bytes: Buffer;
  #offset: number;
  readonly #end: number;

  constructor(bytes: Buffer, offset: number, end: number) {
    this.#bytes = bytes;
    this.#offset = offset;
    this.#end = end;
  }

  get done(): boolean {
    return this.#offset === this.#end;
  }

  /** The next element, whatever it is. */
  any(): DerElement {
    const { tag, content, end } = header(this.#bytes, this.#offset, this.#end);
    const element = new DerElement(this.#bytes, tag, this.#offset, content, end);
    this.#offset = end;
    return element;
  }

  /** The next element, which must have this tag. */
  next(tag: number): DerElement {
    const found = this.#bytes[this.#offset];
    if (this.done || found !== tag) throw derError('it does not have the expected structure');
    return this.any();
  }

  /** The next element if it has this tag. */
  optional(tag: number): DerElement | undefined {
    return !this.done && this.#bytes[this.#offset] === tag ? this.any() : undefined;
  }

  end(): void {
    if (!this.done) throw derError('it has more elements than expected');
  }
}

/** One element. Its buffers are views of the input. */
export class DerElement {
  readonly tag: number;
  readonly #bytes: Buffer;
  readonly #start: number;
  readonly #content: number;
  readonly #end: number;

  constructor(bytes: Buffer, tag: number, start: number, content: number, end: number) {
    this.#bytes = bytes;
    this.tag = tag;
    this.#start = start;
    this.#content = content;
    this.#end = end;
  }

  /** In bytes, with its tag and length. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** The element with its tag and length: what a signature is computed over. */
  get raw(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  get content(): Buffer {
    return this.#bytes.subarray(this.#content, this.#end);
  }

  children(): DerReader {
    if ((this.tag & constructedBit) === 0) throw derError('it does not have the expected structure');
    return new DerReader(this.#bytes, this.#content, this.#end);
  }

  /** The one element that an OCTET STRING wraps, checked as `openDer` checks. */
  wrapped(): DerReader {
    this.#expect(Tag.octetString);
    if (walk(this.#bytes, this.#content, this.#end, 0) !== 1) throw derError('it must be exactly one element');
    return new DerReader(this.#bytes, this.#content, this.#end);
  }

  /** Whether the element, with its tag and length, is these bytes. */
  is(encoded: Buffer): boolean {
    const length = this.#end - this.#start;
    if (length !== encoded.length) return false;
    for (let i = 0; i < length; i++) if (this.#bytes[this.#start + i] !== encoded[i]) return false;
    return true;
  }

  /** The content as ASCII without NUL, as names in certificates are (IA5String). */
  ascii(): string {
    for (let at = this.#content; at < this.#end; at++) {
      const byte = this.#bytes[at] ?? 0;
      if (byte === 0 || byte >= 0x80) throw derError('it has a name that is not ASCII');
    }
    return this.#bytes.toString('latin1', this.#content, this.#end);
  }

  /** An OBJECT IDENTIFIER's content as hex: enough to look it up in `oids.ts`. */
  oid(): string {
    this.#expect(Tag.oid);
    if (this.#content === this.#end) throw derError('it has an empty object identifier');
    return this.#bytes.toString('hex', this.#content, this.#end);
  }

  boolean(): boolean {
    this.#expect(Tag.boolean);
    const value = this.#bytes[this.#content];
    if (this.#end - this.#content !== 1 || (value !== 0 && value !== 0xff)) throw derError('it has a bad boolean');
    return value === 0xff;
  }

  /** The bytes of a non-negative INTEGER, without the leading zero byte that only carries the sign. */
  unsigned(): Buffer {
    this.#expect(Tag.integer);
    const length = this.#end - this.#content;
    if (length === 0) throw derError('it has an empty integer');
    const first = this.#bytes[this.#content] ?? 0;
    if (first >= 0x80) throw derError('it has a negative integer');
    if (first !== 0 || length === 1) return this.content;
    if ((this.#bytes[this.#content + 1] ?? 0) < 0x80) throw derError('it has an integer that is not minimal');
    return this.#bytes.subarray(this.#content + 1, this.#end);
  }

  /** A non-negative INTEGER of at most four bytes. */
  small(): number {
    const bytes = this.unsigned();
    if (bytes.length > 4) throw derError('it has an integer that is too large');
    return bytes.readUIntBE(0, bytes.length);
  }

  /** The bytes of a BIT STRING that must be a whole number of bytes, as signatures and keys are. */
  octetsOfBitString(): Buffer {
    this.#expect(Tag.bitString);
    if (this.#bytes[this.#content] !== 0 || this.#content === this.#end) throw derError('it has a bad bit string');
    return this.#bytes.subarray(this.#content + 1, this.#end);
  }

  /** A named-bit-list BIT STRING of at most 16 bits: bit n of the standard is `1 << n` in the result. */
  namedBits(): number {
    this.#expect(Tag.bitString);
    const unused = this.#bytes[this.#content] ?? 0;
    const octets = this.#end - this.#content - 1;
    if (octets < 0 || octets > 2 || unused > 7) throw derError('it has a bad bit string');
    const last = this.#bytes[this.#end - 1] ?? 0;
    // X.690 §11.2.2: no trailing zero bits, hence the last used bit is one.
    if (octets === 0 ? unused !== 0 : (last & ((1 << (unused + 1)) - 1)) !== 1 << unused) {
      throw derError('it has a bad bit string');
    }
    let bits = 0;
    for (let n = 0; n < octets * 8; n++) {
      const octet = this.#bytes[this.#content + 1 + (n >> 3)] ?? 0;
      if ((octet & (0x80 >> (n & 7))) !== 0) bits |= 1 << n;
    }
    return bits;
  }

  /** UTCTime or GeneralizedTime in the only forms that RFC 5280 §4.1.2.5 allows, as milliseconds since the epoch. */
  time(): number {
    const bytes = this.#bytes;
    const start = this.#content;
    const length = this.#end - start - 1;
    if (length !== (this.tag === Tag.utcTime ? 12 : 14) || bytes[this.#end - 1] !== 0x5a) {
      throw derError('it has a bad time');
    }
    if (this.tag === Tag.generalizedTime) {
      return calendar(two(bytes, start) * 100 + two(bytes, start + 2), bytes, start + 4);
    }
    if (this.tag !== Tag.utcTime) throw derError('it has a bad time');
    const year = two(bytes, start);
    // RFC 5280 §4.1.2.5.1: 50 and later are the 1900s.
    return calendar(year + (year < 50 ? 2000 : 1900), bytes, start + 2);
  }

  #expect(tag: number): void {
    if (this.tag !== tag) throw derError('it does not have the expected structure');
  }
}

/** Visits every element between the offsets and returns how many there are at this level. */
function walk(bytes: Buffer, offset: number, end: number, depth: number): number {
  if (depth > MAX_DER_DEPTH) throw derError(`it nests deeper than ${MAX_DER_DEPTH} levels`);
  let count = 0;
  let at = offset;
  while (at < end) {
    const element = header(bytes, at, end);
    if ((element.tag & constructedBit) !== 0) walk(bytes, element.content, element.end, depth + 1);
    at = element.end;
    count += 1;
  }
  return count;
}

function header(bytes: Buffer, offset: number, limit: number): { tag: number; content: number; end: number } {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined || offset + 2 > limit) throw derError('it is truncated');
  checkTag(tag);
  let length = first;
  let content = offset + 2;
  if (first >= 0x80) {
    const lengthBytes = first & 0x7f;
    // 0x80 is BER's indefinite length. Three bytes hold more than any limit of ours.
    if (lengthBytes === 0 || lengthBytes > 3) throw derError('it has a length that DER does not allow');
    content += lengthBytes;
    if (content > limit) throw derError('it is truncated');
    length = bytes.readUIntBE(offset + 2, lengthBytes);
    if (length < 0x80 || length < 2 ** (8 * (lengthBytes - 1))) throw derError('it has a length that is not minimal');
  }
  const end = content + length;
  if (end > limit) throw derError('it is truncated');
  return { tag, content, end };
}

/** Refuses long-form tags, the end-of-contents tag, and universal types in the form that DER does not give them. */
function checkTag(tag: number): void {
  if ((tag & 0x1f) === 0x1f) throw derError('it has a tag that no certificate uses');
  if ((tag & 0xc0) !== 0) return;
  const constructed = (tag & constructedBit) !== 0;
  const type = tag & 0x1f;
  const mustBeConstructed = type === 0x10 || type === 0x11;
  if (type === 0 || constructed !== mustBeConstructed) throw derError('it has a tag that DER does not allow');
}

/** Two digits. */
function two(bytes: Buffer, at: number): number {
  const tens = (bytes[at] ?? 0) - 0x30;
  const ones = (bytes[at + 1] ?? 0) - 0x30;
  if (tens < 0 || tens > 9 || ones < 0 || ones > 9) throw derError('it has a bad time');
  return tens * 10 + ones;
}

/** A year, and MMDDHHMMSS at an offset, as milliseconds since the epoch. */
function calendar(year: number, bytes: Buffer, at: number): number {
  const [month, day, hour] = [two(bytes, at), two(bytes, at + 2), two(bytes, at + 4)];
  const [minute, second] = [two(bytes, at + 6), two(bytes, at + 8)];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  // A day that the month does not have rolls over into the next one.
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) {
    throw derError('it has a bad time');
  }
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1000;
}

export function derError(why: string): AppError {
  return new AppError('invalid', `Malformed DER: ${why}.`);
}
