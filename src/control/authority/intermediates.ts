import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import type { Issuer } from '../../core/identity/ca.ts';
import { prepareIssuer, sealAuthorityElsewhere, unsignedIntermediate } from '../../core/identity/ca.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import { verifyPeer } from '../../core/identity/chain.ts';
import type { KeyPair } from '../../core/identity/keys.ts';
import { checkPublicKey, generateKeyPair, importPublicKey } from '../../core/identity/keys.ts';
import { controlPlaneId } from '../../core/identity/spiffe-id.ts';
import { issueX509Svid } from '../../core/identity/x509-svid.ts';
import type { AuthorityRecord } from './authorities.ts';
import type { SigningKey } from './keys/key-store.ts';
import type { MintOrder, UpstreamAuthority } from './keys/upstream.ts';
import type { Lifetimes } from './lifetimes.ts';
import { newSerial } from './make-authority.ts';

/** What signs in this process: an authority below a root, whose key never leaves this memory. */
export interface Intermediate {
  /** Id of the root's record. */
  readonly rootId: string;
  readonly issuer: Issuer;
  /** Half its life: when the next one takes over. Milliseconds since the epoch. */
  readonly renewAt: number;
  readonly notAfter: number;
}

export interface IntermediateOptions {
  readonly trustDomain: string;
  readonly root: AuthorityRecord;
  /** Of the root; undefined for a root that is not ours. */
  readonly key: SigningKey | undefined;
  readonly upstream: UpstreamAuthority | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly random: RandomBytes;
  readonly lifetimes: Lifetimes;
}

/**
 * Makes a key and has it certified below a root.
 *
 * @throws AppError `unavailable` when the root has ended or who holds its key is away; `incompatible-data` when the key is not
 *   the root's, or what came from upstream is not below that root
 */
export async function makeIntermediate(o: IntermediateOptions): Promise<Intermediate> {
  const pair = generateKeyPair();
  const order: MintOrder = {
    trustDomain: o.trustDomain,
    publicKey: pair.publicKey,
    serial: newSerial(o.random),
    notBefore: o.now - o.lifetimes.backdateSeconds * 1000,
    notAfter: o.now + o.lifetimes.intermediateSeconds * 1000,
  };
  const chain = o.key === undefined ? await minted(order, o) : [await signedByRoot(order, o.key, o.root)];
  const [certificate = Buffer.alloc(0)] = chain;
  const issuer: Issuer = { certificate, chain, privateKey: pair.privateKey };
  if (o.key === undefined) checkMinted(issuer, pair, o);
  const notAfter = Math.min(prepareIssuer(issuer).notAfter, o.root.notAfter);
  return { rootId: o.root.id, issuer, renewAt: halfLife(o.now, notAfter), notAfter };
}

/** Not sooner than in a second: what is capped to the end of the root would be renewed ever faster as that draws near. */
export function halfLife(now: number, notAfter: number): number {
  return now + Math.max((notAfter - now) / 2, 1000);
}

async function signedByRoot(order: MintOrder, key: SigningKey, root: AuthorityRecord): Promise<Buffer> {
  const certificate = parseCertificate(root.certificate ?? Buffer.alloc(0));
  if (!certificate.publicKey.spki.equals(checkPublicKey(key.publicKey).spki)) {
    throw new AppError(
      'incompatible-data',
      `The key ${root.keyName} in the key store is not that of the root sha256:${root.name}. Restore it from a backup.`,
    );
  }
  const above = { certificate, publicKey: importPublicKey(certificate.publicKey), notAfter: root.notAfter };
  return await sealAuthorityElsewhere(unsignedIntermediate({ ...order, above }), (data) => key.sign(data));
}

async function minted(order: MintOrder, o: IntermediateOptions): Promise<readonly Buffer[]> {
  if (o.upstream === undefined) {
    throw new AppError(
      'incompatible-data',
      `The root sha256:${o.root.name} is that of an upstream authority, and none is configured. Configure it again; to go ` +
        'on without, that root has to be old first.',
    );
  }
  return await o.upstream.mint(order);
}

/** What came from outside must do for everybody who is going to verify below it: so it is verified as they will. */
function checkMinted(issuer: Issuer, pair: KeyPair, o: IntermediateOptions): void {
  try {
    const probe = issueX509Svid(issuer, {
      id: controlPlaneId(o.trustDomain),
      instanceId: 'probe',
      publicKey: pair.publicKey,
      notBefore: o.now,
      notAfter: o.now + 1000,
      serial: newSerial(o.random),
    });
    const roots = [o.root.certificate ?? Buffer.alloc(0)];
    verifyPeer(probe.chain, { trustDomain: o.trustDomain, roots, jwks: { keys: [] }, sequence: 0 }, { now: o.now });
  } catch (cause) {
    throw new AppError(
      'incompatible-data',
      `The upstream authority gave a certificate that does not verify below the root sha256:${o.root.name}. ` +
        (cause instanceof AppError ? cause.message : ''),
      { cause },
    );
  }
}
