import type { KeyObject } from 'node:crypto';
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { readSecretFile, reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import { parsePemCertificates } from '../../../core/identity/bundle.ts';
import { sealAuthorityElsewhere, unsignedIntermediate } from '../../../core/identity/ca.ts';
import type { Certificate } from '../../../core/identity/certificate.ts';
import { parseCertificate } from '../../../core/identity/certificate.ts';
import { checkPublicKey, importPublicKey } from '../../../core/identity/keys.ts';
import { checkAuthority } from '../../../core/identity/profile.ts';
import { signatureAlgorithmFor, verifySignature } from '../../../core/identity/signature.ts';
import type { MintOrder, UpstreamAuthority } from './upstream.ts';

export interface DiskUpstreamOptions {
  readonly trustDomain: string;
  /** PEM: the certificate of the authority, and what stands between it and its root. */
  readonly certificateFile: string;
  /** PEM, mode 0600: the key to the first certificate. ECDSA P-256 or P-384, or RSA of 2048 to 4096 bits. */
  readonly keyFile: string;
  /** PEM: the root, where the certificate is not itself one. */
  readonly rootFile?: string | undefined;
}

interface Loaded {
  readonly issuer: Certificate;
  readonly key: KeyObject;
  /** DER; from the issuer up, without the root. */
  readonly above: readonly Buffer[];
  readonly root: Buffer;
  readonly notAfter: number;
}

/**
 * An authority whose certificate and key are files. They are read again each time, so whoever replaces them (the key first,
 * or both by renaming a directory) needs no restart.
 */
export class DiskUpstream implements UpstreamAuthority {
  readonly #o: DiskUpstreamOptions;

  constructor(options: DiskUpstreamOptions) {
    this.#o = options;
  }

  async root(): Promise<Buffer> {
    return (await this.#load()).root;
  }

  async mint(order: MintOrder): Promise<readonly Buffer[]> {
    const { issuer, key, above, notAfter } = await this.#load();
    const unsigned = unsignedIntermediate({
      ...order,
      above: { certificate: issuer, publicKey: importPublicKey(issuer.publicKey), notAfter },
    });
    const { hash } = unsigned.algorithm;
    return [await sealAuthorityElsewhere(unsigned, async (data) => sign(hash, data, key)), ...above];
  }

  async #load(): Promise<Loaded> {
    const { certificateFile, keyFile, rootFile } = this.#o;
    const [issuer, ...others] = await readCertificates(certificateFile);
    if (issuer === undefined) throw bad(certificateFile, 'it has no certificate');
    const roots = rootFile === undefined ? [] : await readCertificates(rootFile);
    const path = pathToRoot(issuer, [...others, ...roots], certificateFile);
    for (const [below, certificate] of path.entries()) this.#checkAuthority(certificate, below, certificateFile);
    const root = path.at(-1) ?? issuer;
    const key = await readKey(keyFile);
    const own = checkPublicKey(createPublicKey(key));
    if (!own.spki.equals(issuer.publicKey.spki)) throw bad(keyFile, `it is not the key to ${certificateFile}`);
    return {
      issuer,
      key,
      above: path.slice(0, -1).map(({ der }) => der),
      root: root.der,
      notAfter: Math.min(...path.map((certificate) => certificate.notAfter)),
    };
  }

  #checkAuthority(certificate: Certificate, below: number, file: string): void {
    try {
      checkAuthority(certificate, this.#o.trustDomain);
    } catch (cause) {
      throw bad(file, cause instanceof AppError ? cause.message : 'it is no authority', cause);
    }
    // Ours stands below each of them.
    const limit = certificate.extensions.basicConstraints?.pathLength;
    if (limit !== undefined && limit < below + 1) {
      throw bad(file, 'it may not have an authority below it (path length), and Writ’s intermediate is one');
    }
  }
}

/** From the issuer up to one that is signed by itself, each verified with the next. */
function pathToRoot(issuer: Certificate, others: readonly Certificate[], file: string): readonly Certificate[] {
  const path = [issuer];
  for (let last = issuer; !isIssuedBy(last, last); ) {
    const next = others.find((each) => !path.includes(each) && isIssuedBy(last, each));
    // With the leaf and ours, a chain has five certificates at most.
    if (next === undefined || path.length === 3) {
      throw bad(file, 'it leads to no root: give the certificates above it there, and the root as upstream.rootFile');
    }
    path.push(next);
    last = next;
  }
  return path;
}

function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  if (!certificate.issuer.equals(issuer.subject)) return false;
  const signer = { key: importPublicKey(issuer.publicKey), kind: issuer.publicKey.kind };
  return verifySignature(certificate.signatureAlgorithm, certificate.tbs, certificate.signature, signer);
}

async function readCertificates(file: string): Promise<readonly Certificate[]> {
  let pem: string;
  try {
    pem = await readFile(file, 'utf8');
  } catch (cause) {
    throw new AppError('unavailable', `Cannot read the upstream authority ${file}: ${reason(cause)}.`, { cause });
  }
  try {
    return parsePemCertificates(pem).map(parseCertificate);
  } catch (cause) {
    throw bad(file, cause instanceof AppError ? cause.message : 'it is malformed', cause);
  }
}

async function readKey(file: string): Promise<KeyObject> {
  const pem = await readSecretFile(file);
  if (pem === undefined) throw new AppError('unavailable', `Cannot read the upstream authority: ${file} is missing.`);
  try {
    const key = createPrivateKey(pem);
    signatureAlgorithmFor(checkPublicKey(createPublicKey(key)).kind);
    return key;
  } catch (cause) {
    throw bad(file, 'it is no PEM key without a passphrase, or of a kind that Writ does not sign with', cause);
  }
}

function bad(file: string, why: string, cause?: unknown): AppError {
  return new AppError('incompatible-data', `The upstream authority ${file} cannot be used: ${why}.`, { cause });
}
