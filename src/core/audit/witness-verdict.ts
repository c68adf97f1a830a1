import { AppError } from '../../base/errors.ts';
import type { AddCheckpoint } from './add-checkpoint.ts';
import type { Checkpoint } from './checkpoint.ts';
import { checkpointIn, EMPTY_ROOT } from './checkpoint.ts';
import { verifierOf } from './cosignature.ts';
import { verifyConsistency } from './merkle.ts';
import type { Note } from './note.ts';
import { parseNote, verifiedSigners } from './note.ts';
import type { NoteKey } from './note-key.ts';

/** What a witness answers; each kind has its status in c2sp.org/tlog-witness. */
export type Verdict =
  /** It continues all that was seen. */
  | { readonly kind: 'cosign'; readonly checkpoint: Checkpoint; readonly note: Note }
  /** 400 */
  | { readonly kind: 'malformed'; readonly why: string }
  /** 404 */
  | { readonly kind: 'unknown-log' }
  /** 403 */
  | { readonly kind: 'not-signed' }
  /** 409: somebody asks from where the witness is not (any more). */
  | { readonly kind: 'stale'; readonly size: number }
  /** 422: it may be a mistake, and it may be another history. */
  | { readonly kind: 'not-shown'; readonly why: string }
  /** 422, and proof of a crime: the log itself has signed two histories. */
  | { readonly kind: 'fork'; readonly note: Note };

/** The logs that a witness follows: keys by origin. */
export type WatchedLogs = ReadonlyMap<string, readonly NoteKey[]>;

/** Which log a request is about, for whoever has to find out what is known of it; `malformed` when nobody can tell. */
export function checkpointAsked(request: AddCheckpoint): { readonly note: Note; readonly checkpoint: Checkpoint } {
  const note = parseNote(request.checkpoint);
  return { note, checkpoint: checkpointIn(note) };
}

/**
 * Whether a witness that has cosigned `known` of a log may cosign what it is asked to. The order of the checks is that of the
 * standard; who has no signature of the log learns nothing of what is known of it.
 *
 * @param known the largest checkpoint of this origin that was cosigned; what is cosigned must take its place, durably, before
 *   anybody sees the cosignature, and no other request may be judged by it in between
 */
export function judge(request: AddCheckpoint, logs: WatchedLogs, known: Checkpoint | undefined): Verdict {
  let asked: ReturnType<typeof checkpointAsked>;
  try {
    asked = checkpointAsked(request);
  } catch (error) {
    if (error instanceof AppError) return { kind: 'malformed', why: error.message };
    throw error;
  }
  const { note, checkpoint } = asked;
  const keys = logs.get(checkpoint.origin);
  if (keys === undefined) return { kind: 'unknown-log' };
  if (!isSigned(note, keys)) return { kind: 'not-signed' };
  const { oldSize, proof } = request;
  if (oldSize > checkpoint.size)
    return { kind: 'malformed', why: 'The old size is larger than that of the checkpoint.' };
  const size = known?.size ?? 0;
  const root = known?.root ?? EMPTY_ROOT;
  if (known !== undefined && checkpoint.size === size && !checkpoint.root.equals(root)) return { kind: 'fork', note };
  if (oldSize !== size) return { kind: 'stale', size };
  // The proof function knows no empty trees: they are the beginning of every log.
  const isShown =
    size === 0
      ? proof.length === 0
      : verifyConsistency({ size1: size, root1: root, size2: checkpoint.size, root2: checkpoint.root, proof });
  if (!isShown)
    return {
      kind: 'not-shown',
      why: `The proof does not show that the log still begins with its first ${size} entries.`,
    };
  return { kind: 'cosign', checkpoint, note };
}

/** By one of the keys at least, and by none of them wrongly. */
function isSigned(note: Note, keys: readonly NoteKey[]): boolean {
  try {
    return verifiedSigners(note, keys.map(verifierOf)).length > 0;
  } catch {
    return false;
  }
}
