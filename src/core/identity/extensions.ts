import { type DerElement, type DerReader, derError, Tag } from './der-read.ts';
import * as der from './der-write.ts';
import type { OidName } from './oids.ts';
import { oids } from './oids.ts';

/** Bits of keyUsage (RFC 5280 §4.2.1.3). */
export const KeyUsage = {
  digitalSignature: 0,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
} as const;

/** The certificate extensions that Writ reads. What is absent in the certificate is absent here. */
export interface Extensions {
  readonly basicConstraints?: { readonly ca: boolean; readonly pathLength: number | undefined };
  /** Bit n of the standard is `1 << n`. */
  readonly keyUsage?: { readonly critical: boolean; readonly bits: number };
  readonly extendedKeyUsage?: readonly string[];
  readonly subjectAltName?: {
    readonly critical: boolean;
    readonly uris: readonly string[];
    readonly dnsNames: readonly string[];
  };
  readonly subjectKeyId?: Buffer;
  readonly authorityKeyId?: Buffer;
  /** Whether there is one that must not be ignored and that Writ does not know. */
  readonly unknownCritical: boolean;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const MAX_EXTENSIONS = 32;

/** Reads [3] Extensions. Throws `invalid` for a duplicate (RFC 5280 §4.2) and for any known one that is malformed. */
export function readExtensions(wrapper: DerElement): Extensions {
  const inner = wrapper.children();
  const list = inner.next(Tag.sequence).children();
  inner.end();
  const seen = new Set<string>();
  const found: Mutable<Extensions> = { unknownCritical: false };
  while (!list.done) {
    const { oid, critical, value } = readExtension(list.next(Tag.sequence).children());
    if (seen.has(oid) || seen.size === MAX_EXTENSIONS) throw derError('it repeats an extension or has too many');
    seen.add(oid);
    readInto(found, oid, critical, value);
  }
  return Object.freeze(found);
}

function readExtension(fields: DerReader): { oid: string; critical: boolean; value: DerElement } {
  const oid = fields.next(Tag.oid).oid();
  const flag = fields.optional(Tag.boolean);
  const critical = flag?.boolean() ?? false;
  // X.690 §11.5: a default value is not encoded.
  if (flag !== undefined && !critical) throw derError('it encodes a default value');
  const value = fields.next(Tag.octetString);
  fields.end();
  return { oid, critical, value };
}

function readInto(found: Mutable<Extensions>, oid: string, critical: boolean, value: DerElement): void {
  switch (oid) {
    case oids.basicConstraints:
      found.basicConstraints = readBasicConstraints(value.wrapped().next(Tag.sequence).children());
      return;
    case oids.keyUsage:
      found.keyUsage = { critical, bits: value.wrapped().next(Tag.bitString).namedBits() };
      return;
    case oids.extendedKeyUsage:
      found.extendedKeyUsage = readOids(value.wrapped().next(Tag.sequence).children());
      return;
    case oids.subjectAltName:
      found.subjectAltName = { critical, ...readNames(value.wrapped().next(Tag.sequence).children()) };
      return;
    case oids.subjectKeyIdentifier:
      found.subjectKeyId = value.wrapped().next(Tag.octetString).content;
      return;
    case oids.authorityKeyIdentifier: {
      // Only keyIdentifier [0]; issuer and serial, where given, add nothing to the name and key match.
      const keyId = value.wrapped().next(Tag.sequence).children().optional(0x80);
      if (keyId !== undefined) found.authorityKeyId = keyId.content;
      return;
    }
    case oids.nameConstraints:
      // Not evaluated, hence never ignored, critical or not: the certificates below could break them unseen.
      found.unknownCritical = true;
      return;
    default:
      if (critical) found.unknownCritical = true;
  }
}

function readBasicConstraints(fields: DerReader): { ca: boolean; pathLength: number | undefined } {
  const flag = fields.optional(Tag.boolean);
  const ca = flag?.boolean() ?? false;
  if (flag !== undefined && !ca) throw derError('it encodes a default value');
  const pathLength = fields.optional(Tag.integer)?.small();
  fields.end();
  // RFC 5280 §4.2.1.9: only a CA may have a path length.
  if (!ca && pathLength !== undefined) throw derError('it has a path length without being an authority');
  return { ca, pathLength };
}

function readOids(list: DerReader): readonly string[] {
  const found: string[] = [];
  while (!list.done) found.push(list.next(Tag.oid).oid());
  return found;
}

function readNames(list: DerReader): { uris: readonly string[]; dnsNames: readonly string[] } {
  const uris: string[] = [];
  const dnsNames: string[] = [];
  while (!list.done) {
    const name = list.any();
    if (name.tag === 0x86) uris.push(name.ascii());
    else if (name.tag === 0x82) dnsNames.push(name.ascii());
  }
  return { uris, dnsNames };
}

// --- writing

export function basicConstraints(o: { readonly ca: boolean; readonly pathLength?: number }): Buffer {
  const content = o.ca ? [der.boolean(true), ...(o.pathLength === undefined ? [] : [der.small(o.pathLength)])] : [];
  return extension('basicConstraints', true, der.sequence(...content));
}

export function keyUsage(...bits: readonly number[]): Buffer {
  return extension('keyUsage', true, der.namedBits(bits));
}

export function extendedKeyUsage(...usages: readonly OidName[]): Buffer {
  return extension('extendedKeyUsage', false, der.sequence(...usages.map(der.oid)));
}

export function subjectAltName(uri: string, dnsNames: readonly string[] = []): Buffer {
  const names = [contextText(6, uri), ...dnsNames.map((name) => contextText(2, name))];
  return extension('subjectAltName', false, der.sequence(...names));
}

export function subjectKeyIdentifier(keyId: Buffer): Buffer {
  return extension('subjectKeyIdentifier', false, der.octetString(keyId));
}

export function authorityKeyIdentifier(keyId: Buffer): Buffer {
  return extension('authorityKeyIdentifier', false, der.sequence(der.contextPrimitive(0, keyId)));
}

function contextText(number: number, text: string): Buffer {
  return der.contextPrimitive(number, Buffer.from(text, 'latin1'));
}

function extension(name: OidName, critical: boolean, value: Buffer): Buffer {
  return der.sequence(der.oid(name), ...(critical ? [criticalFlag] : []), der.octetString(value));
}

const criticalFlag = der.boolean(true);
