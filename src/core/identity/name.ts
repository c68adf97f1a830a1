import { type DerElement, Tag } from './der-read.ts';
import * as der from './der-write.ts';
import type { OidName } from './oids.ts';
import { oids } from './oids.ts';

/**
 * The X.501 names in Writ's certificates. A name is a label for people and for joining issuer to subject; identity is in the
 * SPIFFE ID. RFC 5280 compares names by rules nobody gets right; Writ compares their bytes.
 */

const organization = attribute('organization', der.utf8String('Writ'));

/** Subject of an X.509-SVID: which enrolled instance holds it. No common name: nothing may take one for a host name. */
export function instanceName(instanceId: string): Buffer {
  return der.sequence(organization, attribute('serialNumber', der.printableString(instanceId)));
}

/** Subject of a certificate authority; the serial makes it one of a kind, so that issuers are found by name. */
export function authorityName(commonName: string, serialHex: string): Buffer {
  return der.sequence(
    organization,
    attribute('commonName', der.utf8String(commonName)),
    attribute('serialNumber', der.printableString(serialHex)),
  );
}

/** X.520 serialNumber of a name: '' where there is none, or where it is not plain text. */
export function serialNumberOf(name: DerElement): string {
  const sets = name.children();
  while (!sets.done) {
    const attributes = sets.next(Tag.set).children();
    while (!attributes.done) {
      const fields = attributes.next(Tag.sequence).children();
      const type = fields.next(Tag.oid).oid();
      const value = fields.any();
      fields.end();
      if (type !== oids.serialNumber) continue;
      const text =
        value.tag === Tag.printableString || value.tag === Tag.utf8String ? value.content.toString('latin1') : '';
      return instanceIdPattern.test(text) ? text : '';
    }
  }
  return '';
}

/** What X.520 allows in a serialNumber (PrintableString, at most 64), less the blanks. */
const instanceIdPattern = /^[A-Za-z0-9'()+,\-./:=?]{1,64}$/;

export function isInstanceId(text: string): boolean {
  return instanceIdPattern.test(text);
}

function attribute(type: OidName, value: Buffer): Buffer {
  return der.setOf(der.sequence(der.oid(type), value));
}
