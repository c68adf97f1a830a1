import type { asn1 } from 'node-forge';
import forgeAsn1 from 'node-forge/lib/asn1.js';
import { AppError } from '../../base/errors.ts';
import type { OidName } from './oids.ts';
import { oids } from './oids.ts';

/**
 * Writes DER. node-forge encodes the primitive values; the pieces are joined here, so that whatever does not vary from
 * certificate to certificate is encoded once and then copied.
 */

const { UNIVERSAL } = forgeAsn1.Class;
const { Type } = forgeAsn1;

/** A SEQUENCE of elements that are encoded already. */
export function sequence(...elements: readonly Uint8Array[]): Buffer {
  return wrap(0x30, elements);
}

/** A SET OF one element; with one there is no order to get wrong. */
export function setOf(element: Uint8Array): Buffer {
  return wrap(0x31, [element]);
}

/** [number] EXPLICIT, or IMPLICIT over a constructed type. */
export function context(number: number, ...elements: readonly Uint8Array[]): Buffer {
  return wrap(0xa0 | number, elements);
}

/** [number] IMPLICIT over a primitive type. */
export function contextPrimitive(number: number, content: Uint8Array): Buffer {
  return wrap(0x80 | number, [content]);
}

export function octetString(content: Uint8Array): Buffer {
  return wrap(0x04, [content]);
}

/** A BIT STRING that is a whole number of bytes. */
export function bitString(content: Uint8Array): Buffer {
  return wrap(0x03, [noUnusedBits, content]);
}

const noUnusedBits = Buffer.of(0);

/** A BIT STRING with named bits, e.g. [0, 5]; trailing zero bits left out (X.690 §11.2.2). */
export function namedBits(bits: readonly number[]): Buffer {
  const highest = Math.max(...bits);
  const octets = Buffer.alloc((highest >> 3) + 1);
  for (const bit of bits) octets[bit >> 3] = (octets[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  return wrap(0x03, [Buffer.of(7 - (highest & 7)), octets]);
}

/** A non-negative INTEGER from its big-endian bytes. */
export function unsigned(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const content = bytes.subarray(start);
  return wrap(0x02, (content[0] ?? 0) >= 0x80 ? [Buffer.of(0), content] : [content]);
}

export function small(value: number): Buffer {
  return write(forgeAsn1.create(UNIVERSAL, Type.INTEGER, false, forgeAsn1.integerToDer(value).getBytes()));
}

export function boolean(value: boolean): Buffer {
  return write(forgeAsn1.create(UNIVERSAL, Type.BOOLEAN, false, value ? '\xff' : '\x00'));
}

export function nullValue(): Buffer {
  return write(forgeAsn1.create(UNIVERSAL, Type.NULL, false, ''));
}

export function oid(name: OidName): Buffer {
  return encodedOids[name];
}

const encodedOids = Object.freeze(
  Object.fromEntries(Object.entries(oids).map(([name, content]) => [name, wrap(0x06, [Buffer.from(content, 'hex')])])),
) as Readonly<Record<OidName, Buffer>>;

export function utf8String(text: string): Buffer {
  return write(forgeAsn1.create(UNIVERSAL, Type.UTF8, false, Buffer.from(text, 'utf8').toString('latin1')));
}

/** @throws AppError `invalid` for a character that PrintableString does not have (X.680 §41.4) */
export function printableString(text: string): Buffer {
  if (!/^[A-Za-z0-9 '()+,\-./:=?]+$/.test(text)) {
    throw new AppError('invalid', "A name in a certificate may have only letters, digits, blanks and '()+,-./:=?.");
  }
  return wrap(0x13, [Buffer.from(text, 'latin1')]);
}

/** UTCTime up to 2049, GeneralizedTime after (RFC 5280 §4.1.2.5). Milliseconds since the epoch; rounded down to seconds. */
export function time(at: number): Buffer {
  const date = new Date(at);
  const year = date.getUTCFullYear();
  const two = (value: number) => (value < 10 ? `0${value}` : `${value}`);
  const rest = [
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
  ];
  const digits = rest.map(two).join('');
  return year < 2050
    ? wrap(0x17, [Buffer.from(`${two(year % 100)}${digits}Z`, 'latin1')])
    : wrap(0x18, [Buffer.from(`${year}${digits}Z`, 'latin1')]);
}

function write(node: asn1.Asn1): Buffer {
  return Buffer.from(forgeAsn1.toDer(node).getBytes(), 'latin1');
}

function wrap(tag: number, parts: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const headerLength = length < 0x80 ? 2 : length < 0x100 ? 3 : length < 0x10000 ? 4 : 5;
  const out = Buffer.allocUnsafe(headerLength + length);
  out[0] = tag;
  if (headerLength === 2) out[1] = length;
  else {
    out[1] = 0x80 | (headerLength - 2);
    out.writeUIntBE(length, 2, headerLength - 2);
  }
  let at = headerLength;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
