import { hash } from 'node:crypto';

/**
 * One step of the log, all of it: what every file gains, and the checkpoint that covers it. It is durable before the
 * checkpoint is, so that whoever finds the checkpoint can finish the step, and finishing it twice changes nothing.
 */
export interface Staged {
  /** The signed note. */
  readonly note: Buffer;
  readonly writes: readonly StagedWrite[];
}

/** Files only grow: these bytes stand at this offset, now and for ever. */
export interface StagedWrite {
  readonly file: string;
  readonly offset: number;
  readonly bytes: Buffer;
}

interface Head {
  readonly note: string;
  readonly writes: readonly { readonly file: string; readonly offset: number; readonly length: number }[];
}

const HASH_LENGTH = 64;

/** SHA-256 in hex ‖ newline ‖ JSON ‖ newline ‖ the bytes of all writes. */
export function encodeStaged({ note, writes }: Staged): Buffer {
  const head: Head = {
    note: note.toString('base64'),
    writes: writes.map(({ file, offset, bytes }) => ({ file, offset, length: bytes.length })),
  };
  const body = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`, 'utf8'), ...writes.map(({ bytes }) => bytes)]);
  return Buffer.concat([Buffer.from(`${hash('sha256', body)}\n`, 'latin1'), body]);
}

/** `undefined` for what is not whole: a step that was never begun. */
export function decodeStaged(bytes: Buffer): Staged | undefined {
  const body = bytes.subarray(HASH_LENGTH + 1);
  if (bytes.subarray(0, HASH_LENGTH + 1).toString('latin1') !== `${hash('sha256', body)}\n`) return undefined;
  const end = body.indexOf('\n');
  const head = JSON.parse(body.subarray(0, end).toString('utf8')) as Head;
  let start = end + 1;
  const writes = head.writes.map(({ file, offset, length }) => {
    const write: StagedWrite = { file, offset, bytes: body.subarray(start, start + length) };
    start += length;
    return write;
  });
  return { note: Buffer.from(head.note, 'base64'), writes };
}
