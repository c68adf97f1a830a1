import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { uuidv7 } from '../../base/random.ts';
import { fingerprint } from '../../core/identity/bundle.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import { checkPublicKey } from '../../core/identity/keys.ts';
import { checkAuthority } from '../../core/identity/profile.ts';
import type { AuthorityKind, AuthorityMaterial, AuthorityRecord, AuthoritySet } from './authorities.ts';
import { authorityKinds, inState, withoutRecords, withRecords } from './authorities.ts';
import type { AuthorityStore } from './authority-store.ts';
import type { SigningKey } from './keys/key-store.ts';
import { damaged } from './keys/saved-key.ts';
import type { UpstreamAuthority } from './keys/upstream.ts';
import type { MakeOptions } from './make-authority.ts';
import { certificateMaterial, makeMaterial, newRecord, tokenKeyMaterial } from './make-authority.ts';

export interface EstablishOptions extends MakeOptions {
  readonly store: AuthorityStore;
  readonly upstream: UpstreamAuthority | undefined;
  readonly logger: Logger;
}

/** A record that is about to be stored as active, and where its material comes from. */
interface Making {
  readonly record: AuthorityRecord;
  readonly material: () => Promise<AuthorityMaterial>;
}

/** Names under which versions before this one kept their two keys. */
const EARLIER_ROOT = 'root';
const EARLIER_JWT = 'jwt';

/**
 * Sees to it that there is an active authority of each kind. What an earlier version made is taken over as it is, so nobody
 * notices; only in a store and a key store that are both empty are authorities made.
 *
 * Order, and what a crash leaves behind: (1) records in state `new`, which say which keys are going to be made; (2) keys;
 * (3) the records become active, all in one transaction, and only then does a bundle show them. After (1) or (2) the next
 * start makes others, and what was left behind is cleared away later: nobody has ever seen it. Of several replicas that start
 * at once, the first to reach (3) wins, and the others follow it.
 *
 * @throws AppError `incompatible-data` when keys or records are missing that must have been there: a new root would cut off
 *   every workload without a word, so there is none
 */
export async function establish(o: EstablishOptions): Promise<{
  readonly set: AuthoritySet /** Ids of those that were made or taken over here. */;
  readonly made: readonly string[];
}> {
  // Keys first: a key that another replica makes now has its record by the time records are read.
  const names = await o.keyStore.names();
  const before = await o.store.read();
  const missing = authorityKinds.filter((kind) => inState(before, kind, 'active') === undefined);
  if (missing.length === 0) return { set: before, made: [] };
  if (missing.includes('x509')) await checkNothingLost(before, names, o);
  const made = await Promise.all(missing.map((kind) => beginning(kind, o)));
  await o.store.change((set) =>
    withRecords(
      set,
      made.map(({ record }) => record),
      o.now,
    ),
  );
  const active = new Map<string, AuthorityRecord>();
  for (const { record, material } of made) {
    active.set(record.id, { ...record, ...(await material()), state: 'active', since: o.now });
  }
  const after = await o.store.change((set) => activateMissing(set, active, o.now));
  await dropLosers(after, active, o);
  const mine = after.records.filter(({ id, state }) => state === 'active' && active.has(id));
  for (const { kind, id, name } of mine) o.logger.info({ kind, id, name }, 'the first authority of its kind');
  if (missing.every((kind) => inState(after, kind, 'active') !== undefined)) {
    return { set: after, made: mine.map(({ id }) => id) };
  }
  throw new AppError(
    'unavailable',
    'What was begun was cleared away meanwhile: this took more than an hour. Start again.',
  );
}

/**
 * Those of a kind that has an active authority by now have lost against another replica; and what was cleared away has no key
 * any more.
 */
function activateMissing(set: AuthoritySet, active: ReadonlyMap<string, AuthorityRecord>, now: number): AuthoritySet {
  const begun = new Set(set.records.filter((record) => record.state === 'new').map((record) => record.id));
  const winners = [...active.values()].filter(
    (record) => begun.has(record.id) && inState(set, record.kind, 'active') === undefined,
  );
  return winners.length === 0 ? set : withRecords(set, winners, now);
}

async function dropLosers(
  set: AuthoritySet,
  made: ReadonlyMap<string, AuthorityRecord>,
  o: EstablishOptions,
): Promise<void> {
  const lost = [...made.values()].filter((record) => inState(set, record.kind, 'active')?.id !== record.id);
  const inUse = new Set(set.records.map((record) => (made.has(record.id) ? null : record.keyName)));
  for (const { keyName } of lost) if (keyName !== null && !inUse.has(keyName)) await o.keyStore.delete(keyName);
  if (lost.length === 0) return;
  const ids = lost.map((record) => record.id);
  await o.store.change((current) => withoutRecords(current, ids, o.now));
}

async function beginning(kind: AuthorityKind, o: EstablishOptions): Promise<Making> {
  const id = uuidv7({ now: () => o.now, after: () => () => undefined }, o.random);
  if (kind === 'x509') return await beginningRoot(id, o);
  const earlier = kind === 'jwt' ? await o.keyStore.open(EARLIER_JWT, o) : undefined;
  if (kind === 'jwt' && earlier !== undefined) {
    const record = newRecord(id, kind, { ...o, keyName: EARLIER_JWT });
    return { record, material: async () => tokenKeyMaterial('jwt', earlier.publicKey, o) };
  }
  const record = newRecord(id, kind, o);
  return { record, material: () => makeMaterial(record, o) };
}

async function beginningRoot(id: string, o: EstablishOptions): Promise<Making> {
  const earlier = await o.keyStore.open(EARLIER_ROOT, o);
  if (earlier !== undefined) {
    const material = earlierRootMaterial(earlier, o.trustDomain);
    o.logger.info({ rootFingerprint: material.name }, 'took over the root of an earlier version');
    return { record: newRecord(id, 'x509', { ...o, keyName: EARLIER_ROOT }), material: async () => material };
  }
  const { upstream } = o;
  if (upstream !== undefined) {
    const record = newRecord(id, 'x509', { ...o, keyName: null });
    return { record, material: async () => certificateMaterial(await upstream.root()) };
  }
  const record = newRecord(id, 'x509', o);
  return { record, material: () => makeMaterial(record, o) };
}

function earlierRootMaterial(key: SigningKey, trustDomain: string): AuthorityMaterial {
  if (key.certificate === undefined) throw damaged(EARLIER_ROOT);
  try {
    const certificate = parseCertificate(key.certificate);
    checkAuthority(certificate, trustDomain);
    if (!certificate.publicKey.spki.equals(checkPublicKey(key.publicKey).spki)) throw damaged(EARLIER_ROOT);
    return certificateMaterial(key.certificate);
  } catch (cause) {
    throw damaged(EARLIER_ROOT, cause);
  }
}

/** There is no active root on record. Is that because there never was one? */
async function checkNothingLost(set: AuthoritySet, names: readonly string[], o: EstablishOptions): Promise<void> {
  const earlier = await o.keyStore.open(EARLIER_ROOT, o);
  const bound = await o.store.earlierRoot();
  if (bound !== undefined) checkBoundRoot(bound, earlier);
  if (earlier !== undefined) return;
  if (names.includes(EARLIER_JWT)) {
    throw new AppError(
      'incompatible-data',
      'The key store has a JWT key but no root. Restore the root from a backup; or, to begin anew with a new root, ' +
        'remove the JWT key as well and enroll every workload again.',
    );
  }
  const known = new Set(set.records.map((record) => record.keyName));
  const strays = names.filter((name) => /^(x509|jwt|wit)-/.test(name) && !known.has(name));
  if (strays.length === 0) return;
  throw new AppError(
    'incompatible-data',
    `The key store has keys (${strays.slice(0, 3).join(', ')}${strays.length > 3 ? ', …' : ''}), and the store knows no ` +
      'authority that they belong to. Put back the store that belongs to them; or, to begin anew with a new root, start with ' +
      'an empty data directory and enroll every workload again.',
  );
}

function checkBoundRoot(bound: string, earlier: SigningKey | undefined): void {
  const own = earlier?.certificate === undefined ? undefined : fingerprint(earlier.certificate);
  if (own === bound) return;
  throw new AppError(
    'incompatible-data',
    `The store belongs to the root sha256:${bound}, and the keys of this control plane ` +
      `${own === undefined ? 'have no root' : `are of sha256:${own}`}. ` +
      'Put back the keys directory that belongs to the store, or start with an empty data directory.',
  );
}
