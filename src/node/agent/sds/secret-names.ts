import { AppError } from '../../../base/errors.ts';

/** Names of secrets that depend on who asks. Each differs from the others and is neither a SPIFFE ID nor `*`. */
export interface SecretNames {
  /** The default identity of the workload. Default `default`. */
  readonly svid: string;
  /** The roots of the own trust domain. Default `ROOTCA`. */
  readonly bundle: string;
  /** These and the roots of every trust domain that the workload federates with. Default `ALL`. */
  readonly allBundles: string;
}

export const defaultSecretNames: SecretNames = Object.freeze({ svid: 'default', bundle: 'ROOTCA', allBundles: 'ALL' });

/** @throws AppError `usage` */
export function checkSecretNames(names: SecretNames): SecretNames {
  const all = [names.svid, names.bundle, names.allBundles];
  const bad = all.find((name) => name === '' || name === '*' || name.startsWith('spiffe://') || name.length > 256);
  if (bad !== undefined || new Set(all).size < all.length) {
    throw new AppError(
      'usage',
      'The names of secrets must differ, have 1 to 256 characters, and be neither * nor a SPIFFE ID.',
    );
  }
  return Object.freeze({ ...names });
}
