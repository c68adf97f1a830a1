import type { Policy } from './model.ts';
import type { PeerAuthentication } from './peer-authentication.ts';
import type { RateLimit } from './rate-limit.ts';
import type { RequestAuthentication } from './request-authentication.ts';

/** What a document of each kind is once it has been read. */
export interface PolicyObjects {
  readonly AuthorizationPolicy: Policy;
  readonly RequestAuthentication: RequestAuthentication;
  readonly PeerAuthentication: PeerAuthentication;
  readonly RateLimit: RateLimit;
}

export type PolicyKind = keyof PolicyObjects;

/** Of one kind, or of any. */
export type PolicyObject<K extends PolicyKind = PolicyKind> = {
  readonly [Each in K]: { readonly kind: Each; readonly object: PolicyObjects[Each] };
}[K];

/** What names an object: of each kind there is one with this namespace and name. */
export interface PolicyKey {
  readonly kind: PolicyKind;
  readonly namespace: string;
  readonly name: string;
}

/** What a kind is called. */
export interface KindNames {
  /** In a sentence. */
  readonly noun: string;
  /** On the command line. */
  readonly singular: string;
  /** There, and in addresses. */
  readonly plural: string;
}

/** The one table of kinds. */
export const policyKinds: Readonly<Record<PolicyKind, KindNames>> = Object.freeze({
  AuthorizationPolicy: { noun: 'policy', singular: 'policy', plural: 'policies' },
  RequestAuthentication: {
    noun: 'request authentication',
    singular: 'request-authentication',
    plural: 'request-authentications',
  },
  PeerAuthentication: { noun: 'peer authentication', singular: 'peer-authentication', plural: 'peer-authentications' },
  RateLimit: { noun: 'rate limit', singular: 'rate-limit', plural: 'rate-limits' },
});

export const policyKindNames = Object.freeze(Object.keys(policyKinds)) as readonly PolicyKind[];

export function isPolicyKind(text: string): text is PolicyKind {
  return Object.hasOwn(policyKinds, text);
}

/** What names an object that has been read. */
export function keyOf({ kind, object }: PolicyObject): PolicyKey {
  return { kind, namespace: object.namespace, name: object.name };
}

/** `policy shop/web`, for messages. */
export function titleOf({ kind, namespace, name }: PolicyKey): string {
  return `${policyKinds[kind].noun} ${namespace}/${name}`;
}

/** As one text; namespaces and names hold no `/`. */
export function keyText({ kind, namespace, name }: PolicyKey): string {
  return `${kind}/${namespace}/${name}`;
}
