import { createHash } from 'node:crypto';
import { AppError } from '../../../base/errors.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import { bundlePem, certificatePem } from '../../../core/identity/bundle.ts';
import type { Grant } from '../../../core/identity/workload-entry.ts';
import { certificateSecret, rootsSecret, spiffeValidatorSecret } from '../../../wire/secret-discovery.ts';
import type { HeldSvid } from '../identities/agent-identities.ts';
import type { Entitlement, Holding } from '../workload-api/workload-view.ts';
import type { SecretNames } from './secret-names.ts';

/** What a client is subscribed to. */
export interface Wanted {
  readonly names: ReadonlySet<string>;
  /** Every SVID under its SPIFFE ID, and every bundle under that of its trust domain. */
  readonly everything: boolean;
  /** Roots without the SPIFFE validator. */
  readonly plainRoots: boolean;
}

/** A secret that can be handed out. */
export interface Found {
  readonly name: string;
  /** Of the content alone: the same for the same secret, on every stream and after every restart. */
  readonly version: string;
  /** Serialised when it is sent, and not before. */
  readonly encode: () => Buffer;
}

/** What there is for a client now. Each name that it asked for is in one of the three. */
export interface Resolution {
  /** Roots first: whoever takes them one by one can verify before anybody shows it something new. */
  readonly found: ReadonlyMap<string, Found>;
  /** By name: granted, and about to come, and what it waits for. */
  readonly pending: ReadonlyMap<string, string>;
  /** By name: why it is left out. */
  readonly missing: ReadonlyMap<string, string>;
}

/** Secrets of one response. More has only who is registered for everything and asks for everything. */
const MAX_SECRETS = 1_000;

/** The grants whose SVIDs are wanted: those of others are not signed for. */
export function wantedGrants(grants: readonly Grant[], wanted: Wanted, known: SecretNames): readonly Grant[] {
  const first = wanted.names.has(known.svid) ? grants[0] : undefined;
  return firstOfEachId(grants).filter(
    (grant) => grant === first || wanted.everything || wanted.names.has(grant.spiffeId),
  );
}

/**
 * @param entitlement 'starting' before the agent knows anything, 'none' for a caller without an identity: public as they are,
 * roots too are for registered workloads only
 * @throws AppError `too-large`
 */
export function resolveSecrets(o: {
  readonly wanted: Wanted;
  readonly known: SecretNames;
  readonly entitlement: Entitlement | 'starting' | 'none';
  readonly holdings: readonly Holding[];
}): Resolution {
  const { wanted, known, entitlement, holdings } = o;
  const resolution: MutableResolution = { found: new Map(), pending: new Map(), missing: new Map() };
  const askedFor = wanted.everything ? ['*', ...wanted.names] : wanted.names;
  if (entitlement === 'starting') {
    for (const name of askedFor) resolution.pending.set(name, 'the agent has not heard from the control plane yet');
    return resolution;
  }
  if (entitlement === 'none') {
    for (const name of askedFor) resolution.missing.set(name, 'the workload has no identity here');
    return resolution;
  }
  const bundles = bundlesByName(entitlement);
  const svids = new Map(holdings.map((holding) => [holding.grant, holding]));
  const byId = new Map(firstOfEachId(entitlement.grants).map((grant) => [grant.spiffeId, grant]));
  const names = new Set(wanted.everything ? [...wanted.names, ...bundles.keys(), ...byId.keys()] : wanted.names);
  if (names.size > MAX_SECRETS) {
    throw new AppError('too-large', `The workload may have more than ${MAX_SECRETS} secrets: ask for some by name.`);
  }
  const ofSvids: string[] = [];
  for (const name of names) {
    const domain = name === known.bundle ? entitlement.bundle : bundles.get(name);
    if (domain !== undefined) resolution.found.set(name, bundleFound(name, [domain], wanted.plainRoots));
    else if (name === known.allBundles) allBundles(resolution, name, [...bundles.values()], wanted.plainRoots);
    else ofSvids.push(name);
  }
  for (const name of ofSvids) {
    const grant = name === known.svid ? entitlement.grants[0] : byId.get(name);
    if (grant === undefined) resolution.missing.set(name, whyNot(name));
    else svid(resolution, name, svids.get(grant));
  }
  return resolution;
}

interface MutableResolution {
  readonly found: Map<string, Found>;
  readonly pending: Map<string, string>;
  readonly missing: Map<string, string>;
}

/** Several entries may give one SPIFFE ID: the oldest does. */
function firstOfEachId(grants: readonly Grant[]): readonly Grant[] {
  const seen = new Set<string>();
  return grants.filter(({ spiffeId }) => {
    const isFirst = !seen.has(spiffeId);
    seen.add(spiffeId);
    return isFirst;
  });
}

function bundlesByName({ bundle, federated }: Entitlement): ReadonlyMap<string, TrustBundle> {
  return new Map([bundle, ...federated].map((each) => [`spiffe://${each.trustDomain}`, each]));
}

function svid(resolution: MutableResolution, name: string, holding: Holding | undefined): void {
  if (holding?.svid !== undefined) resolution.found.set(name, svidFound(name, holding.svid));
  else resolution.pending.set(name, holding?.failure?.message ?? 'it is being signed');
}

/** Without the SPIFFE validator one set of roots verifies every SPIFFE ID: a federated root could then mint ours. */
function allBundles(
  resolution: MutableResolution,
  name: string,
  bundles: readonly TrustBundle[],
  plainRoots: boolean,
): void {
  if (!plainRoots) resolution.found.set(name, bundleFound(name, bundles, false));
  else resolution.missing.set(name, 'roots of several trust domains need the SPIFFE validator of Envoy 1.18 or newer');
}

function whyNot(name: string): string {
  return name.startsWith('spiffe://')
    ? 'no entry grants it to the workload'
    : 'no secret has this name, and it is no SPIFFE ID';
}

function svidFound(name: string, { chain, privateKey }: HeldSvid): Found {
  return {
    name,
    // The certificate names the key: its public half says enough.
    version: versionOf('svid', chain),
    encode: () =>
      certificateSecret(name, {
        chainPem: chain.map(certificatePem).join(''),
        keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      }),
  };
}

function bundleFound(name: string, bundles: readonly TrustBundle[], plainRoots: boolean): Found {
  const sorted = bundles.toSorted((a, b) => (a.trustDomain < b.trustDomain ? -1 : 1));
  return {
    name,
    version: versionOf(
      plainRoots ? 'roots' : 'validator',
      sorted.flatMap(({ trustDomain, roots }) => [Buffer.from(trustDomain), ...roots]),
    ),
    encode: () =>
      plainRoots
        ? rootsSecret(name, sorted.map(bundlePem).join(''))
        : spiffeValidatorSecret(name, new Map(sorted.map((each) => [each.trustDomain, bundlePem(each)]))),
  };
}

/** SHA-256 over parts with their lengths, 128 bits of it, hex. */
export function versionOf(kind: string, parts: readonly Uint8Array[]): string {
  const hash = createHash('sha256').update(`${kind}\0`);
  for (const part of parts) hash.update(`${part.length}\0`).update(part);
  return hash.digest('hex').slice(0, 32);
}
