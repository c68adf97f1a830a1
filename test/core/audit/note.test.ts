import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { encodeCheckpoint, parseCheckpoint } from '../../../src/core/audit/checkpoint.ts';
import { cosignatureTime, cosigner, mldsa44Cosigner, verifierOf } from '../../../src/core/audit/cosignature.ts';
import {
  encodeNote,
  isKeyName,
  parseNote,
  signNote,
  verifiedSigners,
  verifyNote,
} from '../../../src/core/audit/note.ts';
import type { KeyType, NoteKey } from '../../../src/core/audit/note-key.ts';
import {
  ed25519PrivateKey,
  ed25519Signer,
  formatVkey,
  keyTypes,
  mldsa44PrivateKey,
  parseVkey,
  rawPublicKey,
} from '../../../src/core/audit/note-key.ts';
import { expectAppError } from '../../support/errors.ts';

/** The example of golang.org/x/mod/sumdb/note, with the seed in its signer key. */
const peter = {
  vkey: 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
  seed: Buffer.from('AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', 'base64').subarray(1),
  text: "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n",
  line: '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n',
};
const checkpointText = encodeCheckpoint({ origin: 'example.com/log', size: 3, root: Buffer.alloc(32, 7) });
const now = () => Date.UTC(2026, 0, 1);

function keyOf(name: string, type: KeyType, seed: Buffer): NoteKey {
  const privateKey = type === keyTypes.mldsa44 ? mldsa44PrivateKey(seed) : ed25519PrivateKey(seed);
  return { name, type, publicKey: rawPublicKey(privateKey) };
}

describe('a signed note', () => {
  it('audit 14: is written as the Go implementation writes it, byte for byte', () => {
    const note = encodeNote(signNote(peter.text, [ed25519Signer('PeterNeumann', peter.seed)]));
    expect(note.toString()).toBe(`${peter.text}\n${peter.line}`);
  });

  it('audit 14: is verified as the Go implementation writes it', () => {
    const note = parseNote(Buffer.from(`${peter.text}\n${peter.line}`));
    expect(note.text).toBe(peter.text);
    expect(verifyNote(note, [verifierOf(parseVkey(peter.vkey))])).toHaveLength(1);
  });

  it('audit 14: separates its text from its signatures at the last empty line', () => {
    const text = 'Ognuno sta solo\n\ned è subito sera.\n';
    const note = parseNote(encodeNote(signNote(text, [ed25519Signer('PeterNeumann', peter.seed)])));
    expect(note.text).toBe(text);
    expect(verifyNote(note, [verifierOf(parseVkey(peter.vkey))])).toHaveLength(1);
  });

  it.each([
    ['no empty line separates its text from its signatures', `${peter.text}${peter.line}`],
    ['it has no signature', `${peter.text}\n`],
    ['its last line has no end', `${peter.text}\n${peter.line.trimEnd()}`],
    ['it contains a control character', `a\tb\n\n${peter.line}`],
    ['a signature line is malformed', `a\n\n${peter.line.replace('—', '-')}`],
    ['a signature line is malformed', `a\n\n${peter.line.replace('PeterNeumann', 'Peter+Neumann')}`],
    ['a signature line is malformed', `a\n\n${peter.line.replace('PeterNeumann', 'Peter\u2003Neumann')}`],
    ['a signature is malformed', `a\n\n— a AAAA\n`],
    ['a signature is malformed', `a\n\n— a AAAAAAB=\n`],
    ['it has more than 64 signatures', `a\n\n${'— a AAAAAAA=\n'.repeat(65)}`],
  ])('audit 14: is refused when %s', async (why, text) => {
    await expectAppError(() => parseNote(Buffer.from(text)), 'proof-refused', `The signed note is refused: ${why}.`);
  });

  it('audit 14: is refused when it is not UTF-8, or too long', async () => {
    const bytes = Buffer.concat([Buffer.from([0xff]), Buffer.from(`${peter.text}\n${peter.line}`)]);
    await expectAppError(() => parseNote(bytes), 'proof-refused', /not UTF-8/);
    await expectAppError(() => parseNote(Buffer.alloc(300_000, 'a')), 'proof-refused', /longer than 262144 bytes/);
  });

  it('audit 17: takes 16 signatures and more, and ignores those of unknown names and ids', () => {
    const others = Array.from({ length: 16 }, (_, i) => ed25519Signer(`other-${i}`, randomBytes(32)));
    const sameName = ed25519Signer('PeterNeumann', randomBytes(32));
    const note = signNote(peter.text, [...others, sameName, ed25519Signer('PeterNeumann', peter.seed)]);
    expect(verifyNote(parseNote(encodeNote(note)), [verifierOf(parseVkey(peter.vkey))])).toHaveLength(1);
  });

  it('audit 17: is refused when no known key has signed it', async () => {
    const note = signNote(peter.text, [ed25519Signer('somebody', randomBytes(32))]);
    await expectAppError(
      () => verifyNote(note, [verifierOf(parseVkey(peter.vkey))]),
      'proof-refused',
      /no key that is trusted/,
    );
    expect(verifiedSigners(note, [verifierOf(parseVkey(peter.vkey))])).toEqual([]);
  });

  it('audit 17: is refused as a whole when a known key is named and has not signed it, whoever else has', async () => {
    const good = ed25519Signer('good', randomBytes(32));
    const seed = randomBytes(32);
    const bad = ed25519Signer('bad', seed);
    const [goodLine] = signNote(checkpointText, [good]).signatures;
    const [badLine] = signNote('other text\n', [bad]).signatures;
    if (goodLine === undefined || badLine === undefined) throw new Error('unsigned');
    const verifiers = [verifierOf(keyOf('bad', keyTypes.ed25519, seed)), { ...good, verify: () => true }];
    const note = { text: checkpointText, signatures: [goodLine, badLine] };
    await expectAppError(
      () => verifyNote(note, verifiers),
      'proof-refused',
      'The signed note is refused: the signature of bad does not verify.',
    );
  });

  it('is refused with an AppError or read back as it was, whatever the bytes', () => {
    const whole = encodeNote(signNote(checkpointText, [ed25519Signer('PeterNeumann', peter.seed)]));
    fc.assert(
      fc.property(mutations(whole), (bytes) => {
        try {
          expect(encodeNote(parseNote(bytes)).equals(bytes)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('never verifies after a change to its text or to its signature', () => {
    const whole = encodeNote(signNote(checkpointText, [ed25519Signer('PeterNeumann', peter.seed)]));
    fc.assert(
      fc.property(mutations(whole), (bytes) => {
        if (bytes.equals(whole)) return;
        let verified: string | undefined;
        try {
          const note = parseNote(bytes);
          verifyNote(note, [verifierOf(parseVkey(peter.vkey))]);
          verified = note.text;
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
        // What remains possible is to add lines of unknown keys.
        expect([undefined, checkpointText]).toContain(verified);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a verifier key', () => {
  it('audit 16: is read and written as in Go, also where its base64 has a plus of its own', () => {
    expect(formatVkey(parseVkey(peter.vkey))).toBe(peter.vkey);
    for (let i = 0; i < 200; i++) {
      const key = keyOf(`log-${i}`, keyTypes.ed25519, randomBytes(32));
      expect(parseVkey(formatVkey(key))).toEqual(key);
    }
  });

  it('audit 15: has an id that follows from its name, its kind and its bytes', async () => {
    const seed = randomBytes(32);
    const ids = [keyTypes.ed25519, keyTypes.cosignature, keyTypes.mldsa44].map(
      (type) => formatVkey(keyOf('a', type, seed)).split('+')[1],
    );
    expect(new Set(ids).size).toBe(3);
    const renamed = formatVkey(keyOf('a', keyTypes.ed25519, seed)).replace('a+', 'b+');
    await expectAppError(() => parseVkey(renamed), 'invalid', 'Not a verifier key: its id is not that of the key.');
  });

  it.each([
    'PeterNeumann+c74f20a3',
    'PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    '+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    'Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==',
    'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    `PeterNeumann+c74f20a3+${'A'.repeat(5000)}`,
  ])('audit 16: %s is none', async (text) => {
    await expectAppError(() => parseVkey(text), 'invalid', /^Not a verifier key/);
  });

  it('audit 16: no part of one is one', () => {
    fc.assert(
      fc.property(fc.nat(peter.vkey.length - 1), fc.nat(peter.vkey.length), (start, end) => {
        if (start === 0 && end >= peter.vkey.length) return;
        expect(() => parseVkey(peter.vkey.slice(start, end))).toThrow(AppError);
      }),
    );
  });

  it('has a name without spaces and plus', () => {
    expect(['a', 'example.com/log', 'ä'].map(isKeyName)).toEqual([true, true, true]);
    expect(['', 'a b', 'a+b', 'a\u00a0b', 'a\u0085b', 'a\nb', 'a'.repeat(256)].map(isKeyName)).toEqual(
      Array(7).fill(false),
    );
  });
});

describe('a checkpoint', () => {
  const root = Buffer.alloc(32, 1).toString('base64');

  it('audit 13: is read as it was written, with lines of extensions passed over', () => {
    expect(parseCheckpoint(checkpointText)).toEqual({ origin: 'example.com/log', size: 3, root: Buffer.alloc(32, 7) });
    expect(parseCheckpoint(`${checkpointText}extension\n`).size).toBe(3);
  });

  it.each([
    ['its origin is not 1 to 255 bytes long', `\n3\n${root}\n`],
    ['its origin is not 1 to 255 bytes long', `${'a'.repeat(256)}\n3\n${root}\n`],
    ['its size is not a number as it is written in checkpoints', `a\n03\n${root}\n`],
    ['its size is not a number as it is written in checkpoints', `a\n+3\n${root}\n`],
    ['its size is not a number as it is written in checkpoints', `a\n-1\n${root}\n`],
    ['its size is not a number as it is written in checkpoints', `a\n9007199254740992\n${root}\n`],
    ['its root is not a hash of 32 bytes', `a\n3\n${root.slice(0, -1)}\n`],
    ['its root is not a hash of 32 bytes', `a\n3\n${Buffer.alloc(31).toString('base64')}\n`],
    ['its root is not a hash of 32 bytes', `a\n3\n`],
    ['it is empty, but its root is not that of an empty log', `a\n0\n${root}\n`],
    ['an extension line is empty', `a\n3\n${root}\n\n`],
    ['its last line has no end', `a\n3\n${root}`],
  ])('audit 13: is refused when %s', async (why, text) => {
    await expectAppError(() => parseCheckpoint(text), 'proof-refused', `The checkpoint is refused: ${why}.`);
  });

  it('audit 1: of an empty log has the root over nothing', () => {
    const text = 'a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n';
    expect(parseCheckpoint(text).root.toString('hex')).toBe(
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    );
  });

  it('is refused with an AppError or read back as it was, whatever the text', () => {
    fc.assert(
      fc.property(mutations(Buffer.from(checkpointText)), (bytes) => {
        const text = bytes.toString('utf8');
        try {
          const read = parseCheckpoint(text);
          expect(text.startsWith(encodeCheckpoint(read))).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a cosignature', () => {
  const seed = Buffer.alloc(32, 9);

  it.each([
    ['audit 19', keyTypes.cosignature, cosigner, 8 + 64],
    ['audit 20', keyTypes.mldsa44, mldsa44Cosigner, 8 + 2420],
  ] as const)('%s: verifies with its key, name, time and checkpoint, and with no other', (_, type, make, length) => {
    const [line] = signNote(checkpointText, [make('witness', seed, now)]).signatures;
    if (line === undefined) throw new Error('unsigned');
    expect(line.signature).toHaveLength(length);
    expect(cosignatureTime(line.signature)).toBe(now());
    const verifier = verifierOf(keyOf('witness', type, seed));
    expect(verifier.keyId).toBe(line.keyId);
    expect(verifier.verify(checkpointText, line.signature)).toBe(true);
    expect(verifier.verify(checkpointText.replace('\n3\n', '\n4\n'), line.signature)).toBe(false);
    expect(verifier.verify('no checkpoint\n', line.signature)).toBe(false);
    const later = Buffer.from(line.signature);
    later.writeUInt8((later[7] ?? 0) ^ 1, 7);
    expect(verifier.verify(checkpointText, later)).toBe(false);
    const never = Buffer.from(line.signature);
    never.writeUInt8(0x80, 0);
    expect(verifier.verify(checkpointText, never)).toBe(false);
    expect(verifier.verify(checkpointText, line.signature.subarray(1))).toBe(false);
    expect(verifierOf(keyOf('witness', type, Buffer.alloc(32, 8))).verify(checkpointText, line.signature)).toBe(false);
  });

  it('audit 19: of Ed25519 covers the lines of extensions; audit 20: that of ML-DSA-44 covers the name of its cosigner and not those', () => {
    const extended = `${checkpointText}extension\n`;
    const [ed] = signNote(checkpointText, [cosigner('witness', seed, now)]).signatures;
    const [ml] = signNote(checkpointText, [mldsa44Cosigner('witness', seed, now)]).signatures;
    if (ed === undefined || ml === undefined) throw new Error('unsigned');
    expect(verifierOf(keyOf('witness', keyTypes.cosignature, seed)).verify(extended, ed.signature)).toBe(false);
    expect(verifierOf(keyOf('witness', keyTypes.mldsa44, seed)).verify(extended, ml.signature)).toBe(true);
    expect(verifierOf(keyOf('other', keyTypes.mldsa44, seed)).verify(checkpointText, ml.signature)).toBe(false);
  });

  it('is of checkpoints only', async () => {
    await expectAppError(
      () => signNote('text\n', [cosigner('w', seed, now)]),
      'internal',
      'Only checkpoints can be cosigned.',
    );
  });
});

/** Some bytes changed, taken away or put in. */
function mutations(whole: Buffer): fc.Arbitrary<Buffer> {
  const change = fc.record({
    at: fc.nat(whole.length - 1),
    kind: fc.constantFrom('flip', 'cut', 'insert'),
    byte: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0x0a, 0x20, 0x2b, 0x30)),
  });
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => {
    let bytes = Buffer.from(whole);
    for (const { at, kind, byte } of changes) {
      const place = Math.min(at, bytes.length);
      const rest = kind === 'insert' ? bytes.subarray(place) : bytes.subarray(place + 1);
      const put = kind === 'cut' ? Buffer.alloc(0) : Buffer.from([byte]);
      bytes = Buffer.concat([bytes.subarray(0, place), put, rest]);
    }
    return bytes;
  });
}
