import { isUtf8 } from 'node:buffer';
import { AppError } from '../../base/errors.ts';
import { HASH_BYTES } from './merkle.ts';
import { fromBase64, MAX_NOTE_BYTES } from './note.ts';

/** What a witness is asked (c2sp.org/tlog-witness, add-checkpoint): "you know this much of the log; here is more of it". */
export interface AddCheckpoint {
  /** Leaves of the largest checkpoint that the witness has cosigned; 0 for none. */
  readonly oldSize: number;
  /** That the log of the checkpoint begins with the one of `oldSize` leaves; empty for 0. */
  readonly proof: readonly Buffer[];
  /** The signed note. */
  readonly checkpoint: Buffer;
}

/** A tree of 2^63 leaves needs no more. */
export const MAX_PROOF_HASHES = 63;
const MAX_HEAD_BYTES = 'old 9007199254740991\n\n'.length + MAX_PROOF_HASHES * 45;
export const MAX_ADD_CHECKPOINT_BYTES: number = MAX_NOTE_BYTES + MAX_HEAD_BYTES;

export function encodeAddCheckpoint({ oldSize, proof, checkpoint }: AddCheckpoint): Buffer {
  const head = `old ${oldSize}\n${proof.map((hash) => `${hash.toString('base64')}\n`).join('')}\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), checkpoint]);
}

/** Everything in it is attacker-controlled; the checkpoint is not looked into. Throws `invalid`. */
export function parseAddCheckpoint(bytes: Uint8Array): AddCheckpoint {
  if (bytes.length > MAX_ADD_CHECKPOINT_BYTES) throw malformed(`it is longer than ${MAX_ADD_CHECKPOINT_BYTES} bytes`);
  if (!isUtf8(bytes)) throw malformed('it is not UTF-8');
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const split = body.indexOf('\n\n');
  if (split < 0 || split + 2 > MAX_HEAD_BYTES) throw malformed('no empty line follows its old size and proof');
  const [old = '', ...lines] = body.subarray(0, split).toString('latin1').split('\n');
  const size = /^old (0|[1-9][0-9]{0,15})$/.exec(old)?.[1];
  const oldSize = size === undefined ? Number.NaN : Number(size);
  if (!Number.isSafeInteger(oldSize)) throw malformed('it does not begin with the line "old <size>"');
  if (lines.length > MAX_PROOF_HASHES) throw malformed(`its proof has more than ${MAX_PROOF_HASHES} hashes`);
  const proof = lines.map((line) => {
    const hash = fromBase64(line);
    if (hash?.length !== HASH_BYTES) throw malformed('a line of its proof is not a hash in base64');
    return hash;
  });
  return Object.freeze({ oldSize, proof: Object.freeze(proof), checkpoint: body.subarray(split + 2) });
}

function malformed(why: string): AppError {
  return new AppError('invalid', `The request to cosign is malformed: ${why}.`);
}
