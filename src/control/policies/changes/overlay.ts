import type { PolicyKey, PolicyKind, PolicyObject, PolicyObjects } from '../../../core/policy/kinds.ts';
import { keyOf, keyText } from '../../../core/policy/kinds.ts';
import type { PeerAuthentication } from '../../../core/policy/peer-authentication.ts';
import type { TrustDomains } from '../../../core/policy/trust-domain-aliases.ts';
import { compareText } from '../../store/compare.ts';
import type { PolicySet } from '../current.ts';
import { inForce } from '../current.ts';
import { parseStored } from '../source.ts';
import type { ChangeDocument } from './change.ts';

/** What a change puts, ready to decide with, and what it deletes. */
export interface Overlay {
  readonly puts: readonly PolicyObject[];
  /** `keyText` of everything that it puts or deletes. */
  readonly keys: ReadonlySet<string>;
}

/** Throws `incompatible-data` for a document that this version cannot read. */
export function overlayOf(documents: readonly ChangeDocument[], trustDomains: TrustDomains | undefined): Overlay {
  const puts = documents.flatMap(({ source, ...document }) =>
    source === null ? [] : [inForce(parseStored({ ...document, source }), document.revision, trustDomains)],
  );
  return Object.freeze({ puts, keys: new Set(documents.map(keyText)) });
}

/** The objects as they would be. `revision` is what the sidecars are told that it is. */
export function overlaid(set: PolicySet, { puts, keys }: Overlay, revision: number): PolicySet {
  const merged = <K extends PolicyKind>(kind: K, there: readonly PolicyObjects[K][]): readonly PolicyObjects[K][] => {
    const stays = there.filter(({ namespace, name }) => !keys.has(keyText({ kind, namespace, name })));
    const comes = puts.flatMap((put) => (put.kind === kind ? [put.object as PolicyObjects[K]] : []));
    // Where nothing of the kind changes, the same list: what was made of it is kept.
    if (comes.length === 0 && stays.length === there.length) return there;
    return Object.freeze([...stays, ...comes].sort(byName));
  };
  return Object.freeze({
    revision,
    policies: merged('AuthorizationPolicy', set.policies),
    requestAuthentications: merged('RequestAuthentication', set.requestAuthentications),
    peerAuthentications: asOldAs(set.peerAuthentications, merged('PeerAuthentication', set.peerAuthentications)),
    rateLimits: merged('RateLimit', set.rateLimits),
  });
}

/** What is written again was made when it was made. */
function asOldAs(
  before: readonly PeerAuthentication[],
  after: readonly PeerAuthentication[],
): readonly PeerAuthentication[] {
  if (before === after) return after;
  return Object.freeze(
    after.map((one) => {
      const was = before.find(({ namespace, name }) => namespace === one.namespace && name === one.name);
      return was === undefined || was === one ? one : Object.freeze({ ...one, made: was.made ?? was.revision });
    }),
  );
}

/** What of a change is not any more as it was when it was proposed. `keyText`s. */
export function movedSince(set: PolicySet, documents: readonly ChangeDocument[]): readonly PolicyKey[] {
  const revisions = new Map<string, number>();
  const note = (object: PolicyObject) => revisions.set(keyText(keyOf(object)), object.object.revision);
  for (const object of set.policies) note({ kind: 'AuthorizationPolicy', object });
  for (const object of set.requestAuthentications) note({ kind: 'RequestAuthentication', object });
  for (const object of set.peerAuthentications) note({ kind: 'PeerAuthentication', object });
  for (const object of set.rateLimits) note({ kind: 'RateLimit', object });
  return documents.filter((each) => (revisions.get(keyText(each)) ?? null) !== each.replaces);
}

function byName(a: Omit<PolicyKey, 'kind'>, b: Omit<PolicyKey, 'kind'>): number {
  return compareText(a.namespace, b.namespace) || compareText(a.name, b.name);
}
