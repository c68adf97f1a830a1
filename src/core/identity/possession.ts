import type { KeyObject } from 'node:crypto';
import { constants, hash, sign, verify } from 'node:crypto';
import { AppError } from '../../base/errors.ts';

/**
 * How a node proves that it holds the key of a certificate that others gave it (attestation method `x509pop`): both sides draw
 * a nonce, and the node signs a message that only this attestation can have.
 *
 * What is signed begins with a name of its own, so that no other protocol that uses the key can be made to produce it, and
 * covers the trust domain, the certificate and the signing request: whoever relays the exchange to another control plane,
 * or swaps the request, has a signature that is worth nothing.
 */

const LABEL = Buffer.from('writ.x509pop.v1\0', 'latin1');
const VERSION = 1;
const NONCE_BYTES = 32;
/** RSA-8192. */
const MAX_SIGNATURE_BYTES = 1024;

export interface PossessionContext {
  readonly trustDomain: string;
  /** The leaf, DER. */
  readonly certificate: Uint8Array;
  /** PKCS #10, DER: what the certificate of the node will be made for. */
  readonly csr: Uint8Array;
}

/** The control plane's question. */
export function createChallenge(nonce: Buffer): Buffer {
  checkNonce(nonce);
  return Buffer.concat([Buffer.of(VERSION), nonce]);
}

/**
 * The node's answer.
 *
 * @param challenge of the control plane
 * @param nonce 32 random bytes of the node's own, so that it never signs what somebody else chose alone
 * @throws AppError `invalid` for a question of another form, or a key that is neither RSA, ECDSA nor Ed25519
 */
export function answerChallenge(
  challenge: Buffer,
  o: PossessionContext & { readonly privateKey: KeyObject; readonly nonce: Buffer },
): Buffer {
  checkNonce(o.nonce);
  const message = messageOf(readNonce(challenge, 'challenge', true), o.nonce, o);
  const { hash: digest, ...options } = algorithmOf(o.privateKey);
  return Buffer.concat([Buffer.of(VERSION), o.nonce, sign(digest, message, { key: o.privateKey, ...options })]);
}

/**
 * Whether the answer was made by the holder of the certificate's key, for this question and this request.
 *
 * @param answer attacker-controlled
 * @throws AppError `invalid` for an answer of another form, or a key that cannot sign one
 */
export function verifyAnswer(
  challenge: Buffer,
  answer: Buffer,
  o: PossessionContext & { readonly publicKey: KeyObject },
): boolean {
  const nonce = readNonce(answer, 'answer', false);
  const signature = answer.subarray(1 + NONCE_BYTES);
  if (signature.length === 0 || signature.length > MAX_SIGNATURE_BYTES) throw malformed('answer');
  const message = messageOf(readNonce(challenge, 'challenge', true), nonce, o);
  const { hash: digest, ...options } = algorithmOf(o.publicKey);
  try {
    return verify(digest, message, { key: o.publicKey, ...options }, signature);
  } catch {
    return false;
  }
}

function messageOf(serverNonce: Buffer, clientNonce: Buffer, o: PossessionContext): Buffer {
  // Fixed lengths all through: no two contexts have the same message.
  return Buffer.concat([
    LABEL,
    hash('sha256', o.trustDomain, 'buffer'),
    hash('sha256', o.certificate, 'buffer'),
    hash('sha256', o.csr, 'buffer'),
    serverNonce,
    clientNonce,
  ]);
}

/** One algorithm per kind of key: nothing to choose for an attacker. */
function algorithmOf(key: KeyObject): {
  readonly hash: string | null;
  readonly padding?: number;
  readonly saltLength?: number;
} {
  switch (key.asymmetricKeyType) {
    case 'rsa':
    case 'rsa-pss':
      return { hash: 'sha256', padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
    case 'ec':
      return { hash: key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? 'sha256' : 'sha384' };
    case 'ed25519':
      return { hash: null };
    default:
      throw new AppError('invalid', 'The key of the certificate is neither RSA, ECDSA nor Ed25519.');
  }
}

function readNonce(message: Buffer, what: 'challenge' | 'answer', exact: boolean): Buffer {
  const length = 1 + NONCE_BYTES;
  if (message[0] !== VERSION || message.length < length || (exact && message.length !== length)) throw malformed(what);
  return message.subarray(1, length);
}

function checkNonce(nonce: Buffer): void {
  if (nonce.length !== NONCE_BYTES) throw new AppError('internal', `A nonce has ${NONCE_BYTES} bytes.`);
}

function malformed(what: 'challenge' | 'answer'): AppError {
  return new AppError('invalid', `The ${what} of x509pop does not have the expected form.`);
}
