import type { JWK } from 'jose';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { compareText } from '../store/compare.ts';

/**
 * The authorities of a trust domain and what may become of them, as plain values: what follows from what is decided here, and
 * `authority-store.ts` makes it happen once.
 *
 *     new → prepared → active → old → retired
 *                                └──→ tainted → revoked
 */

/** What an authority signs. Each kind has its own succession. */
export type AuthorityKind = 'x509' | 'jwt' | 'wit';

export const authorityKinds: readonly AuthorityKind[] = ['x509', 'jwt', 'wit'];

export type AuthorityState =
  /** It will have a key. In no bundle; a trace of what a crash may leave behind. */
  | 'new'
  /** In the bundle, so that everybody can verify what it is going to sign. */
  | 'prepared'
  /** Signs. One of each kind. */
  | 'active'
  /** Has signed: in the bundle until the last of that has ended. */
  | 'old'
  /** Old, and perhaps in wrong hands: still in the bundle, and everybody replaces what it has signed. */
  | 'tainted'
  /** In no bundle any more; here until its key is gone. */
  | 'retired'
  | 'revoked';

export interface AuthorityRecord {
  /** UUIDv7. */
  readonly id: string;
  readonly kind: AuthorityKind;
  readonly state: AuthorityState;
  /** Fingerprint of the root certificate, or kid of the key: how bundles name it. Empty while new. */
  readonly name: string;
  /** In the key store; null for a root that is not ours, of an upstream authority. */
  readonly keyName: string | null;
  /** Of a root, DER. */
  readonly certificate: Buffer | null;
  /** Of a JWT or WIT key, as it stands in the bundle. */
  readonly jwk: JWK | null;
  /** Milliseconds since the epoch, as all times. */
  readonly notBefore: number;
  /** When it stops signing; a root stops verifying, too. */
  readonly notAfter: number;
  /** How long after it has stopped signing something that it signed can still be valid. */
  readonly belowMs: number;
  readonly createdAt: number;
  /** When it got into its state. */
  readonly since: number;
  /** Sequence of the first bundle that held it: who has acknowledged that one can verify what it signs. 0 while new. */
  readonly sequence: number;
  /** Asked for by an admin: becomes active as soon as everybody can verify, however new it is. */
  readonly soon: boolean;
}

/** All authorities, at one moment. */
export interface AuthoritySet {
  /** Of the bundle. Grows whenever what is in the bundle changes. */
  readonly sequence: number;
  /** In order of their ids, so of their age. */
  readonly records: readonly AuthorityRecord[];
}

export const noAuthorities: AuthoritySet = Object.freeze({ sequence: 0, records: Object.freeze([]) });

const inBundle: ReadonlySet<AuthorityState> = new Set<AuthorityState>(['prepared', 'active', 'old', 'tainted']);

/** Whether it is in the bundle. */
export function isTrusted(record: AuthorityRecord): boolean {
  return inBundle.has(record.state);
}

export function trusted(set: AuthoritySet, kind: AuthorityKind): readonly AuthorityRecord[] {
  return set.records.filter((record) => record.kind === kind && isTrusted(record));
}

export function inState(set: AuthoritySet, kind: AuthorityKind, state: AuthorityState): AuthorityRecord | undefined {
  return set.records.find((record) => record.kind === kind && record.state === state);
}

/** What everybody verifies with. Roots in order of their age, so that only what changes changes it. */
export function bundleOf(set: AuthoritySet, trustDomain: string): TrustBundle {
  const shown = set.records.filter(isTrusted);
  const tainted = shown.filter((record) => record.state === 'tainted').map((record) => record.name);
  return Object.freeze({
    trustDomain,
    roots: Object.freeze(shown.flatMap((record) => record.certificate ?? [])),
    jwks: { keys: shown.flatMap((record) => record.jwk ?? []) },
    sequence: set.sequence,
    ...(tainted.length > 0 && { tainted: Object.freeze(tainted) }),
  });
}

/** What turns a new authority into one that can be shown. */
export interface AuthorityMaterial {
  readonly name: string;
  readonly certificate: Buffer | null;
  readonly jwk: JWK | null;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Puts in records that are not there yet, or replaces those that are, and counts the bundle on when it changes by that. */
export function withRecords(set: AuthoritySet, changed: readonly AuthorityRecord[], now: number): AuthoritySet {
  const ids = new Set(changed.map((record) => record.id));
  const records = [...set.records.filter((record) => !ids.has(record.id)), ...changed];
  return counted(set, records, now);
}

/** Takes out records: of keys that are gone, or that never came to be. */
export function withoutRecords(set: AuthoritySet, ids: readonly string[], now: number): AuthoritySet {
  return counted(
    set,
    set.records.filter((record) => !ids.includes(record.id)),
    now,
  );
}

/**
 * A new authority becomes prepared.
 *
 * @throws AppError `conflict` when another one is: then this one is not needed
 */
export function prepared(set: AuthoritySet, id: string, material: AuthorityMaterial, now: number): AuthoritySet {
  const record = find(set, id);
  if (record.state !== 'new') throw unfit(record, 'prepared', 'new');
  checkNonePrepared(set, record.kind);
  return withRecords(set, [{ ...record, ...material, state: 'prepared', since: now }], now);
}

/** @throws AppError `conflict` */
export function checkNonePrepared(set: AuthoritySet, kind: AuthorityKind): void {
  const other = inState(set, kind, 'prepared');
  if (other === undefined) return;
  throw new AppError('conflict', `The ${kind} authority ${other.id} is prepared already. Activate that one.`);
}

/**
 * @param belowMs What it may be by the lifetimes that hold now; the one before has it, if that is more than when it was made
 * @throws AppError `conflict` unless it is prepared (S17)
 */
export function activated(set: AuthoritySet, id: string, now: number, belowMs: number): AuthoritySet {
  const record = find(set, id);
  if (record.state !== 'prepared') throw unfit(record, 'activated', 'prepared');
  const before = inState(set, record.kind, 'active');
  const old =
    before === undefined
      ? []
      : [{ ...before, state: 'old' as const, since: now, belowMs: Math.max(belowMs, before.belowMs) }];
  return withRecords(set, [...old, { ...record, state: 'active', since: now, soon: false }], now);
}

/** @throws AppError `conflict` unless it is old (S17): what signs now, or will, is replaced first */
export function tainted(set: AuthoritySet, id: string, now: number): AuthoritySet {
  const record = find(set, id);
  if (record.state !== 'old') throw unfit(record, 'tainted', 'old');
  return withRecords(set, [{ ...record, state: 'tainted', since: now }], now);
}

/** @throws AppError `conflict` unless it is tainted: whoever has something from it must have had the time to replace it */
export function revoked(set: AuthoritySet, id: string, now: number): AuthoritySet {
  const record = find(set, id);
  if (record.state !== 'tainted') throw unfit(record, 'revoked', 'tainted');
  return withRecords(set, [{ ...record, state: 'revoked', since: now }], now);
}

/** @throws AppError `conflict` unless it is old */
export function retired(set: AuthoritySet, id: string, now: number): AuthoritySet {
  const record = find(set, id);
  if (record.state !== 'old') throw unfit(record, 'retired', 'old');
  return withRecords(set, [{ ...record, state: 'retired', since: now }], now);
}

/** @throws AppError `conflict` unless it is prepared */
export function wantedSoon(set: AuthoritySet, id: string, now: number): AuthoritySet {
  const record = find(set, id);
  if (record.state !== 'prepared') throw unfit(record, 'activated', 'prepared');
  return record.soon ? set : withRecords(set, [{ ...record, soon: true }], now);
}

/** @throws AppError `not-found` */
export function find(set: AuthoritySet, id: string): AuthorityRecord {
  const record = set.records.find((each) => each.id === id);
  if (record === undefined) throw new AppError('not-found', `There is no authority ${id}.`);
  return record;
}

const remedies: Readonly<Record<AuthorityState, string>> = {
  new: 'Its key is being made; try again.',
  prepared: 'It has signed nothing. Activate it, or leave it.',
  active: 'Everything is signed by it. Rotate first: prepare another one and activate that.',
  old: 'Taint it first, so that everybody replaces what it has signed.',
  tainted: 'What is tainted can only be revoked.',
  retired: 'It is not trusted any more.',
  revoked: 'It is not trusted any more.',
};

function unfit(record: AuthorityRecord, become: string, must: AuthorityState): AppError {
  return new AppError(
    'conflict',
    `The ${record.kind} authority ${record.id} is ${record.state}, and only what is ${must} can be ${become}. ` +
      remedies[record.state],
  );
}

function counted(before: AuthoritySet, changed: readonly AuthorityRecord[], now: number): AuthoritySet {
  const sorted = [...changed].sort((a, b) => compareText(a.id, b.id));
  if (shows(before.records) === shows(sorted)) return freeze(before.sequence, sorted);
  // Seconds since the epoch where that is more: a store that is put back from a backup goes on above what was seen before.
  const sequence = Math.max(before.sequence + 1, Math.floor(now / 1000));
  return freeze(
    sequence,
    sorted.map((record) => (isTrusted(record) && record.sequence === 0 ? { ...record, sequence } : record)),
  );
}

/** What of it is in the bundle, to be compared. */
function shows(records: readonly AuthorityRecord[]): string {
  return JSON.stringify(records.filter(isTrusted).map(({ name, state }) => [name, state === 'tainted']));
}

function freeze(sequence: number, records: readonly AuthorityRecord[]): AuthoritySet {
  return Object.freeze({ sequence, records: Object.freeze(records.map((record) => Object.freeze(record))) });
}
