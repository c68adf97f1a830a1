import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import type { JSONWebKeySet } from 'jose';
import { readSecretFile, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseSpiffeId } from '../../core/identity/spiffe-id.ts';
import type { Svid } from './svid.ts';

export interface StoredIdentity {
  readonly svid: Svid;
  readonly bundle: TrustBundle;
}

/** Key, chain and bundle in one file (0600), so that after a crash they belong together. */
export class SvidStore {
  readonly path: string;

  constructor(stateDirectory: string) {
    this.path = join(stateDirectory, 'identity.json');
  }

  /** Durable once it resolves. */
  async save({ svid, bundle }: StoredIdentity): Promise<void> {
    const file: IdentityFile = {
      version: 1,
      spiffeId: svid.id.uri,
      instanceId: svid.instanceId,
      notBefore: svid.notBefore,
      notAfter: svid.notAfter,
      chain: svid.chain.map((der) => der.toString('base64')),
      privateKey: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      bundle: {
        trustDomain: bundle.trustDomain,
        roots: bundle.roots.map((der) => der.toString('base64')),
        jwks: bundle.jwks,
        sequence: bundle.sequence,
      },
    };
    await writeFileDurably(this.path, `${JSON.stringify(file, undefined, 2)}\n`);
  }

  /** undefined when there is none. The chain is not verified. Throws `incompatible-data` for a file that cannot be read. */
  async load(): Promise<StoredIdentity | undefined> {
    const bytes = await readSecretFile(this.path);
    if (bytes === undefined) return undefined;
    try {
      const file = JSON.parse(bytes.toString('utf8')) as IdentityFile;
      if (file.version !== 1) throw new Error(`version ${String(file.version)}`);
      const der = (text: string) => Buffer.from(text, 'base64');
      return {
        svid: Object.freeze({
          id: parseSpiffeId(file.spiffeId),
          instanceId: file.instanceId,
          chain: Object.freeze(file.chain.map(der)),
          privateKey: createPrivateKey(file.privateKey),
          notBefore: file.notBefore,
          notAfter: file.notAfter,
        }),
        bundle: Object.freeze({
          trustDomain: file.bundle.trustDomain,
          roots: Object.freeze(file.bundle.roots.map(der)),
          jwks: file.bundle.jwks,
          sequence: file.bundle.sequence,
        }),
      };
    } catch (cause) {
      throw new AppError(
        'incompatible-data',
        `${this.path} is damaged or of another version. Move it away and start with a new join token.`,
        { cause },
      );
    }
  }
}

interface IdentityFile {
  readonly version: number;
  readonly spiffeId: string;
  readonly instanceId: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly chain: readonly string[];
  /** PKCS #8, PEM. */
  readonly privateKey: string;
  readonly bundle: {
    readonly trustDomain: string;
    readonly roots: readonly string[];
    readonly jwks: JSONWebKeySet;
    readonly sequence: number;
  };
}
