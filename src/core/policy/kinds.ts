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

/** What people call one object of a kind in a sentence. */
export const policyKinds: Readonly<Record<PolicyKind, string>> = Object.freeze({
  AuthorizationPolicy: 'policy',
  RequestAuthentication: 'request authentication',
  PeerAuthentication: 'peer authentication',
  RateLimit: 'rate limit',
});

export const policyKindNames = Object.freeze(Object.keys(policyKinds)) as readonly PolicyKind[];

export function isPolicyKind(text: string): text is PolicyKind {
  return Object.hasOwn(policyKinds, text);
}

/** `policy shop/web`, for messages. */
export function titleOf({ kind, namespace, name }: PolicyKey): string {
  return `${policyKinds[kind]} ${namespace}/${name}`;
}
