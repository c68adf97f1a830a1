import { isUtf8 } from 'node:buffer';
import { AppError } from '../../base/errors.ts';

/**
 * Signed notes (c2sp.org/signed-note): a text, an empty line, and lines with signatures. Everything in a note is
 * attacker-controlled until `verifyNote` has found a signature of a key that is trusted for it.
 */
export interface Note {
  /** With its final newline, which is signed too. */
  readonly text: string;
  /** In the order of the lines; most of them of keys that we know nothing of. */
  readonly signatures: readonly NoteSignature[];
}

export interface NoteSignature {
  readonly name: string;
  /** First four bytes of a hash over name, kind and key: finds the key, and is no proof of anything. */
  readonly keyId: number;
  /** What follows the key id. */
  readonly signature: Buffer;
}

/** A key that signatures are verified with. */
export interface NoteVerifier {
  readonly name: string;
  readonly keyId: number;
  verify(text: string, signature: Buffer): boolean;
}

export interface NoteSigner {
  readonly name: string;
  readonly keyId: number;
  /** @throws AppError `internal` for a text that this kind of key cannot sign */
  sign(text: string): Buffer;
}

/** Of a whole note. A signature of ML-DSA-44 is a line of about 3.3 kB. */
export const MAX_NOTE_BYTES = 256 * 1024;
/** Verifiers must take 16; a witnessed checkpoint of a log with two keys has room for many witnesses here. */
export const MAX_SIGNATURES = 64;
const KEY_ID_BYTES = 4;

/** Throws `proof-refused` for what is not a note. */
export function parseNote(bytes: Uint8Array): Note {
  if (bytes.length > MAX_NOTE_BYTES) throw refused(`it is longer than ${MAX_NOTE_BYTES} bytes`);
  if (!isUtf8(bytes)) throw refused('it is not UTF-8');
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (hasControlCharacter(whole)) throw refused('it contains a control character');
  // The text may contain empty lines: the last one separates.
  const split = whole.lastIndexOf('\n\n');
  if (split < 0) throw refused('no empty line separates its text from its signatures');
  const lines = whole.slice(split + 2);
  if (lines === '') throw refused('it has no signature');
  if (!lines.endsWith('\n')) throw refused('its last line has no end');
  const signatures = lines.slice(0, -1).split('\n');
  if (signatures.length > MAX_SIGNATURES) throw refused(`it has more than ${MAX_SIGNATURES} signatures`);
  return Object.freeze({ text: whole.slice(0, split + 1), signatures: Object.freeze(signatures.map(parseLine)) });
}

export function encodeNote(note: Note): Buffer {
  return Buffer.from(`${note.text}\n${note.signatures.map(encodeSignature).join('')}`, 'utf8');
}

/** One line, with its newline. */
export function encodeSignature({ name, keyId, signature }: NoteSignature): string {
  const id = Buffer.alloc(KEY_ID_BYTES);
  id.writeUInt32BE(keyId);
  return `— ${name} ${Buffer.concat([id, signature]).toString('base64')}\n`;
}

/** @param text at least one line; every line ends with a newline */
export function signNote(text: string, signers: readonly NoteSigner[]): Note {
  return Object.freeze({ text, signatures: Object.freeze(signers.map((signer) => signWith(signer, text))) });
}

export function signWith(signer: NoteSigner, text: string): NoteSignature {
  return Object.freeze({ name: signer.name, keyId: signer.keyId, signature: signer.sign(text) });
}

/**
 * Which of the keys have signed. Signatures of other keys are ignored. Throws `proof-refused` when none has signed, and when
 * a signature that claims to be of one of them is not.
 */
export function verifyNote<V extends NoteVerifier>(note: Note, verifiers: readonly V[]): readonly V[] {
  const signers = verifiedSigners(note, verifiers);
  if (signers.length === 0) throw refused('no key that is trusted for it has signed it');
  return signers;
}

/** As `verifyNote`, where none at all is no failure: for witnesses. */
export function verifiedSigners<V extends NoteVerifier>(note: Note, verifiers: readonly V[]): readonly V[] {
  const found = new Set<V>();
  for (const { name, keyId, signature } of note.signatures) {
    for (const verifier of verifiers) {
      if (verifier.name !== name || verifier.keyId !== keyId) continue;
      if (!verifier.verify(note.text, signature)) throw refused(`the signature of ${name} does not verify`);
      found.add(verifier);
    }
  }
  return [...found];
}

/** Not empty, without spaces of any kind, without a plus. */
export function isKeyName(name: string): boolean {
  return Buffer.byteLength(name, 'utf8') <= MAX_KEY_NAME && /^[^\s+\u0085]+$/u.test(name) && !hasControlCharacter(name);
}

/** Cosignatures hold it behind a length of one byte. */
const MAX_KEY_NAME = 255;

/** The bytes of standard base64 with padding; `undefined` for what is not exactly that. */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

function parseLine(line: string): NoteSignature {
  const match = /^— ([^ ]+) ([A-Za-z0-9+/]+={0,2})$/u.exec(line);
  const [, name, base64] = match ?? [];
  if (name === undefined || base64 === undefined || !isKeyName(name)) throw refused('a signature line is malformed');
  const bytes = fromBase64(base64);
  if (bytes === undefined || bytes.length <= KEY_ID_BYTES) throw refused('a signature is malformed');
  return Object.freeze({ name, keyId: bytes.readUInt32BE(0), signature: bytes.subarray(KEY_ID_BYTES) });
}

function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 && unit !== 0x0a) return true;
  }
  return false;
}

function refused(why: string): AppError {
  return new AppError('proof-refused', `The signed note is refused: ${why}.`);
}
