import type { KeyObject } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import type { Issuer, PreparedIssuer } from './ca.ts';
import { keyIdOf, prepareIssuer, validityBelow } from './ca.ts';
import { parseCertificate } from './certificate.ts';
import { serialHex, signCertificate } from './certificate-write.ts';
import * as extension from './extensions.ts';
import type { CheckedPublicKey } from './keys.ts';
import { checkPublicKey } from './keys.ts';
import { instanceName, isInstanceId } from './name.ts';
import { checkLeaf } from './profile.ts';
import { verifySignature } from './signature.ts';
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
  /** Lower-case host names without wildcards, for peers that look at nothing else. Default none. */
  readonly dnsNames?: readonly string[];
}

const MAX_DNS_NAMES = 16;
const dnsName = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

/** What does not vary from leaf to leaf: encoded once. */
const leafExtensions: readonly Buffer[] = [
  extension.keyUsage(extension.KeyUsage.digitalSignature),
  extension.extendedKeyUsage('serverAuth', 'clientAuth'),
  extension.basicConstraints({ ca: false }),
];

/**
 * Builds an X.509-SVID, signs it, and looks at the result as a verifier would before it is handed out.
 *
 * @throws AppError `invalid` for a request that breaks a rule above; `unavailable` when the issuer has ended;
 *   `internal` when the result is not what was asked for
 */
export function issueX509Svid(issuer: Issuer, request: X509SvidRequest): X509Svid {
  const signer = prepareIssuer(issuer);
  checkRequest(request, signer);
  const publicKey = 'spki' in request.publicKey ? request.publicKey : checkPublicKey(request.publicKey);
  const { notBefore, notAfter } = validityBelow(signer, request.notBefore, request.notAfter);
  const svid: X509Svid = {
    id: request.id,
    instanceId: request.instanceId,
    chain: [],
    serial: serialHex(request.serial),
    notBefore,
    notAfter,
  };
  const leaf = signCertificate(
    {
      serial: request.serial,
      notBefore,
      notAfter,
      issuer: signer.certificate.subject,
      subject: instanceName(request.instanceId),
      spki: publicKey.spki,
      extensions: [
        ...leafExtensions,
        extension.subjectKeyIdentifier(publicKey.keyId),
        signer.authorityKeyIdentifier,
        extension.subjectAltName(request.id.uri, request.dnsNames),
      ],
    },
    signer.algorithm,
    issuer.privateKey,
  );
  checkOwnLeaf(leaf, svid, publicKey, signer);
  return Object.freeze({ ...svid, chain: Object.freeze([leaf, ...issuer.chain]) });
}

function checkRequest(request: X509SvidRequest, signer: PreparedIssuer): void {
  if (request.id.trustDomain !== signer.trustDomain) {
    throw new AppError('invalid', `This authority signs for ${signer.trustDomain}, not for ${request.id.trustDomain}.`);
  }
  if (!isInstanceId(request.instanceId)) {
    throw new AppError('invalid', "An instance id has 1 to 64 letters, digits or '()+,-./:=? and no blanks.");
  }
  const names = request.dnsNames ?? [];
  if (names.length > MAX_DNS_NAMES || !names.every((name) => dnsName.test(name))) {
    throw new AppError('invalid', `At most ${MAX_DNS_NAMES} DNS names, lower case and without wildcards.`);
  }
}

/** What is wrong here is a defect or a hardware fault; the certificate must not leave the house. */
function checkOwnLeaf(leaf: Buffer, svid: X509Svid, key: CheckedPublicKey, signer: PreparedIssuer): void {
  const certificate = parseCertificate(leaf);
  const { keyUsage, extendedKeyUsage, subjectKeyId, authorityKeyId } = certificate.extensions;
  const asOrdered =
    checkLeaf(certificate).uri === svid.id.uri &&
    certificate.subjectSerialNumber === svid.instanceId &&
    certificate.serial === svid.serial &&
    certificate.notBefore === svid.notBefore &&
    certificate.notAfter === svid.notAfter &&
    certificate.issuer.equals(signer.certificate.subject) &&
    certificate.publicKey.spki.equals(key.spki) &&
    keyUsage?.bits === 1 << extension.KeyUsage.digitalSignature &&
    extendedKeyUsage !== undefined &&
    subjectKeyId?.equals(key.keyId) === true &&
    authorityKeyId?.equals(keyIdOf(signer.certificate)) === true &&
    verifySignature(certificate.signatureAlgorithm, certificate.tbs, certificate.signature, {
      key: signer.publicKey,
      kind: signer.certificate.publicKey.kind,
    });
  if (!asOrdered) throw new AppError('internal', 'The authority signed a certificate that is not what was asked for.');
}
