import { AppError } from '../../../base/errors.ts';
import { parsePemCertificates } from '../../../core/identity/bundle.ts';
import type { SpiffeBundleDocument } from '../../../core/identity/spiffe-bundle.ts';
import { parseSpiffeBundle } from '../../../core/identity/spiffe-bundle.ts';
import { parseSpiffeId, parseTrustDomain } from '../../../core/identity/spiffe-id.ts';
import { dnsLabel } from '../../../core/identity/template.ts';
import { compareText } from '../../store/compare.ts';
import type { BundleEndpoint, EndpointProfile, RemoteService } from './relationship.ts';

/** As an operator gives it. */
export interface RelationshipInput {
  readonly trustDomain: string;
  readonly bundleEndpoint: {
    readonly url: string;
    readonly profile: EndpointProfile;
    readonly spiffeId?: string | null | undefined;
    readonly caCertificates?: string | null | undefined;
  };
  /** A SPIFFE bundle document, as it is served: with what the first connection is verified, or what is trusted meanwhile. */
  readonly bundle?: string | null | undefined;
  readonly services?: readonly RemoteService[] | undefined;
}

export interface RelationshipSpec {
  readonly trustDomain: string;
  readonly bundleEndpoint: BundleEndpoint;
  readonly services: readonly RemoteService[];
  /** Given with it; undefined: the stored one stays. */
  readonly bundle: { readonly text: string; readonly document: SpiffeBundleDocument } | undefined;
}

export const MAX_URL_CHARACTERS = 2048;
const MAX_CA_CHARACTERS = 128 * 1024;
const MAX_SERVICES = 256;
const MAX_ENDPOINTS = 64;
const addressPattern = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?):([1-9][0-9]{0,4})$/;

type Refuse = (pointer: string, message: string) => void;

/** @throws AppError `invalid`, with a finding for everything that is wrong, by JSON pointer */
export function checkRelationshipInput(input: RelationshipInput, ownTrustDomain: string): RelationshipSpec {
  const details: { code: string; pointer: string; message: string }[] = [];
  const refuse: Refuse = (pointer, message) => details.push({ code: 'invalid', pointer, message });
  checkTrustDomain(input.trustDomain, ownTrustDomain, refuse);
  const bundle = readBundle(input, refuse);
  const bundleEndpoint = checkEndpoint(input, refuse);
  const services = (input.services ?? []).slice(0, MAX_SERVICES + 1);
  checkServices(services, refuse);
  const [first] = details;
  if (first !== undefined) {
    throw new AppError('invalid', `The relationship is not valid: ${first.pointer} ${first.message}.`, { details });
  }
  return Object.freeze({ trustDomain: input.trustDomain, bundleEndpoint, services: sorted(services), bundle });
}

/** Why this cannot be the address of a bundle endpoint; undefined when it can. Redirects are held to it as well. */
export function problemOfEndpointUrl(text: string): string | undefined {
  if (text.length > MAX_URL_CHARACTERS) return `must have at most ${MAX_URL_CHARACTERS} characters`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== 'https:' || !/^https:\/\//i.test(text)) return 'must be an https URL';
  if (url.username !== '' || url.password !== '' || /^https:\/\/[^/?#]*@/i.test(text)) {
    return 'must not have a user name or password';
  }
  if (url.hash !== '' || text.includes('#')) return 'must not have a fragment';
  return undefined;
}

function checkTrustDomain(trustDomain: string, own: string, refuse: Refuse): void {
  const problem = problemOf(() => parseTrustDomain(trustDomain));
  if (problem !== undefined) refuse('/trustDomain', 'must be the name of a trust domain, such as partner.example');
  else if (trustDomain === own) refuse('/trustDomain', 'must not be our own trust domain');
}

function readBundle(input: RelationshipInput, refuse: Refuse): RelationshipSpec['bundle'] {
  const text = input.bundle ?? undefined;
  if (text === undefined) return undefined;
  try {
    return { text, document: parseSpiffeBundle(text, input.trustDomain) };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    refuse('/bundle', `must be a SPIFFE bundle: ${error.message.replace(/\.$/, '')}`);
    return undefined;
  }
}

function checkEndpoint(input: RelationshipInput, refuse: Refuse): BundleEndpoint {
  const { url, profile, spiffeId = null, caCertificates = null } = input.bundleEndpoint;
  const problem = problemOfEndpointUrl(url);
  if (problem !== undefined) refuse('/bundleEndpoint/url', problem);
  if (profile === 'https_spiffe') {
    if (spiffeId === null)
      refuse('/bundleEndpoint/spiffeId', 'is missing: https_spiffe needs the identity of the endpoint');
    else checkEndpointId(spiffeId, refuse);
    if (caCertificates !== null)
      refuse('/bundleEndpoint/caCertificates', 'is for https_web; the profile is https_spiffe');
  } else {
    if (spiffeId !== null) refuse('/bundleEndpoint/spiffeId', 'is for https_spiffe; the profile is https_web');
    if (caCertificates !== null) checkCa(caCertificates, refuse);
  }
  return Object.freeze({ url, profile, spiffeId, caCertificates });
}

function checkEndpointId(spiffeId: string, refuse: Refuse): void {
  const problem = problemOf(() => parseSpiffeId(spiffeId));
  if (problem !== undefined) refuse('/bundleEndpoint/spiffeId', 'must be a SPIFFE ID');
  else if (parseSpiffeId(spiffeId).path === '') refuse('/bundleEndpoint/spiffeId', 'must have a path');
}

/** Anything but certificates is refused, and not repeated: somebody may have given a key. */
function checkCa(pem: string, refuse: Refuse): void {
  if (pem.length > MAX_CA_CHARACTERS) {
    refuse('/bundleEndpoint/caCertificates', `must have at most ${MAX_CA_CHARACTERS} characters`);
    return;
  }
  const problem = problemOf(() => parsePemCertificates(pem));
  if (problem !== undefined) refuse('/bundleEndpoint/caCertificates', `must be certificates in PEM: ${problem}`);
}

function checkServices(services: readonly RemoteService[], refuse: Refuse): void {
  if (services.length > MAX_SERVICES) {
    refuse('/services', `must have at most ${MAX_SERVICES} items`);
    return;
  }
  const names = new Set<string>();
  for (const [index, service] of services.entries()) {
    const pointer = `/services/${index}`;
    for (const part of ['namespace', 'name'] as const) {
      if (!dnsLabel.test(service[part])) refuse(`${pointer}/${part}`, 'must be a DNS label in lower case');
    }
    const name = `${service.name}.${service.namespace}`;
    if (names.has(name)) refuse(pointer, 'must not repeat another service');
    names.add(name);
    checkEndpoints(service, pointer, refuse);
  }
}

/** The same services are the same text, in whatever order they were given. */
function sorted(services: readonly RemoteService[]): readonly RemoteService[] {
  return services
    .map(({ namespace, name, endpoints }) => ({
      namespace,
      name,
      endpoints: endpoints.map(({ address, protocol }) => ({ address, protocol })),
    }))
    .sort((a, b) => compareText(a.namespace, b.namespace) || compareText(a.name, b.name));
}

function checkEndpoints({ endpoints }: RemoteService, pointer: string, refuse: Refuse): void {
  if (endpoints.length === 0 || endpoints.length > MAX_ENDPOINTS) {
    refuse(`${pointer}/endpoints`, `must have 1 to ${MAX_ENDPOINTS} items`);
    return;
  }
  for (const [index, { address }] of endpoints.entries()) {
    const port = address.length <= 261 ? Number(addressPattern.exec(address)?.[3]) : Number.NaN;
    if (!(port <= 65_535))
      refuse(`${pointer}/endpoints/${index}/address`, 'must read host:port, the port from 1 to 65535');
  }
}

function problemOf(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error.message.replace(/\.$/, '');
    throw error;
  }
}
