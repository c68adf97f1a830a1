import type { KeyObject } from 'node:crypto';
import { createPublicKey } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import { derError, openDer, Tag } from './der-read.ts';
import * as der from './der-write.ts';
import type { CheckedPublicKey } from './keys.ts';
import { checkPublicKey, checkSpki, importPublicKey, publicKeyPem } from './keys.ts';
import { readSignatureAlgorithm, signatureAlgorithmFor, signDer, verifySignature } from './signature.ts';

/** Longest certificate signing request that is looked at. Ours has 190 bytes; with RSA-4096 and many names 8 KiB. */
export const MAX_CSR_BYTES = 16 * 1024;

/** A PKCS #10 request (RFC 2986), DER, with an empty subject: the control plane takes nothing but the key from it. */
export function createCsr(privateKey: KeyObject): Buffer {
  const { kind, spki } = checkPublicKey(createPublicKey(privateKey));
  const info = der.sequence(der.small(0), der.sequence(), spki, der.context(0));
  return signDer(info, signatureAlgorithmFor(kind), privateKey);
}

/**
 * Parses a PKCS #10 request from an untrusted peer and returns the public key whose private key its sender holds. The signature is verified over the very bytes that were received.
 * Every name and attribute in it is ignored: who the caller is, the control plane knows and the caller does not decide.
 *
 * Keys: P-256, P-384, or RSA from 2048 to 4096 bits. At most 16 KiB, strict DER.
 *
 * @throws AppError `csr-refused`
 */
export function parseCsr(bytes: Uint8Array): CheckedPublicKey {
  try {
    return parse(bytes);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
    throw new AppError('csr-refused', `The certificate signing request is refused. ${error.message}`, { cause: error });
  }
}

function parse(bytes: Uint8Array): CheckedPublicKey {
  const request = openDer(bytes, { maxBytes: MAX_CSR_BYTES }).next(Tag.sequence).children();
  const info = request.next(Tag.sequence);
  const algorithm = readSignatureAlgorithm(request.next(Tag.sequence));
  const signature = request.next(Tag.bitString).octetsOfBitString();
  request.end();

  const fields = info.children();
  if (fields.next(Tag.integer).small() !== 0) throw derError('it has an unknown version');
  fields.next(Tag.sequence); // The subject: ignored.
  const checked = checkSpki(fields.next(Tag.sequence));
  fields.optional(0xa0); // The attributes: ignored. RFC 2986 requires the field; some tools leave it out when empty.
  fields.end();

  if (!verifySignature(algorithm, info.raw, signature, { key: publicKeyPem(checked), kind: checked.kind })) {
    // Why? It says so itself when it is none; asked only now, because that costs as much as a sixth of the rest.
    importPublicKey(checked);
    throw new AppError('invalid', 'It is not signed by the key that it names.');
  }
  return checked;
}
