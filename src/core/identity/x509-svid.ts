import type { KeyObject } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import type { Issuer, PreparedIssuer } from './ca.ts';
import { keyIdOf, prepareIssuer, validityBelow } from './ca.ts';
import type { Certificate } from './certificate.ts';
import { parseCertificate } from './certificate.ts';
import { serialHex, signCertificate } from './certificate-write.ts';
import { MAX_DNS_NAMES, overlapOf, problemOfDnsName } from './dns-name.ts';
import * as extension from './extensions.ts';
import type { CheckedPublicKey } from './keys.ts';
import { checkPublicKey, keyIdentifier } from './keys.ts';
import { instanceName, isInstanceId } from './name.ts';
import { checkLeaf } from './profile.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** A workload's X.509 identity document (X509-SVID.md), without the key, which stays with the workload. */
export interface X509Svid {
  readonly id: SpiffeId;
  readonly instanceId: string;
  /** DER, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  /** Lower-case hex. */
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface X509SvidRequest {
  readonly id: SpiffeId;
  /** Which enrolled instance holds it: 1 to 64 letters, digits or '()+,-./:=? */
  readonly instanceId: string;
  /** As `parseCsr` checked it, or a key (about 40 µs dearer). */
  readonly publicKey: KeyObject | CheckedPublicKey;
  /** Milliseconds since the epoch, rounded down to seconds. */
  readonly notBefore: number;
  /** Capped to the end of the issuer's chain. */
  readonly notAfter: number;
  /** Random, positive, at most 20 octets. */
  readonly serial: Uint8Array;
  /** Host names, for peers that look at nothing else: at most 16, as `dns-name.ts` has them. Default none. */
  readonly dnsNames?: readonly string[];
}

/** What does not vary from leaf to leaf: encoded once. */
const leafExtensions: readonly Buffer[] = [
  extension.keyUsage(extension.KeyUsage.digitalSignature),
  extension.extendedKeyUsage('serverAuth', 'clientAuth'),
  extension.basicConstraints({ ca: false }),
];

/**
 * Builds an X.509-SVID, signs it, and looks at the result as a verifier would before it is handed out.
 *
 * Its signature is not verified again: that would take as long as all the rest. The issuer's key is proved once, when
 * `prepareIssuer` first sees it; a signature that a hardware fault spoils is refused by whoever receives it.
 *
 * @throws AppError `invalid` for a request that breaks a rule above; `unavailable` when the issuer has ended;
 *   `internal` when the result is not what was asked for
 */
export function issueX509Svid(issuer: Issuer, request: X509SvidRequest): X509Svid {
  const signer = prepareIssuer(issuer);
  checkRequest(request, signer);
  const publicKey = 'spki' in request.publicKey ? request.publicKey : checkPublicKey(request.publicKey);
  const order: Order = {
    ...request,
    ...validityBelow(signer, request.notBefore, request.notAfter),
    publicKey,
    keyId: keyIdentifier(publicKey),
    serialText: serialHex(request.serial),
  };
  const leaf = signLeaf(order, signer, issuer.privateKey);
  checkOwnLeaf(leaf, order, signer);
  return Object.freeze({
    id: order.id,
    instanceId: order.instanceId,
    chain: Object.freeze([leaf, ...issuer.chain]),
    serial: order.serialText,
    notBefore: order.notBefore,
    notAfter: order.notAfter,
  });
}

/** A request that was checked: its end capped, its key in bytes. */
interface Order extends X509SvidRequest {
  readonly publicKey: CheckedPublicKey;
  readonly keyId: Buffer;
  readonly serialText: string;
}

function signLeaf(order: Order, signer: PreparedIssuer, privateKey: KeyObject): Buffer {
  const extensions = [
    ...leafExtensions,
    extension.subjectKeyIdentifier(order.keyId),
    signer.authorityKeyIdentifier,
    extension.subjectAltName(order.id.uri, order.dnsNames),
  ];
  const { serial, notBefore, notAfter, publicKey } = order;
  const issuer = signer.certificate.subject;
  const subject = instanceName(order.instanceId);
  return signCertificate(
    { serial, issuer, notBefore, notAfter, subject, spki: publicKey.spki, extensions },
    signer.algorithm,
    privateKey,
  );
}

function checkRequest(request: X509SvidRequest, signer: PreparedIssuer): void {
  if (request.id.trustDomain !== signer.trustDomain) {
    throw new AppError('invalid', `This authority signs for ${signer.trustDomain}, not for ${request.id.trustDomain}.`);
  }
  if (!isInstanceId(request.instanceId)) {
    throw new AppError('invalid', "An instance id has 1 to 64 letters, digits or '()+,-./:=? and no blanks.");
  }
  checkDnsNames(request.dnsNames ?? []);
}

/** S13: the entry was checked when it was made; what is signed is checked again. */
function checkDnsNames(names: readonly string[]): void {
  if (names.length > MAX_DNS_NAMES) throw new AppError('invalid', `At most ${MAX_DNS_NAMES} DNS names.`);
  for (const name of names) {
    const problem = problemOfDnsName(name);
    if (problem !== undefined) throw new AppError('invalid', `A DNS name ${problem}.`);
  }
  if (overlapOf(names) !== undefined)
    throw new AppError('invalid', 'A DNS name must not cover another with its wildcard.');
}

/** What is wrong here is a defect in Writ; the certificate must not leave the house. */
function checkOwnLeaf(leaf: Buffer, order: Order, signer: PreparedIssuer): void {
  let asOrdered: boolean;
  try {
    asOrdered = isAsOrdered(parseCertificate(leaf), order, signer);
  } catch (cause) {
    throw new AppError('internal', 'The authority signed a certificate that is not an X509-SVID.', { cause });
  }
  if (!asOrdered) throw new AppError('internal', 'The authority signed a certificate that is not what was asked for.');
}

function isAsOrdered(certificate: Certificate, order: Order, signer: PreparedIssuer): boolean {
  const { keyUsage, extendedKeyUsage, subjectAltName, subjectKeyId, authorityKeyId } = certificate.extensions;
  return (
    checkLeaf(certificate).uri === order.id.uri &&
    subjectAltName?.dnsNames.join() === (order.dnsNames ?? []).join() &&
    certificate.subjectSerialNumber === order.instanceId &&
    certificate.serial === order.serialText &&
    certificate.notBefore === order.notBefore &&
    certificate.notAfter === order.notAfter &&
    certificate.issuer.equals(signer.certificate.subject) &&
    certificate.publicKey.spki.equals(order.publicKey.spki) &&
    keyUsage?.bits === 1 << extension.KeyUsage.digitalSignature &&
    extendedKeyUsage?.length === 2 &&
    subjectKeyId?.equals(order.keyId) === true &&
    authorityKeyId?.equals(keyIdOf(signer.certificate)) === true
  );
}
