import * as field from './fields.ts';
import type { Node__Output } from './gen/envoy/config/core/v3/Node.ts';
import type { DeltaDiscoveryRequest__Output } from './gen/envoy/service/discovery/v3/DeltaDiscoveryRequest.ts';
import type { DeltaDiscoveryResponse } from './gen/envoy/service/discovery/v3/DeltaDiscoveryResponse.ts';
import type { DiscoveryRequest__Output } from './gen/envoy/service/discovery/v3/DiscoveryRequest.ts';
import type { DiscoveryResponse } from './gen/envoy/service/discovery/v3/DiscoveryResponse.ts';
import type { Status__Output } from './gen/google/rpc/Status.ts';
import { SECRET_TYPE_URL } from './secret-discovery.ts';

/** Names of one request, and those that one stream may be subscribed to. */
export const MAX_SECRET_NAMES = 100;

const MAX_NAME_LENGTH = 2048;
/** Of all names together that a client says it has: they are kept, and may all have to be named to it as gone. */
const MAX_HELD_CHARACTERS = 128 * 1024;
const MAX_VERSION_LENGTH = 256;
const MAX_REFUSAL_LENGTH = 500;

/** What Envoy says about itself, as far as it makes a difference. None of it is proven. */
export interface EnvoyNode {
  /** It does not know the SPIFFE validator, or was told not to use it. */
  readonly plainRoots: boolean;
}

/** A request, or the answer to a response, of a stream that tells the state of the world. */
export interface SecretsRequest {
  /** Undefined when it was not said, as in all messages of a stream after the first. */
  readonly node: EnvoyNode | undefined;
  readonly names: readonly string[];
  /** Of the response that this answers; empty for none. */
  readonly nonce: string;
  /** Why that response was refused; undefined when it was taken over. */
  readonly refusal: string | undefined;
}

/** The same of an incremental stream. */
export interface SecretsDeltaRequest {
  readonly node: EnvoyNode | undefined;
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** Version by name: what the client has from an earlier stream. */
  readonly initialVersions: ReadonlyMap<string, string>;
  readonly nonce: string;
  readonly refusal: string | undefined;
}

/** One secret as it travels: serialised, with a version that depends on nothing but its content. */
export interface VersionedSecret {
  readonly name: string;
  readonly version: string;
  readonly secret: Buffer;
}

/** @throws AppError `invalid` */
export function fromSecretsRequest(message: DiscoveryRequest__Output): SecretsRequest {
  checkType(message.typeUrl);
  return Object.freeze({
    node: fromNode(message.node),
    names: names(message.resourceNames, 'resource_names'),
    ...fromAnswer(message),
  });
}

/** @throws AppError `invalid` */
export function fromSecretsDeltaRequest(message: DeltaDiscoveryRequest__Output): SecretsDeltaRequest {
  checkType(message.typeUrl);
  const versions = field.list(
    Object.entries(message.initialResourceVersions),
    'initial_resource_versions',
    ([name, version], path): [string, string] => [
      field.text(name, path, MAX_NAME_LENGTH),
      field.textOrEmpty(version, path, MAX_VERSION_LENGTH),
    ],
    { max: 10 * MAX_SECRET_NAMES },
  );
  const characters = versions.reduce((sum, [name]) => sum + name.length, 0);
  if (characters > MAX_HELD_CHARACTERS) {
    throw field.invalid('initial_resource_versions', `has more than ${MAX_HELD_CHARACTERS} characters of names`);
  }
  return Object.freeze({
    node: fromNode(message.node),
    subscribe: names(message.resourceNamesSubscribe, 'resource_names_subscribe'),
    unsubscribe: names(message.resourceNamesUnsubscribe, 'resource_names_unsubscribe'),
    initialVersions: new Map(versions),
    ...fromAnswer(message),
  });
}

export function toSecretsResponse(o: {
  readonly version: string;
  readonly nonce: string;
  readonly secrets: readonly VersionedSecret[];
}): DiscoveryResponse {
  return {
    versionInfo: o.version,
    nonce: o.nonce,
    typeUrl: SECRET_TYPE_URL,
    resources: o.secrets.map(({ secret }) => toAny(secret)),
  };
}

export function toSecretsDeltaResponse(o: {
  readonly version: string;
  readonly nonce: string;
  readonly secrets: readonly VersionedSecret[];
  readonly removed: readonly string[];
}): DeltaDiscoveryResponse {
  return {
    systemVersionInfo: o.version,
    nonce: o.nonce,
    typeUrl: SECRET_TYPE_URL,
    resources: o.secrets.map(({ name, version, secret }) => ({ name, version, resource: toAny(secret) })),
    removedResources: [...o.removed],
  };
}

function toAny(secret: Buffer) {
  return { type_url: SECRET_TYPE_URL, value: secret };
}

/** On this service the type is known, and need not be said. */
function checkType(typeUrl: string): void {
  if (typeUrl !== '' && typeUrl !== SECRET_TYPE_URL) throw field.invalid('type_url', `is not ${SECRET_TYPE_URL}`);
}

function names(values: readonly string[], path: string): readonly string[] {
  return field.list(values, path, (name, at) => field.text(name, at, MAX_NAME_LENGTH), { max: MAX_SECRET_NAMES });
}

function fromAnswer(message: { readonly responseNonce: string; readonly errorDetail: Status__Output | null }) {
  return {
    nonce: field.textOrEmpty(message.responseNonce, 'response_nonce', MAX_VERSION_LENGTH),
    refusal: message.errorDetail === null ? undefined : field.cut(message.errorDetail.message, MAX_REFUSAL_LENGTH),
  };
}

function fromNode(node: Node__Output | null): EnvoyNode | undefined {
  return node === null ? undefined : Object.freeze({ plainRoots: isToldSo(node) || isTooOld(node) });
}

/** The key that SPIRE's users know: a boolean, or its text. */
function isToldSo(node: Node__Output): boolean {
  const value = node.metadata?.fields?.disable_spiffe_cert_validation;
  return value?.boolValue === true || value?.stringValue?.toLowerCase() === 'true';
}

/** Envoy's SPIFFE validator came with 1.18. Of whoever says no version, the safer is assumed: that it checks trust domains. */
function isTooOld(node: Node__Output): boolean {
  const version = node.userAgentBuildVersion?.version;
  if (version === undefined || version === null || !['', 'envoy'].includes(node.userAgentName)) return false;
  return version.majorNumber < 1 || (version.majorNumber === 1 && version.minorNumber <= 17);
}
