import type { TrustBundle } from './bundle.ts';
import { fingerprint } from './bundle.ts';
import { parseCertificate } from './certificate.ts';

/**
 * Fingerprint of the root that a chain leads to, by names and key identifiers alone: for a chain that was verified, to tell
 * later whether its root is tainted or has left the bundle. Undefined when no root of the bundle is above it.
 */
export function rootFingerprintOf(chain: readonly Buffer[], bundle: TrustBundle): string | undefined {
  const last = chain.at(-1);
  if (last === undefined) return undefined;
  const { issuer, extensions } = parseCertificate(last);
  const root = rootsOf(bundle).find(
    ({ der, subject, keyId }) =>
      der.equals(last) ||
      (subject.equals(issuer) && keyId !== undefined && extensions.authorityKeyId?.equals(keyId) === true),
  );
  return root?.fingerprint;
}

/** Whether the bundle still has the root with this fingerprint. */
export function hasRoot(bundle: TrustBundle, fingerprintOfRoot: string): boolean {
  return rootsOf(bundle).some((root) => root.fingerprint === fingerprintOfRoot);
}

interface Root {
  readonly der: Buffer;
  readonly fingerprint: string;
  readonly subject: Buffer;
  readonly keyId: Buffer | undefined;
}

/** A memo of a pure function: bundles are frozen and replaced, never changed. */
const memo = new WeakMap<TrustBundle, readonly Root[]>();

function rootsOf(bundle: TrustBundle): readonly Root[] {
  let roots = memo.get(bundle);
  if (roots === undefined) {
    roots = bundle.roots.map((der) => {
      const { subject, extensions } = parseCertificate(der);
      return { der, fingerprint: fingerprint(der), subject, keyId: extensions.subjectKeyId };
    });
    memo.set(bundle, roots);
  }
  return roots;
}
