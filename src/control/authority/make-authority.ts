import type { KeyObject } from 'node:crypto';
import type { RandomBytes } from '../../base/random.ts';
import { fingerprint, jwtKey, thumbprint } from '../../core/identity/bundle.ts';
import { sealAuthorityElsewhere, unsignedRoot } from '../../core/identity/ca.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import type { AuthorityKind, AuthorityMaterial, AuthorityRecord } from './authorities.ts';
import type { KeyStore, SigningKey } from './keys/key-store.ts';
import type { Lifetimes } from './lifetimes.ts';
import { belowMs } from './lifetimes.ts';

export interface MakeOptions {
  readonly trustDomain: string;
  readonly keyStore: KeyStore;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly random: RandomBytes;
  readonly lifetimes: Lifetimes;
}

/** A record that says that a key is going to be made. Stored before the key, so that no key is ever without a trace. */
export function newRecord(
  id: string,
  kind: AuthorityKind,
  o: { readonly now: number; readonly lifetimes: Lifetimes; readonly keyName?: string | null },
): AuthorityRecord {
  return {
    id,
    kind,
    state: 'new',
    name: '',
    keyName: o.keyName === undefined ? `${kind}-${id}` : o.keyName,
    certificate: null,
    jwk: null,
    notBefore: o.now,
    notAfter: o.now,
    belowMs: belowMs(kind, o.lifetimes),
    createdAt: o.now,
    since: o.now,
    sequence: 0,
    soon: false,
  };
}

/** Makes the key of a new authority, durable in the key store, and what the bundle will show of it. */
export async function makeMaterial(record: AuthorityRecord, o: MakeOptions): Promise<AuthorityMaterial> {
  const key = await o.keyStore.create(record.keyName ?? '', { trustDomain: o.trustDomain, now: o.now });
  return record.kind === 'x509' ? await rootMaterial(key, o) : tokenKeyMaterial(record.kind, key.publicKey, o);
}

/** What the bundle shows of a JWT or WIT key. */
export function tokenKeyMaterial(
  kind: 'jwt' | 'wit',
  publicKey: KeyObject,
  o: Pick<MakeOptions, 'now' | 'lifetimes'>,
): AuthorityMaterial {
  const use = kind === 'jwt' ? 'jwt-svid' : 'wit-svid';
  const kid = thumbprint(publicKey);
  return {
    name: kid,
    certificate: null,
    jwk: jwtKey(publicKey, kid, use),
    notBefore: o.now,
    notAfter: o.now + o.lifetimes.tokenKeySeconds * 1000,
  };
}

/** What the bundle shows of a root. */
export function certificateMaterial(certificate: Buffer): AuthorityMaterial {
  const { notBefore, notAfter } = parseCertificate(certificate);
  return { name: fingerprint(certificate), certificate, jwk: null, notBefore, notAfter };
}

/** 16 random octets, positive: what tells two certificates of one issuer apart. */
export function newSerial(random: RandomBytes): Buffer {
  const serial = random(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}

async function rootMaterial(key: SigningKey, o: MakeOptions): Promise<AuthorityMaterial> {
  const unsigned = unsignedRoot({
    trustDomain: o.trustDomain,
    publicKey: key.publicKey,
    serial: newSerial(o.random),
    notBefore: o.now - o.lifetimes.backdateSeconds * 1000,
    notAfter: o.now + o.lifetimes.rootSeconds * 1000,
  });
  return certificateMaterial(await sealAuthorityElsewhere(unsigned, (data) => key.sign(data)));
}
