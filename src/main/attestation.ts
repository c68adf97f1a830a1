import type { Clock } from '../base/clock.ts';
import { AppError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { JoinTokens } from '../control/authority/attest/join-token.ts';
import { JoinTokenAttestor } from '../control/authority/attest/join-token-attestor.ts';
import { K8sPsatAttestor } from '../control/authority/attest/k8s-psat.ts';
import { Kept } from '../control/authority/attest/kept.ts';
import type { Attestor } from '../control/authority/attest/method.ts';
import { OidcAttestor } from '../control/authority/attest/oidc.ts';
import type { KeySet } from '../control/authority/attest/token.ts';
import { parseJwks } from '../control/authority/attest/token.ts';
import { parseDeviceRoots, X509PopAttestor } from '../control/authority/attest/x509pop.ts';
import type { AttestationConfig, KeyPlace } from './attestation-config.ts';
import { fetchDocument, readDocumentFile } from './documents.ts';

export interface AttestorDeps {
  readonly trustDomain: string;
  readonly joinTokens: JoinTokens;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The methods that the configuration enables. Files are read once beforehand: a typo in a path must not wait for a node. */
export async function openAttestors(config: AttestationConfig, deps: AttestorDeps): Promise<readonly Attestor[]> {
  const { trustDomain, joinTokens, clock, logger } = deps;
  const attestors: Attestor[] = [];
  if (config.joinToken) attestors.push(new JoinTokenAttestor(joinTokens));
  if (config.x509pop !== undefined) {
    const { caFile } = config.x509pop;
    const read = async () => parseDeviceRoots(await readDocumentFile(caFile));
    await checkNow(caFile, read);
    const roots = new Kept({ read, what: caFile, maxAgeMs: 10_000, clock, logger });
    attestors.push(new X509PopAttestor({ trustDomain, roots, clock }));
  }
  if (config.k8sPsat.length > 0) {
    const clusters = await Promise.all(
      config.k8sPsat.map(async ({ cluster, keys, ...rest }) => ({
        ...rest,
        name: cluster,
        keys: await keySet(keys, deps),
      })),
    );
    attestors.push(new K8sPsatAttestor({ clusters, clock }));
  }
  if (config.oidc.length > 0) {
    const providers = await Promise.all(
      config.oidc.map(async ({ provider, keys, ...rest }) => ({
        ...rest,
        name: provider,
        keys: await keySet(keys, deps),
      })),
    );
    attestors.push(new OidcAttestor({ providers, clock }));
  }
  return attestors;
}

async function keySet(place: KeyPlace, { clock, logger }: AttestorDeps): Promise<Kept<KeySet>> {
  const read = async () => parseJwks(await readKeys(place));
  if ('file' in place) {
    await checkNow(place.file, read);
    return new Kept({ read, what: place.file, maxAgeMs: 10_000, clock, logger });
  }
  // Not asked at start: that somebody else's server is away must not keep ours from starting.
  return new Kept({ read, what: 'url' in place ? place.url : place.discovery, clock, logger });
}

async function readKeys(place: KeyPlace): Promise<string> {
  if ('file' in place) return await readDocumentFile(place.file);
  const options = place.caFile === undefined ? {} : { ca: await readDocumentFile(place.caFile) };
  if ('url' in place) return await fetchDocument(place.url, options);
  const base = place.discovery.replace(/\/$/, '');
  const document = await fetchDocument(`${base}/.well-known/openid-configuration`, options);
  return await fetchDocument(jwksUriOf(document, place.discovery), options);
}

/** OpenID Connect Discovery 1.0 §4.3: the issuer in the document must be the one that was asked. */
function jwksUriOf(document: string, issuer: string): string {
  let read: unknown;
  try {
    read = JSON.parse(document);
  } catch (cause) {
    throw new AppError('unavailable', `The discovery document of ${issuer} is not JSON.`, { cause });
  }
  const claims = typeof read === 'object' && read !== null ? (read as Readonly<Record<string, unknown>>) : {};
  if (claims.issuer !== issuer || typeof claims.jwks_uri !== 'string') {
    throw new AppError('unavailable', `The discovery document of ${issuer} is of another issuer, or names no keys.`);
  }
  return claims.jwks_uri;
}

async function checkNow(file: string, read: () => Promise<unknown>): Promise<void> {
  try {
    await read();
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    throw new AppError('usage', `${file} cannot be used: ${cause.message}`, { cause });
  }
}
