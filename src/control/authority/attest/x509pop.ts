import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom } from '../../../base/random.ts';
import { createChallenge, verifyAnswer } from '../../../core/identity/possession.ts';
import type { DeviceCertificate } from './device-chain.ts';
import { parseDeviceCertificate, parseDeviceChain, verifyDeviceChain } from './device-chain.ts';
import type { Kept } from './kept.ts';
import type { Attestation, Attested, Attestor } from './method.ts';

export interface X509PopOptions {
  readonly trustDomain: string;
  /** Authorities that give machines their certificates. */
  readonly roots: Kept<readonly DeviceCertificate[]>;
  readonly clock: Pick<Clock, 'now'>;
  readonly random?: RandomBytes;
}

const NONCE_BYTES = 32;
const MAX_SELECTOR_LENGTH = 512;
const MAX_ROOTS = 100;

/**
 * A certificate that the machine has already (attestation method `x509pop`: proof of possession). The payload is its chain,
 * concatenated DER, leaf first; the key is proved over a challenge that both sides took part in (`core/identity/possession.ts`).
 * The agent is known by the SHA-256 fingerprint of the leaf.
 */
export class X509PopAttestor implements Attestor {
  readonly method = 'x509pop';
  readonly #o: X509PopOptions;

  constructor(options: X509PopOptions) {
    this.#o = options;
  }

  /** Throws `invalid` for what cannot be read, `forbidden` for a chain or an answer that proves nothing. */
  async attest({ payload, csr, challenge }: Attestation): Promise<Attested> {
    const chain = parseDeviceChain(payload);
    const leaf = chain[0];
    if (leaf === undefined) throw new AppError('invalid', 'The payload has no certificate.');
    const authorities = verifyDeviceChain(chain, await this.#o.roots.get(), this.#o.clock.now());
    const question = createChallenge((this.#o.random ?? secureRandom)(NONCE_BYTES));
    const answer = await challenge(question);
    const context = { trustDomain: this.#o.trustDomain, certificate: leaf.der, csr, publicKey: leaf.publicKey };
    if (!verifyAnswer(question, answer, context)) {
      throw new AppError('forbidden', 'The challenge was not answered with the key of the certificate.');
    }
    return {
      subject: `x509pop:${leaf.fingerprint}`,
      agentPath: [leaf.fingerprint],
      selectors: selectorsOf(leaf, authorities),
      canReattest: true,
    };
  }
}

/**
 * The authorities in a PEM file. Text between the blocks is skipped, other kinds of block are refused.
 *
 * @throws AppError `invalid`
 */
export function parseDeviceRoots(pem: string): readonly DeviceCertificate[] {
  const blocks = [...pem.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g)];
  if (blocks.length === 0 || blocks.length > MAX_ROOTS) {
    throw new AppError('invalid', `The PEM text must have 1 to ${MAX_ROOTS} certificates.`);
  }
  if (blocks.some(([, label]) => label !== 'CERTIFICATE')) {
    throw new AppError('invalid', 'The PEM text has a block that is no certificate; nothing else belongs here.');
  }
  const roots = blocks.map(([, , body = '']) => parseDeviceCertificate(Buffer.from(body, 'base64')));
  for (const root of roots) {
    if (root.extensions.basicConstraints?.ca !== true) {
      throw new AppError('invalid', `The certificate ${root.fingerprint} is not an authority.`);
    }
  }
  return roots;
}

/** All of it stands in the certificate, which the authority signed. */
function selectorsOf(leaf: DeviceCertificate, authorities: readonly DeviceCertificate[]): readonly string[] {
  const { uris = [], dnsNames = [] } = leaf.extensions.subjectAltName ?? {};
  const found = [
    ...(leaf.commonName === undefined ? [] : [`x509pop:subject:cn:${leaf.commonName}`]),
    `x509pop:serialnumber:${leaf.serial}`,
    ...authorities.map((authority) => `x509pop:ca:fingerprint:${authority.fingerprint}`),
    ...dnsNames.map((name) => `x509pop:san:dns:${name}`),
    ...uris.map((uri) => `x509pop:san:uri:${uri}`),
  ];
  return found.filter((selector) => selector.length <= MAX_SELECTOR_LENGTH && !/\p{C}/u.test(selector)).slice(0, 100);
}
