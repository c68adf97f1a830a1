import { AppError } from '../../base/errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import { checkpointIn } from './checkpoint.ts';
import { verifierOf } from './cosignature.ts';
import type { NoteVerifier } from './note.ts';
import { parseNote, verifiedSigners, verifyNote } from './note.ts';
import type { NoteKey } from './note-key.ts';
import { formatVkey, keyTypes, parseVkey } from './note-key.ts';

/**
 * Whom somebody believes about a log (c2sp.org/tlog-policy): keys of logs, keys of witnesses, and how many of which witnesses
 * must have cosigned a checkpoint. Lines of
 *
 *   log <vkey> [<url>]
 *   witness <name> <vkey> [<url>]
 *   group <name> <k | any | all> <name>…
 *   quorum <name | none>
 */
export interface LogPolicy {
  readonly logs: readonly PolicyKey[];
  readonly witnesses: readonly PolicyWitness[];
  readonly groups: readonly PolicyGroup[];
  /** Of a witness or a group; `none`: no witness is asked for. */
  readonly quorum: string;
}

export interface PolicyKey {
  readonly key: NoteKey;
  readonly url: string | undefined;
}

export interface PolicyWitness extends PolicyKey {
  readonly name: string;
}

export interface PolicyGroup {
  readonly name: string;
  /** How many of the members it takes. */
  readonly threshold: number;
  /** Of witnesses and of groups before it. */
  readonly members: readonly string[];
}

/** What a policy has found in a checkpoint. */
export interface TrustedCheckpoint extends Checkpoint {
  /** Names, in the policy, of the witnesses that have cosigned. */
  readonly witnesses: readonly string[];
}

export const MAX_POLICY_BYTES = 512 * 1024;
const MAX_OF_EACH = 256;

/** Throws `invalid-document` with the line for what is not a policy. */
export function parseLogPolicy(bytes: Uint8Array): LogPolicy {
  if (bytes.length > MAX_POLICY_BYTES) throw malformed(1, `it is longer than ${MAX_POLICY_BYTES} bytes`);
  // Octets: names are compared as they are, whatever they are in UTF-8.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const draft: Draft = { logs: [], witnesses: [], groups: [], names: new Set(), members: new Set(), quorum: undefined };
  for (const [i, line] of text.split('\n').entries()) addLine(draft, line, i + 1);
  const { logs, witnesses, groups, quorum } = draft;
  if (quorum === undefined) throw malformed(text.split('\n').length, 'it has no quorum line');
  return Object.freeze({ logs, witnesses, groups, quorum });
}

/**
 * The policy that trusts one log, by all of its keys.
 *
 * @param witnesses of this policy, and its quorum, are asked for; default: no witness is
 */
export function formatLogPolicy(
  vkeys: readonly string[],
  url?: string,
  witnesses?: Pick<LogPolicy, 'witnesses' | 'groups' | 'quorum'>,
): string {
  const lines = vkeys.map((vkey) => `log ${vkey}${suffix(url)}`);
  for (const witness of witnesses?.witnesses ?? [])
    lines.push(`witness ${utf8(witness.name)} ${formatVkey(witness.key)}${suffix(witness.url)}`);
  for (const { name, threshold, members } of witnesses?.groups ?? [])
    lines.push(`group ${utf8(name)} ${threshold} ${members.map(utf8).join(' ')}`);
  return `${lines.join('\n')}\nquorum ${utf8(witnesses?.quorum ?? NONE)}\n`;
}

function suffix(url: string | undefined): string {
  return url === undefined ? '' : ` ${utf8(url)}`;
}

/** Of octets, as a policy is read. */
function utf8(octets: string): string {
  return Buffer.from(octets, 'latin1').toString('utf8');
}

/**
 * The checkpoint in a signed note, if the policy takes it: signed by a log of the policy under the origin that it names, and
 * cosigned as the quorum asks for. The note is attacker-controlled. Throws `proof-refused`.
 */
export function verifyCheckpoint(note: Uint8Array, policy: LogPolicy): TrustedCheckpoint {
  const parsed = parseNote(note);
  const checkpoint = checkpointIn(parsed);
  const ofThisLog = policy.logs.filter(({ key }) => key.name === checkpoint.origin);
  if (ofThisLog.length === 0) throw refused(`the policy does not name the log ${shown(checkpoint.origin)}`);
  verifyNote(
    parsed,
    ofThisLog.map(({ key }) => verifierOf(key)),
  );
  const cosigned = verifiedSigners(parsed, policy.witnesses.map(named));
  const witnesses = cosigned.map(({ witness }) => witness);
  if (!isReached(policy, new Set(witnesses)))
    throw refused(
      `its witnesses (${witnesses.length === 0 ? 'none' : witnesses.join(', ')}) are not the quorum ${policy.quorum}`,
    );
  return Object.freeze({ ...checkpoint, witnesses: Object.freeze(witnesses) });
}

/** Whether these witnesses are enough. */
export function isReached(policy: LogPolicy, cosigned: ReadonlySet<string>): boolean {
  if (policy.quorum === NONE) return true;
  const reached = new Set(cosigned);
  // Members stand before their group.
  for (const { name, threshold, members } of policy.groups) {
    if (members.filter((member) => reached.has(member)).length >= threshold) reached.add(name);
  }
  return reached.has(policy.quorum);
}

const NONE = 'none';

interface Draft {
  readonly logs: PolicyKey[];
  readonly witnesses: PolicyWitness[];
  readonly groups: PolicyGroup[];
  readonly names: Set<string>;
  /** Names that a group has as a member. */
  readonly members: Set<string>;
  quorum: string | undefined;
}

function addLine(draft: Draft, line: string, number: number): void {
  if (hasControlCharacter(line)) throw malformed(number, 'it contains a control character');
  const trimmed = line.replaceAll(/^[ \t]+|[ \t]+$/g, '');
  if (trimmed === '' || trimmed.startsWith('#')) return;
  const [keyword, ...items] = trimmed.split(/[ \t]+/);
  switch (keyword) {
    case 'log':
      addLog(draft, items, number);
      break;
    case 'witness':
      addWitness(draft, items, number);
      break;
    case 'group':
      addGroup(draft, items, number);
      break;
    case 'quorum':
      addQuorum(draft, items, number);
      break;
    default:
      throw malformed(number, 'a line begins with log, witness, group or quorum');
  }
}

function addLog(draft: Draft, items: readonly string[], number: number): void {
  const [vkey, url, ...rest] = items;
  if (vkey === undefined || rest.length > 0) throw malformed(number, 'it is not of the form log <vkey> [<url>]');
  const key = keyIn(vkey, number);
  if (key.type === keyTypes.cosignature) throw malformed(number, 'the key is of a witness, not of a log');
  if (draft.logs.length === MAX_OF_EACH) throw malformed(number, `there are more than ${MAX_OF_EACH} logs`);
  refuseDuplicate(draft.logs, key, number);
  draft.logs.push({ key, url });
}

function addWitness(draft: Draft, items: readonly string[], number: number): void {
  const [name, vkey, url, ...rest] = items;
  if (name === undefined || vkey === undefined || rest.length > 0)
    throw malformed(number, 'it is not of the form witness <name> <vkey> [<url>]');
  const key = keyIn(vkey, number);
  if (key.type === keyTypes.ed25519) throw malformed(number, 'the key is of a log, not of a witness');
  if (draft.witnesses.length === MAX_OF_EACH) throw malformed(number, `there are more than ${MAX_OF_EACH} witnesses`);
  refuseDuplicate(draft.witnesses, key, number);
  define(draft, name, number);
  draft.witnesses.push({ name, key, url });
}

function addGroup(draft: Draft, items: readonly string[], number: number): void {
  const [name, count, ...members] = items;
  if (name === undefined || count === undefined || members.length === 0)
    throw malformed(number, 'it is not of the form group <name> <k | any | all> <name>…');
  const threshold = thresholdIn(count, members.length);
  if (threshold === undefined)
    throw malformed(number, `a group takes any, all, or 1 to ${members.length} of its members`);
  for (const member of members) {
    if (!draft.names.has(member)) throw malformed(number, 'a member is not defined on a line before');
    if (draft.members.has(member)) throw malformed(number, 'a member is in a group already');
    draft.members.add(member);
  }
  if (draft.groups.length === MAX_OF_EACH) throw malformed(number, `there are more than ${MAX_OF_EACH} groups`);
  define(draft, name, number);
  draft.groups.push({ name, threshold, members });
}

function addQuorum(draft: Draft, items: readonly string[], number: number): void {
  const [name, ...rest] = items;
  if (name === undefined || rest.length > 0) throw malformed(number, 'it is not of the form quorum <name | none>');
  if (draft.quorum !== undefined) throw malformed(number, 'there is a quorum line already');
  if (name !== NONE && !draft.names.has(name)) throw malformed(number, 'the quorum is not defined on a line before');
  draft.quorum = name;
}

/** Other than a tab. */
function hasControlCharacter(line: string): boolean {
  return [...line].some((character) => (character < ' ' && character !== '\t') || character === '\x7f');
}

function thresholdIn(text: string, members: number): number | undefined {
  if (text === 'any') return 1;
  if (text === 'all') return members;
  const threshold = /^[1-9]\d{0,3}$/.test(text) ? Number(text) : 0;
  return threshold >= 1 && threshold <= members ? threshold : undefined;
}

function define(draft: Draft, name: string, number: number): void {
  if (name === NONE || draft.names.has(name)) throw malformed(number, 'the name is taken');
  draft.names.add(name);
}

function keyIn(vkey: string, number: number): NoteKey {
  try {
    return parseVkey(Buffer.from(vkey, 'latin1').toString('utf8'));
  } catch (cause) {
    throw malformed(number, cause instanceof AppError ? cause.message : 'it holds no verifier key', cause);
  }
}

function refuseDuplicate(known: readonly PolicyKey[], { publicKey }: NoteKey, number: number): void {
  if (known.some(({ key }) => key.publicKey.equals(publicKey))) throw malformed(number, 'the key is there already');
}

function named({ name, key }: PolicyWitness): NoteVerifier & { readonly witness: string } {
  return { ...verifierOf(key), witness: name };
}

/** An origin comes from the note: shown, but not at any length. */
function shown(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function malformed(line: number, why: string, cause?: unknown): AppError {
  return new AppError('invalid-document', `Not a log policy: line ${line}: ${why}.`, {
    cause,
    details: [{ code: 'log-policy', message: why, line, column: 1 }],
  });
}

function refused(why: string): AppError {
  return new AppError('proof-refused', `The checkpoint is refused: ${why}.`);
}
