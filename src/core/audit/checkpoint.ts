import { AppError } from '../../base/errors.ts';
import { HASH_BYTES, rootOfHashes } from './merkle.ts';
import type { Note } from './note.ts';
import { fromBase64 } from './note.ts';

/** What a log says about itself (c2sp.org/tlog-checkpoint): the text of a signed note. */
export interface Checkpoint {
  /** Which log. */
  readonly origin: string;
  /** Number of its leaves. */
  readonly size: number;
  /** RFC 6962 root over them, 32 bytes. */
  readonly root: Buffer;
}

/** ML-DSA cosignatures hold it behind a length of one byte. */
export const MAX_ORIGIN_BYTES = 255;

/** Root of the log that has no leaf. */
export const EMPTY_ROOT: Buffer = rootOfHashes([]);

/** Without extension lines: cosigners do not vouch for them, so nothing may depend on them. */
export function encodeCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`;
}

/** The checkpoint in the text of a note. Extension lines are passed over. Throws `proof-refused`. */
export function parseCheckpoint(text: string): Checkpoint {
  if (!text.endsWith('\n')) throw refused('its last line has no end');
  const [origin = '', size = '', root = '', ...extensions] = text.slice(0, -1).split('\n');
  if (origin === '' || Buffer.byteLength(origin, 'utf8') > MAX_ORIGIN_BYTES)
    throw refused(`its origin is not 1 to ${MAX_ORIGIN_BYTES} bytes long`);
  const leaves = /^(0|[1-9][0-9]{0,15})$/.test(size) ? Number(size) : Number.NaN;
  if (!Number.isSafeInteger(leaves)) throw refused('its size is not a number as it is written in checkpoints');
  const hash = fromBase64(root);
  if (hash?.length !== HASH_BYTES) throw refused(`its root is not a hash of ${HASH_BYTES} bytes`);
  if (leaves === 0 && !hash.equals(EMPTY_ROOT)) throw refused('it is empty, but its root is not that of an empty log');
  if (extensions.includes('')) throw refused('an extension line is empty');
  return Object.freeze({ origin, size: leaves, root: hash });
}

/** The checkpoint in a note, whoever has signed it: for a note that was verified, or that is only compared. */
export function checkpointIn(note: Pick<Note, 'text'>): Checkpoint {
  return parseCheckpoint(note.text);
}

/** Whether both say the same of the same log. */
export function isSameCheckpoint(a: Checkpoint, b: Checkpoint): boolean {
  return a.origin === b.origin && a.size === b.size && a.root.equals(b.root);
}

function refused(why: string): AppError {
  return new AppError('proof-refused', `The checkpoint is refused: ${why}.`);
}
