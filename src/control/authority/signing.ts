import type { KeyObject } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import { generateKeyPair } from '../../core/identity/keys.ts';
import { controlPlaneId } from '../../core/identity/spiffe-id.ts';
import { issueX509Svid } from '../../core/identity/x509-svid.ts';
import type { AuthorityKind, AuthorityRecord, AuthoritySet } from './authorities.ts';
import { inState, trusted } from './authorities.ts';
import type { Intermediate, IntermediateOptions } from './intermediates.ts';
import { halfLife, makeIntermediate } from './intermediates.ts';
import type { KeyStore, SigningKey } from './keys/key-store.ts';
import { newSerial } from './make-authority.ts';

/** What the control plane's own listener presents. */
export interface ServerIdentity {
  /** DER: leaf, intermediate. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

/** The host name in the control plane's certificate, for TLS libraries that want one. Clients check the SPIFFE ID. */
export const SERVER_DNS_NAME = 'writ-control-plane';

/** A key that signs tokens. */
export interface TokenSigner {
  readonly record: AuthorityRecord;
  readonly key: SigningKey;
}

/** The control plane's own identity, and the root that it hangs from. */
export interface Listener {
  readonly root: AuthorityRecord;
  readonly identity: ServerIdentity;
  readonly renewAt: number;
}

/** All that this process signs with. Immutable: the next one is made from it, and takes over whole. */
export interface Signing {
  readonly set: AuthoritySet;
  readonly keys: ReadonlyMap<string, SigningKey>;
  readonly intermediates: ReadonlyMap<string, Intermediate>;
  /** What signs X.509-SVIDs. */
  readonly issuing: Intermediate;
  readonly jwt: TokenSigner;
  readonly wit: TokenSigner;
  readonly listener: Listener;
  /** Milliseconds since the epoch: when something of it has to be replaced. */
  readonly dueAt: number;
  /** What is wrong, for people. */
  readonly problems: readonly string[];
}

export interface SigningOptions extends Omit<IntermediateOptions, 'root' | 'key'> {
  readonly keyStore: KeyStore;
  readonly instanceId: string;
}

/** How soon what failed is tried again. */
const RETRY_MS = 10_000;

/**
 * What this process signs with, given where the authorities stand. Keeps what is still good of `before`; something that cannot
 * be replaced goes on while it is valid, and is among the problems.
 *
 * @throws AppError `incompatible-data` when a key is missing without which nothing can be signed; `unavailable`
 */
export async function nextSigning(set: AuthoritySet, before: Signing | undefined, o: SigningOptions): Promise<Signing> {
  const problems: string[] = [];
  const keys = await loadKeys(set, before, o, problems);
  const roots = trusted(set, 'x509').filter((root) => root.notAfter > o.now);
  const intermediates = new Map<string, Intermediate>();
  const canSign = async (root: AuthorityRecord | undefined) =>
    root !== undefined && (await ensureIntermediate(root, { ...o, keys, before, intermediates, problems }));

  const active = required(inState(set, 'x509', 'active'), 'x509');
  const issuing = (await canSign(active)) ? active : await firstThat(fallbacks(roots, active), canSign);
  const mine = issuing === undefined ? undefined : intermediates.get(issuing.id);
  if (mine === undefined) throw cannotSign(active, problems);

  const oldest = await firstThat(listenerRoots(roots, o), canSign);
  const listener = ensureListener(oldest ?? active, intermediates, before?.listener, o) ?? before?.listener;
  if (listener === undefined) throw cannotSign(active, problems);

  const due = [...intermediates.values()].map((one) => one.renewAt);
  const dueAt = Math.min(listener.renewAt, ...due, ...(problems.length > 0 ? [o.now + RETRY_MS] : []));
  return Object.freeze({
    set,
    keys,
    intermediates,
    issuing: mine,
    jwt: tokenSigner('jwt', set, keys, before?.jwt),
    wit: tokenSigner('wit', set, keys, before?.wit),
    listener,
    dueAt: Math.max(dueAt, o.now + 1000),
    problems: Object.freeze(problems),
  });
}

/** Opens the keys that are or may soon be needed. The key of what is prepared, too: that it is missing must show now. */
async function loadKeys(
  set: AuthoritySet,
  before: Signing | undefined,
  o: SigningOptions,
  problems: string[],
): Promise<ReadonlyMap<string, SigningKey>> {
  const keys = new Map<string, SigningKey>();
  const load = async (record: AuthorityRecord) => {
    const { id, keyName } = record;
    if (keyName === null || !signs(record)) return;
    try {
      const key = before?.keys.get(id) ?? (await o.keyStore.open(keyName, o));
      if (key !== undefined) keys.set(id, key);
      else problems.push(missingKey(record));
    } catch (error) {
      // At the start a wrong passphrase or a damaged file is the end of it; later, what is there goes on.
      if (before === undefined && record.state === 'active') throw error;
      problems.push(`The key of the ${record.kind} authority ${id} cannot be opened: ${messageOf(error)}`);
    }
  };
  await Promise.all(set.records.map(load));
  return keys;
}

/** Old token keys sign nothing more; old roots still do, for the listener. */
function signs({ kind, state }: AuthorityRecord): boolean {
  return state === 'active' || state === 'prepared' || (kind === 'x509' && state === 'old');
}

function missingKey(record: AuthorityRecord): string {
  return (
    `The key ${record.keyName} of the ${record.state} ${record.kind} authority ${record.id} is not in the key store. ` +
    'Put back the keys directory that belongs to the store; all replicas of a control plane share one.'
  );
}

/** Whether there is an intermediate below this root that is valid, afterwards. */
async function ensureIntermediate(
  root: AuthorityRecord,
  o: SigningOptions & {
    readonly keys: ReadonlyMap<string, SigningKey>;
    readonly before: Signing | undefined;
    readonly intermediates: Map<string, Intermediate>;
    readonly problems: string[];
  },
): Promise<boolean> {
  if (o.intermediates.has(root.id)) return true;
  const held = o.before?.intermediates.get(root.id);
  if (held !== undefined && o.now < held.renewAt) {
    o.intermediates.set(root.id, held);
    return true;
  }
  const key = o.keys.get(root.id);
  try {
    if (key === undefined && root.keyName !== null) throw new AppError('incompatible-data', missingKey(root));
    o.intermediates.set(root.id, await makeIntermediate({ ...o, root, key }));
    return true;
  } catch (error) {
    o.problems.push(`No intermediate below the root sha256:${root.name}: ${messageOf(error)}`);
    if (held === undefined || o.now >= held.notAfter) return false;
    o.intermediates.set(root.id, held);
    return true;
  }
}

/** While the active root cannot sign here, what everybody trusts anyway does: the newest that has been active. */
function fallbacks(roots: readonly AuthorityRecord[], active: AuthorityRecord): readonly AuthorityRecord[] {
  return roots.filter((root) => root.state === 'old' && root.id !== active.id).reverse();
}

/**
 * The roots that the listener may hang from, best first: the oldest that is not tainted. Whoever slept through the switch to
 * a newer root, or pinned one before it, holds the oldest: it can still verify us, and gets the new bundle from us. A root
 * that ends within the life of the listener's certificate comes last.
 */
function listenerRoots(roots: readonly AuthorityRecord[], o: SigningOptions): readonly AuthorityRecord[] {
  const usable = roots.filter(({ state }) => state === 'active' || state === 'old');
  const endsSoon = (root: AuthorityRecord) => root.notAfter < o.now + o.lifetimes.serverSeconds * 1000;
  return [...usable.filter((root) => !endsSoon(root)), ...usable.filter(endsSoon)];
}

/** Another one when it is due, or when it hangs from another root than it should. */
function ensureListener(
  root: AuthorityRecord,
  intermediates: ReadonlyMap<string, Intermediate>,
  before: Listener | undefined,
  o: SigningOptions,
): Listener | undefined {
  if (before !== undefined && before.root.id === root.id && o.now < before.renewAt) return before;
  const below = intermediates.get(root.id);
  if (below === undefined) return undefined;
  const { privateKey, publicKey } = generateKeyPair();
  const svid = issueX509Svid(below.issuer, {
    id: controlPlaneId(o.trustDomain),
    instanceId: o.instanceId,
    publicKey,
    notBefore: o.now - o.lifetimes.backdateSeconds * 1000,
    notAfter: o.now + o.lifetimes.serverSeconds * 1000,
    serial: newSerial(o.random),
    dnsNames: [SERVER_DNS_NAME],
  });
  const identity = Object.freeze({ chain: svid.chain, privateKey, notAfter: svid.notAfter });
  return { root, identity, renewAt: halfLife(o.now, svid.notAfter) };
}

function tokenSigner(
  kind: 'jwt' | 'wit',
  set: AuthoritySet,
  keys: ReadonlyMap<string, SigningKey>,
  before: TokenSigner | undefined,
): TokenSigner {
  const record = required(inState(set, kind, 'active'), kind);
  const key = keys.get(record.id);
  if (key !== undefined) return { record, key };
  // While everybody still trusts the one before, it goes on: the problem is on record.
  const stillTrusted = trusted(set, kind).some((each) => each.id === before?.record.id && each.state === 'old');
  if (before !== undefined && stillTrusted) return before;
  throw new AppError('incompatible-data', missingKey(record));
}

async function firstThat(
  roots: readonly AuthorityRecord[],
  holds: (root: AuthorityRecord) => Promise<boolean>,
): Promise<AuthorityRecord | undefined> {
  for (const root of roots) if (await holds(root)) return root;
  return undefined;
}

function required(record: AuthorityRecord | undefined, kind: AuthorityKind): AuthorityRecord {
  if (record === undefined) throw new AppError('incompatible-data', `The store has no active ${kind} authority.`);
  return record;
}

function cannotSign(active: AuthorityRecord, problems: readonly string[]): AppError {
  if (problems.length > 0) return new AppError('incompatible-data', problems.join(' '));
  return new AppError('unavailable', `The root certificate sha256:${active.name} has ended.`);
}

function messageOf(error: unknown): string {
  return error instanceof AppError ? error.message : String(error);
}
