import { isUtf8 } from 'node:buffer';
import { AppError } from '../../base/errors.ts';
import { HASH_BYTES } from './merkle.ts';
import { fromBase64, MAX_NOTE_BYTES } from './note.ts';

/** A proof that something is in a log (c2sp.org/tlog-proof), to be verified without the log. All of it is attacker-controlled. */
export interface TlogProof {
  /** What the application needs besides; authenticated by nothing. */
  readonly extra: Buffer | undefined;
  /** Of the leaf, from 0. */
  readonly index: number;
  /** From the leaf's sibling to the child of the root. */
  readonly path: readonly Buffer[];
  /** The signed note, as the log has published it. */
  readonly checkpoint: Buffer;
}

const FIRST_LINE = 'c2sp.org/tlog-proof@v1';
/** A tree of 2^63 leaves is no higher. */
const MAX_PATH = 63;
/** Room for an event of the largest kind with its batch header, twice in base64. */
const MAX_EXTRA_BYTES = 512 * 1024;
export const MAX_PROOF_BYTES = MAX_EXTRA_BYTES * 2 + MAX_NOTE_BYTES;

export function encodeProof({ extra, index, path, checkpoint }: TlogProof): Buffer {
  const lines = [
    FIRST_LINE,
    ...(extra === undefined ? [] : [`extra ${extra.toString('base64')}`]),
    `index ${index}`,
    ...path.map((hash) => hash.toString('base64')),
    '',
    '',
  ];
  return Buffer.concat([Buffer.from(lines.join('\n'), 'utf8'), checkpoint]);
}

/** Throws `proof-refused`. */
export function parseProof(bytes: Uint8Array): TlogProof {
  if (bytes.length > MAX_PROOF_BYTES) throw refused(`it is longer than ${MAX_PROOF_BYTES} bytes`);
  if (!isUtf8(bytes)) throw refused('it is not UTF-8');
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const split = buffer.indexOf('\n\n');
  if (split < 0) throw refused('it holds no checkpoint');
  const [first, ...lines] = buffer.subarray(0, split).toString('utf8').split('\n');
  if (first !== FIRST_LINE) throw refused(`its first line is not ${FIRST_LINE}`);
  const extra = lines[0]?.startsWith('extra ') ? parseExtra(lines.shift() ?? '') : undefined;
  const index = parseIndex(lines.shift() ?? '');
  if (lines.length > MAX_PATH) throw refused(`its path has more than ${MAX_PATH} hashes`);
  const path = lines.map(parseHash);
  return Object.freeze({ extra, index, path: Object.freeze(path), checkpoint: buffer.subarray(split + 2) });
}

function parseExtra(line: string): Buffer {
  const extra = fromBase64(line.slice('extra '.length));
  if (extra === undefined || extra.length > MAX_EXTRA_BYTES) throw refused('its extra data are malformed');
  return extra;
}

function parseIndex(line: string): number {
  const [, digits] = /^index (0|[1-9][0-9]{0,15})$/.exec(line) ?? [];
  const index = Number(digits ?? Number.NaN);
  if (!Number.isSafeInteger(index)) throw refused('it does not say at which index the leaf stands');
  return index;
}

function parseHash(line: string): Buffer {
  const hash = fromBase64(line);
  if (hash?.length !== HASH_BYTES) throw refused('its path holds something that is no hash');
  return hash;
}

function refused(why: string): AppError {
  return new AppError('proof-refused', `The proof is refused: ${why}.`);
}
