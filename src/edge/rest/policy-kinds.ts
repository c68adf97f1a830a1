import { Type } from 'typebox';
import type { PolicyKind, PolicyObject } from '../../core/policy/kinds.ts';
import { policyKindNames, policyKinds } from '../../core/policy/kinds.ts';
import { envelopeSchema } from './policy-spec.ts';
import { closed, namespaceName, nullable, objectName, revision } from './schemas.ts';

/** How one kind of object is served. Every kind has the same routes and manners. */
export interface KindFace {
  readonly kind: PolicyKind;
  /** Below this, `/{namespace}/{name}`. */
  readonly path: string;
  readonly tag: string;
  /** In a sentence: `rate limit`, `rate limits`. */
  readonly one: string;
  readonly many: string;
  /** In names of operations: `RateLimit`, `RateLimits`. */
  readonly operation: string;
  readonly operations: string;
  readonly envelope: ReturnType<typeof envelopeSchema>;
  readonly list: ReturnType<typeof listSchema>;
}

export const objectParams = Type.Object({ namespace: namespaceName, name: objectName }, closed);

export const kindFaces: readonly KindFace[] = policyKindNames.map((kind) => {
  const { noun, plural } = policyKinds[kind];
  const operation = pascal(noun);
  const operations = pascal(plural.replaceAll('-', ' '));
  const envelope = envelopeSchema(kind);
  return {
    kind,
    path: `/v1/${plural}`,
    tag: plural,
    one: noun,
    many: plural.replaceAll('-', ' '),
    operation,
    operations,
    envelope,
    list: listSchema(envelope),
  };
});

function listSchema(envelope: ReturnType<typeof envelopeSchema>) {
  return Type.Object({ items: Type.Array(envelope), nextCursor: nullable(Type.String()), revision }, closed);
}

function pascal(words: string): string {
  return words.replace(/(?:^| )([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** What to know before an object is deleted. */
export function effectOfDeleting({ kind, object }: PolicyObject): { readonly code: string; readonly detail: string } {
  if (kind !== 'AuthorizationPolicy') return effects[kind];
  return effects[object.shadow === true ? 'shadow' : object.direction === 'egress' ? 'egress' : object.action];
}

const effects = {
  ALLOW: { code: 'access-ends', detail: 'Calls that only this policy allows are denied from then on.' },
  DENY: {
    code: 'access-opens',
    detail: 'Calls that only this policy denies are allowed wherever another policy allows them.',
  },
  CUSTOM: {
    code: 'checks-end',
    detail: 'Calls are no longer asked about: they are allowed wherever another policy allows them.',
  },
  AUDIT: { code: 'marks-end', detail: 'Calls are no longer marked on the record by this policy. No decision changes.' },
  egress: {
    code: 'egress-changes',
    detail:
      'What it allows or denies is no longer said. A workload that no other egress policy selects may call everybody who lets it in.',
  },
  shadow: { code: 'trial-ends', detail: 'It is only tried: what is recorded changes, and no decision does.' },
  RequestAuthentication: {
    code: 'tokens-unchecked',
    detail:
      'Tokens of its issuers are no longer checked: they pass unread, and rules that ask for what they say match nothing.',
  },
  PeerAuthentication: {
    code: 'peers-change',
    detail: 'What the next wider scope says holds from then on; where nothing says anything, mutual TLS only.',
  },
  RateLimit: { code: 'limit-ends', detail: 'Calls are let in without this limit.' },
} as const;
